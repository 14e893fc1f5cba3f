"""All landed changes of the keys that a batch of a CDC feed touches: what their history is made from.

batch              touches                       reads
rows               their keys                    landed files that may hold one of them
a truncate         every key                     all landed files
of a snapshot      every key: those it lacks     all landed files
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_grid.lakehouse import held
from beam_grid.lakehouse.sequence import (
    changes,
    few,
    key_bounds,
    same_key,
    truncates,
    within_sql,
)
from beam_grid.lakehouse.tables import Batch, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from transforms.manifest import Ranges


def has_snapshots(batch: Batch) -> bool:
    """Whether a snapshot of the feed ever landed, in the batch or before it."""
    return bool(batch.files("snapshot", new_only=False))


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
    return {} if touches_all(spark, batch) else key_bounds(batch.landed("rows"), batch.contract)


def touched_keys(spark: SparkSession, batch: Batch) -> DataFrame:
    """The keys of the batch's new rows."""
    keys = map(quoted, batch.contract.lake.key)
    return changes(spark, batch.files("rows"), batch.contract).select(*keys).distinct()


def touched_changes(spark: SparkSession, batch: Batch) -> DataFrame:
    """All landed changes of the keys the batch touches, each truncate as a change of each of these keys."""
    found, everything = _row_changes(spark, batch), truncates(spark, batch, new_only=False)
    if everything is None:
        return found
    keys = batch.contract.lake.key
    of_keys = found.select(*map(quoted, keys)).distinct().crossJoin(everything.drop(*keys))
    return found.unionByName(of_keys)


def _row_changes(spark: SparkSession, batch: Batch) -> DataFrame:
    """All landed changes of the keys the batch touches, from those files that may hold one."""
    contract, fresh = batch.contract, batch.files("rows")
    if touches_all(spark, batch) or not batch.applied:
        return changes(spark, batch.files("rows", new_only=False), contract)
    landed = batch.landed("rows")
    bounds = key_bounds(landed, contract)
    earlier = (file for commit in batch.commits[: batch.applied] for file in commit.listed("rows"))
    old = [batch.path(file) for file in earlier if file.may_hold(bounds)]
    if not old:
        return changes(spark, fresh, contract)
    touched_keys(spark, batch).createOrReplaceTempView("cdc_touched")
    changes(spark, [*old, *fresh], contract).createOrReplaceTempView("cdc_landed")
    hint = "/*+ BROADCAST(k) */ " if few(landed) else ""
    return spark.sql(
        f"SELECT {hint}l.* FROM cdc_landed l LEFT SEMI JOIN cdc_touched k ON {same_key(contract, 'l', 'k')}"
        f"{within_sql(bounds, contract, 'l')}"
    )
