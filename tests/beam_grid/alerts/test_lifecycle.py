"""An alert's life as a timeline: minute, what was found, what it comes to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from beam_grid.alerts.declared import Rule
from beam_grid.alerts.grouping import HOUR, Waiting, groups, room_at
from beam_grid.alerts.lifecycle import Alert, Found, Match, next_due, step
from tests.conftest import examples

MINUTE = 60_000_000


def rule(**words: Any) -> Rule:
    return Rule(name="r", where="x", key=("meter",), table="silver.m", **words)


def met(key: str = "a", is_suppressed: bool = False) -> Found:
    return Found({key: Match("{}", is_suppressed)})


NOT = Found({})
IN_BAND = Found({}, clear=set())
CLEARED = Found({}, clear={"a"})
CUT = Found({}, is_cut=True)
HELD = met(is_suppressed=True)


def life(by: Rule, *found: tuple[float, Any]) -> list[tuple[float, str]]:
    """(minute, kind) of each event; a text in place of what was found is who acknowledges."""
    live: dict[str, Alert] = {}
    told = []
    for minute, seen in found:
        now = int(minute * MINUTE)
        if isinstance(seen, str):
            live = {key: replace(alert, acked_at=now, acked_by=seen) for key, alert in live.items()}
            continue
        done = step(by, live, seen, now, 1)
        for alert in done.changed:
            live[alert.key] = alert
        live = {k: a for k, a in live.items() if a.state != "cleared" and a.id not in done.dropped}
        told += [(minute, event.kind) for event in done.events]
    return told


TIMELINES = [
    ("once while it holds", rule(), [(0, met()), (1, met()), (2, NOT), (3, NOT)], [(0, "raised"), (2, "cleared")]),
    ("it comes again", rule(), [(0, met()), (1, NOT), (2, met())], [(0, "raised"), (1, "cleared"), (2, "raised")]),
    ("held too short", rule(for_="10m"), [(0, met()), (9, met()), (9.5, NOT), (12, met()), (21, met())], []),
    ("held long enough", rule(for_="10m"), [(0, met()), (10, met()), (11, met())], [(10, "raised")]),
    ("a gap is forgiven", rule(keep_firing_for="5m"), [(0, met()), (1, NOT), (5, NOT), (5.5, met()), (9, NOT), (13, NOT)], [(0, "raised")]),
    ("a gap too long", rule(keep_firing_for="5m"), [(0, met()), (1, NOT), (6, NOT)], [(0, "raised"), (6, "cleared")]),
    ("between the thresholds it stays", rule(clear="y"), [(0, met()), (1, IN_BAND), (2, CLEARED)], [(0, "raised"), (2, "cleared")]),
    ("never raised between the thresholds", rule(clear="y"), [(0, IN_BAND), (1, CLEARED)], []),
    ("beyond the most keys nothing is cleared", rule(), [(0, met()), (1, CUT), (2, NOT)], [(0, "raised"), (2, "cleared")]),
    ("in maintenance", rule(), [(0, HELD), (1, HELD), (2, NOT)], []),
    ("maintenance is over and it still holds", rule(), [(0, HELD), (5, met())], [(5, "raised")]),
    ("maintenance of one that is open", rule(remind_after="1m"), [(0, met()), (2, HELD), (3, NOT)], [(0, "raised"), (3, "cleared")]),
    ("reminded", rule(remind_after="10m"), [(0, met()), (9, met()), (10, met()), (15, met()), (20, met())],
     [(0, "raised"), (10, "reminded"), (20, "reminded")]),
    ("escalated though it may be over", rule(keep_firing_for="1h", escalate_after="10m", remind_after="20m"),
     [(0, met()), (5, NOT), (10, NOT), (20, NOT), (65, NOT)], [(0, "raised"), (10, "escalated"), (20, "reminded"), (65, "cleared")]),
    ("escalated beyond the most keys", rule(escalate_after="10m"), [(0, met()), (10, CUT)], [(0, "raised"), (10, "escalated")]),
    ("escalated once", rule(escalate_after="10m"), [(0, met()), (10, met()), (20, met())], [(0, "raised"), (10, "escalated")]),
    ("seen", rule(escalate_after="10m", remind_after="10m"), [(0, met()), (5, "somebody"), (20, met()), (21, NOT)],
     [(0, "raised"), (21, "cleared")]),
]  # fmt: skip


@pytest.mark.parametrize(("by", "found", "told"), [row[1:] for row in TIMELINES], ids=[row[0] for row in TIMELINES])
def test_timelines(by: Rule, found: list[Any], told: list[Any]) -> None:
    assert life(by, *found) == told


def test_what_no_set_brings_is_due_by_itself() -> None:
    by = rule(for_="10m", remind_after="1h", escalate_after="30m")
    done = step(by, {}, met(), 0, 1)
    assert next_due(by, {"a": done.changed[0]}, met()) == 10 * MINUTE
    assert next_due(by, {"a": done.changed[0]}, None) is None, "it cannot be asked"
    done = step(by, {"a": done.changed[0]}, met(), 10 * MINUTE, 1)
    assert next_due(by, {"a": done.changed[-1]}, met()) == 40 * MINUTE == next_due(by, {"a": done.changed[-1]}, None)
    assert next_due(by, {"a": done.changed[-1]}, HELD) is None, "nobody is told meanwhile"
    assert next_due(rule(), {"a": done.changed[-1]}, met()) is None


_KINDS = st.sampled_from(["raised", "reminded", "escalated", "cleared"])


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 600), st.lists(_KINDS, max_size=30)), max_size=8),
    st.integers(1, 6),
    st.integers(1, 5),
)
def test_every_event_is_said_once_and_no_hour_has_more_messages_than_the_budget(
    brought: list[Any], budget: int, group_over: int
) -> None:
    by, number, at = rule(budget=budget, group_over=group_over), 0, 0
    waiting: list[Waiting] = []
    sent: list[int] = []
    said: list[int] = []
    for minutes, kinds in sorted(brought, key=lambda one: one[0]):
        for _ in range(2):  # as it happens, and at the time the budget says there is room again
            for kind in kinds:
                waiting.append(Waiting(number := number + 1, kind, f"a{number}"))
            kinds, at = [], max(at, minutes * MINUTE)
            for group in groups(by, waiting, sent, at):
                said += [event.number for event in group.events]
                sent += [at] if group.kind != "escalated" else []
                waiting = [event for event in waiting if event not in group.events]
            at = max(at, room_at(by, sent, at))
    for _ in range(3):  # a kind at a time, where there is room for one message
        for group in groups(by, waiting, sent, at):
            said += [event.number for event in group.events]
            sent += [at]
            waiting = [event for event in waiting if event not in group.events]
        at = max(at, room_at(by, sent, at))
    assert sorted(said) == list(range(1, number + 1)) and not waiting
    assert all(sum(1 for other in sent if one - HOUR < other <= one) <= budget for one in sent)
