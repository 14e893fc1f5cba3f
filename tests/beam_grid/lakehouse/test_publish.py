"""Publishing without Spark: other hands, other publishers, full disks, kills; many small steps and one large give equal
tables, at any moment of which a reader sees one set."""

from __future__ import annotations

import copy
import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder

from beam_grid import durable
from beam_grid.errors import GridError, RunFailed
from beam_grid.lakehouse import bronze, compact, delta_log, gold, open_windows, silver, vectors
from beam_grid.lakehouse.delta_log import Action
from beam_grid.lakehouse.duck import connect
from beam_grid.lakehouse.live import Live, commit, live
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.scan import relation
from beam_grid.lakehouse.spans import window_span
from beam_grid.lakehouse.tables import Batch, Table
from beam_grid.landing import Lake
from beam_grid.refine import refine, versions
from data_sources.contract import parse_contract
from tests.beam_grid.test_durable import CANNOT, forbid_links
from tests.beam_grid.test_refine import CONTRACT, START, Landing, _contents, check, readings, superseding
from tests.properties.oracle import as_lines, run
from tests.transforms.making import contract, minute
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]
ONE_WINDOW = {**CONTRACT, "windows": CONTRACT["windows"][:1]}
REJECT = {"cause": "undecodable", "raw": b"x"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """One commit of forty rows in the tables, a second that supersedes some of them landed."""
    landing = Landing(Lake.open(tmp_path_factory.mktemp("publish") / "lake"), parse_contract(ONE_WINDOW, "test"))
    landing.land(readings(40, 1), rejected=[REJECT])
    refine(landing.lake)
    landing.land([*superseding(landing, 6), *readings(10, 2)], rejected=[REJECT])
    return landing


@pytest.fixture
def landing(prepared: Landing, tmp_path: Path) -> Landing:
    return copied(prepared, tmp_path / "lake")


@pytest.fixture
def new(tmp_path: Path) -> Landing:
    return Landing(Lake.open(tmp_path / "new"), parse_contract(ONE_WINDOW, "test"))


def copied(landing: Landing, to: Path) -> Landing:
    shutil.copytree(landing.lake.path, to)
    found = copy.deepcopy(landing)
    found.lake = Lake.open(to)
    return found


def path_of(landing: Landing, name: str) -> Path:
    return Table(landing.lake, name).path


def finished(landing: Landing) -> None:
    """A rerun leaves the tables as they must be, and nothing to do."""
    refine(landing.lake)
    check(landing)
    assert query(landing.lake, "SELECT * FROM bronze.rejected").num_rows == 2
    assert refine(landing.lake).feeds == {}


# Other hands on a table


def properties(at: Live, **said: str) -> list[Action]:
    named = {name.replace("__", "."): value for name, value in said.items()}
    meta = {"id": at.id, "schemaString": at.schema, "configuration": {**at.properties, **named}, "partitionColumns": []}
    return [{"metaData": {**meta, "format": {"provider": "parquet", "options": {}}}}]


def rows_gone(path: Path, at: Live) -> list[Action]:
    import numpy as np

    return delta_log.revectored(at.files[0], vectors.write(path, np.array([0])))


def column_gone(path: Path, at: Live) -> list[Action]:
    schema = delta_log.arrow_schema(at)
    return delta_log.with_columns(at, schema.remove(schema.get_field_index("kwh")), path.name)


HANDS: dict[str, tuple[str, Callable[[Path, Live], list[Action]], str]] = {
    "rows": ("DELETE", rows_gone, "version 2 is DELETE by"),
    "a column": ("DROP COLUMNS", column_gone, "version 2 is DROP COLUMNS by"),
    "a constraint": (
        "ADD CONSTRAINT", lambda path, at: properties(at, delta__constraints__low="kwh > 0"), "version 2 is ADD CONSTRAINT by",
    ),
    "append only": ("SET TBLPROPERTIES", lambda path, at: properties(at, delta__appendOnly="true"), "'delta.appendOnly'"),
    "a feature": (
        "SET TBLPROPERTIES",
        lambda path, at: [{"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "writerFeatures": [*at.features, "rowTracking"], "readerFeatures": ["deletionVectors"]}}],
        "'rowTracking'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("hand", HANDS)
def test_what_somebody_else_did_to_a_table_is_refused_and_the_way_out_works(hand: str, landing: Landing) -> None:
    operation, do, words = HANDS[hand]
    path, before = path_of(landing, "silver.meters"), versions(landing.lake)
    delta_log.put(path, live(path), do(path, live(path)), operation)
    with pytest.raises(GridError, match=rf"table silver.meters: .*{words}.*move .*silver/meters away and run refine"):
        refine(landing.lake)
    assert versions(landing.lake) == before
    shutil.move(path, landing.lake.path.parent / "away")
    finished(landing)


def test_what_somebody_else_did_while_we_published_shows_in_no_set(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = path_of(landing, "silver.meters"), versions(landing.lake)
    other = live(path).files[0]
    foreign = before_put(monkeypatch, lambda: delta_log.put(path, live(path), rows_gone(path, live(path)), "DELETE"))
    with foreign, pytest.raises(GridError, match=r"silver.meters: somebody else changed it"):
        refine(landing.lake)
    assert versions(landing.lake) == before and other.deleted == 0


def test_their_optimize_is_welcome(landing: Landing) -> None:
    landing.land(readings(10, 3))
    landing.land(readings(10, 4))
    refine(landing.lake)
    landing.land(superseding(landing, 9))
    optimized(landing)
    DeltaTable(str(path_of(landing, "gold.fixed"))).optimize.compact()
    finished(landing)


def optimized(landing: Landing) -> None:
    """Rewrite silver's files into one, as an OPTIMIZE of anybody does."""
    path = path_of(landing, "silver.meters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact, "AT_LEAST", 1)
        assert compact.compact(Table(landing.lake, "silver.meters"), landing.lake.path / "tables" / ".scratch")
    assert len(live(path).files) == 1 and not live(path).files[0].deleted


# Other publishers at work


def test_another_publisher_at_work_is_named(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_grid.refine.TABLES_WAIT_S", 0.1)
    with landing.lake.lock("tables"), pytest.raises(GridError, match="another refine, run or maintain is at work"):
        refine(landing.lake)
    finished(landing)


@pytest.mark.parametrize("name", ["silver.meters", "gold.fixed", "bronze.rejected"])
def test_publishers_that_race_bring_each_row_once(name: str, landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock, over two and three commits: who comes later takes in what is left, or nothing."""
    landing.land(superseding(landing, 5), rejected=[REJECT])
    log, window = landing.lake.feed("meters"), landing.contract.windows[0]
    commits = list(log.commits())
    read, met, calls, failed = delta_log.live, threading.Barrier(4), itertools.count(), []

    def all_read_first(path: Path) -> Live:
        at = read(path)
        if next(calls) < 4:
            met.wait(PATIENCE_S)
            time.sleep(0.3 if threading.current_thread().name == "3" else 0)
        return at

    def work(upto: int) -> None:
        table, batch = Table(landing.lake, name), Batch(log, landing.contract, commits[:upto], 1)
        try:
            if name == "gold.fixed":
                gold.publish(table, batch, window, landing.lake.path / f"scratch-{threading.get_ident()}")
            else:
                (silver if name == "silver.meters" else bronze).publish(table, batch)
        except BaseException as cause:
            failed.append(cause)

    monkeypatch.setattr(delta_log, "live", all_read_first)
    threads = [threading.Thread(target=work, name=str(upto), args=(upto,)) for upto in (2, 3, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and next(calls) > 4
    refine(landing.lake)
    check(landing)
    assert query(landing.lake, "SELECT * FROM bronze.rejected").num_rows == 3


@contextmanager
def before_put(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any], number: int = 1) -> Iterator[list[int]]:
    """Have something happen between reading a table and the log entry, before the `number`th; counts the entries."""
    put, asked = delta_log.put, [0]

    def after(*given: Any, **named: Any) -> int:
        asked[0] += 1
        if asked[0] == number:
            do()
        return put(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(delta_log, "put", after)
        yield asked
    assert asked[0] >= number, "nothing was put"


def published_by_another(landing: Landing) -> None:
    log = landing.lake.feed("meters")
    silver.publish(Table(landing.lake, "silver.meters"), Batch(log, landing.contract, list(log.commits()), 1))


def described(landing: Landing) -> None:
    path = path_of(landing, "silver.meters")
    delta_log.put(path, live(path), properties(live(path), delta__checkpointInterval="50"), "SET TBLPROPERTIES")


BETWEEN: dict[str, tuple[Callable[[Landing], None], int]] = {
    "OPTIMIZE of the files we take rows out of": (optimized, 3),
    "our own transaction": (published_by_another, 2),
    "a property": (described, 3),
}


@pytest.mark.parametrize("what", BETWEEN)
def test_a_commit_that_comes_between_reading_and_writing(
    what: str, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    do, version = BETWEEN[what]
    with before_put(monkeypatch, lambda: do(landing)):
        refine(landing.lake)
    assert live(path_of(landing, "silver.meters")).version == version
    finished(landing)


def test_files_that_another_optimize_moves_under_the_windows(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    table = path_of(landing, "gold.fixed")
    monkeypatch.setattr(gold, "FILE_ROWS", 12)
    landing.land([{**row, "at": row["at"] + timedelta(days=1)} for row in readings(10, 3)])
    refine(landing.lake)
    assert len(live(table).files) > 1
    landing.land(readings(10, 4))
    with before_put(monkeypatch, lambda: DeltaTable(str(table)).optimize.compact(), 2):
        refine(landing.lake)
    check(landing)


# A file system that cannot link, a full disk


@pytest.mark.parametrize("number", CANNOT, ids=os.strerror)
def test_where_nothing_can_be_linked_files_are_copied(
    number: int, new: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = forbid_links(monkeypatch, number)
    new.land(readings(20, 1))
    refine(new.lake)
    new.land([*superseding(new, 4), *readings(5, 2)])
    refine(new.lake)
    check(new)
    assert len(asked) > 10
    assert all(
        (path_of(new, "silver.meters") / f.path).stat().st_nlink == 1 for f in live(path_of(new, "silver.meters")).files
    )


def test_where_nothing_can_be_linked_a_run_lands_and_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = forbid_links(monkeypatch, errno.EPERM)
    records = [
        {"id": f"k{n}", "at": minute(n).isoformat(), "kwh": n / 10, "meter": "m1", "version": 1} for n in range(9)
    ]
    (tmp_path / "in.jsonl").write_text(as_lines(records))
    assert run(tmp_path / "lake", contract(), tmp_path / "in.jsonl").commits
    lake = Lake.open(tmp_path / "lake")
    refine(lake)
    rows = query(lake, f"SELECT count(*) AS n, sum(kwh) AS kwh FROM silver.{contract().name}").to_pylist()
    assert rows == [{"n": 9, "kwh": pytest.approx(3.6)}] and asked


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_for(part: str) -> Callable[[Path, bytes], None]:
    """Writing of small files that fails, half written, where the path holds this."""
    write = durable.write_synced

    def written(path: Path, content: bytes) -> None:
        if part in str(path):
            path.write_bytes(content[: len(content) // 2])
            full()
        write(path, content)

    return written


def half_a_file(path: Path, *_: Any) -> None:
    path.write_bytes(b"PAR1")
    full()


DISKS: dict[str, tuple[str, Any, str]] = {
    "in a data file": ("os.link", full, "table silver.meters"),
    "between file and log entry": ("beam_grid.durable.sync_folder", full, "table silver.meters"),
    "in a log entry": ("beam_grid.durable.write_synced", full_for("silver/meters/_delta_log"), "table silver.meters"),
    "in a vector": ("beam_grid.lakehouse.vectors.write", full, "table silver.meters"),
    "in a checkpoint": ("deltalake.DeltaTable.create_checkpoint", full, "table silver.meters"),
    "in a file of windows": ("beam_grid.lakehouse.data_files._write_synced", half_a_file, "table gold.fixed"),
    "in a log entry of windows": ("beam_grid.durable.write_synced", full_for("gold/fixed/_delta_log"), "table gold.fixed"),
    "in the version set": ("beam_grid.durable.write_synced", full_for("/versions/"), "version set 2"),
}  # fmt: skip


@pytest.mark.parametrize("where", DISKS)
def test_a_full_disk_is_named_and_a_rerun_goes_on(
    where: str, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, fault, words = DISKS[where]
    before = versions(landing.lake)
    with monkeypatch.context() as patch:
        patch.setattr(target, fault)
        patch.setattr(delta_log, "CHECKPOINT_EVERY", 1 if "checkpoint" in where else 20)
        with pytest.raises(RunFailed, match=rf"{words}.* cannot be written \(No space left on device\).*make room"):
            refine(landing.lake)
    assert versions(landing.lake) == before
    names = {path.name for path in path_of(landing, "gold.fixed").iterdir()}
    assert not any((path_of(landing, "gold.fixed") / name).stat().st_size == 4 for name in names)
    finished(landing)


def test_a_full_disk_while_small_files_are_put_together_harms_nothing(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing.land(readings(5, 3), rejected=[])
    refine(landing.lake)
    landing.land(superseding(landing, 2))
    write = compact.data_files.write

    def full_for_optimize(*given: Any, **named: Any) -> Any:
        return full() if named.get("changes_rows") is False else write(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(compact, "AT_LEAST", 2)
        patch.setattr(compact.data_files, "write", full_for_optimize)
        with pytest.raises(RunFailed, match=r"table silver.meters: .* cannot be written \(No space left on device\)"):
            refine(landing.lake)
    check(landing)
    finished(landing)


# Tables deleted, cut short, damaged


def cut(landing: Landing) -> None:
    for name in ("silver.meters", "gold.fixed", "bronze.rejected"):
        max((path_of(landing, name) / "_delta_log").glob("*.json")).unlink()


def emptied(landing: Landing) -> None:
    for entry in (path_of(landing, "gold.fixed") / "_delta_log").iterdir():
        entry.unlink()


MENDED: dict[str, Callable[[Landing], None]] = {
    "the newest log entries gone": cut,
    "a log emptied": emptied,
    "a table deleted": lambda landing: shutil.rmtree(path_of(landing, "silver.meters")),
    "all version sets gone": lambda landing: shutil.rmtree(landing.lake.path / "versions"),
}


@pytest.mark.parametrize("harm", MENDED)
def test_what_is_lost_of_the_tables_is_made_anew(harm: str, landing: Landing) -> None:
    refine(landing.lake)
    MENDED[harm](landing)
    finished(landing)


def data_file(landing: Landing, name: str) -> Path:
    return path_of(landing, name) / live(path_of(landing, name)).files[0].path


def first_entry(landing: Landing) -> Path:
    return path_of(landing, "silver.meters") / "_delta_log" / f"{0:020d}.json"


def newest_set(landing: Landing) -> Path:
    return max((landing.lake.path / "versions").glob("*.json"))


NAMED: dict[str, tuple[Callable[[Landing], Path], str, str]] = {
    "a data file of silver": (lambda at: data_file(at, "silver.meters"), "gone", r"silver.meters: its data file .* is gone; move .* away and run refine"),
    "a data file of the windows": (lambda at: data_file(at, "gold.fixed"), "gone", r"gold.fixed: its data file .* is gone; move .* away and run refine"),
    "a first log entry": (first_entry, "gone", r"silver.meters: .* cannot be read .*lacks a commit.*run refine"),
    "a damaged log entry": (first_entry, "damaged", r"silver.meters: .* cannot be read .*run refine"),
    "a version set": (newest_set, "damaged", r"version set .* cannot be read .*remove it and run refine"),
}  # fmt: skip


@pytest.mark.parametrize("harm", NAMED)
def test_what_is_damaged_is_named_with_the_way_out_which_works(harm: str, landing: Landing) -> None:
    where, how, words = NAMED[harm]
    path = where(landing)
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(GridError, match=words):
        refine(landing.lake)
    if "/versions/" in str(path):
        path.unlink()
    else:
        table = path.parent if path.suffix == ".parquet" else path.parent.parent
        shutil.move(table, landing.lake.path.parent / "away")
    finished(landing)


def test_a_landed_file_that_is_gone_is_named(landing: Landing) -> None:
    (landing.lake.path / "landing" / "meters" / "data" / "attempt-2" / "rows.parquet").unlink()
    with pytest.raises(GridError, match=r"attempt-2/rows.parquet, which a commit of meters lists, is gone"):
        refine(landing.lake)


# Killed


KILLS = [
    "publish:linked-silver.meters", "publish:written-silver.meters", "publish:entry-silver.meters",
    "publish:before-checkpoint", "publish:after-checkpoint", "publish:written-gold.fixed", "publish:entry-gold.fixed",
    "publish:entry-bronze.rejected", "refine:after-set", "compact:publish:written-silver.meters",
    "compact:publish:entry-silver.meters",
]  # fmt: skip

CHILDREN = """
import os, sys
from pathlib import Path
from beam_grid import crash, refine
from beam_grid.lakehouse import compact, delta_log
from beam_grid.lakehouse.tables import Table
from beam_grid.landing import Lake
for place, point in zip(sys.argv[1::2], sys.argv[2::2]):
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    lake = Lake.open(place)
    if point.startswith("compact:"):
        refine.refine(lake)
        compact.AT_LEAST = 2
    os.environ[crash.VARIABLE] = point.removeprefix("compact:")
    if "checkpoint" in point:
        delta_log.CHECKPOINT_EVERY = 1
    if point.startswith("compact:"):
        compact.compact(Table(lake, "silver.meters"), Path(place) / "tables" / ".scratch" / "c")
    else:
        refine.refine(lake)
    os._exit(0)
"""


def test_killed_anywhere_in_publishing_a_rerun_gives_equal_tables(prepared: Landing, tmp_path: Path) -> None:
    """One process that has everything loaded has a child for each point, each with a lake of its own."""
    lakes = [copied(prepared, tmp_path / str(n)) for n in range(len(KILLS))]
    arguments = itertools.chain.from_iterable(
        (str(at.lake.path), point) for at, point in zip(lakes, KILLS, strict=True)
    )
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(KILLS), done.stderr[-2000:]
    for point, landing in zip(KILLS, lakes, strict=True):
        shown = versions(landing.lake)
        assert shown and shown.number == (2 if point.startswith("compact") or point == "refine:after-set" else 1), point
        finished(landing)
        assert not list((landing.lake.path / "tables").glob(".scratch/*"))


# Readers


def test_a_reader_sees_silver_and_windows_of_one_set(new: Landing) -> None:
    new.land(readings(10, 1))
    refine(new.lake)
    ended, seen = threading.Event(), []

    def read() -> None:
        while not ended.is_set():
            answer = query(new.lake, "SELECT (SELECT count(*) FROM silver.meters) a, (SELECT sum(n) FROM gold.fixed) b")
            seen.append(tuple(answer.to_pylist()[0].values()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for n in range(2, 7):
            new.land([*superseding(new, 3), *readings(10, n)])
            refine(new.lake)
    finally:
        ended.set()
        reader.join()
    assert all(a == b for a, b in seen) and len({a for a, _ in seen}) > 3
    check(new)


# Superseded rows


def sums(landing: Landing) -> None:
    """delta-rs, DuckDB and what must be there agree on silver."""
    path = path_of(landing, "silver.meters")
    sql = 'SELECT count(*), sum("order"), sum(kwh) FROM '
    asked = QueryBuilder().register("t", DeltaTable(str(path))).execute(sql + "t").read_all()
    with connect(landing.lake.path / "tables" / ".scratch") as engine:
        ours = engine.sql(sql + relation(engine, path)).fetchall()[0]
    wanted = (
        len(landing.current),
        sum(r["order"] for r in landing.current),
        sum(r["kwh"] or 0 for r in landing.current),
    )
    assert ours == pytest.approx(wanted) and [asked.column(n)[0].as_py() for n in range(3)] == pytest.approx(
        list(wanted)
    )


@pytest.mark.parametrize("seed", range(2))
def test_any_history_of_superseded_rows_leaves_the_current_ones(
    seed: int, new: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows superseded again and again, within a batch and within a commit, before and after their files are rewritten;
    of a feed with a field that DuckDB would call a file's path."""
    fields = [*ONE_WINDOW["fields"], {"name": "filename", "type": "string"}]
    new.contract = parse_contract({**ONE_WINDOW, "fields": fields}, "test")
    rng = random.Random(seed)
    pool = readings(25, seed)
    monkeypatch.setattr(delta_log, "CHECKPOINT_EVERY", 4)
    taken = 0
    for turn in range(9):
        chosen = [rng.choice(pool) for _ in range(rng.randint(1, 12))]
        new.land(
            [{**row, "order": turn, "kwh": rng.randint(0, 90) / 10, "meter": f"m{rng.randint(0, 2)}"} for row in chosen]
        )
        fate = rng.random()
        if fate < 0.55:
            refine(new.lake)
            taken += 1
            if fate < 0.2:
                optimized(new)
    refine(new.lake)
    assert taken > 1
    check(new)
    sums(new)
    shutil.rmtree(new.lake.path / "tables")
    refine(new.lake)
    check(new)


def test_a_superseded_row_that_is_not_in_the_table_is_named(landing: Landing) -> None:
    gone = landing.lake.path / "landing" / "meters" / "data" / "attempt-2" / "superseded.parquet"
    rows = pq.read_table(gone)
    where = rows.schema.get_field_index("_position")
    pq.write_table(
        rows.set_column(where, rows.schema.field(where), [[n + 1000 for n in rows["_position"].to_pylist()]]), gone
    )
    with pytest.raises(RunFailed, match="0 of 6 superseded rows are in the table"):
        refine(landing.lake)


@pytest.mark.spark
def test_spark_reads_what_we_wrote_tidies_it_and_tells_what_changed(landing: Landing) -> None:
    from runners import delta

    refine(landing.lake)
    path = path_of(landing, "silver.meters")
    table = f"delta.`{path}`"
    spark = delta.session()

    def by_spark() -> tuple[Any, ...]:
        return tuple(spark.sql(f"SELECT count(*), sum(`order`) FROM {table}").collect()[0])

    def wanted() -> tuple[Any, ...]:
        return len(landing.current), sum(row["order"] for row in landing.current)

    assert by_spark() == wanted()
    told = spark.sql(f"SELECT _change_type, count(*) FROM table_changes_by_path('{path}', 0) GROUP BY 1").collect()
    assert {row[0]: row[1] for row in told} == {"insert": 56, "delete": 6}
    spark.sql(f"OPTIMIZE {table}").collect()
    landing.land([*superseding(landing, 8), *readings(5, 3)], rejected=[])
    refine(landing.lake)
    check(landing)
    sums(landing)
    assert by_spark() == wanted()


# Windows


def test_files_of_windows_stay_disjoint_and_small_whatever_comes_late(
    new: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of three weeks, then late ones days back, between files, before the first and after the last."""
    monkeypatch.setattr(gold, "FILE_ROWS", 20)
    monkeypatch.setattr(gold, "_SMALL", 5)
    rng = random.Random(7)
    table = path_of(new, "gold.fixed")

    def spread(n: int, count: int, days: list[int]) -> list[dict[str, Any]]:
        return [{**row, "at": row["at"] + timedelta(days=rng.choice(days))} for row in readings(count, n)]

    new.land(spread(1, 60, [2, 4, 6, 8]), watermark=START + timedelta(days=8))
    refine(new.lake)
    for n, days in enumerate([[2, 8], [3], [0], [4, 9], [12], [1, 3, 5, 7, 11]], start=2):
        new.land(spread(n, 6, days), watermark=START + timedelta(days=8 + n / 10))
        refine(new.lake)
        check(new)
        assert all((file.rows or 0) <= 20 for file in live(table).files)
    assert len(live(table).files) > 5


def test_a_commit_rewrites_the_windows_being_filled_and_few_others(
    new: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of rows a commit, for two days: what a commit writes does not grow with what is there."""
    monkeypatch.setattr(gold, "_COLD", 30)
    table, written = path_of(new, "gold.fixed"), []
    for n in range(48):
        rows = [{**row, "at": START + timedelta(hours=n, minutes=k)} for k, row in enumerate(readings(60, n))]
        new.land(rows, watermark=START + timedelta(hours=n))
        refine(new.lake)
        at = live(table)
        written.append(sum(delta_log.rows_of(a) for a in commit(table, at.version) if "add" in a))
    check(new)
    assert max(written[10:]) < 2 * (30 + 12 * 4), "those being filled, and fewer than make a file of their own"
    assert sum(file.rows or 0 for file in live(table).files) > 5 * max(written)
    assert min(file.rows or 0 for file in sorted(live(table).files, key=window_span)[:-1]) >= 30


def test_many_batches_equal_one_and_sliding_windows_with_them(tmp_path: Path) -> None:
    many = Landing(Lake.open(tmp_path / "many"), parse_contract(CONTRACT, "test"))
    for n in range(6):
        many.land([*superseding(many, 3), *readings(12, n)], watermark=START + timedelta(hours=n))
        if n % 2:
            refine(many.lake)
    refine(many.lake)
    check(many)
    rows = _contents(many.lake)
    shutil.rmtree(many.lake.path / "tables")
    refine(many.lake)
    assert _contents(many.lake) == rows


def test_a_contract_with_another_lateness_moves_final_without_a_row(new: Landing) -> None:
    def finals() -> int:
        return int(query(new.lake, "SELECT count(*) AS n FROM gold.fixed WHERE final")["n"][0].as_py())

    watermark = START + timedelta(hours=2)
    new.land(readings(30, 1), watermark=watermark)
    refine(new.lake)
    before = finals()
    new.contract = parse_contract({**ONE_WINDOW, "allowed_lateness": "0s"}, "test")
    new.land([], watermark=watermark)
    refine(new.lake)
    assert finals() > before > 0
    check(new)


def test_open_windows_are_gone_on_with_and_come_out_as_if_all_tiles_were_read(
    new: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit is published alone: after a few of them tiles of open windows are kept, a late row passes them by."""
    monkeypatch.setattr(open_windows, "MANY_FILES", 2)
    used: list[bool] = []
    known = open_windows.known

    def asked(*arguments: Any) -> open_windows.Open | None:
        used.append((found := known(*arguments)) is not None)
        return found

    monkeypatch.setattr(open_windows, "known", asked)
    rows = [
        {**row, "id": f"{n}-{row['id']}", "at": START + timedelta(minutes=7 * n, seconds=m)}
        for n in range(14) for m, row in enumerate(readings(6, n))
    ]  # fmt: skip
    for n in range(14):
        fresh = rows[6 * n : 6 * n + 6]
        if n == 9:
            fresh = [*fresh, {**rows[0], "id": "late", "at": START - timedelta(days=3)}]
        new.land(fresh if n != 5 else [], watermark=START + timedelta(minutes=7 * n - 70))
        refine(new.lake)
        check(new)
    assert sum(used) > 8 and not all(used[6:]), "kept tiles are used, and passed by for the late row"
    went_on = query(new.lake, "SELECT window_start, meter, revision FROM gold.fixed ORDER BY 1, 2")
    shutil.rmtree(new.lake.path / "tables")
    refine(new.lake)
    check(new)
    assert query(new.lake, "SELECT window_start, meter, revision FROM gold.fixed ORDER BY 1, 2") == went_on
