"""Updates that gave a row another key: the image before one ends the old key, at its place in the log.

    place 12    before M-100              no after image of M-100 stands there, but one of another key: M-100 ends
                after         M-101       and M-101 is a row that had another key
    place 13    before M-200              an update like any other: its before image changes nothing
                after  M-200
    place 14    before M-300              its after image has not come (or was rejected): nothing is known

The place is `lake.sequence_by` without the operation; images without any place are of no pair. An image has *moved*
from the commit by which both sides had landed, until one by which the other side of its own key had, too: that may be
where many changes share a place.

Guarantees: which images moved, and from which commit to which, is a function of the commits. A feed in which no row
ever changed its key has none, and its tables are made as if this module were not; to know that costs a look at the
batch's images and, for those whose other side is not in the batch, at the older ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse.duck import connect, parquet
from beam_grid.lakehouse.duck import literal as text
from beam_grid.lakehouse.silver import IDENTITY
from beam_grid.lakehouse.tables import Batch, Table, literal, quoted
from data_sources.cdc import AFTER, BEFORE, place_fields
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract
    from transforms.manifest import LandedFile

_EVER = "beam_grid.moves"
"""Property of a table: a row of its feed has changed its key, so all batches look at what moved."""


@contextmanager
def known(spark: SparkSession, table: Table, batch: Batch) -> Iterator[Batch]:
    """The batch with what moved up to it, `moves`, where any row of the feed ever did; the files are gone at the end."""
    scratch = batch.log.lake.scratch / f"moves-{secrets.token_hex(4)}"
    ever = table.state().properties.get(_EVER) == "true"
    try:
        with connect(scratch) as engine:
            if not ever and not _brought(engine, batch):
                yield batch
                return
            moves = scratch / "moves.parquet"
            if not _write(engine, batch, moves) and not ever:
                yield batch
                return
            if not ever:
                spark.sql(f"ALTER TABLE {table.sql} SET TBLPROPERTIES ({literal(_EVER)} = 'true')")
            yield replace(batch, moves=str(moves))
    finally:
        import shutil

        shutil.rmtree(scratch, ignore_errors=True)


def frame(spark: SparkSession, batch: Batch) -> DataFrame:
    """One row an image that moved: what identifies the landed row, `__is_before`, the key, `__moved` and `__own` (from
    which commit, and before which or null)."""
    return spark.read.parquet(str(batch.moves))


def marked(spark: SparkSession, rows: DataFrame, batch: Batch) -> DataFrame:
    """Landed changes and images before updates, less those of the latter that end nothing, with `__moved` and `__own`."""
    operation = quoted(str(batch.contract.lake.operation))
    moved = frame(spark, batch).selectExpr(*(f"{n} AS __{n}" for n in IDENTITY), "__is_before", "__moved", "__own")
    same = " AND ".join(f"r.{name} <=> m.__{name}" for name in IDENTITY)
    rows.createOrReplaceTempView("moves_rows")
    moved.createOrReplaceTempView("moves_known")
    columns = ", ".join(f"r.{quoted(name)}" for name in rows.columns)
    return spark.sql(
        f"SELECT {columns}, m.__moved, m.__own FROM moves_rows r LEFT JOIN moves_known m "
        f"ON {same} AND m.__is_before = (r.{operation} = {BEFORE}) "
        f"WHERE r.{operation} <> {BEFORE} OR m.__moved IS NOT NULL"
    )


def changed_keys(spark: SparkSession, batch: Batch) -> DataFrame:
    """Keys of images that the batch moved, or of which it says that they had not."""
    new = f"__moved > {batch.applied} OR __own > {batch.applied}"
    return frame(spark, batch).where(new).select(*map(quoted, batch.contract.lake.key)).distinct()


_SEEN: dict[tuple[str, int, int], bool] = {}
"""What `_brings` said of the last batches: the three tables of a feed take in the same ones."""


def _brought(engine: duckdb.DuckDBPyConnection, batch: Batch) -> bool:
    asked = (f"{batch.log.path.resolve()} {batch.commits[-1].attempt}", batch.applied, batch.target)
    if asked not in _SEEN:
        while len(_SEEN) >= 8:
            _SEEN.pop(next(iter(_SEEN)))
        _SEEN[asked] = _brings(engine, batch)
    return _SEEN[asked]


def _brings(engine: duckdb.DuckDBPyConnection, batch: Batch) -> bool:
    """Whether an image of the batch may have the other side of its pair under another key, in the batch or before."""
    new = _images(engine, batch, batch.landed("rows"))
    if new is None:
        return False
    engine.execute(f"CREATE TEMP TABLE new_images AS SELECT DISTINCT __place, __op, __k FROM ({new})")
    engine.execute(
        f"CREATE TEMP TABLE halves AS SELECT * FROM new_images n ANTI JOIN new_images o "
        f"ON n.__place = o.__place AND n.__k = o.__k AND o.__op = {BEFORE + AFTER} - n.__op"
    )
    others = ["SELECT __place, __op, __k FROM new_images"]
    older = [held.file for held in batch.before("rows")]
    waiting = {op for (op,) in engine.execute("SELECT DISTINCT __op FROM halves").fetchall()}
    for op in waiting:
        if (old := _images(engine, batch, older, BEFORE + AFTER - op)) is not None:
            others.append(f"SELECT __place, __op, __k FROM ({old})")
    found = engine.execute(
        f"SELECT 1 FROM halves h SEMI JOIN ({' UNION ALL '.join(others)}) o "
        f"ON h.__place = o.__place AND o.__op = {BEFORE + AFTER} - h.__op AND h.__k <> o.__k LIMIT 1"
    ).fetchall()
    return bool(found)


def _write(engine: duckdb.DuckDBPyConnection, batch: Batch, where: Path) -> int:
    """Write what moved among all that landed; returns how many images. Linear, however many share a place."""
    landed = batch.landed("rows", new_only=False)
    before, after = (_images(engine, batch, landed, operation) for operation in (BEFORE, AFTER))
    if before is None or after is None:
        return 0
    engine.execute(f"CREATE TEMP TABLE images AS {before}")
    engine.execute(f"INSERT INTO images SELECT * FROM ({after}) a SEMI JOIN images b ON a.__place = b.__place")
    engine.execute(
        "CREATE TEMP TABLE of_key AS SELECT __place, __op, __k, min(_commit) AS known FROM images GROUP BY __place, __op, __k"
    )
    engine.execute(
        "CREATE TEMP TABLE at_place AS SELECT __place, __op, min_by(__k, known) AS one, min(known, 2) AS both FROM of_key GROUP BY __place, __op"
    )
    engine.execute(
        f"COPY (SELECT * FROM (SELECT {', '.join(f'i.{name}' for name in IDENTITY)}, i.__op = {BEFORE} AS __is_before, "
        f"{', '.join(f'i.{double_quoted(name)}' for name in batch.contract.lake.key)}, "
        "greatest(i._commit, CASE WHEN p.one = i.__k THEN p.both[2] ELSE p.both[1] END) AS __moved, o.known AS __own, "
        "CASE WHEN p.one = i.__k THEN p.both[2] ELSE p.both[1] END AS __other "
        f"FROM images i JOIN at_place p ON i.__place = p.__place AND p.__op = {BEFORE + AFTER} - i.__op "
        f"LEFT JOIN of_key o ON i.__place = o.__place AND o.__op = {BEFORE + AFTER} - i.__op AND o.__k = i.__k) "
        f"WHERE __other IS NOT NULL AND (__own IS NULL OR __own > __moved)) TO {text(str(where))} (FORMAT parquet)"
    )
    ((count,),) = engine.execute(f"SELECT count(*) FROM {parquet([str(where)])}").fetchall()
    return int(count)


def _images(
    engine: duckdb.DuckDBPyConnection, batch: Batch, files: Sequence[LandedFile], operation: int | None = None
) -> str | None:
    """SQL of the files' images before and after updates: identity, key, operation, the key as one, and place; None for none."""
    contract = batch.contract
    lake, wanted = contract.lake, [BEFORE, AFTER] if operation is None else [operation]
    paths = [batch.path(file) for file in files if _may_hold(file, str(lake.operation), wanted)]
    places = place_fields(contract)
    if not paths or not places:
        return None
    names = [*lake.key, *places, str(lake.operation), *IDENTITY]
    shape = pa.schema([contract.landed_schema.field(name) for name in dict.fromkeys(names)])
    engine.register("moves_shape", shape.empty_table())
    keys = [double_quoted(name) for name in lake.key]
    columns = ", ".join(double_quoted(name) for name in shape.names)
    op = double_quoted(str(lake.operation))
    anywhere = " OR ".join(f"{double_quoted(name)} IS NOT NULL" for name in places)
    place = ", ".join(_part(contract, name) for name in places)
    return (
        f"SELECT {', '.join(dict.fromkeys([*IDENTITY, *keys]))}, {op} AS __op, struct_pack({', '.join(f'k{n} := {key}' for n, key in enumerate(keys))}) AS __k, "
        f"concat_ws('|', {place}) AS __place FROM (SELECT {columns} FROM (SELECT * FROM moves_shape UNION ALL BY NAME SELECT * "
        f"FROM {parquet(paths)})) WHERE {op} IN ({', '.join(map(str, wanted))}) "
        f"AND {' AND '.join(f'{key} IS NOT NULL' for key in keys)} AND ({anywhere})"
    )


def _may_hold(file: LandedFile, operation: str, wanted: Sequence[int]) -> bool:
    """Whether the file may have a row of one of the operations, by its bounds."""
    low, high = file.min.get(operation), file.max.get(operation)
    return low is None or high is None or any(int(low) <= op <= int(high) for op in wanted)


def _part(contract: Contract, name: str) -> str:
    """One field of the place as text that is equal where the log says the same; LSNs as `sequence` reads them."""
    column = double_quoted(name)
    if contract.field(name).type != "string":
        return f"coalesce(CAST({column} AS VARCHAR), '')"
    plain = f"CASE WHEN {column}[:2] IN ('0x', '0X') THEN lower({column}[3:]) ELSE lower({column}) END"
    padded = "lpad(p, CAST(greatest(CASE WHEN i <= 2 THEN 8 ELSE 4 END, length(p)) AS INTEGER), '0')"
    groups = f"array_to_string(list_transform(string_split({plain}, ':'), lambda p, i: {padded}), '')"
    number = f"CASE WHEN contains({column}, ':') THEN {groups} ELSE {plain} END"
    return f"CASE WHEN {column} IS NULL THEN '' ELSE concat('=', ltrim({number}, '0')) END"
