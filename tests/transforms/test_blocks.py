"""What a block decodes to: each record is judged by its own arrival, also where one message became two records."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from data_sources.contract import parse_contract
from data_sources.records import messages
from data_sources.splits import KafkaSplit
from tests.transforms.making import minute
from transforms.blocks import Decided, Slice, decode_block

FEED = parse_contract(
    {
        "name": "changes",
        "format": "json",
        "event_time": "at",
        "max_future": "10m",
        "lake": {"load": "cdc", "key": ["id"], "operation": "op", "sequence_by": ["lsn"], "envelope": "auto"},
        "fields": [
            {"name": "id", "type": "int64"},
            {"name": "at", "type": "timestamp"},
            {"name": "op", "type": "int64"},
            {"name": "lsn", "type": "int64", "source": "$.source.lsn"},
        ],
    },
    "tests",
)


def change(lsn: int, at: float, before: int | None, after: int) -> bytes:
    def image(id: int | None) -> dict[str, Any] | None:
        return None if id is None else {"id": id, "at": minute(at).isoformat()}

    op = "c" if before is None else "u"
    return json.dumps({"op": op, "before": image(before), "after": image(after), "source": {"lsn": lsn}}).encode()


def micros(minutes: float) -> int:
    return int(minute(minutes).timestamp() * 1_000_000)


def test_a_message_behind_one_that_became_two_is_judged_by_its_own_arrival() -> None:
    values = [change(1, 0, 1, 2), change(2, 60, None, 3), change(3, 90, None, 4)]
    records = messages(values, [7, 8, 9], [micros(0), micros(60), micros(61)])
    split = KafkaSplit(topic="t", bootstrap="", partition=0, start=7, end=10)
    decided = decode_block(records, split, Slice(FEED, "", "", 1, 0, 1))
    assert isinstance(decided, Decided)
    assert decided.ruled.rows["id"].to_pylist() == [1, 2, 3], "the second came an hour after the first, not before"
    rejected = decided.ruled.rejected
    assert rejected["rule"].to_pylist() == ["max_future"]
    assert rejected["_arrival"].cast(pa.int64()).to_pylist() == [micros(61)]
