"""Parquet files: read by whole row groups; position of a record: its row in the file, from 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.decode.columns import bind
from data_sources.decode.parquet_rows import decode_kept, decode_parquet
from data_sources.decode.rejects import Decoded
from data_sources.formats import Block, Planned, ended
from data_sources.records import Records
from data_sources.splits import FileEnd, FileSplit

_ROWS = 65_536


@dataclass(frozen=True)
class Parquet:
    """See Format."""

    contract: Contract
    endings = (".parquet",)
    grows = False
    is_text = False

    def plan(self, split: FileSplit, before: FileEnd | None, rows: int) -> Planned:
        file = pq.ParquetFile(split.path)
        notes = missing_of(tuple(file.schema_arrow.names), self.contract)
        take = count = 0
        for group in range(split.start, file.metadata.num_row_groups):
            held = file.metadata.row_group(group).num_rows
            if count >= rows and held:  # what is empty is read with what stands before it
                break
            count, take = count + held, take + 1
        if not count:  # of a file without rows nothing is null
            return Planned(None)
        return Planned(replace(split, groups=take, rows=count), notes if before is None else ())

    def cut(self, split: FileSplit, rows: int) -> list[FileSplit]:
        metadata, parts, held = pq.ParquetFile(split.path).metadata, [split], 0
        for group in range(split.start, split.start + split.groups):
            count = metadata.row_group(group).num_rows
            if held and held + count > rows:
                before = parts[-1]
                parts[-1] = replace(before, groups=group - before.start, rows=held)
                parts.append(
                    replace(before, start=group, groups=before.start + before.groups - group, rows=before.rows - held)
                )
                held = 0
            held += count
        return parts

    def read(self, split: FileSplit) -> Iterator[Block | FileEnd]:
        file = pq.ParquetFile(split.path, coerce_int96_timestamp_unit="us")
        first = 1 + sum(file.metadata.row_group(g).num_rows for g in range(split.start))
        for group in range(split.start, split.start + split.groups):
            for batch in file.iter_batches(_ROWS, row_groups=[group]):
                yield pa.Table.from_batches([batch]), first
                first += batch.num_rows
        end = split.start + split.groups
        yield ended(split, end, first, done=end >= file.metadata.num_row_groups)

    def decode(self, block: Block, header: tuple[str, ...] | None, constants: Mapping[str, str | None]) -> Decoded:
        if isinstance(block, Records):  # rejects kept as JSON
            return decode_kept(block, self.contract, constants)
        table, first = block
        return decode_parquet(table, first, self.contract, constants)

    def messages(self, records: Records) -> Records:
        raise ValueError('messages are read as JSON, and the contract says format = "parquet"')


def missing_of(names: tuple[str, ...], contract: Contract) -> tuple[str, ...]:
    """What to tell of a file that lacks columns of fields that may be null; raises ValueError where others are missing."""
    binding = bind(names, contract)
    if not binding.fits:
        raise ValueError(f"its columns ({', '.join(names)[:100]}) are none of the contract's; is it another feed's?")
    return tuple(f"{why}; it is null in all its rows" for why in binding.absent(contract.required))
