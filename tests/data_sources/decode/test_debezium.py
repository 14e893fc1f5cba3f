"""Debezium's envelopes are read as the native change rows of the same feed; tombstones land and change nothing."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from data_sources.contract import Contract, parse_contract
from data_sources.decode.debezium_plan import Image, plan_of
from data_sources.decode.json_lines import decode_json
from data_sources.records import messages
from transforms.judge import apply_rules

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


def test_days_of_a_date_need_no_word_and_an_images_time_has_its_unit() -> None:
    raw = bills().model_dump(mode="json", exclude_defaults=True)
    raw["fields"][-1]["format"] = "epoch_us"
    feed = parse_contract(raw, "tests")
    rows, rejects = decoded(
        *(envelope("c", after={**ROW, "due": 20270, "cdc_timestamp": n}) for n in (1_750_000_000_123_000, -1)),
        feed=feed,
    )
    assert rejects == [] and {r["due"] for r in rows} == {date(2025, 7, 1)}
    assert [r["at"] for r in rows] == [
        datetime(2025, 6, 15, 15, 6, 40, 123000, UTC), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    ]  # fmt: skip


def test_an_images_own_time_wins_over_the_sources() -> None:
    rows, _ = decoded(envelope("c", after={**ROW, "cdc_timestamp": "2025-01-01T00:00:00Z"}))
    assert rows[0]["at"] == datetime(2025, 1, 1, tzinfo=UTC)


def test_a_time_that_is_null_is_the_sources_and_a_column_called_operation_is_not_the_operation() -> None:
    """PostgreSQL's default replica identity sends the key of a before image, and nulls."""
    old = {"id": "a", "amount": None, "cdc_timestamp": None}
    values = [
        envelope("d", old),
        envelope("u", old, {**ROW, "id": "b"}),
        envelope("c", after={**ROW, "__$operation": 1}),
    ]
    rows, rejects = decoded(*values)
    assert rejects == [] and [(r["__$operation"], r["id"]) for r in rows] == [(1, "a"), (3, "a"), (4, "b"), (2, "a")]
    assert {r["at"] for r in rows} == {datetime(2025, 6, 15, 15, 6, 40, 123000, UTC)}
    assert all(r["_extra"] is None for r in rows)


def test_tombstones_keep_their_place_and_are_nothing_else() -> None:
    rows, rejects = decoded(envelope("c", after=ROW), b"null", None, {"schema": None, "payload": None}, b"{}")
    assert [r["_position"] for r in rows] == [0, 1, 2, 3] and {r["id"] for r in rows[1:]} == {None}
    assert [p for p, *_ in rejects] == [4]
    feed = bills(envelope="none")
    assert [r for _, r, _ in decoded(b"null", feed=feed)[1]] == ["json"]
    assert [r for _, r, _ in decoded(None, feed=feed)[1]] == ["json"]


@pytest.mark.parametrize("value", [None, b"", b"null", b'{"payload":null}', b'{"schema": {}, "payload" : null}'])
def test_a_tombstone_alone_in_its_block_is_one_too(value: bytes | None) -> None:
    """A follower reads a message as it comes; its fate is that among others."""
    for feed in (bills(), bills(envelope="debezium")):
        for values in ([value], [value, value], [value, envelope("c", after=ROW)]):
            rows, rejects = decoded(*values, feed=feed)
            assert rejects == [] and [r["id"] for r in rows] == ["a" if isinstance(v, dict) else None for v in values]


def test_a_native_row_whose_payload_is_null_is_a_row_whatever_is_beside_it() -> None:
    native = {
        "__$operation": 2,
        "__$start_lsn": "0x0A",
        "cdc_timestamp": "2025-01-01T00:00:00Z",
        "id": "b",
        "payload": None,
    }
    assert [r["id"] for r in decoded(native)[0]] == ["b"]
    assert [r["id"] for r in decoded(native, envelope("c", after=ROW))[0]] == ["b", "a"]


WRAPPED_TOMBSTONES: list[Any] = [
    {"schema": None, "payload": None}, {"payload": None}, b'{"payload" : null, "schema":{"type":"struct"}}',
]  # fmt: skip


@pytest.mark.parametrize("beside", [[], [envelope("c", after=ROW)], [{"__$operation": 2, "op": 1}], [None]])
def test_a_tombstone_is_one_whatever_stands_beside_it_and_a_native_row_is_none(beside: list[Any]) -> None:
    native = {"__$operation": 2, "__$start_lsn": "0x01", "__$seqval": "0x02", **ROW, "cdc_timestamp": "2025-01-01T00:00:00Z", "payload": None}  # fmt: skip
    others = [{"schema": None, "payload": 1}, {"schema": None}]
    rows, rejects = decoded(*WRAPPED_TOMBSTONES, native, *others, *beside)
    assert [(r["_position"], r["id"]) for r in rows[:4]] == [(0, None), (1, None), (2, None), (3, "a")]
    assert [p for p, *_ in rejects][:2] == [4, 5]


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


def tariffs(*more: dict[str, Any], **lake: Any) -> Contract:
    """A feed of a database that is not SQL Server: its place in the log comes by a path."""
    return parse_contract(
        {
            "name": "tariffs", "format": "json", "event_time": "at",
            "lake": {"load": "cdc", "key": ["id"], "operation": "op_code", "sequence_by": ["lsn"], **lake},
            "fields": [
                {"name": "op_code", "type": "int64"}, {"name": "lsn", "type": "int64", "source": "$.source.lsn"},
                {"name": "id", "type": "string"}, {"name": "price", "type": "float64"},
                {"name": "at", "type": "timestamp"}, *more,
            ],
        },
        "tests",
    )  # fmt: skip


PLACE = {"connector": "postgresql", "lsn": 7, "scn": "123456789012", "table": "tariffs", "ts_ms": 1750000000123}


def change(op: str, before: Any = None, after: Any = None, **source: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {**PLACE, **source}, "ts_ms": 1750000001000, "transaction": {"id": "571:1", "total_order": 3}}  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"schema": {"type": "struct"}, "payload": e}])
@pytest.mark.parametrize("root", ["$", "$.payload"])
def test_a_path_leads_from_the_message_wrapped_or_bare(wrap: Any, root: str) -> None:
    feed = tariffs(
        {"name": "scn", "type": "int64", "source": f"{root}.source.scn"},
        {"name": "sent", "type": "timestamp", "source": f"{root}.ts_ms", "time_zone": "Asia/Kolkata"},
        {"name": "logged", "type": "date", "source": f"{root}.source.ts_ms", "time_zone": "Asia/Kolkata"},
        {"name": "txn", "type": "string", "source": f"{root}.transaction.id"},
        {"name": "nth", "type": "int64", "source": f"{root}.transaction.total_order"},
        {"name": "old_price", "type": "float64", "source": f"{root}.before.price"},
        {"name": "nowhere", "type": "string", "source": f"{root}.source.table.name"},
    )
    rows, rejects = decoded(wrap(change("u", {"id": "a", "price": 1.5}, {"id": "a", "price": 2.5})), feed=feed)
    assert rejects == [] and {k: v for k, v in rows[0].items() if not k.startswith("_")} == {
        "op_code": 4, "lsn": 7, "id": "a", "price": 2.5, "at": datetime(2025, 6, 15, 15, 6, 40, 123000, UTC),
        "scn": 123456789012, "sent": datetime(2025, 6, 15, 15, 6, 41, tzinfo=UTC), "logged": date(2025, 6, 15),
        "txn": "571:1", "nth": 3, "old_price": 1.5, "nowhere": None,
    }  # fmt: skip
    assert rows[0]["_extra"] is None


def test_paths_of_a_truncate_and_of_a_transaction_that_is_null() -> None:
    feed = tariffs({"name": "txn", "type": "string", "source": "$.transaction.id"})
    rows, rejects = decoded({**change("t"), "transaction": None}, feed=feed)
    assert rejects == [] and (rows[0]["op_code"], rows[0]["lsn"], rows[0]["txn"]) == (0, 7, None)


@pytest.mark.parametrize("op", ["c", "u", "d", "r", "t"])
def test_a_change_without_a_place_is_a_reject_that_names_the_path(op: str) -> None:
    raw = tariffs().model_dump(mode="json", exclude_defaults=True)
    del raw["fields"][1]["source"]
    sides = {} if op == "t" else {"before": {"id": "a"}} if op == "d" else {"after": {"id": "a"}}
    value = change(op, **sides)
    found = decode_json(messages([json.dumps(value).encode()], [0], [0]), parse_contract(raw, "tests"))
    (reject,) = found.rejecting.table().to_pylist()
    assert reject["rule"] == "null:lsn" and 'source = "$.source.lsn"' in reject["reason"]


def test_a_place_may_be_a_column_of_the_row() -> None:
    feed = tariffs({"name": "version", "type": "int64"}, sequence_by=["version"])
    rows, rejects = decoded(change("c", after={"id": "a", "version": 3}), feed=feed)
    assert rejects == [] and rows[0]["version"] == 3


def test_an_update_of_the_key_is_two_records_at_one_place() -> None:
    feed = tariffs({"name": "version", "type": "int64"}, sequence_by=["lsn", "version"])
    values = [
        change("c", after={"id": "a", "price": 1.0, "version": 1}),
        change("u", {"id": "a", "price": 1.0, "version": 1}, {"id": "b", "price": 2.0, "version": 2}, lsn=8),
        change("u", {"id": "b", "price": 2.0, "version": 2}, {"id": "b", "price": 3.0, "version": 3}, lsn=9),
        None,
        change("u", {"id": None}, {"id": "c"}, lsn=10),
        change("u", {"price": 1}, {"id": "d"}, lsn=11),
        change("u", {"id": "d", "price": "x"}, {"id": "e", "price": "y"}, lsn=12),
    ]
    raw = [v if v is None else json.dumps(v).encode() for v in values]
    found = decode_json(messages(raw, range(20, 27), [0] * 7), feed)
    rows = found.rows.to_pylist()
    assert [(r["op_code"], r["id"], r["price"], r["lsn"], r["version"], r["_position"]) for r in rows] == [
        (2, "a", 1.0, 7, 1, 20), (3, "a", 1.0, 8, 2, 21), (4, "b", 2.0, 8, 2, 21), (4, "b", 3.0, 9, 3, 22),
        (None, None, None, None, None, 23), (4, "c", None, 10, None, 24), (4, "d", None, 11, None, 25),
    ]  # fmt: skip
    assert found.parents is not None and found.parents.tolist() == [0, 1, 1, 2, 3, 4, 5, 6]
    rejects = found.rejecting.table().to_pylist()
    assert [(r["rule"], r["_position"], r["raw"]) for r in rejects] == [("type:price", 26, raw[6])]


def test_equal_keys_written_otherwise_are_one_key() -> None:
    raw = b'{"op":"u","before":{"id":"\\u0061"},"after":{"id":"a"},"source":{"lsn":1,"ts_ms":1}}'
    assert len(decoded(raw, feed=tariffs())[0]) == 1


def test_arrivals_of_a_message_are_those_of_both_its_records() -> None:
    raw = [json.dumps(change("u", {"id": "a"}, {"id": "b"})).encode(), json.dumps(change("c", after={"id": "c"})).encode()]  # fmt: skip
    feed = parse_contract({**tariffs().model_dump(mode="json", exclude_defaults=True), "max_future": "1h"}, "tests")
    at = 1_750_000_000_123_000
    ruled = apply_rules(decode_json(messages(raw, [0, 1], [at, at - 7_200_000_000]), feed), np.array([at, at - 7_200_000_000]), feed)  # fmt: skip
    assert ruled.rows["id"].to_pylist() == ["a", "b"] and ruled.rejected["rule"].to_pylist() == ["max_future"]


def test_the_serial_number_never_stands_for_sql_servers_command_id() -> None:
    raw = bills().model_dump(mode="json", exclude_defaults=True)
    del raw["dedup"]
    raw["fields"].append({"name": "__$command_id", "type": "int64"})
    raw["lake"]["sequence_by"] = ["__$start_lsn", "__$command_id", "__$seqval", "serial"]
    (row,), _ = decoded(envelope("c", after=ROW), feed=parse_contract(raw, "tests"))
    assert (row["__$command_id"], row["serial"]) == (None, 2)


def test_a_value_that_debezium_did_not_have_is_no_text() -> None:
    feed = tariffs({"name": "note", "type": "string"})
    marker = "__debezium_unavailable_value"
    as_bytes = [base64.b64encode(marker.encode()).decode(), marker.encode().hex()]
    rows, rejects = decoded(
        *(change("u", None, {"id": "a", "note": text}) for text in (marker, *as_bytes)),
        change("u", None, {"id": "b", "other": marker, "note": marker[:-1]}),
        feed=feed,
    )
    assert [r["id"] for r in rows] == ["b"] and [rule for _, rule, _ in rejects] == ["unavailable:note"] * 3
    by_path = tariffs({"name": "note", "type": "string", "source": "$.after.note"})
    assert [rule for _, rule, _ in decoded(change("u", None, {"id": "a", "note": marker}), feed=by_path)[1]] == ["unavailable:note"]  # fmt: skip


def test_a_path_into_the_row_is_read_as_a_column_is() -> None:
    feed = tariffs(
        {"name": "price_in", "type": "decimal(10,2)", "source": "det.in.price"},
        {"name": "price_out", "type": "decimal(10,2)", "source": "det.price"},
        {"name": "began", "type": "timestamp", "source": "det.began", "time_zone": "Asia/Kolkata"},
        key=["id", "price_out"],
    )
    number = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}
    inner = {"field": "in", "fields": [{"field": "price", **number}]}
    began = {"field": "began", "type": "int64", "name": "io.debezium.time.Timestamp"}
    columns = [{"field": "det", "fields": [{"field": "price", **number}, inner, began]}]
    schema = {"fields": [{"field": side, "fields": columns} for side in ("before", "after")]}

    def row(price: str, began: int) -> dict[str, Any]:
        return {"id": "a", "det": {"price": price, "in": {"price": price, "more": 1}, "began": began}}

    changed = change("u", row("AJY=", 1749946800000), row("AXHi", 1749946800000))
    rows, rejects = decoded({"schema": schema, "payload": changed}, change("c", after=row("1234", 0)), feed=feed)
    assert [(r["op_code"], r["price_in"], r["price_out"]) for r in rows] == [
        (3, Decimal("1.50"), Decimal("1.50")), (4, Decimal("946.90"), Decimal("946.90")),
    ]  # fmt: skip
    assert {r["began"] for r in rows} == {datetime(2025, 6, 14, 18, 50, tzinfo=UTC)}
    assert json.loads(rows[1]["_extra"]) == {"det": {"in": {"more": 1}}}
    assert [rule for _, rule, _ in rejects] == ["type:price_in"]


@pytest.mark.parametrize("wrap", [b"%s", b'{"schema":null,"payload":%s}'])
def test_a_name_given_twice_in_a_message_is_a_reject(wrap: bytes) -> None:
    feed = tariffs(
        {"name": "amount", "type": "decimal(10,2)"}, {"name": "seen", "type": "timestamp", "format": "epoch_ms"}
    )
    good = b'{"op":"c","after":{"id":"a","seen":0,"op":"after"},"source":{"lsn":1,"ts_ms":1}}'
    twice = [
        b'{"op":"c","after":{"id":"a","id":"b","seen":0},"source":{"lsn":1,"ts_ms":1}}',
        b'{"op":"c","after":{"id":"a"},"after":{"id":"b"},"source":{"lsn":1,"ts_ms":1}}',
        b'{"op":"c","after":{"id":"a"},"op":"u","source":{"lsn":1,"ts_ms":1}}',
        b'{"op":"u","before":{"id":"a","id":"b"},"after":{"id":"b"},"source":{"lsn":1,"ts_ms":1}}',
    ]
    rows, rejects = decoded(*(wrap % raw for raw in (good, *twice)), feed=feed)
    assert [r["id"] for r in rows] == ["a"] and [(p, rule) for p, rule, _ in rejects] == [
        (n, "json") for n in range(1, 5)
    ]
    both = b'{"payload":{"op":"c","after":{"id":"a"},"source":{"lsn":1}},"payload":%s}' % good
    assert [rule for _, rule, _ in decoded(both, feed=feed)[1]] == ["json"]


def test_other_names_and_joined_columns_are_read_too() -> None:
    feed = tariffs(
        {"name": "valid", "type": "timestamp", "format": "epoch_ms", "aliases": ["gueltig_ab"]},
        {"name": "amount", "type": "decimal(10,2)", "aliases": ["betrag"]},
    )
    plan = plan_of(feed)
    image = Image(b"", {"gueltig_ab": msgspec.Raw(b"0"), "betrag": msgspec.Raw(b'"1.50"')})
    assert bytes(plan.read(image, b"", "after").values["gueltig_ab"]) == b'"1970-01-01T00:00:00+00:00"'
    rows, rejects = decoded(change("c", after={"id": "a", "betrag": "AeJA"}), feed=feed)
    assert rows == [] and [rule for _, rule, _ in rejects] == ["type:amount"]
    joined = tariffs({"name": "began", "type": "timestamp", "source": ["DAY", "TIME"], "time_zone": "Asia/Kolkata"})
    block = json.dumps({"fields": [{"field": "after", "fields": [
        {"field": "DAY", "type": "int32", "name": "io.debezium.time.Date"},
        {"field": "TIME", "type": "int64", "name": "io.debezium.time.MicroTime"}]}]}).encode()  # fmt: skip
    image = Image(b"", {"DAY": msgspec.Raw(b"20254"), "TIME": msgspec.Raw(b"1200000000")})
    read = plan_of(joined).read(image, block, "after").values
    assert (bytes(read["DAY"]), bytes(read["TIME"])) == (b'"2025-06-15"', b'"00:20:00"')


def test_a_key_under_another_name_is_the_key() -> None:
    raw = tariffs().model_dump(mode="json", exclude_defaults=True)
    del raw["dedup"]
    raw["fields"][2] |= {"source": "ID", "aliases": ["KEY"]}
    before, after = (Image(b"", {"KEY": msgspec.Raw(v)}) for v in (b'"a"', b'"b"'))
    assert plan_of(parse_contract(raw, "tests")).has_another_key(before, after)


def test_mysqls_place_is_a_file_a_position_and_a_row() -> None:
    feed = tariffs(
        {"name": "file", "type": "int64", "source": "$.source.file", "pattern": r"(\d+)$"},
        {"name": "pos", "type": "int64", "source": "$.source.pos"},
        {"name": "row", "type": "int64", "source": "$.source.row"},
        {"name": "began", "type": "timestamp", "source": ["DAY", "TIME"], "time_zone": "Asia/Kolkata"},
        {"name": "valid", "type": "timestamp", "format": "epoch_ms", "aliases": ["gueltig_ab"]},
        sequence_by=["file", "pos", "row"],
    )
    place = {"connector": "mysql", "file": "mysql-bin.000012", "pos": 154, "row": 0, "lsn": None}
    row = {"id": "a", "DAY": 20254, "TIME": 1200000000, "gueltig_ab": 1000}
    schema = {"fields": [{"field": "after", "fields": [
        {"field": "DAY", "type": "int32", "name": "io.debezium.time.Date"},
        {"field": "TIME", "type": "int64", "name": "io.debezium.time.MicroTime"}]}]}  # fmt: skip
    message = {"schema": schema, "payload": change("c", after=row, **place)}
    native = {"op_code": 2, "$.source.file": "x.7", "id": "n", "gueltig_ab": 2000, "at": "2025-01-01T00:00:00Z"}
    iso = {**native, "id": "i", "gueltig_ab": "1970-01-01T00:00:03Z"}
    rows, rejects = decoded(message, native, iso, feed=feed)
    assert rejects == [] and [r["file"] for r in rows] == [12, 7, 7]
    assert (rows[0]["pos"], rows[0]["row"], rows[0]["lsn"]) == (154, 0, None)
    assert rows[0]["began"] == datetime(2025, 6, 14, 18, 50, tzinfo=UTC)
    assert [r["valid"] for r in rows] == [datetime(1970, 1, 1, 0, 0, n, tzinfo=UTC) for n in (1, 2, 3)]
