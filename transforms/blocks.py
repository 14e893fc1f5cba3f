"""What a partition's parts decode to, block by block: reading, decoding, rules. Nothing here needs Beam or a lake.

What a block decodes to depends on the contract and the run's clock, not on what was read or landed before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data_sources import files, kafka
from data_sources.contract import Contract
from data_sources.decode.csv_lines import decode_csv
from data_sources.decode.json_lines import decode_json
from data_sources.decode.parquet_rows import decode_parquet
from data_sources.records import Records
from transforms import read_ahead
from transforms.judge import Ruled, apply_rules
from transforms.read_ahead import Blocks


@dataclass(frozen=True)
class Slice:
    """What every step of a slice's graph must know. now: the run's clock, microseconds since the epoch."""

    contract: Contract
    root: str
    attempt: str
    commit: int
    now: int
    shards: int
    kafka_config: str | None = None


def begin(parts: list[Any], slice: Slice) -> None:
    """Start reading and decoding what a coming slice, alike but for its commit, will ask for."""
    read_ahead.begin(key_of(parts, slice), blocks(parts, slice))


def key_of(parts: list[Any], slice: Slice) -> str:
    """What a slice asks for blocks by; not its commit, which is not known yet when they are begun."""
    return json.dumps([slice.root, slice.contract.hash, slice.now, parts])


def blocks(parts: list[Any], slice: Slice) -> Blocks:
    """Per block (part, what decode_block makes of it); between them, where a part ended."""
    return Blocks(_read(parts, slice), lambda found: (found[0], decode_block(found[1], found[0], slice)))


def _read(parts: list[Any], slice: Slice) -> Iterator[tuple[Any, bool]]:
    for part in parts:
        if "topic" in part:
            for block in kafka.read_partition(part, slice.kafka_config, slice.now):
                yield (part, block), True
            yield {"topic": part["topic"], "partition": part["partition"], "offset": part["end"]}, False
            continue
        for found in files.read_file(part, slice.contract):
            yield (found, False) if isinstance(found, dict) else ((part, found), True)


def decode_block(block: Any, part: Any, slice: Slice) -> tuple[Ruled, Any, str, int | None]:
    contract = slice.contract
    source, number = (part["topic"], part["partition"]) if "topic" in part else (part.get("source", part["name"]), None)
    arrivals: Any = slice.now
    if not isinstance(block, Records):
        table, first = block
        decoded = decode_parquet(table, first, contract)
    else:
        arrivals = slice.now if block.arrivals is None else block.arrivals
        if contract.format == "csv":
            decoded = decode_csv(block, contract, part.get("header") or [f.input_name for f in contract.fields])
        else:
            decoded = decode_json(block, contract)
    return apply_rules(decoded, arrivals, contract), arrivals, source, number
