"""`maintain`: OPTIMIZE where it pays, checkpoint, VACUUM, old version sets away. Cheap when there is little to do.

    live files of a table      [cube: 300 MB] [cube: 12 MB] [cube: 9 MB]  new: 4 MB 3 MB 1 MB
    OPTIMIZE rewrites           -              9 and 12 MB are less than  all that is in no cube
                                               8 % of the table's bytes

Window tables, whose files refine keeps small, are not OPTIMIZEd: files of final windows are put in order of their groups
(compact.py). OPTIMIZE pays when a table has many small files, each of which costs every query an opening, or when much of it is not
clustered, so that queries by its cluster columns cannot skip files; `refine` asks the first question of the tables
it wrote. It rewrites what is not clustered and, by way of keeping cubes few, small cubes, but never more than a share
of the table: adding one percent does not rewrite the rest. Files are as large as suits the table.

Tables an interrupted refine left ahead of the newest set are left alone, so that what readers see stays together.
VACUUM removes what no version within the retention needs; a set older than that can no longer be read, the newest one
always can.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msgspec import structs

from beam_grid import durable
from beam_grid.errors import GridError
from beam_grid.lakehouse import delta_log, guard, publish
from beam_grid.lakehouse.live import Live, live
from beam_grid.lakehouse.versions import KEPT_SETS, content_of, newest
from beam_grid.lakehouse.versions import publish as publish_set
from beam_grid.landing import TABLES_WAIT_S, Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from beam_grid.lakehouse.table_set import PublishedTable, TableSet
    from beam_grid.lakehouse.tables import Table
    from data_sources.contract import Contract, WindowSpec

MANY_SMALL = 16
"""So many small files are worth an OPTIMIZE: opening them costs a query more than reading them."""

LOOSE_SHARE = 0.10
"""So much of a table's bytes not clustered is worth an OPTIMIZE: each byte is then rewritten about twice in its life,
while a query by the cluster columns never reads much more than this share in vain."""

CLUSTER_FROM_BYTES = 16 << 20
"""A table below this is read whole about as fast as by parts."""

GATHERED_BYTES = 256 << 20
"""Below this much, what a run that follows leaves unclustered is not worth a JVM beside it: its files are put together, and
sorted by the cluster columns, in process."""

REWRITE_SHARE = 0.08
"""Cubes are rewritten with what is new as long as they come to less than this share of the table. With 1 % new, an
OPTIMIZE so rewrites less than a tenth; and a table keeps about as many cubes as this share goes into it."""

FILES = 64
"""About so many files a table is cut into: a query by the cluster columns skips most, one for all opens few."""

LEAST_FILE_BYTES, GREATEST_FILE_BYTES = 4 << 20, 128 << 20
"""Below the one, opening a file costs more than what skipping it saves; above the other, a reader reads in vain."""

PLAIN_FILE_BYTES = 32 << 20
"""Files of tables without cluster columns, which nothing skips."""

CUBE_BYTES = 16 << 30
"""At most so much is sorted in one job."""

CHECKPOINT_AFTER = 10
"""So many commits behind the last checkpoint are read faster from a new one: what Delta itself takes."""

_WRITING_HOURS = 24
"""A file that no version has may be one that is being written; whoever writes has ended by then."""

RETENTION_HOURS = 168
"""How long files of earlier versions stay, so that a reader that has opened a version can read it to its end."""


@dataclass(frozen=True)
class Maintained:
    """What became of one table: `optimized`, `ordered` (windows by their groups), `checkpointed`, `vacuumed`, `skipped` or (what needs
    Spark where there is none) `left out`, why, its files before and after.

    Before and after are live files, of `vacuumed` those on disk. `rewritten` is in bytes.
    """

    table: str
    action: str
    reason: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    rewritten: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.action in ("skipped", "left out"):
            return f"{self.table}: {self.action}, {self.reason} ({self.files_before} files, {_size(self.bytes_before)})"
        told = (
            f"{self.table}: {self.action}, {self.reason}; files {self.files_before} -> {self.files_after}, "
            f"{_size(self.bytes_before)} -> {_size(self.bytes_after)}"
        )
        return told + (f", {_size(self.rewritten)} rewritten in {self.seconds:.1f} s" if self.rewritten else "")


@dataclass(frozen=True)
class Sizes:
    """What suits a table, in bytes: a file, what is a small one, and the least cube that an OPTIMIZE leaves alone."""

    file: int
    small: int
    cube: int


def sizes(table: Live) -> Sizes:
    """Sizes fitted to the table. Cubes are taken smallest first until the next one would pass REWRITE_SHARE."""
    if not table.cluster_by:
        return Sizes(PLAIN_FILE_BYTES, PLAIN_FILE_BYTES // 4, 0)
    file = min(max(table.bytes // FILES, LEAST_FILE_BYTES), GREATEST_FILE_BYTES)
    cubes: dict[str, int] = {}
    for one in table.files:
        if one.cube is not None:
            cubes[one.cube] = cubes.get(one.cube, 0) + one.live_bytes
    taken = 0
    for weight in sorted(cubes.values()):
        taken += weight
        if taken > REWRITE_SHARE * table.bytes:
            return Sizes(file, file // 2, weight)
    return Sizes(file, file // 2, max(cubes.values(), default=0) + 1)


def worth(table: Live, *, loose_too: bool = True) -> tuple[bool, str]:
    """Whether an OPTIMIZE pays, and the figures that say so; without `loose_too` only small files count."""
    fit = sizes(table)
    loose = [one for one in table.files if one.cube is None]
    small = sum(one.bytes < fit.small for one in loose)
    share = sum(one.bytes for one in loose) / table.bytes if table.bytes and table.cluster_by else 0.0
    said = f"{small} file{'s' if small != 1 else ''} under {_size(fit.small)}"
    if not table.cluster_by:
        return small >= MANY_SMALL, said
    said += f", {share:.0%} of {_size(table.bytes)} not clustered"
    return small >= MANY_SMALL or (loose_too and is_loose(table)), said


def is_loose(table: Live) -> bool:
    """Whether so much of a large table is not clustered that it is worth starting Spark for."""
    if not table.cluster_by or table.bytes < CLUSTER_FROM_BYTES:
        return False
    return sum(one.bytes for one in table.files if one.cube is None) >= LOOSE_SHARE * table.bytes


def has_gathered(table: Live) -> bool:
    """Whether so much is not clustered that a run that follows starts Spark for it alone."""
    return is_loose(table) and sum(one.bytes for one in table.files if one.cube is None) >= GATHERED_BYTES


def maintain(
    lake: Lake,
    *,
    spark_master: str | None = None,
    retention_hours: int = RETENTION_HOURS,
    progress: Callable[[str], None] | None = None,
) -> list[Maintained]:
    """Go over every table of the newest set; returns one entry a table and action.

    Raises GridError when the lake has no tables yet, another run is at work on them, somebody else changed a table, or
    a table's files lack the statistics of a column it is clustered by.
    """
    say = progress or (lambda line: None)
    done: list[Maintained] = []
    with lake.lock("tables", wait_s=TABLES_WAIT_S):
        found = newest(lake)
        if found is None:
            raise GridError(f"lake {lake.path}: has no tables yet; run `beam-grid refine --lake {lake.path}` first")
        sound: list[tuple[Table, Live]] = []
        for table, said in _tables(lake, found):
            state = table.state()
            is_ahead = guard.check(table, state, said)
            if state.version is None or state.id != said.id or state.version < said.version:
                done.append(_skipped(table, None, "the table is not as the newest set has it; refine makes it so"))
            elif is_ahead:
                why = "an interrupted refine left it ahead of the newest set; run refine first"
                done.append(_skipped(table, live(table.path), why))
            else:
                sound.append((table, live(table.path)))
    windows = _windows(lake)
    # windows and reflections have an order of their own, which OPTIMIZE would not keep
    own = windows.keys() | {name for name, said in found.tables.items() if said.reflection is not None}
    due = [table for table, seen in sound if table.name not in own and worth(seen)[0]]
    missing = _no_spark(spark_master) if due else None
    if missing is not None:
        done += [_left_out(table, f"OPTIMIZE would pay and needs Spark ({missing})") for table in due]
    elif due:  # it takes long and meets what others publish meanwhile, so nobody is kept waiting
        done += optimize(_spark(spark_master), due, say, loose_too=True)
    of_windows = [table for table, _ in sound if table.name in windows]
    for table in of_windows:
        done.append(_ordered(table, *windows[table.name]))
    with lake.lock("tables", wait_s=TABLES_WAIT_S):
        _republish(lake, due + of_windows)
        for table, seen in sound:
            pays, figures = worth(seen)
            if not pays and table.name not in own:
                done.append(_skipped(table, seen, f"OPTIMIZE would not pay: {figures}"))
            check_statistics(table)
            done += [entry for entry in (_checkpoint(table), _vacuum(table, retention_hours)) if entry is not None]
        for old in sorted((lake.path / "versions").glob("[0-9]*.json"))[:-KEPT_SETS]:
            durable.remove(old)
        return done


def optimize(
    spark: SparkSession, tables: Iterable[Table], say: Callable[[str], None], *, loose_too: bool = False
) -> list[Maintained]:
    """OPTIMIZE the tables among these where it pays; changes no row."""
    done = []
    for table in tables:
        before = live(table.path)
        pays, figures = worth(before, loose_too=loose_too)
        if not pays:
            continue
        started = time.monotonic()
        rewritten = guard.again_on_conflict(_optimize, spark, table)
        after = live(table.path)
        entry = Maintained(
            table.name,
            "optimized",
            figures,
            len(before.files),
            len(after.files),
            before.bytes,
            after.bytes,
            rewritten,
            time.monotonic() - started,
        )
        say(f"{table.name}: optimized, {len(before.files)} files to {len(after.files)} in {entry.seconds:.1f} s")
        done.append(entry)
    return done


def _windows(lake: Lake) -> dict[str, tuple[Contract, WindowSpec, int | None]]:
    """The window tables of the lake's feeds: contract, window, and the feed's watermark."""
    found: dict[str, tuple[Contract, WindowSpec, int | None]] = {}
    for log in map(lake.feed, lake.feeds):
        contract, watermark = log.contract(), log.read(log.last).watermark
        found |= {f"gold.{window.name}": (contract, window, watermark) for window in contract.windows}
    return found


def _ordered(table: Table, contract: Contract, window: WindowSpec, watermark: int | None) -> Maintained:
    """Put all final windows in order of their groups; the lock is given back after each run of files."""
    started, before, went = time.monotonic(), live(table.path), 0
    scratch = table.lake.scratch / "maintain"
    while True:
        with table.lake.lock("tables", wait_s=TABLES_WAIT_S):
            some = publish.by_group(table, contract, window, watermark, scratch)
            shutil.rmtree(scratch, ignore_errors=True)
        if not some:
            break
        went += some
    if not went:
        return _skipped(table, before, "no more files of final windows to put in order of their groups")
    after = live(table.path)
    return Maintained(
        table.name,
        "ordered",
        f"{went} files of final windows by {', '.join(window.by)}",
        len(before.files),
        len(after.files),
        before.bytes,
        after.bytes,
        seconds=time.monotonic() - started,
    )


def _optimize(spark: SparkSession, table: Table) -> int:
    """Run OPTIMIZE with sizes that suit the table; returns the bytes of the files it replaced."""
    fit = sizes(live(table.path))
    settings = {
        "optimize.minFileSize": fit.small,
        "optimize.maxFileSize": fit.file,
        "optimize.clustering.mergeStrategy.minCubeSize.threshold": fit.cube,
        "optimize.clustering.mergeStrategy.targetCubeSize": CUBE_BYTES,
    }
    names = {f"spark.databricks.delta.{name}": str(value) for name, value in settings.items()}
    try:
        for name, value in names.items():
            spark.conf.set(name, value)
        metrics = spark.sql(f"OPTIMIZE {table.sql}").collect()[0]["metrics"]
        return int(metrics["filesRemoved"]["totalSize"] or 0)
    finally:
        for name in names:
            spark.conf.unset(name)


def check_statistics(table: Table) -> None:
    """Raise GridError where a live file lacks least and greatest of a cluster column: no query could skip it."""
    seen = live(table.path)
    for column in seen.cluster_by:
        bare = [one.path for one in seen.files if one.rows != 0 and not one.is_bounded(column)]
        if bare:
            raise GridError(
                f"table {table.name}: {len(bare)} of {len(seen.files)} files, {bare[0]} for one, have no least and greatest "
                f"{column}, which the table is clustered by; remove {table.path} and run refine, which makes it anew"
            )


def _checkpoint(table: Table) -> Maintained | None:
    """Sum the log up where many commits stand behind its last checkpoint."""
    seen = live(table.path)
    if seen.log_files < CHECKPOINT_AFTER:
        return None
    started = time.monotonic()
    delta_log.sum_up(table.path)
    count, size = len(seen.files), seen.bytes
    seconds = time.monotonic() - started
    reason = f"{seen.log_files} commits behind the last checkpoint"
    return Maintained(table.name, "checkpointed", reason, count, count, size, size, 0, seconds)


def _vacuum(table: Table, retention_hours: int) -> Maintained | None:
    """Remove files no version within the retention needs; None where there are none."""
    from deltalake import DeltaTable

    started = time.monotonic()
    delta = DeltaTable(str(table.path))
    removed_lately = delta.vacuum(retention_hours=retention_hours, dry_run=True, enforce_retention_duration=False)
    dead = delta_log.dead_files(table.path, max(retention_hours, _WRITING_HOURS) * 3600)
    old = sorted({*removed_lately, *dead})
    if not old:
        return None
    seen = live(table.path)
    removed = sum((table.path / name).stat().st_size for name in old if (table.path / name).is_file())
    for name in old:
        durable.remove(table.path / name)
    return Maintained(
        table.name,
        "vacuumed",
        f"{len(old)} files that no version of the last {retention_hours} hours needs",
        len(seen.files) + len(old),
        len(seen.files),
        seen.bytes + removed,
        seen.bytes,
        0,
        time.monotonic() - started,
    )


def _tables(lake: Lake, found: TableSet) -> list[tuple[Table, PublishedTable]]:
    from beam_grid.lakehouse.tables import Table

    return [(Table(lake, name), said) for name, said in sorted(found.tables.items())]


def _republish(lake: Lake, optimized: list[Table]) -> None:
    """Let the set go on to versions of which nothing but files changed."""
    found = newest(lake)
    base, content = content_of(found), content_of(found)
    for table in optimized:
        said, now = content.tables[table.name], table.state().version or 0
        if now > said.version and not guard.changed_since(table, said.version, now):
            content.tables[table.name] = structs.replace(said, version=now)
            for name, other in content.tables.items():  # of the same rows: a reflection of them is as good
                if other.reflection is not None and other.read_at.get(table.name) == said.at:
                    at = content.tables[table.name].at
                    content.tables[name] = structs.replace(other, read_at={table.name: at})
    if content != base:
        publish_set(lake, content, base)


def _skipped(table: Table, seen: Live | None, reason: str) -> Maintained:
    files, size = (len(seen.files), seen.bytes) if seen else (0, 0)
    return Maintained(table.name, "skipped", reason, files, files, size, size)


def _left_out(table: Table, reason: str) -> Maintained:
    return replace(_skipped(table, live(table.path), reason), action="left out")


def _no_spark(master: str | None) -> str | None:
    """Why Spark cannot run here; None where it can, or was asked for by its master."""
    from runners import delta

    try:
        delta.check_java()
    except delta.SparkUnavailable as cause:
        return None if master is not None else str(cause)
    return None


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MB"


def _spark(master: str | None) -> SparkSession:
    from runners import delta

    try:
        return delta.session(master)
    except delta.SparkUnavailable as cause:
        raise GridError(f"maintain: {cause}; `beam-grid doctor` looks at this machine") from cause
