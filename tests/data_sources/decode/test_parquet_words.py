"""Parquet by words: other names, joined columns, patterns, counts from 1970, shifts, constants, unpivoted columns."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from data_sources.contract import Contract
from data_sources.decode.parquet_rows import decode_parquet
from data_sources.decode.rejects import Decoded
from tests.data_sources.decode.cases import contract

ID = {"name": "id", "type": "string"}
AT = {"name": "at", "type": "timestamp"}


def naive(text: str) -> datetime:
    """A wall clock: no zone is the point."""
    return datetime.fromisoformat(text)


def feed(*fields: dict[str, Any], **more: Any) -> Contract:
    return contract("parquet", [ID, *fields], **more)


def column(decoded: Decoded, name: str) -> list[str]:
    rules = decoded.rejecting.table()["rule"].to_pylist()
    return [str(value) for value in decoded.rows[name].to_pylist()] + [f"reject {rule}" for rule in rules]


def read(
    values: dict[str, Any], *fields: dict[str, Any], constants: dict[str, str | None] | None = None, **more: Any
) -> Decoded:
    return decode_parquet(
        pa.table({"id": ["x"] * len(next(iter(values.values()))), **values}), 1, feed(*fields, **more), constants
    )


def test_other_names_patterns_and_shifts() -> None:
    table = {"Zeit": [naive("2025-01-01 01:00")] * 2, "v": ["5 kWh", "none"]}
    fields = (
        {**AT, "aliases": ["T", "Zeit"], "shift": "-1h"},
        {"name": "kwh", "type": "float64", "source": "v", "pattern": "([0-9]+)"},
    )
    decoded = read(table, *fields)
    assert (
        column(decoded, "at") == ["2025-01-01 00:00:00+00:00", "reject pattern:kwh"]
        and column(decoded, "kwh")[0] == "5.0"
    )


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("epoch_s", pa.array([1735686000, -1]), ["2024-12-31 23:00:00+00:00", "1969-12-31 23:59:59+00:00"]),
        ("epoch_s", pa.array([1735686000], pa.int32()), ["2024-12-31 23:00:00+00:00"]),
        ("epoch_s", pa.array([1735686000.123456]), ["2024-12-31 23:00:00.123456+00:00"]),
        ("epoch_s", pa.array([Decimal("1735686000.5")]), ["2024-12-31 23:00:00.500000+00:00"]),
        ("epoch_s", pa.array(["1735686000.5"]), ["2024-12-31 23:00:00.500000+00:00"]),
        ("epoch_ns", pa.array([1735686000123456789]), ["2024-12-31 23:00:00.123456+00:00"]),
        ("epoch_ms", pa.array([2**63 - 1]), ["reject time:at"]),
        ("epoch_ms", pa.array([2**64 - 1], pa.uint64()), ["reject time:at"]),
        ("epoch_s", pa.array([float("nan"), float("inf"), 1e300]), ["reject time:at"] * 3),
    ],
)
def test_counts_from_1970(unit: str, values: pa.Array, expected: list[str]) -> None:
    assert column(read({"at": values}, {**AT, "format": unit}), "at") == expected


def test_a_wall_clock_counted_as_if_it_were_utc() -> None:
    words = {**AT, "format": "epoch_s", "time_zone": "Europe/Berlin"}
    assert column(read({"at": [1735686000]}, words), "at") == ["2024-12-31 22:00:00+00:00"]


def test_a_date_and_a_time_of_day_are_joined() -> None:
    words = {**AT, "source": ["day", "t"]}
    for day in (
        pa.array([date(2025, 1, 1)]),
        pa.array(["2025-01-01"]),
        pa.array([naive("2025-01-01 00:00")], pa.timestamp("ns")),
    ):
        for of_day in (
            pa.array([time(7, 30)], pa.time64("us")),
            pa.array([time(7, 30)], pa.time32("s")),
            pa.array(["07:30"]),
        ):
            assert column(read({"day": day, "t": of_day}, words), "at") == ["2025-01-01 07:30:00+00:00"]


def test_a_timestamp_read_by_a_pattern_or_beside_others_keeps_its_time_of_day() -> None:
    for unit in ("s", "ms", "us", "ns"):
        stamps = pa.array([naive("2025-01-01 05:15"), naive("2025-01-01 00:00")], pa.timestamp(unit))
        expected = ["2025-01-01 05:15:00+00:00", "2025-01-01 00:00:00+00:00"]
        assert column(read({"T": stamps}, {**AT, "source": "T", "pattern": "(.+)"}), "at") == expected
        beside = {**AT, "source": ["z", "T"], "pattern": "zone (.+)"}
        assert column(read({"T": stamps, "z": ["zone"] * 2}, beside), "at") == expected


@pytest.mark.parametrize("source", [{"source": "v", "pattern": "(.+)"}, {"source": ["v", "id"]}])
def test_what_has_no_text_is_a_reject_where_text_is_due(source: dict[str, Any]) -> None:
    deep = pa.array([["a"], None]), pa.array([{"a": 1}, None]), pa.array([b"\xff", None])
    for values in deep:
        decoded = read({"v": values, "at": ["2025-01-01"] * 2}, AT, {"name": "tag", "type": "string", **source})
        rest = [None] if "pattern" in source else ["x"]
        assert decoded.rows["tag"].to_pylist() == rest and column(decoded, "tag")[-1] == "reject type:tag", values.type
        nothing = read(
            {"v": values.slice(0, 0), "at": pa.array([], pa.string())}, AT, {"name": "tag", "type": "string", **source}
        )
        assert nothing.rows.num_rows == 0


def test_local_times_say_why_they_are_refused() -> None:
    words = {**AT, "time_zone": "Europe/Berlin"}
    decoded = read({"at": [naive("2025-10-26 02:30"), naive("2025-03-30 02:30")]}, words)
    reasons = decoded.rejecting.table()["reason"].to_pylist()
    assert "comes twice" in reasons[0] and "does not exist" in reasons[1]


def test_a_row_that_holds_several_records() -> None:
    fields = {**AT, "source": ["day", "slot"]}, {"name": "slot", "type": "string"}, {"name": "kwh", "type": "float64"}
    table = {"day": ["2025-01-01", "no"], "00:00": [1, 2], "note": ["a", None], "23:00": [None, 4.5]}
    decoded = read(table, *fields, unpivot={"columns": ":", "into": ["slot", "kwh"]})
    assert column(decoded, "kwh") == ["1.0", "None", "reject time:at", "reject time:at"]
    assert column(decoded, "at")[:2] == ["2025-01-01 00:00:00+00:00", "2025-01-01 23:00:00+00:00"]
    assert (
        decoded.rows["_position"].to_pylist() == [10003, 10005]
        and column(decoded, "_extra")[:2] == ['{"note": "a"}'] * 2
    )
    assert decoded.rejecting.table()["_position"].to_pylist() == [20003, 20005]
    assert b'"day": "no"' in decoded.rejecting.table()["raw"][0].as_py()
    assert decoded.parents is not None and decoded.parents.tolist() == [0, 0, 1, 1]


def test_numbers_of_several_types_in_a_row_are_read_each_as_it_is() -> None:
    """Through doubles 2^53 + 1 would be 2^53, and a decimal of twenty digits another one."""
    big, exact = 2**53 + 1, Decimal("12345678901234567.125")
    cells = {
        "1:": pa.array([big, 1]), "2:": pa.array([0.5, 1e300]), "3:": pa.array([exact, None]),
        "4:": pa.array([Decimal("1.5"), Decimal("2.5")]), "5:": pa.nulls(2),
    }  # fmt: skip
    words = {"unpivot": {"columns": ":", "into": ["slot", "kwh"]}}
    fields = AT, {"name": "slot", "type": "string"}, {"name": "kwh", "type": "decimal(20,3)"}
    decoded = read({"at": ["2025-01-01"] * 2, **cells}, *fields, **words)
    assert decoded.rows["kwh"].to_pylist() == [
        big,
        Decimal("0.5"),
        exact,
        Decimal("1.5"),
        None,
        1,
        None,
        Decimal("2.5"),
        None,
    ]
    assert decoded.rows["slot"].to_pylist()[:2] == ["1:", "2:"]
    (reject,) = decoded.rejecting.table().to_pylist()
    assert reject["_position"] == 20004 and reject["reason"] == "kwh: double '1e+300' is not a decimal(20,3)"
    whole = read({"at": ["2025-01-01"] * 2, **cells}, *fields[:2], {"name": "kwh", "type": "int64"}, **words)
    assert whole.rows["kwh"].to_pylist() == [big, None, 1, None, None] and len(whole.rejecting) == 5
    both = {"name": "both", "type": "string", "source": ["slot", "kwh"]}
    texts = read({"at": ["2025-01-01"], "1:": ["a"], "2:": [5], "3:": [[1]]}, *fields[:2],
                 {"name": "kwh", "type": "string"}, both, **words)  # fmt: skip
    assert column(texts, "both")[:2] == ["1: a", "2: 5"]
    assert texts.rows["kwh"].to_pylist() == ["a", "5"] and column(texts, "kwh")[2:] == ["reject type:kwh"]


def test_constants_and_missing_columns() -> None:
    fields = (
        AT,
        {"name": "site", "type": "int64", "from_name": "(x)"},
        {"name": "v", "type": "int64", "nullable": False},
    )
    table = {"at": [naive("2025-01-01 00:00")], "v": [1]}
    assert column(read(table, *fields, constants={"site": "7"}), "site") == ["7"]
    assert column(read(table, *fields, constants={"site": "a"}), "site") == ["reject type:site"]
    missing = read({"at": [naive("2025-01-01 00:00")], "V": [1]}, *fields, constants={"site": "7"})
    assert missing.rejecting.table()["reason"].to_pylist() == ["v is missing: the file has no column 'v'"]
