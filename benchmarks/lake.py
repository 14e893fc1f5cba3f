"""`python -m benchmarks.lake`: clustering, change capture and history over millions of rows, beside the textbook's MERGE.

1. queries: four questions of 5 M readings before and after `maintain`: milliseconds, and what the files' least and
   greatest values make a reader open.
2. cdc: 1 % changes into 5 M rows: newest keys (nine in ten among the newest 5 %), and random ones.
3. scd2: 1 % changes into a dimension of 1 M rows.

The textbook's table is plain Delta: not clustered, no deletion vectors, no change data, MERGE by key. Both write what
the same changes come to, which is compared, in turns and in one Spark session; a first turn that warms the JVM does
not count. Bytes added are those of all new files: data, deletion vectors, change data. Bases are made once below
bench-data and copied as hard links.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from beam_grid.commit import FORMAT, Commit, Fates
from beam_grid.lakehouse import cdc_history
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.maintain import maintain, optimize
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.steps import Step, silver_tables
from beam_grid.lakehouse.steps import maker as maker_of
from beam_grid.lakehouse.tables import Batch, Table
from beam_grid.landing import Lake
from benchmarks import data
from benchmarks.measure import run
from data_sources.contract import LINEAGE, Contract, parse_contract
from transforms.manifest import LandedFile

Found = dict[str, float]

BILLS: dict[str, Any] = {
    "name": "bills_transactions", "format": "json", "event_time": "at",
    "lake": {"load": "cdc", "key": ["id"], "operation": "op", "cluster_by": ["id"], "sequence_by": ["lsn", "op"]},
    "fields": [
        {"name": "op", "type": "int64"}, {"name": "lsn", "type": "string"}, {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"}, {"name": "meter", "type": "string"}, {"name": "units", "type": "float64"},
        {"name": "rate", "type": "decimal(10,4)"}, {"name": "amount", "type": "decimal(12,2)"}, {"name": "status", "type": "string"},
        {"name": "reference", "type": "string"}, {"name": "due", "type": "date"}, {"name": "at", "type": "timestamp"},
    ],
}  # fmt: skip

ASSETS: dict[str, Any] = {
    "name": "assets", "format": "csv", "event_time": "since",
    "lake": {"load": "scd2", "key": ["id"], "effective_from": "since", "track": ["health", "status"], "cluster_by": ["id"]},
    "fields": [
        {"name": "id", "type": "string"}, {"name": "since", "type": "date"}, {"name": "health", "type": "float64"},
        {"name": "status", "type": "string"}, {"name": "maker", "type": "string"}, {"name": "serial", "type": "string"},
        {"name": "substation", "type": "string"}, {"name": "capacity", "type": "float64"}, {"name": "installed", "type": "date"},
    ],
}  # fmt: skip

QUESTIONS: dict[str, dict[str, tuple[Any, Any]]] = {
    "a meter, a day": {"meter_id": ("SM-N-00042", "SM-N-00042"), "timestamp": (datetime(2025, 6, 20, tzinfo=UTC), datetime(2025, 6, 21, tzinfo=UTC))},
    "a meter, 53 days": {"meter_id": ("SM-N-00042", "SM-N-00042")},
    "a region's 200 meters, a week": {"meter_id": ("SM-N-00001", "SM-N-00200"), "timestamp": (datetime(2025, 7, 1, tzinfo=UTC), datetime(2025, 7, 8, tzinfo=UTC))},
    "all 1,000 meters, a week": {"timestamp": (datetime(2025, 7, 1, tzinfo=UTC), datetime(2025, 7, 8, tzinfo=UTC))},
}  # fmt: skip


def main() -> None:
    """Measure, print, write bench-data/lake-results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=["queries", "cdc", "scd2"], default=[])
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    written = folder / "lake-results.json"
    results = json.loads(written.read_text()) if written.exists() else {}
    results |= measure(folder, given.runs, given.only)
    written.write_text(json.dumps(results, indent=1) + "\n")


def measure(folder: Path, runs: int = 3, only: list[str] | None = None) -> dict[str, Found]:
    """All figures, by what was measured."""
    parts: dict[str, Callable[[], dict[str, Found]]] = {
        "queries": lambda: queries(folder),
        "cdc": lambda: cdc(folder, runs),
        "scd2": lambda: scd2(folder, runs),
    }
    found: dict[str, Found] = {}
    for name, part in parts.items():
        if not only or name in only:
            found |= part()
    return found


def readings_lake(folder: Path) -> tuple[str, str]:
    """The lake with 5 M readings, made where it is missing, and their source."""
    lake, source = str(folder / "lake-5m"), str((folder / "big" / "source").absolute())
    if not Path(lake, "versions").exists():
        data.make(folder / "big", 5_000_000)
        run(["-m", "beam_grid", "run", "smart_meter_readings", "--source", source, "--lake", lake], folder / "rest.log")
    return lake, source


def queries(folder: Path) -> dict[str, Found]:
    """Files, bytes and milliseconds a question, as refine left the table (sorted by meter) and after `maintain`."""
    copied = _copied(Path(readings_lake(folder)[0]), folder / "lake-clustered")
    lake = Lake.open(copied, create=False)
    table, found = Table(lake, "silver.smart_meter_readings"), dict[str, Found]()
    found["before clustering"] = _ask(lake, table)
    for line in maintain(lake):
        print(line, flush=True)
    found["after clustering"] = _ask(lake, table)
    return found


def _ask(lake: Lake, table: Table) -> Found:
    seen, found = live(table.path), dict[str, float]()
    print(f"{len(seen.files)} files, {seen.bytes:,} bytes")
    for question, ranges in QUESTIONS.items():
        opened = [one for one in seen.files if all(one.may_hold(name, *ends) for name, ends in ranges.items())]
        where = " AND ".join(f"{n} >= {_literal(low)} AND {n} <= {_literal(high)}" for n, (low, high) in ranges.items())
        took = []
        for _ in range(8):
            started = time.perf_counter()
            query(lake, f"SELECT count(*), sum(reading_kwh), avg(voltage_v) FROM {table.name} WHERE {where}")
            took.append((time.perf_counter() - started) * 1000)
        told = {"files": len(opened), "bytes": sum(one.bytes for one in opened), "ms": statistics.median(took[1:])}
        print(f"  {question:<32}{told['files']:>4} files {told['bytes']:>12,} bytes {told['ms']:>7.0f} ms", flush=True)
        found |= {f"{question}: {name}": value for name, value in told.items()}
    return found


def _literal(value: Any) -> str:
    return f"TIMESTAMP '{value:%Y-%m-%dT%H:%M:%SZ}'" if isinstance(value, datetime) else f"'{value}'"


@dataclass(frozen=True)
class Case:
    """1 % changes into a table; `changes` and `base` are SELECTs, `textbook` what the tutorials write."""

    name: str
    contract: Contract
    base: str
    changes: str
    textbook: Callable[[str, str], str]
    shown: str


def cdc(folder: Path, runs: int, rows: int = 5_000_000) -> dict[str, Found]:
    """The newest keys, and random ones."""
    contract, few = parse_contract(BILLS, "bench"), rows // 100
    newest = (
        f"IF(n % 10 < 9, {rows} - 1 - CAST(hash(n, 1) % {rows // 20} AS BIGINT), CAST(hash(n, 2) % {rows} AS BIGINT))"
    )
    found = {}
    for name, key in {"newest keys": newest, "random keys": f"CAST(hash(n, 3) % {rows} AS BIGINT)"}.items():
        # of ten changes eight are updates, one is a delete, one an insert
        keys = f"SELECT n, IF(n % 20 = 7 OR n % 20 = 19, {rows} + n, {key}) AS k FROM range({few}) r(n)"
        once = f"SELECT k, min(n) AS n FROM ({keys}) GROUP BY k"
        operation = "CASE n % 20 WHEN 7 THEN 2 WHEN 19 THEN 2 WHEN 4 THEN 1 WHEN 14 THEN 1 ELSE 4 END"
        case = Case(
            f"cdc, {name}",
            contract,
            _bills(f"SELECT range AS k, 2 AS op, 0 AS n FROM range({rows})"),
            _bills(f"SELECT k, {operation} AS op, n + 1 AS n FROM ({once})"),
            lambda table, source: (
                f"MERGE INTO {table} t USING {source} s ON t.id = s.id WHEN MATCHED AND s.op = 1 THEN DELETE "
                "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED AND s.op <> 1 THEN INSERT *"
            ),
            "id, amount, status, reference, lsn",
        )
        found[case.name] = _beside(folder / "cdc", case, runs)
    return found


def _bills(changes: str) -> str:
    return f"""SELECT op, format('0x{{:010X}}', n + 1) AS lsn, format('TXN-{{:010d}}', k) AS id,
        format('CUST-{{:06d}}', CAST(hash(k, 4) % 400000 AS BIGINT)) AS customer, format('SM-N-{{:05d}}', CAST(hash(k, 5) % 90000 AS BIGINT)) AS meter,
        (CAST(hash(k, n) % 1000000 AS BIGINT)) / 100 AS units, CAST(CAST(hash(k, 6) % 100000 AS BIGINT) / 10000 AS DECIMAL(10,4)) AS rate,
        CAST(CAST(hash(k, n, 7) % 10000000 AS BIGINT) / 100 AS DECIMAL(12,2)) AS amount,
        (['PENDING', 'PAID', 'OVERDUE'])[1 + CAST(hash(k, n, 8) % 3 AS BIGINT)] AS status, md5(CAST(k AS VARCHAR)) AS reference,
        DATE '2026-01-01' + CAST(hash(k, 9) % 365 AS INTEGER) AS due,
        TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL 1 SECOND * (k + n) AS at FROM ({changes})"""


def scd2(folder: Path, runs: int, rows: int = 1_000_000) -> dict[str, Found]:
    """A master of which one row in a hundred changes what is tracked."""
    contract = parse_contract(ASSETS, "bench")

    def textbook(table: str, source: str) -> str:
        names = ", ".join(contract.schema.names)
        values = ", ".join(f"s.{name}" for name in contract.schema.names)
        differs = "(t.health <> s.health OR t.status <> s.status)"
        return (
            f"MERGE INTO {table} t USING (SELECT id AS merge_key, * FROM {source} UNION ALL SELECT NULL, s.* FROM {source} s "
            f"JOIN {table} t ON s.id = t.id AND t.is_current AND {differs}) s ON t.id = s.merge_key AND t.is_current "
            f"WHEN MATCHED AND {differs} THEN UPDATE SET is_current = false, record_end_date = s.since "
            f"WHEN NOT MATCHED THEN INSERT ({names}, record_effective_date, record_end_date, is_current) "
            f"VALUES ({values}, s.since, DATE '9999-12-31', true)"
        )

    case = Case(
        "scd2",
        contract,
        _assets(f"SELECT range AS k, 0 AS n FROM range({rows})"),
        _assets(f"SELECT DISTINCT CAST(hash(range, 3) % {rows} AS BIGINT) AS k, 1 AS n FROM range({rows // 100})"),
        textbook,
        "id, health, status, serial, record_effective_date, record_end_date, is_current",
    )
    return {case.name: _beside(folder / "scd2", case, runs)}


def _assets(changes: str) -> str:
    return f"""SELECT format('TRF-{{:08d}}', k) AS id, DATE '2025-01-01' + CAST(n * 30 AS INTEGER) AS since,
        n + CAST(hash(k, n) % 1000 AS BIGINT) / 1000 AS health, (['ACTIVE', 'UNDER_MAINTENANCE'])[1 + CAST(hash(k, n, 1) % 2 AS BIGINT)] AS status,
        format('maker {{}}', CAST(hash(k, 2) % 30 AS BIGINT)) AS maker, md5(CAST(k AS VARCHAR)) AS serial,
        format('SUB-{{:04d}}', CAST(hash(k, 3) % 5000 AS BIGINT)) AS substation, CAST(hash(k, 4) % 5000 AS BIGINT) / 10 AS capacity,
        DATE '1990-01-01' + CAST(hash(k, 5) % 12000 AS INTEGER) AS installed FROM ({changes})"""


def _beside(folder: Path, case: Case, runs: int) -> Found:
    """Refine's step for the changes on a copy of the base, and MERGE them into a copy of the textbook's, in turns."""
    from runners import delta

    spark = delta.session()
    slug = case.name.replace(", ", "-").replace(" ", "-")
    base = _base(folder, case)
    ours: list[float] = []
    theirs: list[float] = []
    before = added = 0
    for turn in range(runs + 1):
        lake = Lake.open(_copied(base / "lake", folder / f"{slug}-lake"), create=False)
        book = _copied(base / "textbook", folder / f"{slug}-textbook")
        _land(lake, case.contract, 2, case.changes)
        table = Table(lake, f"silver.{case.contract.name}")
        before, on_disk = live(table.path).bytes, _disk(lake.path / "tables")
        started = time.perf_counter()
        _take_in(lake, case.contract, applied=1)
        mine, added = time.perf_counter() - started, _disk(lake.path / "tables") - on_disk
        spark.conf.set("spark.sql.adaptive.enabled", "true")
        landed = f"{lake.path}/landing/{case.contract.name}/data/2"
        spark.read.parquet(landed).select(*case.contract.schema.names).createOrReplaceTempView("source")
        started = time.perf_counter()
        spark.sql(case.textbook(f"delta.`{book}`", "source"))
        textbook = time.perf_counter() - started
        if turn:
            ours.append(mine)
            theirs.append(textbook)
        else:
            _same(case, table.sql, f"delta.`{book}`")
        print(f"  {case.name}, turn {turn}: {mine:.1f} s, textbook {textbook:.1f} s", flush=True)
    told = {
        "s": statistics.median(ours),
        "textbook s": statistics.median(theirs),
        "times faster": statistics.median(t / o for o, t in zip(ours, theirs, strict=True)),
        "table bytes": before,
        "bytes added, percent": 100 * added / before,
    }
    print(f"{case.name}: " + ", ".join(f"{name} {value:,.2f}" for name, value in told.items()), flush=True)
    return told


def _take_in(lake: Lake, contract: Contract, applied: int) -> None:
    """What refine does to the feed's tables, the history of changes aside: the textbook has nothing like it."""
    from runners import delta

    log, spark = lake.feed(contract.name), delta.session()
    batch = Batch(log, contract, list(log.commits()), applied)
    for name in silver_tables(contract):
        table = Table(lake, name)
        maker = maker_of(Step(table, table.state(), batch))
        if maker is not cdc_history:
            delta.suit_to(spark, batch.bytes("rows"))
            maker.prepare(spark, table, table.state(), batch)
            maker.apply(spark, table, batch)


def _same(case: Case, *tables: str) -> None:
    from runners import delta

    sums = [
        delta.session().sql(f"SELECT count(*), bit_xor(xxhash64({case.shown})) FROM {table}").collect()[0]
        for table in tables
    ]
    if sums[0] != sums[1]:
        raise SystemExit(f"{case.name}: the tables differ: {sums}")


def _base(folder: Path, case: Case) -> Path:
    """Both tables before the changes, made once: ours as refine and maintain leave it."""
    from runners import delta

    base = folder / "base"
    if (base / "done").exists():
        return base
    shutil.rmtree(base, ignore_errors=True)
    lake, spark = Lake.open(base / "lake"), delta.session()
    _land(lake, case.contract, 1, case.base)
    _take_in(lake, case.contract, applied=0)
    optimize(spark, [Table(lake, f"silver.{case.contract.name}")], print, loose_too=True)
    rows = spark.read.parquet(f"{lake.path}/landing/{case.contract.name}/data/1").select(*case.contract.schema.names)
    if case.contract.lake.load == "scd2":
        rows = rows.selectExpr(
            "*", "since AS record_effective_date", "DATE '9999-12-31' AS record_end_date", "true AS is_current"
        )
    rows.write.format("delta").save(str(base / "textbook"))
    (base / "done").touch()
    return base


def _land(lake: Lake, contract: Contract, number: int, rows: str) -> None:
    """Commit these rows as `land` would: four files, each with keys of the whole range, and their bounds."""
    log = lake.feed(contract.name)
    folder = log.path / "data" / str(number)
    folder.mkdir(parents=True)
    kinds = {"string": "VARCHAR", "int32": "INTEGER", "int64": "BIGINT"}
    lineage = {name: kinds.get(str(kind), "TIMESTAMPTZ") for name, kind in LINEAGE.items()}
    known = {"_source": "'bench'", "_position": "row_number() OVER ()", "_commit": str(number), "_ingested_at": "now()"}
    columns = ", ".join(f"CAST({known.get(name, 'NULL')} AS {kind}) AS {name}" for name, kind in lineage.items())
    files: list[LandedFile] = []
    key = contract.lake.key[0]
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute(f"CREATE TEMP TABLE landed AS SELECT *, {columns} FROM ({rows})")
        for part in range(4):
            path, mine = folder / f"rows-{part}.parquet", f"FROM landed WHERE hash({key}) % 4 = {part}"
            engine.execute(f"COPY (SELECT * {mine} ORDER BY {key}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
            counted = engine.execute(f"SELECT count(*), min({key}), max({key}) {mine}").fetchone()
            assert counted is not None
            files.append(
                LandedFile(
                    kind="rows", path=f"data/{number}/{path.name}", rows=counted[0], bytes=path.stat().st_size,
                    min={key: counted[1]}, max={key: counted[2]},
                )
            )  # fmt: skip
    log.remember(contract)
    count = sum(file.rows for file in files)
    log.append(
        Commit(
            format=FORMAT, feed=contract.name, number=number, attempt=str(number), created_at=datetime.now(UTC),
            now=int(time.time() * 1e6), contract=contract.hash, source="bench", runner="direct", shards=4, plan=(),
            partitions=(), fates=Fates(read=count, landed=count), rejected_by={}, warned_by={}, delay_bounds_s=(),
            delays=(0,), watermark=None, files=tuple(files), problems=(),
        )
    )  # fmt: skip


def _copied(source: Path, target: Path) -> Path:
    """The same files under another name; none of them is ever written in place."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source.absolute(), target.absolute(), copy_function=os.link)
    return target.absolute()


def _disk(table: Path) -> int:
    """Bytes of all files but the logs."""
    return sum(p.stat().st_size for p in table.rglob("*") if p.is_file() and "_delta_log" not in p.parts)


if __name__ == "__main__":
    main()
