"""The next slice: which parts of which partitions to read. Small, plain data, decided before reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from beam_grid.errors import GridError
from beam_grid.state import FeedState
from data_sources import files, kafka
from data_sources.contract import Contract

LOG = "files"
"""Key of the one partition that files in the order of their names form."""


@dataclass
class Plan:
    """partitions: {key, greatest, newest_arrival, parts}, parts as the readers know them, numbered by `part`;
    rows: at most that many records; problems: what was left out, and why."""

    partitions: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    problems: list[str] = field(default_factory=list)


def next_slice(
    source: str, contract: Contract, state: FeedState, rows: int, own_globs: bool, kafka_config: str | None
) -> Plan:
    """At most `rows` new records of the source. Raises GridError where the source cannot be read at all."""
    try:
        if kafka.is_kafka(source):
            return _kafka_slice(source, contract, state, rows, kafka_config)
        found = files.find_files(source, contract, own_globs)
        listing = files.plan_files(found, state.files, contract, rows)
    except files.SourceError as cause:
        raise GridError(str(cause)) from cause
    for number, part in enumerate(listing.parts):
        part["part"] = number
    if contract.file_order == "name":
        partitions = [_partition(LOG, listing.parts, state)] if listing.parts else []
    else:
        partitions = [{"key": p["path"], "greatest": None, "newest_arrival": None, "parts": [p]} for p in listing.parts]
    return Plan(partitions, sum(p["rows"] for p in listing.parts), listing.problems)


def _kafka_slice(source: str, contract: Contract, state: FeedState, rows: int, kafka_config: str | None) -> Plan:
    if contract.format != "json":
        raise GridError(f"feed {contract.name}: Kafka messages are read as JSON, the contract says {contract.format!r}")
    _, topic = kafka.parse_source(source)
    parts, gaps = kafka.plan_topic(source, state.offsets.get(topic, {}), kafka_config, rows)
    plan = Plan(problems=gaps)
    for number, part in enumerate(parts):
        part["part"] = number
        plan.partitions.append(_partition(f"{topic}/{part['partition']}", [part], state))
        plan.rows += part["end"] - part["start"]
    return plan


def _partition(key: str, parts: list[dict[str, Any]], state: FeedState) -> dict[str, Any]:
    return {"key": key, "greatest": state.greatest.get(key), "newest_arrival": state.arrivals.get(key), "parts": parts}
