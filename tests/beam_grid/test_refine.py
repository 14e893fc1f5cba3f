"""refine over landing zones made by hand: what lands is known, so what the tables must hold is one DuckDB query."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.commit import Fates
from beam_grid.errors import GridError
from beam_grid.lakehouse import delta_log, gold
from beam_grid.lakehouse.compact import ORDERED
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.maintain import maintain
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.tables import Table
from beam_grid.landing import Lake
from beam_grid.refine import Engine, refine, versions
from data_sources.contract import LINEAGE, Contract, parse_contract
from tests import committed
from transforms.manifest import LandedFile
from transforms.tiles import tile_rows

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 1, tzinfo=UTC)

CONTRACT: dict[str, Any] = {
    "name": "meters",
    "format": "json",
    "event_time": "at",
    "out_of_orderness": "10m",
    "allowed_lateness": "1h",
    "file_order": "name",
    "dedup": {"key": ["id", "at"], "keep": "latest", "order_by": ["order"]},
    "lake": {"cluster_by": ["meter", "at"]},
    "windows": [
        {
            "name": "fixed",
            "size": "15m",
            "by": ["meter"],
            "measures": {
                "n": "count()", "known": "count(kwh)", "high": "count_if(kwh > 5 AND zone = 'A')", "kwh": "sum(kwh)",
                "low": "min(kwh)", "top": "max(kwh)", "mean": "avg(kwh)", "spread": "stddev(kwh)", "opened": "first(kwh)",
                "closed": "last(kwh)", "cost": "sum(price)", "orders": "sum(order)",
            },
        },
        {"name": "sliding", "size": "1h", "every": "20m", "offset": "5m", "by": ["zone"], "measures": {"n": "count()", "mean": "avg(price)", "usual": "quantile(price, 0.5)", "ids": "distinct(id)"}},
        {"name": "whole", "size": "1d", "measures": {"n": "count()", "register": "stddev(register)", "much": "quantile(kwh, 0.9)", "meters": "distinct(meter)", "kinds": "distinct(order)"}},
    ],
    "fields": [
        {"name": "id", "type": "string", "nullable": False},
        {"name": "at", "type": "timestamp", "nullable": False},
        {"name": "order", "type": "int64"},
        {"name": "meter", "type": "string"},
        {"name": "zone", "type": "string"},
        {"name": "kwh", "type": "float64"},
        {"name": "price", "type": "decimal(10,2)"},
        {"name": "register", "type": "float64"},
        {"name": "odd.name", "type": "date"},
    ],
}  # fmt: skip


@dataclass
class Landing:
    """A feed's landing zone and, beside it, the rows that are current: what the tables must say."""

    lake: Lake
    contract: Contract
    current: list[dict[str, Any]] = field(default_factory=list)
    commit: int = 0
    positions: int = 0
    touched: dict[str, set[Any]] = field(default_factory=dict)

    def land(
        self, rows: list[dict[str, Any]], *, watermark: datetime | None = None, **bronze: list[dict[str, Any]]
    ) -> None:
        """Commit rows; one whose key is current supersedes the current one."""
        log, self.commit = self.lake.feed(self.contract.name), self.commit + 1
        folder = log.path / "data" / f"attempt-{self.commit}"
        folder.mkdir(parents=True)
        names = self.contract.schema.names
        landed, gone = [], []
        for row in rows:
            row = {name: row.get(name) for name in names}
            self.positions += 1
            row |= {
                "_source": "in.jsonl", "_partition": None if self.positions % 3 == 0 else 0, "_position": self.positions,
                "_ingested_at": START, "_commit": self.commit, "_extra": None, "_warnings": None,
            }  # fmt: skip
            key = [row[k] for k in self.contract.dedup.key]
            old = [r for r in self.current if [r[k] for k in self.contract.dedup.key] == key]
            for r in old:
                self.current.remove(r)
                gone.append(r)
            self.current.append(row)
            landed.append(row)
        files = []
        kinds = [("rows", landed, self.contract.landed_schema), ("superseded", gone, self.contract.landed_schema)]
        for kind, items, schema in kinds:
            if items:
                table = pa.Table.from_pylist(items, schema=pa.schema([f.with_nullable(True) for f in schema]))
                files.append(_write(folder, kind, table, {"at": _micros(table["at"])}))
                if kind == "rows":
                    for window in self.contract.windows:
                        tiles = tile_rows(table, self.contract, window)
                        files.append(
                            _write(folder, "tiles", tiles, {"_cell": _micros(tiles["_cell"])}, window=window.name)
                        )
        extra = {"late": [("_behind", pa.int64())], "conflicts": [("_kept", pa.string()), ("_counted", pa.bool_())]}
        for kind, items in bronze.items():
            if kind == "rejected":
                place = [(n, t) for n, t in LINEAGE.items() if n not in ("_extra", "_warnings")]
                schema = pa.schema(
                    [
                        ("cause", pa.string()),
                        ("rule", pa.string()),
                        ("reason", pa.string()),
                        ("raw", pa.binary()),
                        *place,
                    ]
                )
            else:
                schema = pa.schema(
                    [
                        *(f.with_nullable(True) for f in self.contract.landed_schema),
                        *(pa.field(n, t) for n, t in extra[kind]),
                    ]
                )
            files.append(
                _write(
                    folder,
                    kind,
                    pa.Table.from_pylist([{"_commit": self.commit, **item} for item in items], schema=schema),
                    {},
                )
            )
        log.remember(self.contract)
        log.append(
            committed.commit(
                self.commit, self.contract.name, attempt=folder.name, contract=self.contract.hash, files=tuple(files),
                fates=Fates(landed=len(landed), superseded=len(gone)),
                watermark=None if watermark is None else _instant(watermark),
            )
        )  # fmt: skip


def _write(
    folder: Path, kind: Any, table: pa.Table, spans: dict[str, list[int]], window: str | None = None
) -> LandedFile:
    path = folder / f"{kind}{f'-{window}' if window else ''}.parquet"
    pq.write_table(table, path)
    least, greatest = {k: min(v) for k, v in spans.items()}, {k: max(v) for k, v in spans.items()}
    where, size = f"data/{folder.name}/{path.name}", path.stat().st_size
    return committed.file(kind, where, table.num_rows, bytes=size, min=least, max=greatest, window=window)


def _instant(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _micros(column: Any) -> list[int]:
    return column.cast(pa.int64()).to_pylist()


def readings(count: int, seed: int = 0, **fixed: Any) -> list[dict[str, Any]]:
    """Rows that spread over two meters and a null one, four hours, with nulls in the values."""
    made = []
    for n in range(count):
        k = (n * 7919 + seed * 104729) % 1000
        made.append(
            {
                "id": f"r{seed}-{n}", "at": START + timedelta(seconds=k * 14 + 1), "order": seed, "meter": [None, "m1", "m2"][k % 3],
                "zone": ["A", "B", None][k % 7 % 3], "kwh": None if k % 5 == 0 else k / 10, "price": f"{k}.{k % 100:02d}" if k % 4 else None,
                "register": 1e7 + k / 10, "odd.name": START.date(),
            } | fixed
        )  # fmt: skip
    for row in made:
        from decimal import Decimal

        row["price"] = None if row["price"] is None else Decimal(row["price"])
    return made


EXPECTED = {
    "fixed": """
        SELECT make_timestamptz(s) AS window_start, make_timestamptz(s + 900000000) AS window_end, meter, count(*) AS n, count(kwh) AS known,
               count(*) FILTER (WHERE kwh > 5 AND zone = 'A') AS high, sum(kwh) AS kwh, min(kwh) AS low, max(kwh) AS top,
               avg(kwh) AS mean, stddev_samp(kwh) AS spread,
               arg_min(kwh, ("at", id)) FILTER (WHERE kwh IS NOT NULL) AS opened, arg_max(kwh, ("at", id)) FILTER (WHERE kwh IS NOT NULL) AS closed,
               sum(price) AS cost, sum("order") AS orders
        FROM (SELECT *, epoch_us("at") // 900000000 * 900000000 AS s FROM rows) GROUP BY s, meter""",
    "sliding": """
        SELECT make_timestamptz(s) AS window_start, make_timestamptz(s + 3600000000) AS window_end, zone, count(*) AS n, avg(CAST(price AS DOUBLE)) AS mean,
               CAST(quantile_disc(price, 0.5) AS DOUBLE) AS usual, count(DISTINCT id) AS ids
        FROM (SELECT *, unnest([((epoch_us("at") - 300000000) // 1200000000 - k) * 1200000000 + 300000000 for k in range(0, 3)]) AS s FROM rows)
        GROUP BY s, zone""",
    "whole": """
        SELECT make_timestamptz(s) AS window_start, make_timestamptz(s + 86400000000) AS window_end, count(*) AS n, stddev_samp(register - 1e7) AS register,
               quantile_disc(kwh, 0.9) AS much, count(DISTINCT meter) AS meters, count(DISTINCT "order") AS kinds
        FROM (SELECT *, epoch_us("at") // 86400000000 * 86400000000 AS s FROM rows) GROUP BY s""",
}


def check(landing: Landing, *, disjoint: bool = True) -> None:
    """Silver holds the current rows; every window table what DuckDB makes of them; nothing else."""
    schema = pa.schema([f.with_nullable(True) for f in landing.contract.landed_schema])
    rows = pa.Table.from_pylist(landing.current, schema=schema)
    silver = query(landing.lake, f"SELECT * FROM silver.{landing.contract.name}")
    assert sorted(map(str, silver.select(schema.names).to_pylist())) == sorted(map(str, rows.to_pylist()))
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.register("rows", rows)
        for window in landing.contract.windows:
            wanted = engine.sql(EXPECTED[window.name]).to_arrow_table()
            same_rows(query(landing.lake, f"SELECT * FROM gold.{window.name}"), wanted, ["window_start", *window.by])
            if disjoint:
                check_files(landing.lake.path / "tables" / "gold" / window.name)


def check_files(window: Path) -> None:
    """A window table is unclustered, and its files in order of time are disjoint, whichever engine wrote the rest."""
    table = live(window)
    in_time = [file for file in table.files if not file.tags.get(ORDERED)]
    spans = sorted((file.least["window_start"], file.greatest["window_start"]) for file in in_time)
    assert table.cluster_by == []
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def same_rows(seen: pa.Table, wanted: pa.Table, key: list[str]) -> None:
    def keyed(table: pa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {tuple(row[k] for k in key): row for row in table.to_pylist()}

    have, want = keyed(seen), keyed(wanted)
    assert len(have) == seen.num_rows, "a window stands in the table twice"
    assert have.keys() == want.keys()
    for place, row in want.items():
        for name, value in row.items():
            other = have[place][name]
            if isinstance(value, float):
                assert other == pytest.approx(value, rel=1e-9, abs=1e-300), (place, name)
            else:
                assert other == value, (place, name)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(Lake.open(tmp_path / "lake"), parse_contract(CONTRACT, "test"))


def superseding(landing: Landing, count: int, **fixed: Any) -> list[dict[str, Any]]:
    """New records of every third current key, whose values, groups and extremes all move."""
    names = landing.contract.schema.names
    chosen = [row for row in landing.current[::3] if row["kwh"] is not None][:count]
    return [
        {name: row[name] for name in names} | {"order": row["order"] + 100, "kwh": row["kwh"] / 2 - 3} | fixed
        for row in chosen
    ]


def test_tables_hold_what_landed_commit_by_commit_and_in_batches(landing: Landing) -> None:
    landing.land(readings(60, 1))
    landing.land(readings(60, 2))
    result = refine(landing.lake, None)
    assert result.feeds == {"meters": 2} and result.set == 1
    check(landing)
    landing.land(readings(40, 3))
    refine(landing.lake, ["meters"])
    check(landing)
    again = refine(landing.lake, None)
    assert again.feeds == {} and again.set == 2


def test_superseded_rows_leave_silver_and_their_windows(landing: Landing) -> None:
    landing.land(readings(60, 1))
    landing.land(superseding(landing, 5))
    refine(landing.lake, None)
    check(landing)
    landing.land([*superseding(landing, 12, meter="m9"), *readings(20, 2)])
    landing.land(superseding(landing, 8, zone="Z"))
    landing.land(superseding(landing, 8, zone="Y"))
    refine(landing.lake, None)
    check(landing)
    alone = [{**readings(1, 5)[0], "at": START + timedelta(hours=20), "meter": "alone", "order": 1}]
    landing.land(alone)
    refine(landing.lake, None)
    landing.land([{**alone[0], "order": 2, "meter": "moved"}])
    refine(landing.lake, None)
    check(landing)
    assert query(landing.lake, "SELECT * FROM gold.fixed WHERE meter = 'alone'").num_rows == 0


@pytest.mark.spark
def test_spark_and_this_process_take_turns_at_one_lake(landing: Landing) -> None:
    """Windows merged by one engine are gone on with by the other, supersedes included; both tell the same."""
    landing.land(readings(60, 1), watermark=START + timedelta(hours=1))
    engines: tuple[Engine, ...] = ("embedded", "spark", "embedded")
    for turn, engine in enumerate(engines):
        landing.land([*superseding(landing, 9), *readings(20, 2 + turn)], watermark=START + timedelta(hours=2 + turn))
        refine(landing.lake, engine=engine)
        check(landing, disjoint=turn == 0)
    rows = _contents(landing.lake)
    shutil.rmtree(landing.lake.path / "tables")
    refine(landing.lake, engine="spark")
    assert _contents(landing.lake) == rows
    check(landing, disjoint=False)


def _another_meaning() -> Contract:
    """The contract with another size of the window `fixed`."""
    windows = [{**window, "size": "30m"} if window["name"] == "fixed" else window for window in CONTRACT["windows"]]
    return parse_contract({**CONTRACT, "windows": windows}, "test")


@pytest.mark.spark
def test_a_window_that_means_something_else_and_again_what_it_meant_is_made_anew_on_spark(landing: Landing) -> None:
    meant, other = landing.contract, _another_meaning()
    engines: tuple[Engine, ...] = ("embedded", "spark", "spark", "embedded")
    for number, engine in enumerate(engines):
        landing.contract = other if number == 1 else meant
        landing.land(readings(20, number))
        refine(landing.lake, engine=engine)
        if number != 1:
            check(landing, disjoint=False)


@pytest.mark.parametrize("engine", ["embedded", pytest.param("spark", marks=pytest.mark.spark)])
def test_a_table_in_which_an_older_version_left_two_meanings_is_made_anew(engine: Engine, landing: Landing) -> None:
    """It forgot none: what one had taken in still stood beside the other's, as if its windows were there too."""
    meant, other = landing.contract, _another_meaning()
    table = Table(landing.lake, "gold.fixed")
    marked = gold.application(table, meant, meant.windows[0])
    for number in range(3):
        landing.contract = other if number == 1 else meant
        landing.land(readings(20, number))
        if number == 2:
            at = delta_log.read(table.path)
            assert at is not None and at.transactions[marked] == 0
            delta_log.put(table.path, at, [delta_log.applied(marked, number + 1)], "WRITE")
        refine(landing.lake, engine=engine)
    check(landing, disjoint=False)
    assert [commit for commit in table.state().transactions.values() if commit] == [3]


def test_a_window_without_rows_forgets_what_it_meant_and_is_not_made_anew_each_time(landing: Landing) -> None:
    meant, other = landing.contract, _another_meaning()
    table = Table(landing.lake, "gold.fixed")

    def refined(contract: Contract, rows: list[dict[str, Any]]) -> None:
        landing.contract = contract
        landing.land(rows)
        refine(landing.lake)
        marked = gold.application(table, contract, contract.windows[0])
        counted = {name: commit for name, commit in table.state().transactions.items() if commit}
        assert set(counted) == {marked} and counted[marked] > 0

    refined(other, readings(9, 1))
    _take_all_away(landing)
    refined(other, [])
    assert query(landing.lake, "SELECT * FROM gold.fixed").num_rows == 0
    refined(meant, [])
    refined(meant, [])
    refined(meant, readings(9, 2))
    check(landing)
    refined(other, readings(9, 3))
    refined(meant, readings(9, 4))
    check(landing)


def _take_all_away(landing: Landing) -> None:
    """A commit that takes every row away, as one of deletes does."""
    log, landing.commit = landing.lake.feed("meters"), landing.commit + 1
    folder = log.path / "data" / f"attempt-{landing.commit}"
    folder.mkdir(parents=True)
    schema = pa.schema([f.with_nullable(True) for f in landing.contract.landed_schema])
    gone = pa.Table.from_pylist(landing.current, schema=schema)
    file, fates = _write(folder, "superseded", gone, {"at": _micros(gone["at"])}), Fates(superseded=gone.num_rows)
    digest = landing.contract.hash
    log.append(committed.commit(landing.commit, "meters", attempt=folder.name, contract=digest, files=(file,), fates=fates))  # fmt: skip
    landing.current = []


@pytest.mark.parametrize("then", ["nothing", "forgotten by a third"])
def test_a_window_made_anew_before_its_set_was_is_not_gone_on_with_as_the_set_says(
    then: str, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = landing.contract
    landing.land(readings(20, 0))
    refine(landing.lake)
    landing.contract = _another_meaning()
    landing.land(readings(20, 1))
    with monkeypatch.context() as broken, pytest.raises(_Broken):
        broken.setattr("beam_grid.refine.publish_set", _break)
        refine(landing.lake)
    if then == "forgotten by a third":  # a run on Spark, cut off before its windows were there
        gold.forget_all(Table(landing.lake, "gold.fixed"))
    landing.contract = meant
    landing.land(readings(20, 2))
    refine(landing.lake)
    check(landing)


class _Broken(Exception):
    pass


def _break(*_: Any) -> Any:
    raise _Broken


def _contents(lake: Lake) -> dict[str, list[str]]:
    """Every row of windows and silver but for the last bits of its fractions."""
    found = {}
    for name in ("silver.meters", "gold.fixed", "gold.sliding", "gold.whole"):
        rows = query(lake, f"SELECT * FROM {name}").to_pylist()
        told = [{k: f"{v:.9e}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        found[name] = sorted(map(str, told))
    return found


def test_final_follows_the_watermark_also_where_no_commit_touches(landing: Landing) -> None:
    def finals() -> list[bool]:
        return query(landing.lake, "SELECT window_end, final FROM gold.fixed ORDER BY window_end")["final"].to_pylist()

    rows = [{**readings(1, n)[0], "at": START + timedelta(minutes=15 * n), "meter": "m1"} for n in range(8)]
    landing.land(rows, watermark=START + timedelta(minutes=90))
    refine(landing.lake, None)
    assert finals() == [True] * 2 + [False] * 6
    landing.land([], watermark=START + timedelta(minutes=120))
    refine(landing.lake, None)
    assert finals() == [True] * 4 + [False] * 4
    landing.land([{**rows[0], "id": "late but not too late"}], watermark=START + timedelta(minutes=135))
    refine(landing.lake, None)
    assert finals() == [True] * 5 + [False] * 3
    assert (
        query(landing.lake, "SELECT revision FROM gold.fixed ORDER BY window_start")["revision"].to_pylist()
        == [2] + [1] * 7
    )
    check(landing)


def test_bronze_tables_exist_when_empty_and_keep_what_did_not_land(landing: Landing) -> None:
    landing.land(readings(10, 1))
    refine(landing.lake, None)
    for name in ("rejected", "late", "conflicts"):
        assert query(landing.lake, f"SELECT * FROM bronze.{name}").num_rows == 0
    row = readings(1, 2)[0]
    landing.land(
        readings(3, 3),
        rejected=[
            {"cause": "undecodable", "raw": b"{\xff\x00", "_source": "in", "_position": 3, "_ingested_at": START}
        ],
        late=[{**row, "_behind": 90_000_000, "_source": "in", "_position": 4}],
        conflicts=[{**row, "_kept": "{}", "_counted": True, "_source": "in", "_position": 5}],
    )
    refine(landing.lake, None)
    rejected = query(landing.lake, "SELECT * FROM bronze.rejected").to_pylist()[0]
    assert (
        rejected["feed"] == "meters" and rejected["raw"] == b"{\xff\x00" and rejected["raw_text"].startswith("{\ufffd")
    )
    late = query(landing.lake, "SELECT * FROM bronze.late").to_pylist()[0]
    assert late["behind_seconds"] == 90 and late["event_time"] == row["at"] and late["_commit"] == 2
    assert json.loads(late["record"]) | {"at": 0} == {k: _plain(v) for k, v in row.items()} | {"at": 0}
    assert json.loads(late["record"])["at"] == row["at"].strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    conflict = query(landing.lake, "SELECT * FROM bronze.conflicts").to_pylist()[0]
    assert (
        json.loads(conflict["key"])["id"] == row["id"]
        and conflict["counted"]
        and json.loads(conflict["dropped"])["id"] == row["id"]
    )


def _plain(value: Any) -> Any:
    return (
        float(value) if type(value).__name__ == "Decimal" else str(value) if type(value).__name__ == "date" else value
    )


def test_deleted_tables_are_made_again_from_commit_0(landing: Landing) -> None:
    landing.land(readings(30, 1), rejected=[{"cause": "undecodable", "raw": b"x"}])
    refine(landing.lake, None)
    landing.land(superseding(landing, 5))
    refine(landing.lake, None)
    for victim in ("silver", "gold/fixed", "bronze", ""):
        shutil.rmtree(landing.lake.path / "tables" / victim)
        with pytest.raises(GridError, match="refine"):
            query(landing.lake, "SELECT * FROM silver.meters, gold.fixed, bronze.rejected")
        refine(landing.lake, None)
        check(landing)
        assert query(landing.lake, "SELECT * FROM bronze.rejected").num_rows == 1


def test_a_contract_that_grows(landing: Landing) -> None:
    """A new field is null in older rows; a new window is filled from them; a changed one is made again."""
    landing.land(readings(30, 1))
    refine(landing.lake, None)
    grown = json.loads(json.dumps(CONTRACT))
    grown["fields"].insert(3, {"name": "phase", "type": "int64", "since": "2"})
    grown["windows"].append({"name": "by_phase", "size": "1d", "by": ["phase"], "measures": {"n": "count()"}})
    grown["windows"][1]["measures"]["n"] = "count(id)"
    landing.contract = parse_contract(grown, "test")
    for row in landing.current:
        row["phase"] = None
    landing.land([{**row, "phase": 3} for row in readings(30, 2)])
    refine(landing.lake, None)
    answer = query(landing.lake, "SELECT phase, n FROM gold.by_phase ORDER BY n, phase").to_pylist()
    assert answer == [{"phase": 3, "n": 30}, {"phase": None, "n": 30}]
    landing.contract = parse_contract({**grown, "windows": grown["windows"][:3]}, "test")
    check(landing)


def test_two_feeds_share_bronze_and_never_a_window(landing: Landing) -> None:
    landing.land(readings(5, 1), rejected=[{"cause": "undecodable", "raw": b"x"}])
    other = Landing(landing.lake, parse_contract({**CONTRACT, "name": "others", "windows": []}, "test"))
    other.land(readings(5, 2), rejected=[{"cause": "undecodable", "raw": b"y"}])
    refine(landing.lake, ["others"])
    refine(landing.lake, ["meters"])
    assert query(landing.lake, "SELECT feed FROM bronze.rejected ORDER BY feed")["feed"].to_pylist() == [
        "meters",
        "others",
    ]
    known = versions(landing.lake)
    assert known is not None and known.commits == {"meters": 1, "others": 1}
    check(landing)
    thief = Landing(landing.lake, parse_contract({**CONTRACT, "name": "thief"}, "test"))
    thief.land(readings(5, 3))
    with pytest.raises(GridError, match="meters and thief both declare"):
        refine(landing.lake, None)


STEPS = [
    "made-silver.meters", "after-silver.meters", "after-gold.fixed", "before-bronze.late", "before-set", "after-set",
]  # fmt: skip


def test_killed_at_any_step_a_rerun_gives_equal_tables(landing: Landing) -> None:
    """Each run is killed one step further than the one before it, first on an empty lake, then amid a supersede; there
    with the other tables under way."""
    landing.contract = parse_contract({**CONTRACT, "windows": CONTRACT["windows"][:1]}, "test")
    bronze = {
        "rejected": [{"cause": "undecodable", "raw": b"x"}],
        "late": [readings(1, 9)[0]],
        "conflicts": [readings(1, 9)[0]],
    }
    for commit in (1, 2):
        fresh = readings(30, 2) if commit == 1 else superseding(landing, 9)
        landing.land(fresh, watermark=START + timedelta(hours=1 + commit), **bronze)
        for step in STEPS if commit == 1 else ["after-silver.meters", "before-set"]:
            done = _refine_killed_at(landing.lake, f"refine:{step}", side_by_side=commit == 2)
            assert done.returncode == -signal.SIGKILL, f"{step} was never reached: {done.stderr[-2000:]}"
            known = versions(landing.lake)
            assert (known.number if known else 0) == (commit if step == "after-set" else commit - 1)
        refine(landing.lake, None)
        check(landing)
        for name in bronze:
            assert query(landing.lake, f"SELECT * FROM bronze.{name}").num_rows == commit
        assert refine(landing.lake, None).feeds == {}


def _refine_killed_at(lake: Lake, point: str, *, side_by_side: bool) -> subprocess.CompletedProcess[str]:
    code = f"from beam_grid import refine; from beam_grid.landing import Lake; lake = Lake.open({str(lake.path)!r}); "
    code += f"{'' if side_by_side else 'refine._CHAINS_AT_ONCE = 1; '}refine.refine(lake)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BEAM_GRID_KILL_AT": point}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.spark
def test_maintain_optimizes_where_it_pays_and_changes_no_row(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    landing.contract = parse_contract({**CONTRACT, "windows": CONTRACT["windows"][:1]}, "test")
    for n in range(3):
        landing.land(readings(4, n))
        assert refine(landing.lake, None).optimized == []
    assert [entry.action for entry in maintain(landing.lake)] == ["skipped"] * 5
    monkeypatch.setattr("beam_grid.lakehouse.maintain.MANY_SMALL", 3)
    done = maintain(landing.lake, retention_hours=0)
    assert {(e.table, e.action) for e in done} >= {("silver.meters", "optimized"), ("silver.meters", "vacuumed")}
    optimized = next(e for e in done if e.table == "silver.meters" and e.action == "optimized")
    assert optimized.files_before == 3 and optimized.files_after == 1
    check(landing)
    landing.land(superseding(landing, 2))
    refine(landing.lake, None)
    check(landing)
    assert any(file.deleted for file in live(landing.lake.path / "tables" / "silver" / "meters").files)
    maintain(landing.lake, retention_hours=0)
    check(landing)
