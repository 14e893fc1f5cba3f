"""One look at a version set: each rule asked, and in one transaction what became of its alerts and what is to be sent."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from beam_grid.alerts.declared import Declared, Rule
from beam_grid.alerts.grouping import Waiting, groups, room_at
from beam_grid.alerts.lifecycle import Alert, Found, next_due, step, unseen
from beam_grid.alerts.matching import Looked, Matching, NotThere, SetGone
from beam_grid.alerts.messages import Links, message, to_json
from beam_grid.alerts.store import Store
from beam_grid.errors import GridError
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import at_number, newest_number
from beam_grid.landing import Lake

MOST_BEHIND = 20
"""Sets are looked at one after another; whoever is further behind than this goes on with the newest."""


class Told(NamedTuple):
    """How a look went."""

    raised: int
    cleared: int
    errors: dict[str, str]
    """By rule what is wrong with it; its alerts stay as they are."""
    due: int | None
    """When something becomes due that no new set brings, microseconds since the epoch."""


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Evaluation:
    """Looks at sets of one lake by the rules of one file; for one thread."""

    def __init__(
        self, lake: Lake, declared: Declared, store: Store, scratch: Path, before: Evaluation | None = None
    ) -> None:
        """before: the one until now, for alerts of rules that are no longer declared."""
        self.declared = declared
        self._rules: dict[str, Rule] = {} if before is None else before._rules
        self._rules |= {rule.name: rule for rule in declared.alerts}
        self._silent: dict[str, set[str]] = {} if before is None else before._silent
        """By rule the keys in maintenance at the last look that went well."""
        self._lake, self._store, self._matching = lake, store, Matching(lake, scratch)
        self._links = Links(lake, declared.dashboard)

    def to_look_at(self, known: int = 0) -> list[int]:
        """Numbers of the sets that nobody has looked at, in order. known: a set that was there."""
        newest, looked = newest_number(self._lake, known), self._store.looked()
        if newest < looked:  # the tables were made anew
            return [newest] if newest else []
        return list(range(max(looked, newest - MOST_BEHIND) + 1, newest + 1))

    def look(self, set_number: int, begins: Callable[[], None] = lambda: None) -> Told:
        """Raises SetGone where the set cannot be read any more, GridError where the state cannot be written.

        begins: called before each rule is asked.
        """
        found = at_number(self._lake, set_number)
        if found is None:
            raise SetGone(f"version set {set_number} is no longer kept")
        began, seen = time.monotonic(), dict[str, Looked | GridError]()
        for rule in self.declared.alerts:
            begins()
            try:
                seen[rule.name] = self._matching.look(rule, self.declared.maintenance, found)
            except SetGone as cause:
                if at_number(self._lake, set_number) != found:
                    raise
                seen[rule.name] = GridError(f"{cause}; `beam-grid refine` makes tables again")  # of this rule alone
            except GridError as cause:
                seen[rule.name] = cause
        now, took = now_us(), time.monotonic() - began
        with self._store.changing():
            return self._write(found, seen, now, took)

    def _write(self, found: TableSet, seen: dict[str, Looked | GridError], now: int, took: float) -> Told:
        errors: dict[str, str] = {}
        counts = {"raised": 0, "cleared": 0}
        due: list[int] = []
        by_name = {rule.name: rule for rule in self.declared.alerts}
        for name in dict.fromkeys([*by_name, *self._store.live_rules()]):
            rule = by_name.get(name) or self._ended(name)
            looked = seen.get(name) or Looked(Found({}), ())
            if isinstance(looked, GridError):
                is_waiting = isinstance(looked, NotThere)
                if not is_waiting:
                    errors[name] = str(looked)
                self._store.tell_rule(name, found.number, now, None, str(looked), None)
                self._store.write(unseen(rule, self._heard(name), now), name, now)
                due += self._tell(rule, found, (), now)
                if (at := next_due(rule, self._heard(name), None)) is not None:
                    due.append(at)
                continue
            self._silent[name] = {key for key, match in looked.found.matched.items() if match.is_suppressed}
            changes = step(rule, self._store.live(name), looked.found, now, found.number)
            self._store.write(changes, name, now)
            for event in changes.events:
                if event.kind in counts:
                    counts[event.kind] += 1
            why = f"more than {len(looked.found.matched):,} keys meet it" if looked.found.is_cut else None
            self._store.tell_rule(name, found.number, now, len(looked.found.matched), why, looked.reads)
            due += self._tell(rule, found, looked.reads, now)
            if (at := next_due(rule, self._store.live(name), looked.found)) is not None:
                due.append(at)
        self._store.forget_rules(by_name)
        self._store.look_at(found.number, now, took, counts["raised"])
        return Told(counts["raised"], counts["cleared"], errors, min(due, default=None))

    def _tell(self, rule: Rule, found: TableSet, reads: tuple[str, ...], now: int) -> list[int]:
        """Make messages of what is to be told; when there will be room for the rest, if there is a rest."""
        waiting, sent = self._store.untold(rule.name), self._store.sent_at(rule.name, now)
        if not rule.send_resolved:
            self._store.silence([event for event in waiting if event.kind == "cleared"])
            waiting = [event for event in waiting if event.kind != "cleared"]
        said = 0
        for kind, events in groups(rule, waiting, sent, now, self._overtaken(waiting)):
            known = self._store.with_ids(event.alert for event in events)
            alerts = [known[event.alert] for event in events if event.alert in known]
            said += len(events)
            if not alerts:
                continue
            one = message(
                secrets.token_hex(12), kind, rule, self._lake, found.number, now, alerts, self._links, reads, found
            )
            sinks = self.declared.sinks_of(rule, kind == "escalated")
            self._store.post(one.id, rule.name, kind, now, to_json(one), events, sinks)
        if said == len(waiting):
            return []
        return [max(now + 1, room_at(rule, self._store.sent_at(rule.name, now), now))]

    def _heard(self, name: str) -> dict[str, Alert]:
        """A rule's live alerts, but those in maintenance."""
        silent = self._silent.get(name, ())
        return {key: alert for key, alert in self._store.live(name).items() if key not in silent}

    def _overtaken(self, waiting: list[Waiting]) -> set[Waiting]:
        """The clearings of what had been told, after which it was raised again."""
        cleared = [event for event in waiting if event.kind == "cleared"]
        raised = [event for event in waiting if event.kind == "raised"]
        if not cleared or not raised:
            return set()
        known = self._store.with_ids(event.alert for event in (*cleared, *raised))
        untold = {event.alert for event in raised}
        last = {known[e.alert].key: e.number for e in raised if e.alert in known}
        told = [e for e in cleared if e.alert in known and e.alert not in untold]
        return {e for e in told if last.get(known[e.alert].key, 0) > e.number}

    def _ended(self, name: str) -> Rule:
        """A rule that is no longer declared: its alerts are cleared."""
        if (rule := self._rules.get(name)) is None:
            return Rule(name=name, where="false", key=())
        known = {sink.name for sink in self.declared.sinks}
        sinks = tuple(name for name in rule.sinks if name in known)
        is_told = rule.send_resolved and bool(sinks or not rule.sinks)  # not to all, where its own are gone too
        return replace(
            rule, sinks=sinks, send_resolved=is_told, escalate_to=(), escalate_after=None, remind_after=None,
            keep_firing_for=None,
        )  # fmt: skip
