"""What becomes of a rule's alerts when it has been looked at: a pure function of what is live and what was found.

                 meets `where`                         held `for` so long
    (nothing) ────────────────► pending ──────────────────────────────────► open ──► reminded, escalated: not once
        │                          └─ no longer: forgotten                   │       acknowledged
        └─ in maintenance: suppressed ── maintenance over ──► pending or open │
                                                                             └─ not met `keep_firing_for` so long,
                                                                                and `clear` met: cleared

One alert is live for each rule and key. Instants are whole microseconds since the epoch, and those of the clock of who
looks: `for` and the others are about how long it is known, not about the rows' own time.
"""

from __future__ import annotations

import secrets
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from beam_grid.alerts.declared import Rule

State = Literal["pending", "suppressed", "open", "cleared"]
Kind = Literal["raised", "reminded", "escalated", "cleared"]


class Alert(Struct, frozen=True, kw_only=True):
    """An alert, from the first time its rule was met until it is cleared."""

    id: str
    rule: str
    key: str
    """Values of the rule's key columns: a JSON array."""
    state: State
    severity: str
    since: int
    """When the rule was first met."""
    raised_at: int | None = None
    raised_set: int | None = None
    """The version set in which it was."""
    unmet_since: int | None = None
    reminded_at: int | None = None
    escalated_at: int | None = None
    cleared_at: int | None = None
    acked_at: int | None = None
    acked_by: str | None = None
    row: str = "{}"
    """The row that speaks for it: a JSON object."""


class Match(NamedTuple):
    """A key that meets its rule."""

    row: str
    """The row, a JSON object."""
    is_suppressed: bool
    """Whether each row that meets the rule is in maintenance."""


class Found(NamedTuple):
    """What was found of a rule."""

    matched: dict[str, Match]
    """By key."""
    clear: set[str] | None = None
    """Keys that meet `clear`; None where every key does that is not matched."""
    is_cut: bool = False
    """More keys met it than are looked at: none of the others is taken for cleared."""


class Event(NamedTuple):
    """Something that is to be told."""

    kind: Kind
    alert: Alert
    """As it is after it."""


class Step(NamedTuple):
    """What a look changes."""

    changed: list[Alert]
    dropped: list[str]
    """Ids of alerts that were never raised, and no longer meet their rule."""
    events: list[Event]


def step(rule: Rule, live: dict[str, Alert], found: Found, now: int, set_number: int) -> Step:
    """live: the rule's alerts that are not cleared, by key."""
    result = Step([], [], [])
    for key, match in found.matched.items():
        _met(rule, key, live.get(key), match, now, set_number, result)
    for key, alert in live.items():
        if key not in found.matched:
            _unmet(rule, alert, found, now, result)
    return result


def unseen(rule: Rule, live: dict[str, Alert], now: int) -> Step:
    """Of a rule that cannot be asked: its alerts stay as they are, and whoever is to hear of them goes on hearing."""
    result = Step([], [], [])
    for alert in live.values():
        _nag(rule, alert, now, result)
    return result


def next_due(rule: Rule, live: dict[str, Alert], found: Found | None) -> int | None:
    """When something becomes due that no new set brings; None where nothing does. found: None where the rule cannot be
    asked."""
    held, kept = rule.us("for_") or 0, rule.us("keep_firing_for") or 0
    remind, escalate = rule.us("remind_after"), rule.us("escalate_after")
    due: list[int] = []
    for alert in live.values():
        match = found.matched.get(alert.key) if found is not None else None
        if alert.state == "pending" and match is not None:
            due.append(alert.since + held)
        if alert.state != "open" or alert.raised_at is None:
            continue
        if alert.unmet_since is not None and found is not None and not found.is_cut:
            due.append(alert.unmet_since + kept)
        if match is not None and match.is_suppressed:  # nobody is told meanwhile
            continue
        if alert.acked_at is None and remind is not None:
            due.append((alert.reminded_at or alert.raised_at) + remind)
        if alert.acked_at is None and escalate is not None and alert.escalated_at is None:
            due.append(alert.raised_at + escalate)
    return min(due, default=None)


def _met(rule: Rule, key: str, alert: Alert | None, match: Match, now: int, set_number: int, result: Step) -> None:
    if alert is not None and alert.state == "open":
        if alert.unmet_since is not None:
            alert = replace(alert, unmet_since=None)
            result.changed.append(alert)
        if not match.is_suppressed:
            _nag(rule, alert, now, result)
        return
    is_new = alert is None
    if alert is None:
        alert = Alert(
            id=secrets.token_hex(8), rule=rule.name, key=key, state="pending", severity=rule.severity, since=now
        )
    if match.is_suppressed:
        if alert.state != "suppressed":
            result.changed.append(replace(alert, state="suppressed", row=match.row))
        return
    if now - alert.since >= (rule.us("for_") or 0):
        raised = replace(alert, state="open", raised_at=now, raised_set=set_number, row=match.row)
        result.changed.append(raised)
        result.events.append(Event("raised", raised))
    elif is_new or alert.state != "pending" or alert.row != match.row:
        result.changed.append(replace(alert, state="pending", row=match.row))


def _unmet(rule: Rule, alert: Alert, found: Found, now: int, result: Step) -> None:
    if found.is_cut:
        _nag(rule, alert, now, result)
        return
    if alert.state != "open":
        result.dropped.append(alert.id)
        return
    if found.clear is not None and alert.key not in found.clear:  # neither met nor cleared: it stays
        if alert.unmet_since is not None:
            alert = replace(alert, unmet_since=None)
            result.changed.append(alert)
        _nag(rule, alert, now, result)
        return
    since = alert.unmet_since if alert.unmet_since is not None else now
    if now - since >= (rule.us("keep_firing_for") or 0):
        cleared = replace(alert, state="cleared", cleared_at=now, unmet_since=since)
        result.changed.append(cleared)
        result.events.append(Event("cleared", cleared))
        return
    if alert.unmet_since is None:
        alert = replace(alert, unmet_since=now)
        result.changed.append(alert)
    _nag(rule, alert, now, result)


def _nag(rule: Rule, alert: Alert, now: int, result: Step) -> None:
    """Escalate or remind of an open alert that nobody acknowledged."""
    raised_at = alert.raised_at
    if alert.acked_at is not None or raised_at is None or alert.state != "open":
        return
    escalate, remind = rule.us("escalate_after"), rule.us("remind_after")
    if escalate is not None and alert.escalated_at is None and now - raised_at >= escalate:
        alert = replace(alert, escalated_at=now)
        result.changed.append(alert)
        result.events.append(Event("escalated", alert))
    if remind is not None and now - (alert.reminded_at or raised_at) >= remind:
        alert = replace(alert, reminded_at=now)
        result.changed.append(alert)
        result.events.append(Event("reminded", alert))
