"""Derived tables after each change of what they read: brought up in part, and as if made anew as a whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from beam_grid.analyses import parse
from beam_grid.lakehouse import data_files, delta_log, derived, duck, scan, vectors
from beam_grid.lakehouse.engines import DoesNotFit, Engine, embedded, engine_for
from beam_grid.lakehouse.tables import Table, properties
from beam_grid.lakehouse.versions import Content, published
from beam_grid.landing import Lake

START = datetime(2025, 5, 19, 6, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()), ("meter_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC")),
        ("reading_kwh", pa.float64()),
    ]
)  # fmt: skip
ENGINES = ["embedded", pytest.param("spark", marks=pytest.mark.spark)]
Choice = Literal["embedded", "spark"]


class Readings:
    """silver.smart_meter_readings and the set that names it, without a feed that landed."""

    def __init__(self, path: Path) -> None:
        self.lake = Lake.open(path / "lake")
        self.table = Table(self.lake, "silver.smart_meter_readings")
        self.content = Content()
        self.scratch = path / "scratch"
        keys = ["meter_id", "timestamp"]
        delta_log.create(
            self.table.path, SCHEMA, name=self.table.name, cluster_by=keys, properties=properties(SCHEMA, keys, {})
        )

    def add(self, rows: list[dict[str, Any]]) -> None:
        batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
        actions = data_files.write(self.table.path, [batch], SCHEMA, 1000, SCHEMA.names)
        delta_log.put(self.table.path, self.at(), actions, "WRITE")

    def take_out(self, draw: random.Random, share: float) -> None:
        """Some rows of each file, and no vector where none is drawn."""
        at = self.at()
        for file in at.files:
            chosen = [n for n in range(file.rows or 0) if draw.random() < share]
            gone = np.union1d(vectors.deleted(self.table.path, file.vector), np.array(chosen, np.uint64))
            if len(gone) > file.deleted:
                actions = delta_log.revectored(file, vectors.write(self.table.path, gone))
                delta_log.put(self.table.path, self.at(), actions, "DELETE")

    def rewrite(self, rows: list[dict[str, Any]]) -> None:
        """Put these rows in place of all there are."""
        batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
        actions = data_files.write(self.table.path, [batch], SCHEMA, 1000, SCHEMA.names)
        delta_log.put(self.table.path, self.at(), [*map(delta_log.removed, self.at().files), *actions], "WRITE")

    def at(self) -> Any:
        at = delta_log.read(self.table.path)
        assert at is not None
        return at

    @contextmanager
    def engine(self, choice: Choice) -> Iterator[Engine]:
        from runners import delta

        with engine_for(choice, None, 0, self.scratch, delta.session) as engine:
            yield engine

    def make(self, choice: Choice) -> list[str]:
        state = self.table.state()
        self.content.tables[self.table.name] = published(self.table, state, feeds={"x": state.version})
        with self.engine(choice) as engine:
            return derived.make(engine, self.lake, self.content, {}, {}, lambda line: None)

    def anomalies(self) -> list[dict[str, Any]]:
        path = Table(self.lake, "gold.anomalies").path
        with duck.connect(self.scratch) as engine:
            return engine.sql(f"FROM {scan.relation(engine, path)} ORDER BY event_id").to_arrow_table().to_pylist()

    def rows(self) -> list[dict[str, Any]]:
        with duck.connect(self.scratch) as engine:
            return engine.sql(f"FROM {scan.relation(engine, self.table.path)}").to_arrow_table().to_pylist()


def drawn(draw: random.Random, first: int, count: int) -> list[dict[str, Any]]:
    """Readings of three meters, and of none, in three hours of ten weeks; some values null, most of one meter equal."""
    rows = []
    for number in range(first, first + count):
        meter = draw.choice(["m1", "m2", "m3", None])
        at = START + timedelta(weeks=draw.randrange(10), hours=draw.randrange(3), seconds=draw.randrange(3600))
        kwh = None if draw.random() < 0.1 else 0.1 if meter == "m1" else round(draw.gammavariate(2, 1), 3)
        rows.append({"event_id": f"e{number}", "meter_id": meter, "timestamp": at, "reading_kwh": kwh})
    return rows


def assert_equal(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [row["event_id"] for row in found] == [row["event_id"] for row in wanted]
    for one, other in zip(found, wanted, strict=True):
        for name, value in other.items():
            close = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
            assert one[name] == close, (name, one, other)


@pytest.mark.parametrize("choice", ENGINES)
def test_scores_brought_up_in_part_are_those_made_anew(
    choice: Choice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "FILE_ROWS", 100)  # several files, of which some are not touched
    draw = random.Random(7)
    silver = Readings(tmp_path / "one")
    silver.add(drawn(draw, 0, 400))
    silver.make(choice)
    made = delta_log.read(Table(silver.lake, "gold.anomalies").path)
    steps = (
        ("add", "take out", "add", "both") if choice == "embedded" else ("add", "both")
    )  # Spark takes seconds for each
    for number, step in enumerate(steps):
        if step != "take out":
            silver.add(drawn(draw, 1000 * (number + 1), 5))
        if step != "add":
            silver.take_out(draw, 0.02)
        assert silver.make(choice) == ["gold.anomalies"]
        anew = Readings(tmp_path / f"anew-{number}")
        anew.add(silver.rows())
        anew.make("embedded")
        assert_equal(silver.anomalies(), anew.anomalies())
    now = delta_log.read(Table(silver.lake, "gold.anomalies").path)
    assert made is not None and now is not None and now.id == made.id and now.version > made.version


def test_rows_made_part_by_part_are_those_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    gather = embedded.Embedded.gather
    monkeypatch.setattr(embedded.Embedded, "part_rows", 150)
    monkeypatch.setattr(embedded.Embedded, "gather", lambda self, view, selects: (parts.append(len(selects)), gather(self, view, selects)))  # fmt: skip
    draw = random.Random(9)
    silver, anew = Readings(tmp_path / "parts"), Readings(tmp_path / "at-once")
    rows = drawn(draw, 0, 1000)
    silver.add(rows[:-200])
    silver.make("embedded")
    silver.add(rows[-200:-5])  # nearly each group is touched
    silver.make("embedded")
    silver.add(rows[-5:])
    silver.make("embedded")
    assert parts[0] == 6
    assert 6 <= parts[1] <= 7
    assert all(1 < few < 7 for few in parts[2:]), "a few groups need fewer parts"
    monkeypatch.setattr(embedded.Embedded, "part_rows", None)
    anew.add(rows)
    anew.make("embedded")
    assert_equal(silver.anomalies(), anew.anomalies())


def test_a_part_that_does_not_fit_the_tables_is_told_as_a_whole_that_does_not(tmp_path: Path) -> None:
    with engine_for("embedded", None, 0, tmp_path, lambda: pytest.fail("Spark is not needed")) as engine:
        for name in ("define", "gather"):
            sql = "SELECT kwh FROM (SELECT 1 AS meter)"
            with pytest.raises(DoesNotFit, match="kwh"):
                getattr(engine, name)("v", sql if name == "define" else [sql])


def test_readings_that_come_in_order_leave_the_files_of_earlier_ones_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "FILE_ROWS", 100)
    draw = random.Random(8)
    in_order = sorted(drawn(draw, 0, 1000), key=lambda row: row["timestamp"])
    silver = Readings(tmp_path / "one")
    for first in range(0, 800, 20):
        silver.add(in_order[first : first + 20])
    silver.make("embedded")
    path = Table(silver.lake, "gold.anomalies").path
    for first in range(800, 1000, 50):
        before = {file.path for file in scan.live(path).files}
        silver.add(in_order[first : first + 50])
        silver.make("embedded")
        assert len(before - {file.path for file in scan.live(path).files}) <= 3, (
            "files of earlier readings were rewritten"
        )
    anew = Readings(tmp_path / "anew")
    anew.add(in_order)
    anew.make("embedded")
    assert_equal(silver.anomalies(), anew.anomalies())


def test_files_of_other_hours_of_the_week_are_not_read(tmp_path: Path) -> None:
    silver = Readings(tmp_path)
    for week in range(8):
        for hour in range(3):
            at = START + timedelta(weeks=week, hours=hour, minutes=7)
            row = {"event_id": f"{week}/{hour}", "meter_id": "m1", "timestamp": at, "reading_kwh": float(week % 3)}
            silver.add([row, {**row, "event_id": f"none {week}/{hour}", "meter_id": None}])
    silver.make("embedded")
    for file in silver.at().files:
        if START.isoformat()[11:13] not in file.least["timestamp"][11:13]:
            (silver.table.path / file.path).unlink()
    late = {
        "event_id": "late",
        "meter_id": "m1",
        "timestamp": START + timedelta(weeks=2, minutes=50),
        "reading_kwh": 9.0,
    }
    silver.add([late])
    assert silver.make("embedded") == ["gold.anomalies"]
    found = {row["event_id"]: row["history_readings"] for row in silver.anomalies()}
    assert len(found) == 49
    assert [found[f"{week}/0"] for week in range(8)] == [0, 1, 2, 4, 5, 6, 7, 8]
    assert [found[f"{week}/1"] for week in range(8)] == list(range(8))
    assert [found[f"none {week}/2"] for week in range(8)] == list(range(8))


def test_files_that_no_change_touches_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "FILE_ROWS", 50)
    draw = random.Random(3)
    silver = Readings(tmp_path)
    silver.add([row for row in drawn(draw, 0, 300) if row["meter_id"]])
    silver.make("embedded")
    path = Table(silver.lake, "gold.anomalies").path
    before = {file.path for file in delta_log.read(path).files}  # type: ignore[union-attr]
    silver.add([{"event_id": "x", "meter_id": "m3", "timestamp": START + timedelta(weeks=11), "reading_kwh": 9.0}])
    silver.make("embedded")
    after = {file.path for file in delta_log.read(path).files}  # type: ignore[union-attr]
    assert before < after
    silver.add([{"event_id": "y", "meter_id": "m3", "timestamp": START + timedelta(weeks=5), "reading_kwh": 9.0}])
    silver.make("embedded")
    late = {file.path for file in delta_log.read(path).files}  # type: ignore[union-attr]
    assert 1 <= len(before - late) < len(before)  # those with rows of m3's hour from that week on
    assert silver.anomalies()[-1]["status"] is not None


def test_where_the_change_cannot_be_told_all_is_made_anew(tmp_path: Path) -> None:
    draw = random.Random(4)
    silver = Readings(tmp_path)
    silver.add(drawn(draw, 0, 50))
    silver.make("embedded")
    silver.add(drawn(draw, 100, 5))
    silver.rewrite(silver.rows()[:20])
    for file in silver.table.path.glob("part-*.parquet"):
        if file.name not in {live.path for live in silver.at().files}:
            file.unlink()  # as a VACUUM does
    assert silver.make("embedded") == ["gold.anomalies"]
    assert len(silver.anomalies()) == 20


def test_a_change_of_another_table_that_is_read_makes_all_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which groups it changes cannot be told from the first table."""
    both = parse(
        "named",
        "-- Readings with their meters.\n-- cluster_by: event_id\n-- key: event_id\n-- touched: meter_id\n"
        "SELECT r.event_id, r.meter_id, m.name FROM silver.smart_meter_readings r "
        "JOIN silver.meters m ON m.id = r.meter_id WHERE :touched\n",
    )
    monkeypatch.setattr(derived, "analyses", lambda: (both,))
    monkeypatch.setattr(derived, "by_name", lambda: {both.name: both})
    silver = Readings(tmp_path)
    meters = Table(silver.lake, "silver.meters")
    for number, name in enumerate(("old", "new")):
        names = pa.table({"id": ["m1", "m2"], "name": [name, name]})
        write_deltalake(str(meters.path), names, mode="overwrite")
        silver.add([{"event_id": f"e{number}", "meter_id": f"m{number + 1}", "timestamp": START, "reading_kwh": 1.0}])
        state = meters.state()
        silver.content.tables[meters.name] = published(meters, state, feeds={"m": state.version})
        assert silver.make("embedded") == ["gold.named"]
        found = DeltaTable(str(Table(silver.lake, "gold.named").path)).to_pyarrow_table().sort_by("event_id")
    assert found["name"].to_pylist() == ["new", "new"]


def test_a_table_that_an_older_version_left_clustered_is_written_as_it_is(tmp_path: Path) -> None:
    silver = Readings(tmp_path)
    old, keys = pa.schema([("meter_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC"))]), ["meter_id"]
    table = Table(silver.lake, "gold.anomalies")
    delta_log.create(table.path, old, name=table.name, cluster_by=keys, properties=properties(old, keys, {}))
    silver.add(drawn(random.Random(2), 0, 20))
    silver.make("embedded")
    at = delta_log.read(table.path)
    assert at is not None and at.cluster_by == keys
    assert len(silver.anomalies()) == 20 and "z_score" in silver.anomalies()[0]


@pytest.mark.spark
def test_both_engines_score_alike(tmp_path: Path) -> None:
    draw = random.Random(11)
    rows = drawn(draw, 0, 500)
    tables = []
    for choice in ("embedded", "spark"):
        silver = Readings(tmp_path / choice)
        silver.add(rows)
        silver.make(choice)  # type: ignore[arg-type]
        tables.append(silver.anomalies())
    assert_equal(*tables)
    assert {row["status"] for row in tables[0]} == {None, "NORMAL", "WARNING", "CRITICAL"}


def test_auto_is_in_process_unless_a_master_is_named_or_much_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_grid.lakehouse import engines

    def chosen(choice: Any, master: str | None, weight: int) -> str:
        with engine_for(choice, master, weight, tmp_path, lambda: None) as engine:  # type: ignore[arg-type, return-value]
            return str(engine.dialect)

    much = engines.EMBEDDED_BYTES + 1
    monkeypatch.setattr(engines, "_has_java", lambda: True)
    assert [chosen("auto", None, 1), chosen("auto", "local[1]", 1), chosen("auto", None, much)] == [
        "duckdb", "spark", "spark",
    ]  # fmt: skip
    assert [chosen("embedded", "local[1]", much), chosen("spark", None, 1)] == ["duckdb", "spark"]
    monkeypatch.setattr(engines, "_has_java", lambda: False)
    assert chosen("auto", None, much) == "duckdb"
