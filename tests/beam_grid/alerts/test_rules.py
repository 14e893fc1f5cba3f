"""Rules over published tables: which keys are told, which are held back, what a rule that is wrong leaves alone."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from beam_grid.alerts import evaluate, matching
from beam_grid.alerts.couriers import Courier
from beam_grid.alerts.declared import declared
from beam_grid.alerts.store import opened
from beam_grid.lakehouse.versions import newest_number
from tests.beam_grid.alerts.published import RULE, TO_FILE, Published, keys, minute

HOSTILE = ["<script>alert(1)</script>", "x'; DROP TABLE alerts; --", 'quo"te', "line\nbreak", "snow ☃", "", "=1+1"]


def test_any_row_within_the_span_counts_and_only_the_newest_clears(tmp_path: Path) -> None:
    """A spike between two publishes is not the newest row of its meter, and is told all the same."""
    here = Published(tmp_path, RULE.replace('time = "at"', 'time = "at"\nwithin = "1h"\nclear = "kwh < 15"') + TO_FILE)
    here.readings(("a", 0, 30.0), ("a", 15, 3.0), ("b", 15, 3.0))
    here.check()
    assert here.kinds() == [("raised", ["a"])]
    here.readings(("a", 70, 18.0), ("b", 70, 3.0))  # the spike is more than an hour old; 18 is between the thresholds
    here.check()
    assert here.states() == {'["a"]': "open"}
    here.readings(("b", 140, 3.0))
    here.check()
    assert here.states() == {'["a"]': "open"}, "no row is no recovery"
    here.readings(("a", 150, 3.0))
    here.check()
    assert here.kinds() == [("raised", ["a"]), ("cleared", ["a"])]


def test_a_rule_that_fires_for_every_meter_is_one_message_and_each_has_its_own_alert(tmp_path: Path) -> None:
    here = Published(tmp_path)
    here.readings(*((f"M-{n:04}", 0, 30.0) for n in range(1500)))
    assert here.check() == 0
    (message,) = here.told()
    assert message["count"] == 1500 and len(message["alerts"]) == 20 and len(message["others"]) == 1000
    assert keys(message)[:2] == ["M-0000", "M-0001"] and "1,500 alerts" in message["title"]
    with opened(here.lake) as store:
        assert len(store.alerts()) == 1500
    here.readings(*((f"M-{n:04}", 15, 30.0 if n < 3 else 1.0) for n in range(1500)))
    here.check()
    assert [(one["kind"], one["count"]) for one in here.told()] == [("raised", 1500), ("cleared", 1497)]
    assert len(here.states()) == 3


def test_a_flapping_rule_keeps_to_its_budget_and_loses_nothing(tmp_path: Path) -> None:
    here = Published(tmp_path, RULE + "budget = 3\n" + TO_FILE)
    for n in range(6):
        here.readings((f"m{n}", n, 30.0), *((f"m{k}", n, 1.0) for k in range(n)))
        here.check()
    assert len(here.told()) == 3
    with opened(here.lake) as store:
        told = {key for one in here.told() for key in keys(one)}
        waiting = store.untold("high")
        assert len(waiting) == 11 - 3 and told == {"m0", "m1"}, "six raised and five cleared in all"


def test_a_rule_that_flaps_for_every_meter_keeps_to_its_budget_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All meters over the threshold, ten minutes later none, and so on for two hours; two messages an hour are allowed."""
    here, start, minutes_us = Published(tmp_path, RULE + "budget = 2\n" + TO_FILE), evaluate.now_us(), 60_000_000
    meters = [f"M-{n}" for n in range(40)]
    known = declared(here.lake)
    assert known is not None
    with opened(here.lake) as store:
        evaluation = evaluate.Evaluation(here.lake, known, store, tmp_path / "scratch")
        for n in (*range(0, 120, 10), *range(120, 480, 61)):
            monkeypatch.setattr(evaluate, "now_us", lambda n=n: start + n * minutes_us)
            if n < 120:
                here.readings(*((meter, n, 1.0 if n % 20 else 30.0) for meter in meters), mode="overwrite")
            evaluation.look(newest_number(here.lake))
        assert store.untold("high") == []
        courier = Courier(here.lake, known.sinks[0])
        while courier.send_one(store):
            pass
    messages = here.told()
    told = sorted((one["kind"], key) for one in messages for key in keys(one))
    assert told == sorted((kind, meter) for kind in ("raised", "cleared") for meter in meters for _ in range(6))
    times = [datetime.fromisoformat(one["at"]) for one in messages]
    assert all(sum(timedelta(0) <= other - one < timedelta(hours=1) for other in times) <= 2 for one in times)


def test_more_keys_than_are_looked_at_clear_nothing_that_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MOST_KEYS", 5)
    here = Published(tmp_path)
    here.readings(*((f"m{n}", 0, 30.0) for n in range(3, 8)))
    here.check()
    here.readings(*((f"m{n}", 1, 30.0) for n in range(3)))
    here.check()
    assert len(here.states()) == 8 and [one["kind"] for one in here.told()] == ["raised"] * 8
    with opened(here.lake) as store:
        assert "more than 5 keys" in str(store.rules()[0][4])


def test_whatever_a_key_or_value_is_it_is_data(tmp_path: Path) -> None:
    here = Published(tmp_path)
    here.readings(*((name, 0, 30.0) for name in HOSTILE), ("nan", 0, math.nan), ("inf", 0, math.inf), ("low", 0, 1.0))
    here.table("silver.other", pa.table({"x": [1]}))
    assert here.check() == 0
    (message,) = here.told()
    assert {*keys(message)} == {*HOSTILE, "nan", "inf"}, "NaN is greater than all numbers, as in SQL"
    assert "\n" not in message["title"]
    here.readings(*((name, 1, 1.0) for name in [*HOSTILE, "nan", "inf"]))
    here.check()
    assert here.states() == {}


def test_null_is_a_key_and_a_condition_that_is_null_is_not_met(tmp_path: Path) -> None:
    here = Published(tmp_path, RULE.replace('time = "at"\n', "") + TO_FILE)
    here.table("silver.readings", pa.table({"meter": [None, "a"], "kwh": pa.array([30.0, None])}))
    here.check()
    assert here.kinds() == [("raised", [None])]


WRONG = """
[[alerts]]
name = "{name}"
{what}
key = ["{key}"]
where = "{where}"
"""


def test_a_rule_that_cannot_be_asked_leaves_the_others_and_its_own_alerts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "TIMEOUT_S", 1.0)
    more = "".join(
        WRONG.format(name=name, what=what, key=key, where=where)
        for name, what, key, where in [
            ("misspelt", 'table = "silver.readings"', "metre", "kwh > 1"),
            ("no_column", 'table = "silver.readings"', "meter", "kwhh > 1"),
            ("later", 'table = "gold.not_yet"', "meter", "kwh > 1"),
            ("endless", 'sql = "SELECT a.range AS meter FROM range(10000000) a, range(10000000) b"', "meter", "random() > 2"),
            ("by_sql", 'sql = "SELECT meter, max(kwh) AS top FROM silver.readings GROUP BY meter -- ;"', "meter", "top > 20 -- high"),
        ]
    )  # fmt: skip
    here = Published(tmp_path, RULE + TO_FILE)
    here.readings(("a", 0, 30.0))
    here.check()
    here.declare(RULE.replace("kwh > 20", "kwh > 'x' || meter") + more + TO_FILE)
    here.readings(("b", 0, 31.0))
    assert here.check() == 1
    said = "\n".join(here.said)
    assert "rule misspelt: key: the rows have no column 'metre'; did you mean 'meter'?" in said
    assert "rule no_column" in said and "rule endless: took longer" in said and "rule later" not in said
    assert {(one["rule"], *keys(one)) for one in here.told()} == {("high", "a"), ("by_sql", "a"), ("by_sql", "b")}
    here.declare(RULE + TO_FILE)
    here.check()
    assert sorted((one["kind"], one["rule"]) for one in here.told()[3:]) == [
        ("cleared", "by_sql"), ("cleared", "by_sql"), ("raised", "high"),
    ], "a rule that is no longer declared has nothing open"  # fmt: skip


MAINTENANCE = """
[[maintenance]]
starts = 2026-03-01T01:00:00Z
ends = 2026-03-01T02:00:00Z
match = { meter = "SM-*" }
"""


def test_a_declared_maintenance_holds_back_its_rows_alone(tmp_path: Path) -> None:
    here = Published(tmp_path, RULE + TO_FILE + MAINTENANCE)
    here.readings(("SM-1", 60, 30.0), ("SM-2", 59, 30.0), ("OTHER", 60, 30.0), ("SM-3", 90, 30.0))
    here.check()
    assert sorted(keys(one)[0] for one in here.told()) == ["OTHER", "SM-2"]
    assert here.states() == {
        '["SM-1"]': "suppressed",
        '["SM-3"]': "suppressed",
        '["SM-2"]': "open",
        '["OTHER"]': "open",
    }
    here.readings(("SM-1", 120, 30.0), ("SM-3", 120, 1.0))
    here.check()
    assert here.kinds()[2:] == [("raised", ["SM-1"])] and '["SM-3"]' not in here.states()


def test_maintenance_logs_hold_back_alerts_of_what_is_worked_at(tmp_path: Path) -> None:
    """From the scheduled day to the day after it was completed; open work for `at_most`. A lake without the table: nothing."""
    toml = (
        RULE.replace("meter", "transformer_id")
        + TO_FILE
        + '[[maintenance]]\nfeed = "maintenance_logs"\nat_most = "3d"\n'
    )
    here = Published(tmp_path, toml)
    ids = ["done", "open", "stale", "none"]
    rows = [{"transformer_id": name, "at": minute(0), "kwh": 30.0} for name in ids]
    here.table("silver.readings", pa.Table.from_pylist(rows))
    logs = [
        {"transformer_id": "done", "reported_date": date(2026, 2, 20), "scheduled_date": date(2026, 2, 27), "completed_date": date(2026, 2, 28)},
        {"transformer_id": "open", "reported_date": date(2026, 2, 27), "scheduled_date": None, "completed_date": None},
        {"transformer_id": "stale", "reported_date": date(2026, 1, 1), "scheduled_date": date(2026, 1, 2), "completed_date": None},
    ]  # fmt: skip
    here.check()
    assert here.states() == {f'["{name}"]': "open" for name in ids}
    other = Published(tmp_path / "2", toml)
    other.table("silver.maintenance_logs", pa.Table.from_pylist(logs))
    other.table("silver.readings", pa.Table.from_pylist(rows))
    other.check()
    assert other.states() == {'["open"]': "suppressed", '["done"]': "open", '["stale"]': "open", '["none"]': "open"}
    late = [{"transformer_id": "done", "at": minute(-1), "kwh": 30.0}]
    third = Published(tmp_path / "3", toml)
    third.table("silver.maintenance_logs", pa.Table.from_pylist(logs))
    third.table("silver.readings", pa.Table.from_pylist(late))
    third.check()
    assert third.states() == {'["done"]': "suppressed"}, "the day after it was completed begins at midnight"


def test_seen_reminded_escalated_and_listed_by_the_command_line(tmp_path: Path) -> None:
    from beam_grid.alerts import command

    here = Published(tmp_path, RULE + 'escalate_after = "1s"\nescalate_to = ["pager"]\nsinks = ["out"]\n' + TO_FILE
                     + TO_FILE.replace('"out"', '"pager"').replace("out.jsonl", "pager.jsonl"))  # fmt: skip
    here.readings(("a", 0, 30.0), ("b", 0, 30.0))
    here.check()
    (first, _) = command.listed(here.lake, "alerts", False).to_pylist()
    assert command.ack(here.lake, (first["id"][:6],), "me", here.said.append) == 0
    assert command.ack(here.lake, (first["id"], "nothing"), "me", here.said.append) == 1
    import time

    time.sleep(1.1)
    here.check()
    (other,) = {"a", "b"} - {first["key"][2:-2]}
    assert [(one["kind"], keys(one)) for one in here.told("pager.jsonl")] == [("escalated", [other])]
    assert [one["kind"] for one in here.told()] == ["raised", "raised"]
    assert {row["acked_by"] for row in command.listed(here.lake, "alerts", False).to_pylist()} == {"me", None}
    assert [row["waiting"] for row in command.listed(here.lake, "sinks", False).to_pylist()] == [0, 0]
    assert command.test(here.lake, ("out",), here.said.append) == 0 and here.told()[-1]["kind"] == "test"
