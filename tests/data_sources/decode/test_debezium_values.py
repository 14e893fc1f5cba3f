"""Each type that a schema block names is read as Debezium's documentation says; what nothing explains is a reject."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_sources.contract import Contract, parse_contract
from data_sources.decode import debezium_plan
from data_sources.decode.json_lines import decode_json
from data_sources.records import messages
from tests.conftest import examples

DEBEZIUM, CONNECT = "io.debezium.time.", "org.apache.kafka.connect.data."
SHORT = {"x.Decimal": CONNECT + "Decimal", "x.Variable": "io.debezium.data.VariableScaleDecimal"}


def feed(kind: str, **words: Any) -> Contract:
    return parse_contract(
        {
            "name": "values", "format": "json", "event_time": "at",
            "lake": {"load": "cdc", "key": ["id"], "operation": "op_code", "sequence_by": ["lsn"]},
            "fields": [
                {"name": "op_code", "type": "int64"}, {"name": "lsn", "type": "string"}, {"name": "id", "type": "int64"},
                {"name": "at", "type": "timestamp"}, {"name": "x", "type": kind, **words},
            ],
        },
        "tests",
    )  # fmt: skip


def message(value: Any, name: str | None = None, type_: str = "int64", n: int = 1, **more: Any) -> bytes:
    payload = {"op": "c", "after": {"id": n, "x": value}, "source": {"commit_lsn": "0x01", "ts_ms": 1750000000000}}
    if name is None and type_ == "int64":
        return json.dumps(payload).encode()
    column = {"type": type_, "field": "x", **({"name": name} if name else {}), **more}
    schema = {"type": "struct", "fields": [{"type": "struct", "field": "after", "fields": [column]}, {"type": "string", "field": "op"}]}  # fmt: skip
    return json.dumps({"schema": schema, "payload": payload}).encode()


def read(contract: Contract, *raw: bytes) -> tuple[list[Any], list[tuple[str, str]]]:
    found = decode_json(messages(list(raw), range(len(raw)), [0] * len(raw)), contract)
    rejects = found.rejecting.table().to_pylist()
    return found.rows["x"].to_pylist(), [(r["rule"], r["reason"]) for r in rejects]


WALL = datetime(2025, 6, 15, 0, 20, 0, 123000)  # noqa: DTZ001 - a wall clock
MICROS = int(WALL.replace(tzinfo=UTC).timestamp() * 1000) * 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (DEBEZIUM + "Timestamp", MICROS // 1000), (DEBEZIUM + "MicroTimestamp", MICROS),
        (DEBEZIUM + "NanoTimestamp", MICROS * 1000), (CONNECT + "Timestamp", MICROS // 1000),
        (DEBEZIUM + "IsoTimestamp", "2025-06-15T00:20:00.123Z"),
    ],
)  # fmt: skip
def test_a_wall_clock_is_local_to_the_fields_time_zone(name: str, value: Any) -> None:
    raw = message(value, name, "string" if isinstance(value, str) else "int64")
    assert read(feed("timestamp", time_zone="Asia/Kolkata"), raw) == ([datetime(2025, 6, 14, 18, 50, 0, 123000, UTC)], [])  # fmt: skip
    assert read(feed("timestamp"), raw) == ([WALL.replace(tzinfo=UTC)], [])
    assert read(feed("date", time_zone="Asia/Kolkata"), raw) == ([date(2025, 6, 15)], [])
    text, rejects = read(feed("string"), raw)
    assert rejects == [] and text[0].startswith("2025-06-15T00:20:00.123")


def test_on_dst_decides_on_a_wall_clock_that_comes_twice_and_one_that_never_was() -> None:
    twice, never = (message(int(datetime(2025, m, d, 2, 30, tzinfo=UTC).timestamp()) * 1000, DEBEZIUM + "Timestamp", n=m) for m, d in ((10, 26), (3, 30)))  # fmt: skip
    zone = {"time_zone": "Europe/Vienna"}
    assert read(feed("timestamp", on_dst="later", **zone), twice)[0] == [datetime(2025, 10, 26, 1, 30, tzinfo=UTC)]
    assert read(feed("timestamp", on_dst="earlier", **zone), twice)[0] == [datetime(2025, 10, 26, 0, 30, tzinfo=UTC)]
    assert [rule for rule, _ in read(feed("timestamp", on_dst="later", **zone), never)[1]] == ["time:x"]
    assert [rule for rule, _ in read(feed("timestamp", **zone), twice)[1]] == ["time:x"]


def test_a_zoned_timestamp_is_an_instant_whatever_the_fields_time_zone() -> None:
    raw = message("2025-06-14T18:50:00Z", DEBEZIUM + "ZonedTimestamp", "string")
    assert read(feed("timestamp", time_zone="Asia/Kolkata"), raw)[0] == [datetime(2025, 6, 14, 18, 50, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("name", "value"), [(DEBEZIUM + "Date", 20254), (CONNECT + "Date", 20254), (DEBEZIUM + "IsoDate", "2025-06-15Z")]
)
def test_dates_are_days_of_the_fields_time_zone(name: str, value: Any) -> None:
    raw = message(value, name, "string" if isinstance(value, str) else "int32")
    assert read(feed("date"), raw) == ([date(2025, 6, 15)], [])
    assert read(feed("timestamp", time_zone="Asia/Kolkata"), raw) == ([datetime(2025, 6, 14, 18, 30, tzinfo=UTC)], [])


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("Time", 45_296_789, "12:34:56.789000"), ("MicroTime", 45_296_000_000, "12:34:56"),
        ("NanoTime", 45_296_000_001_000, "12:34:56.000001"), ("MicroTime", -3_020_399_000_000, "-838:59:59"),
    ],
)  # fmt: skip
def test_a_time_of_day_is_text_or_a_number_and_no_date(name: str, value: int, text: str) -> None:
    raw = message(value, DEBEZIUM + name)
    assert read(feed("string"), raw) == ([text], []) and read(feed("int64"), raw) == ([value], [])
    for kind in ("timestamp", "date"):
        (reject,) = read(feed(kind), raw)[1]
        assert reject[0] == "time:x" and name in reject[1]


@pytest.mark.parametrize(("unit", "many"), [("epoch_s", 1), ("epoch_ms", 1000), ("epoch_us", 10**6), ("epoch_ns", 10**9)])  # fmt: skip
@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1970, 4, 26, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])  # fmt: skip
def test_without_a_schema_the_contract_says_the_unit_and_never_the_size(unit: str, many: int, moment: datetime) -> None:
    number = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * many
    assert read(feed("timestamp", format=unit), message(number)) == ([moment], [])
    assert read(feed("date", format=unit), message(number)) == ([moment.date()], [])
    iso = moment.isoformat()
    assert read(feed("timestamp", format=unit), message(iso), message(number, n=2)) == ([moment, moment], [])


def test_the_schema_wins_over_the_contract_and_a_plain_number_of_a_schema_is_the_contracts() -> None:
    contract = feed("timestamp", format="epoch_s")
    assert read(contract, message(MICROS, DEBEZIUM + "MicroTimestamp"))[0] == [WALL.replace(tzinfo=UTC)]
    plain = message(1750000000, None, "int32")
    assert read(contract, plain)[0] == [datetime(2025, 6, 15, 15, 6, 40, tzinfo=UTC)]
    assert [rule for rule, _ in read(feed("timestamp"), plain)[1]] == ["time:x"]


@pytest.mark.parametrize("value", [10**30, -(10**18), 1e300, 9223372036825200000])
def test_numbers_beyond_the_years_are_rejects(value: Any) -> None:
    for contract in (feed("timestamp", format="epoch_ms"), feed("date")):
        ((rule, reason),) = read(contract, message(value))[1]
        assert rule == "time:x" and "9999" in reason


def test_a_fields_own_format_is_what_numbers_are_written_in_for_it() -> None:
    contract = feed("timestamp", format="%d.%m.%Y %H:%M:%S", time_zone="Asia/Kolkata")
    raw = [message("15.06.2025 00:20:00"), message(MICROS // 10**6 * 1000, DEBEZIUM + "Timestamp", n=2)]
    assert read(contract, *raw) == ([datetime(2025, 6, 14, 18, 50, tzinfo=UTC)] * 2, [])
    ((rule, reason),) = read(contract, message(MICROS, DEBEZIUM + "MicroTimestamp"))[1]
    assert rule == "time:x" and "without loss" in reason


def encoded(unscaled: int) -> str:
    size = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    return base64.b64encode(unscaled.to_bytes(size, "big", signed=True)).decode()


@settings(deadline=None)
@given(unscaled=st.integers(-(10**18), 10**18), scale=st.integers(0, 6))
def test_a_decimal_has_the_scale_of_its_schema(unscaled: int, scale: int) -> None:
    right = Decimal(unscaled).scaleb(-scale)
    raw = message(encoded(unscaled), SHORT["x.Decimal"], "bytes", parameters={"scale": str(scale)})
    variable = message({"scale": scale, "value": encoded(unscaled)}, SHORT["x.Variable"], "struct")
    bare = message({"scale": scale, "value": encoded(unscaled)})
    assert read(feed("decimal(38,6)"), raw, variable, bare) == ([right] * 3, [])
    assert read(feed("float64"), raw) == ([float(right)], [])
    assert [Decimal(t) for t in read(feed("string"), raw)[0]] == [right]


def test_whole_decimals_fit_int64_and_scales_below_zero_add_zeros() -> None:
    whole = message(encoded(1200), SHORT["x.Decimal"], "bytes", parameters={"scale": "2"})
    tens = message(encoded(-12), SHORT["x.Decimal"], "bytes", parameters={"scale": "-3"}, n=2)
    half = message(encoded(1250), SHORT["x.Decimal"], "bytes", parameters={"scale": "2"}, n=3)
    assert read(feed("int64"), whole, tens)[0] == [12, -12000]
    assert [rule for rule, _ in read(feed("int64"), half)[1]] == ["type:x"]


def test_a_number_in_a_decimal_schema_is_a_number_and_text_of_a_text_schema_too() -> None:
    numeric = message(9.5, SHORT["x.Decimal"], "bytes", parameters={"scale": "2"})
    assert read(feed("decimal(10,2)"), numeric, message("1234", None, "string", n=2))[0] == [Decimal("9.50"), Decimal("1234.00")]  # fmt: skip


@pytest.mark.parametrize("kind", ["decimal(10,2)", "decimal(10,0)", "float64", "int64"])
@pytest.mark.parametrize("text", ["1234", "AeJA", "OGw=", "12345678"])
def test_base64_without_a_schema_is_never_a_number(kind: str, text: str) -> None:
    values, ((rule, reason),) = read(feed(kind), message(text))
    assert values == [] and rule == "type:x"
    assert "decimal.handling.mode=" in reason and "value.converter.schemas.enable=true" in reason


@pytest.mark.parametrize("text", ["1234.00", "-1234", "12.5", "123", "0.00", "-0.10"])
def test_text_that_cannot_be_base64_is_the_number(text: str) -> None:
    assert read(feed("decimal(10,2)"), message(text)) == ([Decimal(text)], [])


@pytest.mark.parametrize(
    ("value", "more"),
    [("AeJ", {"parameters": {"scale": "2"}}), ("", {"parameters": {"scale": "2"}}), ("AeJA", {}), ("AeJA", {"parameters": {"scale": "999999999"}}), ("AeJA", {"parameters": {"scale": "two"}}), ("A" * 4000, {"parameters": {"scale": "2"}})],
)  # fmt: skip
def test_what_is_no_base64_or_has_no_scale_is_a_reject(value: str, more: dict[str, Any]) -> None:
    values, rejects = read(feed("decimal(10,2)"), message(value, SHORT["x.Decimal"], "bytes", **more))
    assert values == [] and [rule for rule, _ in rejects] == ["type:x"]


def test_a_schema_block_is_parsed_once_however_many_messages_carry_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse = debezium_plan.read_schema
    monkeypatch.setattr(debezium_plan, "read_schema", lambda block: parsed.append(block) or parse(block))
    contract = feed("timestamp", description="a contract that no other test has")
    raw = [message(MICROS + n, DEBEZIUM + "MicroTimestamp", n=n) for n in range(50)]
    raw += [message(MICROS // 1000, DEBEZIUM + "Timestamp", n=99)]
    assert len(read(contract, *raw)[0]) == 51 and len(read(contract, *raw)[0]) == 51
    assert len(parsed) == 2 == len(set(parsed))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
    | st.sampled_from(["1234", "AeJA", "2025-06-15Z", "Z", 2**70, -(10**40), 1e308, "__debezium_unavailable_value"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(["id", "x", "scale", "value", "lsn", "ts_ms"]), part, max_size=3),
    max_leaves=6,
)  # fmt: skip
KINDS = st.sampled_from([*SHORT.values(), *(DEBEZIUM + n for n in ("Timestamp", "NanoTimestamp", "Date", "Time", "IsoTimestamp", "IsoDate", "Year")), None, 3])  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(60))
@given(
    image=ANYTHING | st.fixed_dictionaries({"id": ANYTHING, "x": ANYTHING}), before=ANYTHING | st.fixed_dictionaries({"id": ANYTHING}),
    source=ANYTHING | st.fixed_dictionaries({"commit_lsn": ANYTHING, "ts_ms": ANYTHING, "event_serial_no": ANYTHING}),
    name=KINDS, parameters=ANYTHING, op=st.sampled_from(["c", "u", "d", "r", "t", "x", None, 3]),
    kind=st.sampled_from(["timestamp", "date", "string", "int64", "float64", "decimal(10,2)", "bool"]), damage=st.integers(0, 400),
)  # fmt: skip
def test_whatever_a_message_holds_it_has_one_fate(
    image: Any, before: Any, source: Any, name: Any, parameters: Any, op: Any, kind: str, damage: int
) -> None:
    column = {"field": "x", "type": "bytes", "name": name, "parameters": parameters}
    payload = {"op": op, "before": before, "after": image, "source": source}
    whole = json.dumps({"schema": {"fields": [{"field": "after", "fields": [column]}]}, "payload": payload}).encode()
    raw = [
        whole,
        json.dumps(payload).encode(),
        whole.replace(b'"x"', b'"\\ud800"'),
        whole[:damage] + whole[damage + 1 :],
    ]
    found = decode_json(messages(raw, range(len(raw)), [0] * len(raw)), feed(kind))
    parents = found.parents.tolist() if found.parents is not None else [*range(len(raw))]
    refused = [r["_position"] for r in found.rejecting.table().to_pylist()]
    fates = [parents[i] for i in found.rows["_index"].to_pylist()] + refused
    assert sorted(fates) == sorted(parents) and set(parents) == {*range(len(raw))}
