"""gold.sensor_now against SQL over the raw lines: late rows, copies, corrections; sensors new, constant and silent."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_grid.feeds import built_in
from beam_grid.lakehouse import scan
from beam_grid.lakehouse.engines import embedded
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine, versions
from beam_grid.reinject import reinject
from data_sources.contract import Contract, parse_contract
from data_sources.generators.truth import read as read_truth
from data_sources.grid_sensors.generate import generate
from tests.beam_grid.both_engines import assert_both_engines_agree
from tests.beam_grid.sensor_oracle import sensors_now
from tests.properties.oracle import run

END = datetime(2025, 4, 5, 10, 20, tzinfo=UTC)
"""A week after Berlin's clocks went forward: hours of the day before that lie an hour later in UTC."""

VALUES = ("temperature_c", "pressure_kpa", "vibration_mm_s")
NEVER = 2_050_000_000_000_000


def corrected(**now: Any) -> Contract:
    """The sensors' contract, but each file is complete in itself and a reading may be corrected."""
    raw = built_in()["grid_sensors"].to_dict()
    field = {"name": "revision", "type": "int64"}
    dedup = {"key": ["sensor_id", "timestamp"], "keep": "latest", "order_by": ["revision"]}
    del raw["windows"], raw["expectations"]
    own = {**raw["now"], "silent_after": "1h", "time_zone": "Europe/Berlin", **now}
    return parse_contract(
        {**raw, "file_order": "none", "dedup": dedup, "fields": [*raw["fields"], field], "now": own}, "the test"
    )


def reading(sensor: str, at: datetime, draw: random.Random, **given: Any) -> dict[str, Any]:
    base = 20 + len(sensor) + 5 * (at.hour in (9, 10)) + 3 * (at.weekday() == 5)
    return {
        "sensor_id": sensor,
        "timestamp": at.isoformat(),
        "temperature_c": round(base + draw.gauss(0, 1), 2),
        "pressure_kpa": round(1e5 + draw.gauss(0, 0.01), 3),
        "vibration_mm_s": round(draw.lognormvariate(0, 0.3), 3),
        "status": draw.choice(["OK", "DEGRADED"]),
        "transformer_id": None if sensor == "plain-1" else f"TRF-N-{len(sensor):04d}",
        "region": "NORTH",
        "state": "Delhi",
        "revision": 1,
        **given,
    }


def first_readings(draw: random.Random) -> list[dict[str, Any]]:
    """Up to forty days of sensors that read each quarter of an hour."""
    rows = []
    days = timedelta(days=1)
    begins = {"plain-1": 40 * days, "plain-22": 40 * days, "weeks-only": 40 * days, "young": 6 * days, "new": days / 16}
    begins |= {"constant": 12 * days, "stuck": 12 * days, "silent": 12 * days, "gone": 35 * days, "no-value": 20 * days}
    ends = {"silent": END - timedelta(minutes=70), "gone": END - 32 * days, "away": END - 5 * days}
    begins["away"] = 20 * days
    begins["edge"], ends["edge"] = 12 * days, END - timedelta(hours=1)
    for sensor, long in begins.items():
        at = END - long
        while at <= ends.get(sensor, END):
            given: dict[str, Any] = {}
            if sensor in ("constant", "stuck"):
                given = {"temperature_c": 21.37, "pressure_kpa": 0.1 + 0.2}
            if sensor == "no-value" and at.hour == END.hour:
                given = {"vibration_mm_s": None}
            if sensor != "weeks-only" or (at.weekday() == END.weekday() and at.hour in (8, 9, 10)):
                rows.append(reading(sensor, at, draw, **given))
            at += timedelta(minutes=15)
    (last,) = (row for row in rows if row["sensor_id"] == "stuck" and row["timestamp"] == END.isoformat())
    last |= {"temperature_c": 21.38, "pressure_kpa": 0.3}
    return rows


class Sensors:
    """A lake of one feed and the files it was made from."""

    def __init__(self, path: Path, feed: Contract) -> None:
        self.lake, self.feed, self.source = Lake.open(path / "lake"), feed, path / "source"
        self.source.mkdir(parents=True)

    @property
    def files(self) -> list[Path]:
        return sorted(self.source.rglob("*.json"))

    def add(self, rows: list[dict[str, Any]], slice_rows: int = 100_000) -> None:
        """One more file, landed and refined."""
        path = self.source / f"{len(self.files):03d}.json"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.bring(slice_rows)

    def bring(self, slice_rows: int = 100_000) -> None:
        run(self.lake.path, self.feed, self.source, now=NEVER, slice_rows=slice_rows)
        refine(self.lake, engine="embedded")

    def now(self) -> list[dict[str, Any]]:
        return query(self.lake, "SELECT * FROM gold.sensor_now ORDER BY sensor_id, value_name").to_pylist()

    def one(self, sensor: str, value: str = VALUES[0]) -> dict[str, Any]:
        return next(r for r in self.now() if (r["sensor_id"], r["value_name"]) == (sensor, value))

    def usual_at(self) -> int:
        """The version of the table of what is usual."""
        found = versions(self.lake)
        assert found is not None
        return found.tables["gold.sensor_now_usual"].version

    def check(self, **known: bool) -> None:
        assert_same(self.now(), sensors_now(self.files, self.feed, **known))


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [(r["sensor_id"], r["value_name"]) for r in found] == [(r["sensor_id"], r["value_name"]) for r in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            close = pytest.approx(value, rel=1e-7, abs=1e-8) if isinstance(value, float) else value
            assert one[name] == close, (name, one, other)


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sensors]:
    found = Sensors(tmp_path_factory.mktemp("sensors"), corrected())
    found.add(first_readings(random.Random(1)), slice_rows=15_000)
    yield found


def test_each_sensor_beside_its_own_history(sensors: Sensors) -> None:
    sensors.check()
    bases = {row["basis"] for row in sensors.now()}
    assert bases == {"hour_of_week", "hour_of_day", "all", "none"}
    assert {row["state"] for row in sensors.now()} >= {"NORMAL", "SILENT", "NO_HISTORY", "CRITICAL_ANOMALY"}


def test_a_sensor_that_is_new_has_no_history(sensors: Sensors) -> None:
    new = sensors.one("new")
    assert (new["state"], new["basis"], new["z_score"], new["mean"]) == ("NO_HISTORY", "none", None, None)
    assert new["value"] is not None and sensors.one("young")["basis"] == "hour_of_day"


def test_a_constant_sensor_is_normal_while_it_stays(sensors: Sensors) -> None:
    for value in VALUES[:2]:
        same, other = sensors.one("constant", value), sensors.one("stuck", value)
        assert (same["stddev"], same["z_score"], same["deviation"], same["state"]) == (0.0, 0.0, 0.0, "NORMAL")
        assert other["stddev"] == 0.0
    moved = sensors.one("stuck")
    assert (moved["z_score"], moved["state"]) == (None, "CRITICAL_ANOMALY")
    assert sensors.one("stuck", "pressure_kpa")["state"] == "NORMAL"  # 0.3 is 0.1 + 0.2 but for a float's error


def test_a_sensor_is_silent_and_one_long_gone_is_not_there(sensors: Sensors) -> None:
    silent, away = sensors.one("silent"), sensors.one("away")
    assert (silent["state"], silent["value"], silent["last_at"]) == ("SILENT", None, END - timedelta(minutes=75))
    assert (silent["basis"], silent["mean"], silent["history_values"]) == ("none", None, 0)
    assert (away["state"], away["value"], away["region"]) == ("SILENT", None, "NORTH")
    edge = sensors.one("edge")
    assert edge["state"] != "SILENT" and edge["value"] is not None, "not for longer than an hour"
    assert sensors.one("no-value", "vibration_mm_s")["state"] == "SILENT"
    assert sensors.one("no-value")["state"] != "SILENT"
    assert "gone" not in {row["sensor_id"] for row in sensors.now()}


def test_duckdb_sees_the_same_view(sensors: Sensors, tmp_path: Path) -> None:
    found = versions(sensors.lake)
    assert found is not None
    view = found.views["gold.sensor_now"]
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'; CREATE SCHEMA gold")
    for name in view.reads:
        at = found.tables[name]
        engine.execute(f"CREATE VIEW {name} AS FROM {scan.relation(engine, sensors.lake.path / at.path, at.version)}")
    rows = engine.sql(f"FROM ({view.sql}) ORDER BY sensor_id, value_name").to_arrow_table().to_pylist()
    assert_same(rows, sensors.now())


def test_it_stays_right_as_rows_come_late_twice_and_corrected(
    sensors: Sensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes is about the live hour, then about hours of the history, then the clock strikes."""
    draw, brought_up = random.Random(2), []
    whole = embedded.Embedded.replace
    monkeypatch.setattr(
        embedded.Embedded,
        "replace",
        lambda self, table, *rest: (brought_up.append(table.name), whole(self, table, *rest)),
    )
    before, usual = sensors.one("plain-1"), sensors.usual_at()
    sensors.add([reading("plain-1", END + timedelta(minutes=5), draw, temperature_c=99.0)])
    sensors.check()
    after = sensors.one("plain-1")
    assert (after["value"], after["state"]) == (99.0, "CRITICAL_ANOMALY")
    assert (after["mean"], after["history_values"]) == (before["mean"], before["history_values"])
    assert sensors.usual_at() == usual and not brought_up  # nothing of the history changed, and nothing was written

    old = END - timedelta(days=7) + timedelta(hours=1)  # the same hour in Berlin
    late = [reading("plain-1", old + timedelta(minutes=m), draw) for m in (-1, -2, -3)]
    again = [reading("plain-22", END - timedelta(days=14), draw, temperature_c=-10.0, revision=2)]
    gone = [reading("young", END - timedelta(days=2), draw, temperature_c=None, revision=3)]
    sensors.add([*late, *late, *again, *gone])
    sensors.check()
    assert sensors.one("plain-1")["history_values"] > before["history_values"]
    assert brought_up == ["gold.sensor_now_usual"] and sensors.usual_at() == usual + 1

    sensors.add([reading(s, END + timedelta(minutes=m), draw) for s in ("plain-1", "new", "stuck") for m in (45, 105)])
    sensors.check()
    assert sensors.one("plain-22")["state"] == sensors.one("constant")["state"] == "SILENT"
    assert sensors.one("new")["basis"] == "none" and sensors.one("new")["history_values"] > 0
    assert brought_up == ["gold.sensor_now_usual"]  # made anew as a whole


def test_made_anew_it_is_the_same(sensors: Sensors) -> None:
    import shutil

    before = sensors.now()
    shutil.rmtree(sensors.lake.path / "tables")
    refine(sensors.lake, engine="embedded")
    assert_same(sensors.now(), before)


@pytest.mark.spark
def test_spark_makes_the_same(sensors: Sensors, tmp_path: Path) -> None:
    assert_both_engines_agree(sensors.lake, tmp_path)


def test_a_reading_of_no_sensor_moves_the_clock_too(tmp_path: Path) -> None:
    raw = built_in()["grid_sensors"].to_dict()
    own = [{**f, "nullable": f["name"] == "sensor_id" or f.get("nullable", True)} for f in raw["fields"]]
    key = {"key": ["status", "timestamp"]}
    raw |= {"windows": [], "expectations": [], "fields": own, "dedup": key, "file_order": "none"}
    raw["now"] = {**raw["now"], "silent_after": "30m"}
    sensors = Sensors(tmp_path, parse_contract(raw, "the test"))
    named = reading("plain-1", END, random.Random(1))
    rows = [named, {**named, "sensor_id": None, "timestamp": (END + timedelta(minutes=35)).isoformat()}]
    sensors.add([{name: value for name, value in row.items() if name not in ("state", "revision")} for row in rows])
    shown = sensors.one("plain-1")
    assert (shown["now"], shown["state"]) == (END + timedelta(minutes=35), "SILENT")
    assert {row["sensor_id"] for row in sensors.now()} == {"plain-1"}


def test_the_generated_sensors(tmp_path: Path) -> None:
    """As generated, messy, in several slices; the planted faults show; late rows land after all."""
    sensors = Sensors(tmp_path, built_in()["grid_sensors"])
    generate(sensors.source, seed=3, days=20, sensors=30, interval=timedelta(hours=1), messy=True)
    sensors.source = sensors.source / "grid_sensors"
    sensors.bring(slice_rows=6_000)
    sensors.check()
    planted = {(p["kind"], p["sensor_id"]) for p in read_truth(sensors.source.parent, "planted.json")["grid_sensors"]}
    for kind, sensor in planted:
        shown = sensors.one(sensor)
        wanted = {
            "spike": "CRITICAL_ANOMALY",
            "level_shift": "CRITICAL_ANOMALY",
            "silent": "SILENT",
            "new": "NO_HISTORY",
        }
        if shown["state"] != "SILENT" or kind == "silent":  # the last reading may have been lost
            assert shown["state"] == wanted.get(kind, "NORMAL"), (kind, shown)
        assert kind != "constant" or shown["stddev"] == 0
    before = {(r["sensor_id"], r["value_name"]): r["history_values"] for r in sensors.now()}
    with sensors.lake.lock("land"):
        reinject(sensors.lake, "grid_sensors")
    refine(sensors.lake, engine="embedded")
    sensors.check(keeps_late=True)
    after = {(r["sensor_id"], r["value_name"]): r["history_values"] for r in sensors.now()}
    assert sum(after.values()) > sum(before.values())
