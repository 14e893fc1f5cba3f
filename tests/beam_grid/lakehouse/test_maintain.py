"""Maintenance: what an OPTIMIZE is to rewrite, on made-up files; and that Delta then rewrites just that."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_grid.errors import GridError
from beam_grid.lakehouse import delta_log, maintain, vectors
from beam_grid.lakehouse.live import Live, LiveFile, live
from beam_grid.lakehouse.maintain import CUBE_BYTES, REWRITE_SHARE, check_statistics, optimize, sizes, worth
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.tables import Table, create
from beam_grid.landing import Lake
from beam_grid.refine import refine
from tests.properties.oracle import as_lines, run
from tests.transforms.making import LATEST, contract, minute

MB = 1 << 20
START = datetime(2026, 3, 1, tzinfo=UTC)


def made(loose: list[int], cubes: list[list[int]], clustered: bool = True) -> Live:
    files = [LiveFile(f"l{n}", size) for n, size in enumerate(loose)]
    files += [LiveFile(f"c{n}-{m}", size, f"cube{n}") for n, cube in enumerate(cubes) for m, size in enumerate(cube)]
    return Live(0, files, ["meter"] if clustered else [], 1)


def weights(table: Live) -> list[int]:
    found: dict[str, int] = {}
    for one in table.files:
        if one.cube is not None:
            found[one.cube] = found.get(one.cube, 0) + one.bytes
    return sorted(found.values())


@given(st.lists(st.integers(1, 900 * MB), max_size=30), st.lists(st.integers(1, 9 * MB), max_size=30))
def test_cubes_that_are_rewritten_are_the_smallest_and_less_than_their_share(
    cubes: list[int], loose: list[int]
) -> None:
    table = made(loose, [[size] for size in cubes])
    taken = [size for size in cubes if size < sizes(table).cube]
    assert sum(taken) <= REWRITE_SHARE * table.bytes
    rest = sorted(size for size in cubes if size >= sizes(table).cube)
    equals = rest.count(rest[0]) if rest else 0
    assert not rest or sum(taken) + rest[0] * equals > REWRITE_SHARE * table.bytes, "one more would have gone in"


def test_a_table_that_grows_by_one_percent_never_rewrites_a_tenth() -> None:
    """As OPTIMIZE does it: what is loose and the cubes below the limit become one cube."""
    cubes, rewritten, grown, most = [1000 * MB], 0, 0, 0
    for _ in range(500):
        new = sum(cubes) // 100
        table = made([new], [[size] for size in cubes])
        taken = [size for size in cubes if size < sizes(table).cube]
        assert sum(taken) + new <= 0.1 * table.bytes
        cubes = [size for size in cubes if size not in taken] + [sum(taken) + new]
        rewritten, grown, most = rewritten + sum(taken) + new, grown + new, max(most, len(cubes))
    assert most < 40, "cubes pile up"
    assert rewritten < 10 * grown


@pytest.mark.parametrize(
    ("loose", "cubes", "clustered", "pays"),
    [
        ([100] * 15, [[MB]], True, False),
        ([100] * 16, [[MB]], True, True),
        ([], [[100] * 40], True, False),  # small files of one cube: a rewrite would make no fewer
        ([9 * MB], [[91 * MB]], True, False),
        ([10 * MB], [[90 * MB]], True, True),
        ([5 * MB], [[5 * MB]], True, False),  # half of a table that is read at once anyway
        ([500 * MB], [], False, False),
        ([7 * MB] * 16, [], False, True),
        ([9 * MB] * 99, [], False, False),
    ],
)
def test_optimize_pays_for_many_small_files_or_much_that_is_not_clustered(
    loose: list[int], cubes: list[list[int]], clustered: bool, pays: bool
) -> None:
    assert worth(made(loose, cubes, clustered))[0] is pays


def test_files_are_fitted_to_the_table() -> None:
    assert [sizes(made([], [[size * MB]])).file // MB for size in (1, 256, 640, 6400, 1 << 20)] == [4, 4, 10, 100, 128]
    assert 100 * sizes(made([], [[1 << 40]])).file < CUBE_BYTES


def readings(low: int, high: int) -> str:
    """SQL: readings of 500 meters in turn, a minute apart, with values that do not compress to nothing."""
    return (
        f"SELECT concat('m', lpad(id % 500, 3, '0')) AS meter, timestamp_micros({int(START.timestamp() * 1e6)} + id * 60000000) AS at, "
        f"hash(id) / 7D AS kwh, sha2(CAST(id AS STRING), 256) AS note FROM range({low}, {high})"
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """120,000 readings, as they came, and clustered by meter and time."""
    from runners import delta

    spark = delta.session()
    table = Table(Lake.open(tmp_path_factory.mktemp("maintain") / "lake"), "silver.readings")
    schema = pa.schema(
        {"meter": pa.string(), "at": pa.timestamp("us", "UTC"), "kwh": pa.float64(), "note": pa.string()}
    )
    create(spark, table, schema, ["meter", "at"], {})
    spark.sql(readings(0, 120_000)).coalesce(2).write.format("delta").mode("append").save(str(table.path))
    return table


def _content(table: Table) -> Any:
    from runners import delta

    return delta.session().sql(f"SELECT count(*), bit_xor(xxhash64(meter, at, kwh, note)) FROM {table.sql}").collect()


@pytest.mark.spark
def test_after_one_percent_new_rows_a_tenth_is_rewritten_at_most(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    from runners import delta

    spark, before = delta.session(), _content(table)
    monkeypatch.setattr(maintain, "LEAST_FILE_BYTES", 1 << 16)
    monkeypatch.setattr(maintain, "FILES", 32)
    monkeypatch.setattr(maintain, "CLUSTER_FROM_BYTES", MB)
    first = optimize(spark, [table], print, loose_too=True)
    seen = live(table.path)
    assert len(first) == 1 and first[0].rewritten == first[0].bytes_before > 3 * MB
    assert 20 < len(seen.files) < 45 and {one.cube is None for one in seen.files} == {False}
    assert optimize(spark, [table], print, loose_too=True) == [], "what is clustered is left alone"

    noon = START + timedelta(days=40)
    by_both = [
        f
        for f in seen.files
        if f.may_hold("meter", "m042", "m042") and f.may_hold("at", noon, noon + timedelta(days=1))
    ]
    by_meter = [f for f in seen.files if f.may_hold("meter", "m042", "m042")]
    by_week = [f for f in seen.files if f.may_hold("at", noon, noon + timedelta(days=7))]
    assert 1 <= len(by_both) <= 4 and len(by_meter) <= len(seen.files) / 3 and len(by_week) <= len(seen.files) / 3

    more = spark.sql(readings(120_000, 121_200)).repartition(16)
    more.write.format("delta").mode("append").save(str(table.path))
    count = live(table.path).bytes
    second = optimize(spark, [table], print)
    assert len(second) == 1 and "16 files under" in second[0].reason
    assert 0 < second[0].rewritten <= 0.1 * count
    assert second[0].files_after <= len(seen.files) + 2
    assert _content(table)[0][0] == before[0][0] + 1_200


@pytest.mark.spark
def test_the_log_is_read_right_before_and_after_checkpoints_and_deletes(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake import DeltaTable

    from runners import delta

    spark = delta.session()
    spark.sql(f"DELETE FROM {table.sql} WHERE meter < 'm010'")
    seen = live(table.path)
    assert sum(one.rows - one.deleted for one in seen.files) == _content(table)[0][0]
    assert sum(one.deleted for one in seen.files), "no deletion vector was written"
    adds = pa.table(DeltaTable(str(table.path)).get_add_actions())
    assert sorted(adds["path"].to_pylist()) == sorted(one.path for one in seen.files)
    before = live(table.path)
    monkeypatch.setattr(maintain, "CHECKPOINT_AFTER", before.log_files + 1)
    assert maintain._checkpoint(table) is None
    monkeypatch.setattr(maintain, "CHECKPOINT_AFTER", before.log_files)
    done = maintain._checkpoint(table)
    after = live(table.path)
    assert done is not None and done.action == "checkpointed" and after.log_files == 0
    assert sorted(map(str, after.files)) == sorted(map(str, before.files)) and after.cluster_by == ["meter", "at"]
    check_statistics(table)
    content = _content(table)
    spark.sql(f"INSERT INTO {table.sql} SELECT * FROM {table.sql} LIMIT 1")
    assert _content(table)[0][0] == content[0][0] + 1
    assert spark.sql(f"DESCRIBE DETAIL {table.sql}").collect()[0]["clusteringColumns"] == ["meter", "at"]


@pytest.mark.spark
def test_files_without_bounds_of_a_cluster_column_are_named(table: Table) -> None:
    from runners import delta

    spark, setting = delta.session(), "spark.databricks.delta.stats.collect"
    spark.conf.set(setting, "false")
    try:
        spark.sql(readings(0, 10)).coalesce(1).write.format("delta").mode("append").save(str(table.path))
    finally:
        spark.conf.unset(setting)
    with pytest.raises(GridError, match=r"1 of \d+ files.*no least and greatest meter"):
        check_statistics(table)


def aged(folder: Path, days: float) -> None:
    """As if so many days had passed: what a log says of times, and how old files are."""
    gone, since = int(days * 86_400_000), {path: path.stat().st_mtime for path in folder.rglob("*")}
    for path in folder.rglob("_delta_log/*.json"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for action in lines:
            for kind, name in (
                ("add", "modificationTime"),
                ("remove", "deletionTimestamp"),
                ("commitInfo", "timestamp"),
            ):
                if name in action.get(kind, {}):
                    action[kind][name] -= gone
        path.write_text("".join(json.dumps(action) + "\n" for action in lines))
    for path, then in since.items():
        os.utime(path, (then - days * 86_400,) * 2)


def test_vacuum_takes_what_a_checkpoint_has_forgotten_and_what_a_killed_writer_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what a version of the last week has: each of those can still be read."""
    monkeypatch.setattr(delta_log, "CHECKPOINT_EVERY", 3)
    monkeypatch.setattr(maintain, "_no_spark", lambda master: "no Java")
    monkeypatch.setattr(vectors, "_INLINE_BYTES", 0)
    feed = contract(dedup=LATEST)
    lake, source = Lake.open(tmp_path / "lake"), tmp_path / "in"
    source.mkdir()
    tables = [lake.path / "tables" / name for name in ("silver/readings", "gold/quarters")]

    def more(first: int, last: int) -> None:
        for n in range(first, last):
            rows = [{"id": f"r{i}", "at": minute(i).isoformat(), "kwh": 1.0, "version": n} for i in range(n % 3, 9)]
            (source / f"{n:02d}.json").write_text(as_lines(rows))
            run(lake.path, feed, source)
            refine(lake)

    def missing() -> set[str]:
        """Of the versions of the last week."""
        found = set()
        for table in tables:
            log = table / "_delta_log"
            for entry in log.glob("*.json"):
                if entry.stem.isdigit() and time.time() - entry.stat().st_mtime < 7 * 86_400:
                    for file in live(table, int(entry.stem)).files:
                        found |= {
                            p for p in (file.path, vectors.path_of(file.vector)) if p and not (table / p).exists()
                        }
        return found

    more(0, 5)
    orphan = tables[0] / "part-of-one-that-was-killed.parquet"
    orphan.write_bytes(b"")
    maintain.maintain(lake)
    assert orphan.exists() and not missing(), "it may be about to be committed"
    aged(lake.path / "tables", 6)
    more(5, 7)
    wanted = query(lake, "SELECT id, version FROM silver.readings ORDER BY id").to_pylist()
    maintain.maintain(lake)
    assert orphan.exists() and not missing()
    aged(lake.path / "tables", 2)
    maintain.maintain(lake)
    assert not orphan.exists() and not missing()
    aged(lake.path / "tables", 8)
    maintain.maintain(lake)
    for table in tables:
        files = {str(path.relative_to(table)) for path in table.glob("[!.]*") if path.is_file()}
        assert files == {p for f in live(table).files for p in (f.path, vectors.path_of(f.vector)) if p}, table
    assert query(lake, "SELECT id, version FROM silver.readings ORDER BY id").to_pylist() == wanted
