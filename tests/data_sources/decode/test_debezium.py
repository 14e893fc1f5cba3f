"""Debezium's envelopes are read as the native change rows of the same feed; tombstones land and change nothing."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from data_sources.contract import Contract, parse_contract
from data_sources.decode.json_lines import decode_json
from data_sources.records import messages

SOURCE = {"commit_lsn": "00000027:00000ac0:0002", "change_lsn": "00000027:00000ac0:0001", "event_serial_no": 2, "ts_ms": 1750000000123}  # fmt: skip
ROW = {"id": "a", "amount": "9.90", "due": "2025-07-01"}


def bills(**lake: Any) -> Contract:
    return parse_contract(
        {
            "name": "bills", "format": "json", "event_time": "at",
            "lake": {"load": "cdc", "key": ["id"], "operation": "__$operation", **lake,
                     "sequence_by": ["__$start_lsn", "__$seqval", "serial", "__$operation"]},
            "fields": [
                {"name": "__$operation", "type": "int64"}, {"name": "__$start_lsn", "type": "string"},
                {"name": "__$seqval", "type": "string"}, {"name": "serial", "type": "int64", "source": "event_serial_no"},
                {"name": "id", "type": "string"}, {"name": "amount", "type": "decimal(10,2)"},
                {"name": "due", "type": "date"}, {"name": "at", "type": "timestamp", "source": "cdc_timestamp"},
            ],
        },
        "tests",
    )  # fmt: skip


def decoded(*values: Any, feed: Contract | None = None) -> tuple[list[dict[str, Any]], list[tuple[int, str, bytes]]]:
    raw = [v if isinstance(v, bytes) or v is None else json.dumps(v).encode() for v in values]
    found = decode_json(messages(raw, range(len(raw)), [0] * len(raw)), feed or bills())
    rejects = [(r["_position"], r["rule"], r["raw"]) for r in found.rejecting.table().to_pylist()]
    return found.rows.to_pylist(), rejects


def envelope(op: Any, before: Any = None, after: Any = None, **source: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {**SOURCE, **source}, "ts_ms": 1}


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"schema": {"type": "struct"}, "payload": e}])
@pytest.mark.parametrize(("op", "code"), [("c", 2), ("r", 2), ("u", 4), ("d", 1)])
def test_each_operation_bare_and_inside_payload(wrap: Any, op: str, code: int) -> None:
    sides = {"before": ROW} if op == "d" else {"after": ROW}
    rows, rejects = decoded(wrap(envelope(op, **sides)))
    assert rejects == [] and len(rows) == 1
    assert {k: v for k, v in rows[0].items() if v is not None and not k.startswith("_i")} == {
        "__$operation": code, "__$start_lsn": SOURCE["commit_lsn"], "__$seqval": SOURCE["change_lsn"], "serial": 2,
        "id": "a", "amount": Decimal("9.90"), "due": date(2025, 7, 1),
        "at": datetime(2025, 6, 15, 15, 6, 40, 123000, UTC), "_position": 0,
    }  # fmt: skip


def test_serial_numbers_are_text_number_or_null_and_nothing_else() -> None:
    rows, rejects = decoded(*(envelope("c", after=ROW, event_serial_no=s) for s in ("12", 3, None, "x")))
    assert [r["serial"] for r in rows] == [12, 3, None]
    assert [(p, rule) for p, rule, _ in rejects] == [(3, "type:serial")]


def test_times_may_be_numbers() -> None:
    at = 1_750_000_000_123
    rows, _ = decoded(
        *(envelope("c", after={**ROW, "due": 20270, "cdc_timestamp": n}) for n in (at, at * 1000, at * 10**6))
    )
    assert {r["due"] for r in rows} == {date(2025, 7, 1)}
    assert {r["at"] for r in rows} == {datetime(2025, 6, 15, 15, 6, 40, 123000, UTC)}


def test_an_images_own_time_wins_over_the_sources() -> None:
    rows, _ = decoded(envelope("c", after={**ROW, "cdc_timestamp": "2025-01-01T00:00:00Z"}))
    assert rows[0]["at"] == datetime(2025, 1, 1, tzinfo=UTC)


def test_tombstones_keep_their_place_and_are_nothing_else() -> None:
    rows, rejects = decoded(envelope("c", after=ROW), b"null", None, {"schema": None, "payload": None}, b"{}")
    assert [r["_position"] for r in rows] == [0, 1, 2, 3] and {r["id"] for r in rows[1:]} == {None}
    assert [p for p, *_ in rejects] == [4]
    feed = bills(envelope="none")
    assert [r for _, r, _ in decoded(b"null", feed=feed)[1]] == ["json"]


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"schema": {"type": "struct"}, "payload": e}])
@pytest.mark.parametrize("feed", [bills(), bills(envelope="debezium")])
def test_a_truncate_is_its_operation_place_and_time(wrap: Any, feed: Contract) -> None:
    rows, rejects = decoded(wrap(envelope("t")), envelope("c", after=ROW), feed=feed)
    assert rejects == [] and {k: v for k, v in rows[0].items() if v is not None} == {
        "__$operation": 0, "__$start_lsn": SOURCE["commit_lsn"], "__$seqval": SOURCE["change_lsn"], "serial": 2,
        "at": datetime(2025, 6, 15, 15, 6, 40, 123000, UTC), "_position": 0, "_index": 0,
    }  # fmt: skip
    assert rows[1]["id"] == "a"
    native = {
        "op": "t",
        "source": {"commit_lsn": 1},
        "__$operation": 2,
        "__$start_lsn": "0x0A",
        "cdc_timestamp": "2025-01-01T00:00:00Z",
        "id": "b",
    }
    assert [r["id"] for r in decoded(native)[0]] == ["b"]


def test_a_truncate_without_place_or_time_is_a_reject_and_no_native_row_is_one() -> None:
    timeless = {"op": "t", "source": {"commit_lsn": "0x01"}}
    placeless = {"op": "t", "source": {"ts_ms": 1}}
    native = {"__$operation": 0, "__$start_lsn": "0x01", "cdc_timestamp": "2025-01-01T00:00:00Z"}
    rows, rejects = decoded(timeless, placeless, native, {"op": "t"}, envelope("t", event_serial_no="x"))
    assert rows == []
    assert [(p, rule) for p, rule, _ in rejects] == [
        (0, "null:at"), (1, "null:__$start_lsn"), (2, "null:id"), (3, "null:id"), (4, "type:serial"),
    ]  # fmt: skip


def test_what_is_wrong_with_an_envelope_is_rejected_with_its_own_bytes() -> None:
    bad = [envelope("u", before=ROW), envelope("d", after=ROW), envelope("x", after=ROW), envelope("c", after=[1]), b'{"op": "c", "after": {']  # fmt: skip
    rows, rejects = decoded(*bad, envelope("c", after=ROW))
    assert len(rows) == 1
    assert [rule for _, rule, _ in rejects] == ["image:after", "image:before", "operation:__$operation", "image:after", "json"]  # fmt: skip
    assert [raw for *_, raw in rejects] == [b if isinstance(b, bytes) else json.dumps(b).encode() for b in bad]


def test_unknown_fields_of_an_image_are_kept_and_native_rows_pass_among_envelopes() -> None:
    native = {"__$operation": 2, "__$start_lsn": "0x01", "__$seqval": "0x02", **ROW, "cdc_timestamp": "2025-01-01T00:00:00Z", "op": "stamped"}  # fmt: skip
    rows, rejects = decoded(envelope("c", after={**ROW, "tariff": "T1"}), native)
    assert (rejects == [] and [r["_extra"] for r in rows] == ['{"tariff":"T1"}', '{"op":"stamped"}']) or (
        [json.loads(r["_extra"]) for r in rows] == [{"tariff": "T1"}, {"op": "stamped"}]
    )
    assert [r["__$start_lsn"] for r in rows] == [SOURCE["commit_lsn"], "0x01"]
