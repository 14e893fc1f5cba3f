"""What a message says: JSON for programs, text for people, with the rows that speak for it and links into the dashboard.

    {"id": "9f..", "kind": "raised", "rule": "overload", "severity": "critical", "lake": "north", "set": 13,
     "at": "2026-11-26T12:00:00Z", "title": "...", "description": "...", "link": "http://...#/alerts", "count": 1,
     "alerts": [{"id": "4c..", "key": {"meter_id": "M-1"}, "set": 13, "raised_at": "...", "row": {...}, "link": "..."}],
     "others": []}

`alerts` are the first SHOWN of a group; `others` has the ids and keys of up to LISTED more; `count` is of all.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from msgspec import Struct

from beam_grid.alerts.declared import Rule
from beam_grid.alerts.lifecycle import Alert
from beam_grid.errors import GridError
from data_sources.typed_json import decoder, encode

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import TableSet
    from beam_grid.landing import Lake

SHOWN, LISTED = 20, 1000


class Told(Struct, frozen=True, kw_only=True):
    """An alert in a message."""

    id: str
    key: dict[str, Any]
    set: int | None
    raised_at: str | None
    row: dict[str, Any]
    link: str | None = None


class Other(Struct, frozen=True, kw_only=True):
    """One more of a group."""

    id: str
    key: list[Any]


class Message(Struct, frozen=True, kw_only=True):
    """What a sink gets."""

    id: str
    """The same each time that the same is sent: who has it already, leaves it."""
    kind: Literal["raised", "reminded", "escalated", "cleared", "test"]
    rule: str
    severity: str
    lake: str
    set: int
    at: str
    title: str
    """One line."""
    count: int
    alerts: list[Told]
    others: list[Other] = []
    description: str = ""
    link: str | None = None


from_json = decoder(Message)
to_json = encode


class Links:
    """Links into the dashboard: to the meter or sensor that an alert is about, where it can be told."""

    def __init__(self, lake: Lake, dashboard: str | None) -> None:
        """dashboard: what they begin with; without it there are none."""
        self._lake, self._at = lake, None if dashboard is None else dashboard.rstrip("/")
        self._subjects: dict[str, str | None] | None = None

    def page(self, rule: str) -> str | None:
        """Of the view of alerts."""
        return f"{self._at}/#/alerts?rule={quote(rule, safe='')}" if self._at is not None else None

    def of(
        self, rule: Rule, key: list[Any], row: dict[str, Any], reads: tuple[str, ...], found: TableSet | None
    ) -> str | None:
        """Of one alert's meter, at the row's time."""
        if self._at is None:
            return None
        named = {name.lower(): value for name, value in zip(rule.key, key, strict=False)}
        for feed in _feeds(reads, found):
            subject = self._known().get(feed)
            if subject is not None and named.get(subject.lower()) is not None:
                path = f"{quote(feed, safe='')}/{quote(str(named[subject.lower()]), safe='')}"
                at = row.get(rule.time) if rule.time else None
                return f"{self._at}/#/fleet/{path}" + (f"?at={quote(str(at), safe='')}" if at else "")
        return self.page(rule.name)

    def _known(self) -> dict[str, str | None]:
        """By feed the field that its rows are a series of."""
        if self._subjects is None or set(self._subjects) != set(self._lake.feeds):
            self._subjects = {name: self._subject(name) for name in self._lake.feeds}
        return self._subjects

    def _subject(self, feed: str) -> str | None:
        """None, too, where its commits cannot be read: an alert is told without a link rather than not at all."""
        from beam_grid.server.subjects import subject

        try:
            return subject(self._lake.feed(feed).contract())
        except (GridError, OSError, ValueError):
            return None


def _feeds(reads: tuple[str, ...], found: TableSet | None) -> list[str]:
    """Feeds behind tables and views, those nearest first."""
    waiting, seen, feeds = list(reads), set[str](), dict[str, None]()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name.startswith("silver."):
            feeds[name.removeprefix("silver.")] = None
        if found is None:
            continue
        if name in found.views:
            waiting += found.views[name].reads
        elif name in found.tables:
            table = found.tables[name]
            for transaction in table.feeds:  # LAKE/FEED/TABLE
                feeds |= dict.fromkeys(transaction.split("/")[1:2])
            waiting += [one for one in table.inputs or {} if "/" not in one]
    return list(feeds)


def message(
    id: str, kind: Any, rule: Rule, lake: Lake, set_number: int, now: int, alerts: list[Alert], links: Links,
    reads: tuple[str, ...], found: TableSet | None,
) -> Message:  # fmt: skip
    """What is said of alerts of one rule to which the same has happened."""
    shown = []
    for alert in alerts[:SHOWN]:
        row, key = json.loads(alert.row), json.loads(alert.key)
        shown.append(
            Told(
                id=alert.id, key=dict(zip(rule.key, key, strict=False)), set=alert.raised_set, row=row,
                raised_at=when(alert.raised_at), link=links.of(rule, key, row, reads, found),
            )
        )  # fmt: skip
    others = [Other(id=a.id, key=json.loads(a.key)) for a in alerts[SHOWN : SHOWN + LISTED]]
    return Message(
        id=id, kind=kind, rule=rule.name, severity=rule.severity, lake=lake.path.resolve().name, set=set_number,
        at=when(now) or "", title=_title(kind, rule, shown, len(alerts)), count=len(alerts), alerts=shown, others=others,
        description=rule.description, link=shown[0].link if len(alerts) == 1 else links.page(rule.name),
    )  # fmt: skip


def when(us: int | None) -> str | None:
    """Microseconds since the epoch, as ISO 8601 in UTC."""
    return (
        None
        if us is None
        else datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def text(message: Message) -> str:
    """For people: a few lines, one of them a link."""
    lines = [message.title, ""]
    if message.description:
        lines += [message.description, ""]
    for alert in message.alerts:
        values = ", ".join(
            f"{name} {_one_line(value)}" for name, value in alert.row.items() if not name.startswith("_")
        )
        lines.append(f"- {_words(alert.key)}: {values}")
        if alert.link:
            lines.append(f"  {alert.link}")
    if message.count > len(message.alerts):
        lines.append(f"and {message.count - len(message.alerts):,} more")
    lines += ["", f"Version set {message.set} of lake {message.lake}, {message.at}. Message {message.id}."]
    if message.link:
        lines.append(message.link)
    return "\n".join(lines) + "\n"


def _title(kind: str, rule: Rule, shown: list[Told], count: int) -> str:
    what = _words(shown[0].key) if count == 1 else f"{count:,} alerts, {_words(shown[0].key)} and others"
    return f"{rule.severity.upper()} {rule.name} {kind}: {what}"[:300]


def _words(key: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_one_line(value)}" for name, value in key.items())


def _one_line(value: Any) -> str:
    """Without line breaks or control characters: it may stand in a header or a terminal."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else " " for c in shown)[:200]
