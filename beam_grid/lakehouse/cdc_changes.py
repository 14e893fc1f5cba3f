"""All landed changes of the keys that a batch of a CDC feed touches: what their history is made from.

batch              touches                       reads
rows               their keys                    landed files that may hold one of them
a truncate         every key                     all landed files
of a snapshot      every key: those it lacks     all landed files
an update of a key the old one, too              all landed files
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_grid.lakehouse import cdc_moves, held
from beam_grid.lakehouse.sequence import (
    changes,
    few,
    key_bounds,
    same_key,
    truncates,
    within_sql,
)
from beam_grid.lakehouse.tables import Batch, quoted
from data_sources.cdc import BEFORE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from transforms.manifest import Ranges


def has_snapshots(batch: Batch) -> bool:
    """Whether a snapshot of the feed ever landed, in the batch or before it."""
    return bool(batch.files("snapshot", new_only=False))


def is_recounted(batch: Batch) -> bool:
    """Whether some changes of the feed may not count: a key's changes are then all judged again when it is touched."""
    return has_snapshots(batch) or batch.moves is not None


def has_news(batch: Batch) -> bool:
    """Whether the batch can change a table; a snapshot all of whose rows are copies can, by the keys it lacks."""
    return bool(batch.files("rows")) or _reads_snapshots(batch)


def touches_all(spark: SparkSession, batch: Batch) -> bool:
    """Whether the batch may change any key there is."""
    return truncates(spark, batch, new_only=True) is not None or _reads_snapshots(batch)


def _reads_snapshots(batch: Batch) -> bool:
    return has_snapshots(batch) and held.Snapshots.of(batch).moved


def touched_bounds(spark: SparkSession, batch: Batch) -> Ranges:
    """What is known of the keys the batch touches."""
    if batch.moves is not None and not cdc_moves.changed_keys(spark, batch).isEmpty():
        return {}  # the old keys may be in files of long ago
    return {} if touches_all(spark, batch) else key_bounds(batch.landed("rows"), batch.contract)


def touched_keys(spark: SparkSession, batch: Batch) -> DataFrame:
    """The keys of the batch's new rows, and those of rows that it gave another key."""
    keys = [quoted(name) for name in batch.contract.lake.key]
    found = changes(spark, batch.files("rows"), batch.contract).select(*keys)
    return (found if batch.moves is None else found.union(cdc_moves.changed_keys(spark, batch))).distinct()


def touched_changes(spark: SparkSession, batch: Batch) -> DataFrame:
    """All landed changes of the keys the batch touches, each truncate as a change of each of these keys.

    Where rows ever changed their key, with the images that end one, and `__moved` and `__own` (cdc_moves.frame).
    """
    found, everything = _row_changes(spark, batch), truncates(spark, batch, new_only=False)
    if everything is None:
        return found
    keys = batch.contract.lake.key
    of_keys = found.select(*map(quoted, keys)).distinct().crossJoin(everything.drop(*keys))
    return found.unionByName(of_keys, allowMissingColumns=True)


def _row_changes(spark: SparkSession, batch: Batch) -> DataFrame:
    """All landed changes of the keys the batch touches, from those files that may hold one."""
    contract, fresh = batch.contract, batch.files("rows")
    if batch.moves is not None:
        rows = changes(spark, batch.files("rows", new_only=False), contract, BEFORE)
        rows = cdc_moves.marked(spark, rows, batch)
        if not batch.applied or touches_all(spark, batch):
            return rows
        within = within_sql(touched_bounds(spark, batch), contract, "l")
        return rows.alias("l").where(f"true{within}").join(touched_keys(spark, batch), contract.lake.key, "left_semi")
    if touches_all(spark, batch) or not batch.applied:
        return changes(spark, batch.files("rows", new_only=False), contract)
    landed = batch.landed("rows")
    bounds = key_bounds(landed, contract)
    old = [batch.path(held.file) for held in batch.before("rows") if held.file.may_hold(bounds)]
    if not old:
        return changes(spark, fresh, contract)
    touched_keys(spark, batch).createOrReplaceTempView("cdc_touched")
    changes(spark, [*old, *fresh], contract).createOrReplaceTempView("cdc_landed")
    hint = "/*+ BROADCAST(k) */ " if few(landed) else ""
    return spark.sql(
        f"SELECT {hint}l.* FROM cdc_landed l LEFT SEMI JOIN cdc_touched k ON {same_key(contract, 'l', 'k')}"
        f"{within_sql(bounds, contract, 'l')}"
    )
