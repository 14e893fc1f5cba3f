"""Changes in the order of their source: what the three tables of a CDC feed are made from.

    op  lsn       _sequence           each part says its own length, so that text sorts as the numbers do
    2   0x0A      101A201 2           0 null   1LLhex an LSN   2LLdigits a number   1 + nines' complement below zero
    4   0x1234    1041234 2014

Changes of one key are ordered by `_sequence`, and where two differ in nothing but their values, by all fields of the
contract in its order, null least: the greater one counts, whatever arrived first. Images before an update (3) say
what the row was and change nothing, unless the update gave the row another key (cdc_moves.py); a message without key and operation (Debezium's tombstone) changes nothing
either. A truncate (0, without a key) is a delete of every key, at its own place in the order; no row stands at it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_grid.errors import GridError
from beam_grid.lakehouse.spans import timestamp_sql
from beam_grid.lakehouse.tables import (
    Batch,
    State,
    Table,
    add_columns,
    append,
    create,
    literal,
    overwrite,
    quoted,
    read,
    sent_if_few,
)
from data_sources.cdc import AFTER, DELETE, INSERT, TRUNCATE
from data_sources.lake_tables import check_history_columns, unordered

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract
    from transforms.manifest import LandedFile, Ranges

SEQUENCE = pa.field("_sequence", pa.string())

_DEFINITION = "beam_grid.cdc"
"""Property of a table: by which order and rules it was made."""

_RULES = 3
"""Raised where the same landed changes come to other tables than before: those there are, are then made anew once."""

_FEW_ROWS = 1_000_000
"""So many keys are small enough to be sent to every task rather than to move what they are looked up in."""


def definition(contract: Contract) -> str:
    """Identifies what orders a feed's changes and what is made of them; the contract may gain fields of the order."""
    said = [_RULES, contract.lake.sequence_by, contract.lake.operation]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def is_outdated(state: State, contract: Contract) -> bool:
    """Whether the table was made by another order or other rules, and is to be made anew from commit 0."""
    return state.version is not None and state.properties.get(_DEFINITION) != definition(contract)


def application_anew(application: str, contract: Contract) -> str:
    """Delta's transaction id of the write that made an outdated table anew."""
    return f"{application}/{definition(contract)}"


def fill(rows: DataFrame, table: Table, batch: Batch) -> None:
    """Write the first batch's rows, in an outdated table in place of all there were. Readers see one or the other."""
    application = table.application(batch.contract.name)
    if is_outdated(table.state(), batch.contract):
        overwrite(rows, table, application_anew(application, batch.contract), batch.target)
    else:
        append(rows, table, application, batch.target)


def settle(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Say in the table by which order it is made now. After its rows: a run cut off before this fills it once more."""
    if is_outdated(table.state(), batch.contract):
        said = f"{literal(_DEFINITION)} = {literal(definition(batch.contract))}"
        spark.sql(f"ALTER TABLE {table.sql} SET TBLPROPERTIES ({said})")


def sequence_sql(contract: Contract) -> str:
    """One text that sorts as (sequence_by..., operation) does, nulls first; the operation has its declared place.

    Raises GridError for a field that has no such text: fractions, whose order a log never depends on.
    """
    names = contract.lake.sequence_by
    operation = [] if contract.lake.operation in names else [str(contract.lake.operation)]
    return f"concat({', '.join(_part(contract, name) for name in [*names, *operation])})"


def _part(contract: Contract, name: str) -> str:
    kind, column = contract.field(name).arrow, quoted(name)
    if pa.types.is_string(kind):
        widths = "greatest(IF(i < 2, 8, 4), length(p))"  # as data_sources.cdc.lsn_sort_key has them
        groups = f"split(lower(regexp_replace({column}, '^0[xX]', '')), ':')"
        digits = f"ltrim('0', concat_ws('', transform({groups}, (p, i) -> lpad(p, {widths}, '0'))))"
        return f"IF({column} IS NULL, '0', concat('1', {_measured(digits)}))"
    if pa.types.is_timestamp(kind):
        column = f"unix_micros({column})"
    elif pa.types.is_date(kind):
        column = f"unix_date({column})"
    elif pa.types.is_boolean(kind):
        column = f"CAST({column} AS INT)"
    elif (said := unordered(contract, name)) is not None:
        raise GridError(f"contract {contract.name}, {said}")
    digits = f"CAST(abs(CAST({column} AS DECIMAL(38,0))) AS STRING)"
    below = f"concat('1', translate(lpad({digits}, 38, '0'), '0123456789', '9876543210'))"
    return (
        f"CASE WHEN {column} IS NULL THEN '0' WHEN {column} < 0 THEN {below} ELSE concat('2', {_measured(digits)}) END"
    )


def _measured(digits: str) -> str:
    """Digits after their count: longer is greater."""
    return f"lpad(CAST(length({digits}) AS STRING), 2, '0'), {digits}"


def payload_sql(contract: Contract, alias: str) -> str:
    """All declared fields as one value that compares field by field, null least."""
    return f"struct({', '.join(f'{alias}.{quoted(name)}' for name in contract.schema.names)})"


def newest_first(contract: Contract, alias: str) -> str:
    """Total order of a key's changes, the last first; of copies the one that arrived first."""
    return f"{alias}._sequence DESC, {greatest_first(contract, alias)}"


def greatest_first(contract: Contract, alias: str) -> str:
    """Total order of a key's changes at one place in the log, the one that counts first."""
    return (
        f"{payload_sql(contract, alias)} DESC, {alias}._commit, {alias}._source, {alias}._partition, {alias}._position"
    )


def keys_sql(contract: Contract, alias: str = "") -> str:
    return ", ".join((f"{alias}." if alias else "") + quoted(name) for name in contract.lake.key)


def same_key(contract: Contract, left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in contract.lake.key)


def changes(spark: SparkSession, files: Sequence[str], contract: Contract, *also: int) -> DataFrame:
    """Landed changes of one row each, and those of the operations `also`: the contract's columns, lineage, `_sequence`."""
    rows = read(spark, files, contract.landed_schema).where(has_effect_sql(contract, *also))
    return rows.selectExpr("*", f"{sequence_sql(contract)} AS _sequence")


def has_effect_sql(contract: Contract, *also: int) -> str:
    """Whether a record says what became of one row: an image before an update, which may be asked for `also`, and a
    message without a key do not."""
    with_key = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in contract.lake.key)
    operations = ", ".join(map(str, (DELETE, INSERT, AFTER, *also)))
    return f"{quoted(str(contract.lake.operation))} IN ({operations}) AND {with_key}"


def truncates(spark: SparkSession, batch: Batch, *, new_only: bool) -> DataFrame | None:
    """Landed truncates in the columns of `table_schema`, keys null; None where there is none."""
    contract = batch.contract
    operation = str(contract.lake.operation)
    landed = batch.landed("rows", new_only=new_only)
    files = [batch.path(file) for file in landed if file.min.get(operation) == TRUNCATE]
    if not files:
        return None
    rows = read(spark, files, contract.landed_schema).where(f"{quoted(operation)} = {TRUNCATE}")
    rows = rows.selectExpr("*", f"{sequence_sql(contract)} AS _sequence")
    return rows.select(*map(quoted, table_schema(contract).names))


def last_truncate(spark: SparkSession, batch: Batch) -> str | None:
    """The `_sequence` of the last truncate of all that the batch knows: what stands before it is no row."""
    found = truncates(spark, batch, new_only=False)
    return None if found is None else found.agg({"_sequence": "max"}).collect()[0][0]


def last_changes(spark: SparkSession, batch: Batch, condition: str) -> DataFrame:
    """Of each key in the batch the last change among those that meet the condition."""
    contract = batch.contract
    changes(spark, batch.files("rows"), contract).where(condition).createOrReplaceTempView("cdc_changes")
    names = ", ".join(map(quoted, table_schema(contract).names))
    place = f"row_number() OVER (PARTITION BY {keys_sql(contract)} ORDER BY {newest_first(contract, 'c')})"
    return spark.sql(f"SELECT {names} FROM (SELECT *, {place} AS __place FROM cdc_changes c) WHERE __place = 1")


def news(spark: SparkSession, table: Table, rows: DataFrame, contract: Contract, bounds: Ranges) -> DataFrame:
    """Of the changes, one a key, those that stand after what the table shows of their key, with `__is_new` where it shows
    nothing; computed. Only where two stand at one place are the table's other columns read."""
    sent_if_few(rows.localCheckpoint()).createOrReplaceTempView("cdc_last")
    keys, same = keys_sql(contract, "t"), f"{same_key(contract, 't', 's')}{within_sql(bounds, contract, 't')}"
    shown = spark.sql(f"SELECT {keys}, t._sequence AS __shown FROM {table.sql} t JOIN cdc_last s ON {same}")
    found = spark.table("cdc_last").join(shown, contract.lake.key, "left").localCheckpoint()
    after = found.where("__shown IS NULL OR _sequence > __shown")
    level = found.where("_sequence = __shown")
    if not level.isEmpty():
        sent_if_few(level).createOrReplaceTempView("cdc_level")
        greater = f"{payload_sql(contract, 's')} > {payload_sql(contract, 't')}"
        after = after.unionByName(
            spark.sql(f"SELECT s.* FROM {table.sql} t JOIN cdc_level s ON {same} WHERE {greater}").localCheckpoint()
        )
    names = map(quoted, table_schema(contract).names)
    return after.selectExpr(*names, "__shown IS NULL AS __is_new")


def table_schema(contract: Contract, *more: pa.Field) -> pa.Schema:
    """The contract's columns, `more`, lineage, `_sequence`; all may be null, as in older rows a newer field is."""
    fields = [*contract.schema, *more, *list(contract.landed_schema)[len(contract.schema) :], SEQUENCE]
    return pa.schema([field.with_nullable(True) for field in fields])


def make(
    spark: SparkSession,
    table: Table,
    state: State,
    contract: Contract,
    schema: pa.Schema,
    cluster_by: list[str],
    **properties: str,
) -> None:
    """Make the table or bring its columns up to the contract; raises GridError for a name that is taken."""
    sequence_sql(contract)
    owner = state.properties.get("beam_grid.feed", contract.name)
    if owner != contract.name:
        raise GridError(
            f"table {table.name} belongs to feed {owner}, of which nothing has landed here any more; remove the table's "
            "folder or rename the feed"
        )
    # Spark writes INT96 by default, which delta-rs reads as nanoseconds: year 9999 comes out as 1816.
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    try:  # a contract that landed before contracts were checked for this
        check_history_columns(contract)
    except ValueError as cause:
        raise GridError(f"contract {contract.name}, {cause}") from cause
    if state.version is None:
        own = {"beam_grid.feed": contract.name, _DEFINITION: definition(contract), **properties}
        create(spark, table, schema, cluster_by, own)
    else:
        add_columns(spark, table, state, schema)


def key_bounds(files: Sequence[LandedFile], contract: Contract) -> Ranges:
    """Least and greatest value of each key column over files, as manifests have them; a column they do not say of is out."""
    found: Ranges = {}
    for name in contract.lake.key:
        least: list[Any] = [file.min.get(name) for file in files]
        greatest: list[Any] = [file.max.get(name) for file in files]
        if files and None not in least and None not in greatest:
            found[name] = min(least), max(greatest)
    return found


def within_sql(bounds: Ranges, contract: Contract, alias: str) -> str:
    """The bounds as literals, by which Delta and Parquet skip: " AND t.`k` >= 'a' AND ..."; empty for no bounds."""
    said = ""
    for name, (low, high) in bounds.items():
        least, greatest = (_literal(value, contract.field(name).arrow) for value in (low, high))
        if least is not None and greatest is not None:
            said += f" AND {alias}.{quoted(name)} >= {least} AND {alias}.{quoted(name)} <= {greatest}"
    return said


def _literal(value: Any, kind: pa.DataType) -> str | None:
    """SQL for a manifest's bound; None for decimals and floats, whose bounds a manifest rounds or SQL writes otherwise."""
    if pa.types.is_string(kind):
        return literal(value)
    if pa.types.is_int64(kind):
        return f"CAST('{value}' AS BIGINT)"
    if pa.types.is_date(kind):
        return f"DATE '{(date(1970, 1, 1) + timedelta(days=value)).isoformat()}'"
    if pa.types.is_timestamp(kind):
        return timestamp_sql(value)
    return None


def few(files: Iterable[LandedFile]) -> bool:
    """Whether the files' keys may be broadcast."""
    return sum(file.rows for file in files) < _FEW_ROWS
