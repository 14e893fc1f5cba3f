"""Judging: rules, future, lateness, in this order; what is late depends on the partition alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.contract import Contract, parse_contract
from data_sources.decode.json_lines import decode_json
from data_sources.durations import micros
from data_sources.records import messages
from tests.conftest import examples
from transforms.judge import DELAY_BOUNDS_S, NO_TIME, Judged, apply_rules, event_micros, judge, may_be_late

MINUTE = 60_000_000
START = 1_750_000_000_000_000 // MINUTE * MINUTE


def contract(**changes: Any) -> Contract:
    fields = [
        {"name": "id", "type": "int64"},
        {"name": "ts", "type": "timestamp"},
        {"name": "x", "type": "float64"},
        {"name": "t", "type": "string"},
    ]
    given_ = {"name": "f", "format": "json", "event_time": "ts", "out_of_orderness": "10m", "allowed_lateness": "20m", "file_order": "name",
              "dedup": {"key": ["id"]}, "fields": fields, **changes}  # fmt: skip
    return parse_contract(given_, "f.toml")


FEED = contract()


def decoded(
    minutes: list[int], feed: Contract = FEED, x: list[float | None] | None = None, t: list[str | None] | None = None
) -> Any:
    import json

    rows = [{"id": n, "ts": stamp(m), "x": x[n] if x else 1, "t": t[n] if t else None} for n, m in enumerate(minutes)]
    values = [json.dumps(r).encode() for r in rows]
    return decode_json(messages(values, range(100, 100 + len(rows)), [0] * len(rows)), feed)


def stamp(minute: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START + minute * MINUTE)).isoformat()


def judged(
    minutes: list[int], feed: Contract = FEED, arrivals: Any = 2**60, max_event_time: int = NO_TIME, **columns: Any
) -> tuple[list[int], list[int], list[tuple[int, str]], Judged]:
    """Ids on time, ids late, rejects, and the whole answer."""
    ruled = apply_rules(decoded(minutes, feed, **columns), arrivals, feed)
    found = judge(ruled.rows, max_event_time, feed, may_be_late(feed, is_log=not isinstance(arrivals, int)))
    rejects = [(r["_position"] - 100, r["rule"]) for r in ruled.rejected.to_pylist()]
    return found.on_time["id"].to_pylist(), found.late["id"].to_pylist(), rejects, found


#       M before:  -   0  60   60  60   60   60   61
TIMELINE = [0, 60, 30, 29, 31, 60, 61, 30]


def test_late_is_further_behind_than_both_allowances_together() -> None:
    on_time, late, _, found = judged(TIMELINE)
    assert (on_time, late) == ([0, 1, 2, 4, 5, 6], [3, 7])
    assert found.late["_behind"].to_pylist() == [31 * MINUTE, 31 * MINUTE]
    assert found.max_event_time == START + 61 * MINUTE


def test_one_microsecond_decides() -> None:
    feed = contract(out_of_orderness="0s", allowed_lateness="1s")
    ruled = apply_rules(decoded([0, 0]), 2**60, feed)
    max_event_time = START + 1_000_000
    assert judge(ruled.rows, max_event_time, feed, ordered=True).late.num_rows == 0
    assert judge(ruled.rows, max_event_time + 1, feed, ordered=True).late.num_rows == 2


def test_files_whole_in_themselves_have_nothing_late_and_kafka_has() -> None:
    whole = contract(file_order="none")
    assert judged(TIMELINE, whole)[1] == []
    assert judged(TIMELINE, whole, arrivals=np.full(8, 2**60))[1] == [3, 7]


def test_rejects_do_not_move_time_on() -> None:
    """A broken record from next year, just before an on-time one, must not make that one late."""
    feed = contract(max_future="1h", rules=[{"id": "R", "check": "x >= 0"}])
    on_time, late, rejects, found = judged([0, 90, 91, 1], feed, arrivals=START + 30 * MINUTE, x=[1, -1, -1, 1])
    assert (on_time, late, rejects) == ([0, 3], [], [(1, "R"), (2, "R")]) and found.max_event_time == START + MINUTE
    on_time, late, rejects, found = judged([0, 91, 1], feed, arrivals=START + 30 * MINUTE)
    assert (on_time, late, rejects) == ([0, 2], [], [(1, "max_future")]) and found.max_event_time == START + MINUTE


def test_the_future_is_judged_by_each_records_arrival_before_lateness() -> None:
    feed = contract(max_future="1h")
    arrivals = np.array([START, START, START + MINUTE, START + 200 * MINUTE])
    on_time, late, rejects, _ = judged([60, 61, 61, 0], feed, arrivals=arrivals)
    assert (on_time, late, rejects) == ([0, 2], [3], [(1, "max_future")])
    assert judged([60, 61], feed, arrivals=START)[2] == [(1, "max_future")]
    assert judged([60, 10**6], contract())[2] == []


def test_arrivals_are_matched_by_record_where_some_were_rejected() -> None:
    feed = contract(max_future="1h", rules=[{"id": "R", "check": "x >= 0"}])
    arrivals = np.array([START + 999 * MINUTE, START, START + 500 * MINUTE])
    on_time, _, rejects, _ = judged([0, 61, 510], feed, arrivals=arrivals, x=[-1, 1, 1])
    assert (on_time, rejects) == ([2], [(0, "R"), (1, "max_future")])


def test_the_first_cause_counts() -> None:
    feed = contract(max_future="1h", rules=[{"id": "A", "check": "x >= 0"}, {"id": "B", "check": "x <> -1"}])
    found = judged([10**6], feed, arrivals=START, x=[-1])
    assert found[2] == [(0, "A")]


def test_rules_that_warn_and_rules_that_are_null() -> None:
    rules = [
        {"id": "W1", "check": "x < 5", "on_fail": "warn"},
        {"id": "R", "check": "x < 100"},
        {"id": "W2", "check": "t <> 'bad'", "on_fail": "warn"},
    ]
    ruled = apply_rules(
        decoded([0] * 5, x=[1, 7, None, 700, 8], t=["bad", "bad", None, "bad", "ok"]), 0, contract(rules=rules)
    )
    assert ruled.rows["_warnings"].to_pylist() == ["W2", "W1,W2", None, "W1"] and ruled.rows["id"].to_pylist() == [
        0,
        1,
        2,
        4,
    ]
    assert [(r["cause"], r["rule"], r["reason"]) for r in ruled.rejected.to_pylist()] == [
        ("rule_broken", "R", "breaks x < 100")
    ]


@pytest.mark.parametrize("at", [0, 1999, 2999])
def test_a_rule_that_cannot_be_computed_for_a_row_is_broken_by_that_row_alone(at: int) -> None:
    rules = [
        {"id": "R", "check": "CAST(t AS INTEGER) > 3"},
        {"id": "S", "check": "x > 0"},
        {"id": "G", "check": "t = 'x' OR CAST(t AS INTEGER) < 9", "on_fail": "warn"},
    ]
    texts: list[str | None] = [None if n % 3 else "5" for n in range(3000)]
    texts[at], texts[7] = "x", "2"
    ruled = apply_rules(
        decoded([0] * 3000, x=[-1.0 if n == 9 else 1.0 for n in range(3000)], t=texts), 0, contract(rules=rules)
    )
    assert {(r["_position"] - 100, r["rule"]) for r in ruled.rejected.to_pylist()} == {
        (at, "R"),
        (7, "R"),
        (9, "S"),
    }
    assert ruled.rows.num_rows == 2997 and ruled.rows["_warnings"].null_count == 2997


def test_delays_are_counted_in_bins_and_only_of_what_was_judged() -> None:
    seconds = [0, 100, 100, 99, 40, 5, 200, 200]
    feed = contract(out_of_orderness="0s", allowed_lateness="0s")
    rows = pa.table(
        {
            "id": range(8),
            "ts": pa.array([START + s * 1_000_000 for s in seconds], pa.timestamp("us", "UTC")),
        }
    )
    for name in ("_position", "_extra", "_warnings"):
        rows = rows.append_column(name, pa.nulls(8))
    found = judge(rows, NO_TIME, feed, ordered=True)
    assert found.delays.sum() == 8 and len(found.delays) == len(DELAY_BOUNDS_S) + 1
    counted = {b: int(c) for b, c in zip([*DELAY_BOUNDS_S, None], found.delays, strict=True) if c}
    assert counted == {0: 5, 1: 1, 60: 1, 120: 1}
    assert found.late["_behind"].to_pylist() == [1_000_000, 60_000_000, 95_000_000]


def test_dates_stand_for_their_midnight() -> None:
    feed = contract(event_time="day", fields=[{"name": "id", "type": "int64"}, {"name": "day", "type": "date"}])
    rows = pa.table({"day": pa.array([0, 1, -1], pa.date32())})
    assert event_micros(rows, feed).tolist() == [0, 86_400_000_000, -86_400_000_000]


def test_nothing_to_judge() -> None:
    on_time, late, rejects, found = judged([], max_event_time=5)
    assert (on_time, late, rejects, found.max_event_time) == ([], [], [], 5) and found.delays.sum() == 0
    assert "_behind" in found.late.column_names and "_index" not in found.on_time.column_names


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, 120), max_size=40), st.integers(0, 40), st.integers(0, 30))
def test_cutting_a_partition_changes_nothing(minutes: list[int], cut: int, broken: int) -> None:
    """Row by row in plain Python, in one batch, in two with M carried over: the same rows are late."""
    feed = contract(rules=[{"id": "R", "check": "x <> 3"}], max_future="100m")
    now = START + 15 * MINUTE
    x = [3.0 if (n * 7 + broken) % 5 == 0 else 1.0 for n in range(len(minutes))]
    late, on_time, m = [], [], NO_TIME
    for n, minute in enumerate(minutes):
        time = START + minute * MINUTE
        if x[n] == 3 or time > now + 100 * MINUTE:
            continue
        (late if m != NO_TIME and time < m - micros(feed.lateness) else on_time).append(n)
        m = max(m, time)
    whole = judged(minutes, feed, arrivals=now, x=x)
    assert (whole[0], whole[1], whole[3].max_event_time) == (on_time, late, m)
    first = judged(minutes[:cut], feed, arrivals=now, x=x[:cut])
    second = judged(minutes[cut:], feed, arrivals=now, max_event_time=first[3].max_event_time, x=x[cut:])
    assert first[0] + [n + min(cut, len(minutes)) for n in second[0]] == on_time and second[3].max_event_time == m
    assert first[1] + [n + min(cut, len(minutes)) for n in second[1]] == late
    assert (first[3].delays + second[3].delays).tolist() == whole[3].delays.tolist()
