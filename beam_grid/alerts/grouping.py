"""Which messages say what is to be told: one an alert, one for many, and no more in an hour than a rule's budget.

events ─► few, and room in the budget: a message each
      ├─► many: one message for all
      └─► no room: they wait, and come as one when there is
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from beam_grid.alerts.declared import Rule
from beam_grid.alerts.lifecycle import Kind

HOUR = 3_600_000_000
"""What a budget is of, in microseconds."""

_IN_ORDER: tuple[Kind, ...] = ("raised", "reminded", "cleared")


class Waiting(NamedTuple):
    """An event that no message has said yet."""

    number: int
    """They count up in the order of what happened."""
    kind: Kind
    alert: str
    """Its id."""


class Group(NamedTuple):
    """What one message says."""

    kind: Kind
    events: list[Waiting]


def groups(
    rule: Rule, waiting: list[Waiting], sent_at: list[int], now: int, overtaken: Collection[Waiting] = ()
) -> list[Group]:
    """What can be said now. sent_at: times of the rule's messages, escalations left out. overtaken: clearings of what was
    raised again since; they are said before that, for the last word to be the truth, where there is room for both."""
    escalated = [event for event in waiting if event.kind == "escalated"]
    found = _split("escalated", escalated, rule.group_over, len(escalated))
    room = rule.budget - sum(1 for at in sent_at if now - HOUR < at <= now)
    first = set(overtaken) if room > 1 else set[Waiting]()
    early, late = [e for e in waiting if e in first], [e for e in waiting if e not in first]
    for kind, some in (("cleared", early), *((kind, late) for kind in _IN_ORDER)):
        events = [event for event in some if event.kind == kind]
        if events and room > 0:
            more = _split(kind, events, rule.group_over, room - (some is early))  # what was raised is told too
            room -= len(more)
            found += more
    return found


def room_at(rule: Rule, sent_at: list[int], now: int) -> int:
    """When the budget has room for a message."""
    recent = sorted(at for at in sent_at if now - HOUR < at <= now)
    return now if len(recent) < rule.budget else recent[len(recent) - rule.budget] + HOUR


def _split(kind: Kind, events: list[Waiting], most: int, room: int) -> list[Group]:
    if len(events) > min(most, room):
        return [Group(kind, events)]
    return [Group(kind, [event]) for event in events]
