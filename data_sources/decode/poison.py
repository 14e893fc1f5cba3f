"""Records that are not decoded, because no slice that decoded them could be landed: rejects, with place and bytes.

    cause   poison
    rule    the kind of error that a slice of this one record ended with, such as KeyError
    reason  what the error said
    raw     the record's bytes; of rows without bytes (Parquet) JSON

`beam-grid reinject rejected --rule poison` judges them again once a version that can decode them is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from data_sources.contract import Contract
from data_sources.decode.columns import unique_names
from data_sources.decode.parquet_rows import as_json
from data_sources.decode.rejects import POISON, Decoded, Rejecting
from data_sources.formats import Block, format_of
from data_sources.formats.json_document import IN_MESSAGE
from data_sources.records import Records

IN_ROW = 10_000
"""Positions an unpivoted row's records may have."""


def set_aside(
    block: Block,
    contract: Contract,
    why: str,
    header: tuple[str, ...] | None = None,
    constants: Mapping[str, str | None] | None = None,
    is_message: bool = False,
) -> Decoded:
    """No rows, and every record of the block a reject. why: KIND: TEXT; is_message: whether the records are messages, each
    whole."""
    rule, _, reason = why.partition(": ")
    raw: Callable[[int], bytes]
    if isinstance(block, Records):
        count, positions, raw = len(block), block.positions, block.raw
        nothing: Block = block.take(np.empty(0, np.int64))
    else:
        table, first = block
        count, positions = table.num_rows, np.arange(first, first + table.num_rows, dtype=np.int64)
        nothing, raw = (table.slice(0, 0), first), lambda i: as_json(table, unique_names(table.column_names), i)

    if is_message and contract.document is not None:
        positions = positions * IN_MESSAGE + 1  # as of a message that is refused whole
    elif contract.unpivot is not None:
        positions = positions * IN_ROW
    rejecting = Rejecting(raw, positions)
    rejecting.add_all(range(count), POISON, rule, reason or rule)
    decoded = format_of(contract).decode(nothing, header, dict(constants or {}))
    return Decoded(decoded.rows, rejecting, np.arange(count))
