"""Batches of one's own to what DropDuplicates takes: rows go to the shard that all copies of their key go to."""

from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from data_sources.contract import Contract
from transforms.arrow import as_batch
from transforms.given import rows_given
from transforms.shard import DEFAULT_SHARDS, split_by_shard
from transforms.step import Step


@dataclass
class KeyByShard(beam.PTransform):
    """Batches with the contract's columns, or (key, batch), the key unread, to (shard, batch) with the lineage besides.

    In: any order of columns; others are left out, lineage (`_source`, `_position`, ...) that is missing is null.
    Raises ValueError where a column of the contract is missing, or a value does not fit it; records that are not judged
    yet are ReadAndJudge's. shards: how many groups; two to four for a machine, a few dozen for a cluster.
    """

    contract: Contract
    shards: int = DEFAULT_SHARDS

    def __post_init__(self):
        if self.shards < 1:
            raise ValueError(f"KeyByShard of {self.contract.name}: shards is {self.shards}, and must be 1 or more")

    def expand(self, batches):
        return batches | "SplitByShard" >> beam.ParDo(_SplitByShard(self.contract, self.shards)).with_output_types(
            tuple[int, pa.RecordBatch]
        )


class _SplitByShard(Step):
    def __init__(self, contract: Contract, shards: int):
        self.contract, self.shards = contract, shards

    def process(self, element):
        batch = element[1] if isinstance(element, tuple) and len(element) == 2 else element
        rows = pa.Table.from_batches([rows_given(batch, self.contract, "KeyByShard")])
        for shard, some in split_by_shard(rows, self.contract.dedup.key, self.shards):
            yield shard, as_batch(some)
