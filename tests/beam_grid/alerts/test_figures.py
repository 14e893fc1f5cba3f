"""How alerting itself is: `alerts list` for people, `status` and the metrics, on a lake with a sink that does not take."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_grid.alerts import figures
from beam_grid.alerts.store import opened, path_of
from beam_grid.server.keys import Keys
from beam_grid.service.metrics import MOST_RULES, Lakes
from tests.beam_grid.alerts.published import RULE, TO_FILE, Published
from tests.beam_grid.server.serving import served
from tests.beam_grid.service.telling import telling
from tests.command_line import grid

DOWN = """
[[sinks]]
name = "down"
kind = "webhook"
url = "http://127.0.0.1:1/nobody"
secret = { env = "FIGURES_SECRET" }
timeout = "1s"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    monkeypatch.setenv("FIGURES_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    low = RULE.replace('"high"', '"low"').replace("kwh > 20", "kwh < 0") + 'severity = "critical"\n'
    return Published(tmp_path, RULE + low + TO_FILE + DOWN)


def asked(lake: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(grid("status", "--lake", str(lake), "--format", "json").stdout)
    return found


def metrics(lake: Path) -> dict[tuple[str, ...], float]:
    """Of alerts, by name and labels but lake."""
    families = Lakes(lambda: [telling(lake)], tuple).collect()
    return {
        (s.name, *(v for k, v in s.labels.items() if k != "lake")): s.value
        for family in families
        for s in family.samples
        if s.name.startswith("beam_grid_alert")
    }


def test_status_and_metrics_say_what_is_open_and_what_waits(here: Published) -> None:
    lake = here.lake.path
    assert asked(lake)["alerts"] is None and metrics(lake) == {}, "nobody looked yet"
    here.readings(("a", 0, 30.0), ("b", 0, 31.0), ("c", 0, -1.0), ("d", 0, 3.0))
    assert here.check() == 1, "a sink is down"
    found = asked(lake)
    assert found["alerts"]["open"] == [
        {"rule": "low", "severity": "critical", "count": 1}, {"rule": "high", "severity": "warning", "count": 2},
    ]  # fmt: skip
    down, out = found["alerts"]["sinks"]
    assert (down["sink"], down["waiting"], down["refused"]) == ("down", 3, 0) and "Connection refused" in down["error"]
    assert 0 <= down["oldest_waiting_s"] < 60
    assert out == {"sink": "out", "waiting": 0, "refused": 0, "oldest_waiting_s": None, "error": None}
    assert not [line for line in found["wrong"] if "alerts" in line], "it has not waited for long"
    said = metrics(lake)
    age = said.pop(("beam_grid_alert_oldest_waiting_seconds", "down"))
    assert 0 <= age < 60 and said == {
        ("beam_grid_alerts_open", "low", "critical"): 1,
        ("beam_grid_alerts_open", "high", "warning"): 2,
        ("beam_grid_alert_messages", "down", "waiting"): 3,
        ("beam_grid_alert_messages", "down", "refused"): 0,
        ("beam_grid_alert_messages", "out", "waiting"): 0,
        ("beam_grid_alert_messages", "out", "refused"): 0,
        ("beam_grid_alert_oldest_waiting_seconds", "out"): 0,
    }
    table = grid("status", "--lake", str(lake)).stdout
    assert (
        "alerts: 3 open: low (critical) 1, high (warning) 2" in table
        and "alerts to down: 3 wait, the oldest for" in table
    )
    assert "alerts to out" not in table


def test_what_waits_for_long_is_wrong_and_what_was_refused_is_counted(here: Published) -> None:
    here.readings(("a", 0, 30.0), ("b", 0, 31.0))
    here.check()
    with closing(sqlite3.connect(path_of(here.lake))) as db, db:
        db.execute("UPDATE messages SET at = at - 600000000")
        (number,) = db.execute("SELECT max(number) FROM outbox WHERE sink = 'down'").fetchone()
    with opened(here.lake) as store:
        store.failed(number, "410 gone for good", time.time_ns() // 1000)
    found = asked(here.lake.path)
    down = found["alerts"]["sinks"][0]
    assert (down["waiting"], down["refused"], down["error"]) == (1, 1, "410 gone for good")
    (wrong,) = [line for line in found["wrong"] if line.startswith("alerts")]
    assert "sink down has not taken 1 message, the oldest for 6" in wrong
    assert metrics(here.lake.path)["beam_grid_alert_messages", "down", "refused"] == 1


def test_a_state_that_cannot_be_read_is_said_and_costs_no_other_metric(here: Published) -> None:
    here.readings(("a", 0, 30.0))
    here.check()
    for beside in (here.lake.path / "alerts").glob("alerts.db*"):
        beside.unlink()
    (here.lake.path / "alerts" / "alerts.db").write_bytes(b"not a database, by far" * 100)
    found = asked(here.lake.path)
    assert found["alerts"] is None and any("move it away" in line for line in found["wrong"])
    assert metrics(here.lake.path) == {}
    assert any(s.value for f in Lakes(lambda: [telling(here.lake.path)], tuple).collect() for s in f.samples)


def test_rules_of_metrics_are_bounded_and_their_sum_stays(here: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [figures.OpenAlerts(rule=f"r{n}", severity="info" if n % 2 else "critical", count=n + 1) for n in range(200)]
    monkeypatch.setattr(figures, "figures", lambda _: figures.AlertFigures(open=many, sinks=[]))
    said = metrics(here.lake.path)
    assert len({rule for _, rule, _ in said}) == MOST_RULES and sum(said.values()) == sum(one.count for one in many)
    assert {severity for _, rule, severity in said if rule == "(others)"} == {"info", "critical"}


def test_alerts_are_listed_in_short_for_people_and_whole_for_machines(here: Published) -> None:
    lake = str(here.lake.path)
    assert "evidence" in grid("alerts", "list", "--lake", lake).stdout
    here.readings(("a\x1b[31m", 0, 30.0), ("b", 0, 31.0))
    here.check()
    done = grid("alerts", "list", "--lake", lake)
    assert done.returncode == 0, done.stderr
    heading, *lines = [line for line in done.stdout.splitlines() if line.strip() and "─" not in line]
    assert heading.split() == ["id", "rule", "severity", "state", "key", "raised_at", "evidence"]
    assert len(lines) == 2 and all(len(line) < 160 for line in lines) and "\x1b" not in done.stdout
    assert {line.split("kwh=")[1].strip() for line in lines} == {
        "30.0 at=2026-03-01T00:00:00Z", "31.0 at=2026-03-01T00:00:00Z",
    }, "what the rule asks for first, and not the key again"  # fmt: skip
    whole = json.loads(grid("alerts", "list", "--lake", lake, "--format", "json").stdout)
    assert json.loads(whole[0]["row"])["meter"] in ("a\x1b[31m", "b") and set(whole[0]) > {"since", "set", "cleared_at"}
    assert grid("alerts", "list", "--lake", lake, "--format", "csv").stdout.startswith(
        "id,rule,severity,state,key,since"
    )


def test_long_evidence_is_cut(here: Published) -> None:
    columns = {f"column_{n}": ["x" * 30] for n in range(20)}
    here.table("silver.readings", pa.table({"meter": ["a"], "at": pa.array([0], pa.timestamp("us", "UTC")), "kwh": [30.0], **columns}))  # fmt: skip
    here.check()
    table = grid("alerts", "list", "--lake", str(here.lake.path)).stdout
    assert "kwh=30.0 at=1970-01-01T00:00:00Z column_0=xxx" in table and "…" in table
    assert max(map(len, table.splitlines())) < 170
    whole = json.loads(grid("alerts", "list", "--lake", str(here.lake.path), "--format", "json").stdout)
    assert len(json.loads(whole[0]["row"])) == 23


def test_over_http_the_figures_are_for_who_may_see_all_tables(here: Published, tmp_path: Path) -> None:
    here.readings(("a", 0, 30.0))
    here.check()
    keys = Keys(tmp_path / "keys.json")
    whole, some = (
        keys.add(n, [here.lake], tables, "1000/second") for n, tables in (("all", ("*",)), ("gold", ("gold.*",)))
    )
    with served(here.lake, keys_file=keys.path, require_keys=True, workers=1) as client:
        told = [
            client.get("/api/v1/status", headers={"Authorization": f"Bearer {k}"}).json()["alerts"]
            for k in (whole, some)
        ]
    assert told[0]["open"][0]["rule"] == "high" and told[1] is None
