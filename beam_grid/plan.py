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
    source: str,
    contract: Contract,
    state: FeedState,
    rows: int,
    own_globs: bool,
    kafka_config: str | None,
    listing: files.Listing | None = None,
) -> Plan:
    """At most `rows` new records of the source; listing: what `list_new` found, where it was called before.

    Raises GridError where the source cannot be read at all.
    """
    try:
        if kafka.is_kafka(source):
            return _kafka_slice(source, contract, state, rows, kafka_config)
        listing = listing or list_new(source, contract, state.files, rows, own_globs)
    except files.SourceError as cause:
        raise GridError(str(cause)) from cause
    partitions = [_partition(key, parts, state) for key, parts in by_partition(listing, contract)]
    return Plan(partitions, sum(p["rows"] for p in listing.parts), listing.problems)


def list_new(
    source: str, contract: Contract, known: dict[str, dict[str, Any]], rows: int, own_globs: bool
) -> files.Listing:
    """What of the files at the source is new; raises SourceError."""
    listing = files.plan_files(files.find_files(source, contract, own_globs), known, contract, rows)
    for number, part in enumerate(listing.parts):
        part["part"] = number
    return listing


def by_partition(listing: files.Listing, contract: Contract) -> list[tuple[str, list[dict[str, Any]]]]:
    """(key, parts): files in the order of their names form one log, else each is a partition."""
    if contract.file_order == "name":
        return [(LOG, listing.parts)] if listing.parts else []
    return [(part["path"], [part]) for part in listing.parts]


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
