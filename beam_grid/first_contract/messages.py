"""A Kafka topic as a sample: its oldest messages, each an object or a document."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

from beam_grid.first_contract.json_files import has_times, of_documents
from beam_grid.first_contract.look import probe
from beam_grid.first_contract.model import Sample
from beam_grid.first_contract.records import of_records
from data_sources.records import Records
from data_sources.sources import SourceError

MESSAGES = 2_000


def of_topic(address: str, config: str | None) -> Sample:
    """The sample of a topic. Raises SourceError where it is not there, is empty, or its messages are no JSON objects."""
    from data_sources.sources.kafka import parse_source, plan_topic, read_partition
    from data_sources.splits import KafkaSplit

    _, topic = parse_source(address)
    listing = plan_topic(address, {}, config, MESSAGES)
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    values: list[bytes] = []
    for split in listing.splits:
        if isinstance(split, KafkaSplit):
            for block in read_partition(split, probe("json"), config, now):
                values += [block.raw(i) for i in range(len(block))] if isinstance(block, Records) else []
    given = [v for v in values if v]
    if not given:
        raise SourceError(f"source {address}: the topic has no messages to tell a contract from")
    found = [obj for obj in map(_object, given) if obj is not None]
    if len(found) * 2 < len(given):
        raise SourceError(
            f"source {address}: {len(given) - len(found):,} of {len(given):,} messages are not JSON objects (the first "
            f"begins with {given[0][:20]!r}); Avro and Protobuf are not read"
        )
    sample = of_records(found, address)
    if not sample.changes and not has_times(sample):
        with contextlib.suppress(SourceError):
            sample = of_documents(found, address, is_each=True)
    sample.files, sample.topic = [topic], topic
    return sample


def _object(value: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
