"""`maintain`: OPTIMIZE where it pays, VACUUM by retention, old version sets away. Cheap when there is little to do.

OPTIMIZE pays when a table has many small files, each of which costs every query an opening; `refine` asks the same
question of the tables it wrote. Tables an interrupted refine left ahead of the newest set are left alone, so that
what readers see stays together. VACUUM removes what no version within the retention needs; a set older than that can
no longer be read, the newest one always can.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.lakehouse.versions import content_of, newest, publish
from beam_grid.landing import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from beam_grid.lakehouse.tables import Table

SMALL_BYTES = 8 << 20
"""A file below this is small."""

MANY_SMALL = 16
"""So many small files are worth an OPTIMIZE."""

RETENTION_HOURS = 168
"""How long files of earlier versions stay, so that a reader that has opened a version can read it to its end."""

_KEPT_SETS = 100


@dataclass(frozen=True)
class Maintained:
    """What became of one table: `optimized`, `vacuumed` or `skipped`, why, and its live files before and after."""

    table: str
    action: str
    reason: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    seconds: float = 0.0


@dataclass(frozen=True)
class _Files:
    count: int
    bytes: int
    small: int


def maintain(
    lake: Lake,
    *,
    spark_master: str | None = None,
    retention_hours: int = RETENTION_HOURS,
    progress: Callable[[str], None] | None = None,
) -> list[Maintained]:
    """Go over every table of the newest set; returns one entry a table and action.

    Raises GridError when the lake has no tables yet or another run is at work on them.
    """
    say = progress or (lambda line: None)
    with lake.lock("tables"):
        found = newest(lake)
        if found is None:
            raise GridError(f"lake {lake.path}: has no tables yet; run `beam-grid refine --lake {lake.path}` first")
        done, sound = [], []
        for table, said in _tables(lake, found):
            state = table.state()
            if state.version is None or state.id != said["id"]:
                done.append(_skipped(table, "the table is gone; refine makes it again"))
            elif state.version != said["version"]:
                done.append(_skipped(table, "an interrupted refine left it ahead of the newest set; run refine first"))
            else:
                sound.append(table)
        worth = [table for table in sound if _pays(_live(table))]
        if worth:
            done += optimize(_spark(spark_master), worth, say)
            _republish(lake, found, worth)
        done += [_skipped(table, "few small files: OPTIMIZE would not pay") for table in sound if table not in worth]
        done += [removed for table in sound if (removed := _vacuum(table, retention_hours)) is not None]
        for old in sorted((lake.path / "versions").glob("[0-9]*.json"))[:-_KEPT_SETS]:
            old.unlink()
        return done


def optimize(spark: SparkSession, tables: Iterable[Table], say: Callable[[str], None]) -> list[Maintained]:
    """OPTIMIZE the tables among these where it pays; changes no row."""
    done = []
    for table in tables:
        before = _live(table)
        if not _pays(before):
            continue
        started = time.monotonic()
        spark.sql(f"OPTIMIZE {table.sql}").collect()
        after = _live(table)
        reason = f"{before.small} files under {SMALL_BYTES >> 20} MB"
        entry = Maintained(
            table.name,
            "optimized",
            reason,
            before.count,
            after.count,
            before.bytes,
            after.bytes,
            time.monotonic() - started,
        )
        say(f"{table.name}: optimized, {before.count} files to {after.count} in {entry.seconds:.1f} s")
        done.append(entry)
    return done


def _pays(files: _Files) -> bool:
    return files.small >= MANY_SMALL


def _live(table: Table) -> _Files:
    """The table's live files, asked of the log without Spark."""
    import pyarrow as pa
    from deltalake import DeltaTable

    sizes = pa.table(DeltaTable(str(table.path)).get_add_actions())["size_bytes"].to_pylist()
    return _Files(len(sizes), sum(sizes), sum(size < SMALL_BYTES for size in sizes))


def _vacuum(table: Table, retention_hours: int) -> Maintained | None:
    """Remove files no version within the retention needs; None where there are none."""
    from deltalake import DeltaTable

    started = time.monotonic()
    delta = DeltaTable(str(table.path))
    old = delta.vacuum(retention_hours=retention_hours, dry_run=True, enforce_retention_duration=False)
    if not old:
        return None
    live = _live(table)
    sizes = sum((table.path / name).stat().st_size for name in old if (table.path / name).is_file())
    for name in old:
        (table.path / name).unlink(missing_ok=True)
    reason = f"{len(old)} files, {sizes} bytes, older than {retention_hours} hours"
    return Maintained(
        table.name,
        "vacuumed",
        reason,
        live.count + len(old),
        live.count,
        live.bytes + sizes,
        live.bytes,
        time.monotonic() - started,
    )


def _tables(lake: Lake, found: dict[str, Any]) -> list[tuple[Table, dict[str, Any]]]:
    from beam_grid.lakehouse.tables import Table

    return [(Table(lake, name), said) for name, said in sorted(found["tables"].items())]


def _republish(lake: Lake, found: dict[str, Any], changed: list[Table]) -> None:
    content = content_of(found)
    for table in changed:
        content.tables[table.name]["version"] = table.state().version
    if content.tables != found["tables"]:
        publish(lake, content)


def _skipped(table: Table, reason: str) -> Maintained:
    try:
        live = _live(table)
    except Exception:  # a table that is gone has no files
        live = _Files(0, 0, 0)
    return Maintained(table.name, "skipped", reason, live.count, live.count, live.bytes, live.bytes)


def _spark(master: str | None) -> SparkSession:
    from runners import delta

    try:
        return delta.session(master)
    except delta.SparkUnavailable as cause:
        raise GridError(f"maintain: {cause}; `beam-grid doctor` looks at this machine") from cause
