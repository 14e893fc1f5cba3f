"""silver.MASTER for load = "scd2": each key's history, in versions that neither overlap nor leave a gap.

    seen of a key     A@1    A@3    B@5         absent@8     B@9
    versions          [1 ─────── 5) [5 ──────── 8)           [9 ──── 9999-12-31)   is_current
    scd_version        1             2                        3

The versions of every key that the batch touches are made anew from all that was ever seen of it (observations.py) and
compared with what the table has. What is not there is appended, then what differs is merged. So the table is a
function of the commits: a change that comes late is put into the middle, and one that made no version then can make
one now.

    change data of a MERGE that closes and inserts     before, after, insert      three rows a changed key
    of an append, and a MERGE that closes              -          before, after   two: an append is its own change data

A run cut off between the append and the MERGE leaves two current versions of a key, which no version set shows; the
next compares anew and closes one.

Of two rows of a key and date the newer stays: that of the later snapshot or change file, see observations.py. A row whose tracked
columns equal its predecessor's makes no version; a version shows the columns of the last row inside it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_grid.lakehouse.held import Snapshots
from beam_grid.lakehouse.observations import Observations, date_sql, date_type, has_copies
from beam_grid.lakehouse.tables import (
    Batch,
    State,
    Table,
    add_columns,
    append,
    arranged,
    create,
    differing,
    literal,
    put,
    quoted,
)
from data_sources.contract import LINEAGE
from data_sources.lake_tables import VERSION_COLUMNS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from data_sources.contract import Contract

START, END, CURRENT, VERSION = MADE = VERSION_COLUMNS
"""Columns that are made here; a contract's field of the same name is the source's opinion and is not shown."""

_DEFINITION = "beam_grid.scd2"

_RULES = 3
"""Raised where the same observations make other versions than before."""


def table_schema(contract: Contract) -> pa.Schema:
    """The contract's columns with the made ones in their place, or behind them, and the lineage of the row shown."""
    kinds = {START: date_type(contract), END: date_type(contract), CURRENT: pa.bool_(), VERSION: pa.int64()}
    own = [pa.field(f.name, kinds.get(f.name, f.type)) for f in contract.schema]
    made = [pa.field(name, kind) for name, kind in kinds.items() if name not in contract.schema.names]
    return pa.schema([*own, *made, *(pa.field(name, kind) for name, kind in LINEAGE.items())])


def tracked(contract: Contract) -> list[str]:
    """Fields whose change makes a version: those of lake.track, else all that are not key, date, ignored or made."""
    lake = contract.lake
    others = {*lake.key, *lake.ignore, *MADE, lake.effective_from}
    return lake.track or [name for name in contract.schema.names if name not in others]


def prepare(spark: SparkSession, table: Table, state: State, batch: Batch) -> None:
    """Make the table, or bring its columns up to the contract."""
    contract = batch.contract
    if state.version is None:
        properties = {"beam_grid.feed": contract.name, _DEFINITION: _definition(contract)}
        create(spark, table, table_schema(contract), contract.lake.cluster_by or contract.lake.key[:4], properties)
    else:
        add_columns(spark, table, state, table_schema(contract))


def apply(spark: SparkSession, table: Table, batch: Batch) -> None:
    """Take in the batch's commits, and all commits where the contract now tracks otherwise."""
    contract = batch.contract
    application = table.application(contract.name)
    definition = _definition(contract)
    is_redefined = bool(batch.applied) and table.state().properties.get(_DEFINITION) != definition
    copies = batch.files("changes") and (batch.files("snapshot", new_only=False) or has_copies(batch))
    if not (batch.files("rows") or copies or Snapshots.of(batch).moved or is_redefined):
        return
    with Observations(spark, batch, afresh=not batch.applied or is_redefined) as seen:
        wanted = versions(seen.rows(), contract)
        if not batch.applied:
            append(arranged(wanted, _place(contract), batch.bytes("rows")), table, application, batch.target)
            return
        have = seen.only_touched(spark.sql(f"SELECT * FROM {table.sql}"))
        # Kept apart from the table it was compared with, which the append changes.
        found = differing(wanted, have, table_schema(contract).names, _place(contract)).localCheckpoint()
        put(spark, table, found, _place(contract), batch, _place(contract), f" AND {seen.within('t.')}")
    if is_redefined:  # after the MERGE: a run that ends in between compares all keys once more
        spark.sql(f"ALTER TABLE {table.sql} SET TBLPROPERTIES ({literal(_DEFINITION)} = {literal(definition)})")


def versions(observations: DataFrame, contract: Contract) -> DataFrame:
    """The versions, in the table's columns, of keys all of whose observations these are."""
    kind = date_sql(contract)
    key = ", ".join(map(quoted, contract.lake.key))
    by_date = f"(PARTITION BY {key} ORDER BY __date)"
    upto = f"(PARTITION BY {key} ORDER BY __date ROWS UNBOUNDED PRECEDING)"
    shown = ", ".join(f"__row.{quoted(name)}" for name in tracked(contract))
    same = f"struct({shown}) <=> lag(struct({shown})) OVER {by_date}" if shown else "true"
    opens = "__last IS NULL OR NOT __same OR exists(__absent, a -> __last < a AND a < __date)"
    forever = f"{kind} '9999-12-31'"
    one_a_date = observations.selectExpr(
        "*", f"lead(__date) OVER (PARTITION BY {key} ORDER BY __date, __rank, __row) AS __after"
    ).where("NOT __after <=> __date")
    opened = one_a_date.selectExpr("*", f"lag(__date) OVER {by_date} AS __last", f"{same} AS __same").selectExpr(
        "*", f"({opens}) AS __opens"
    )
    closed = opened.selectExpr(
        "*",
        f"sum(CAST(__opens AS BIGINT)) OVER {upto} AS {VERSION}",
        f"max(CASE WHEN __opens THEN __date END) OVER {upto} AS {START}",
        f"lead(__opens, 1, true) OVER {by_date} AS __closes",
        f"lead(__date) OVER {by_date} AS __next",
    ).where("__closes")
    made = closed.withColumns(_ends(forever))
    return made.selectExpr(
        *(quoted(n) if n in MADE else f"__row.{quoted(n)} AS {quoted(n)}" for n in table_schema(contract).names)
    )


def _ends(forever: str) -> dict:
    from pyspark.sql.functions import expr

    end = "least(__next, array_min(filter(__absent, a -> a > __date)))"
    return {END: expr(f"least({end}, {forever})"), CURRENT: expr(f"{end} IS NULL")}


def _place(contract: Contract) -> list[str]:
    """What names a version."""
    return [*contract.lake.key, START]


def _definition(contract: Contract) -> str:
    """Identifies what makes a version of observations; the contract may change it."""
    said = [_RULES, tracked(contract), contract.lake.effective_from]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
