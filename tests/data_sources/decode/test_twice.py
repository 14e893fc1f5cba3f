"""The autumn hour in order: the second occurrence in the file is the later instant, across blocks and with rejects."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from data_sources.contract import Contract
from data_sources.decode.csv_lines import decode_csv, split_csv
from data_sources.decode.json_lines import decode_json
from data_sources.decode.parquet_rows import decode_parquet
from data_sources.decode.rejects import Decoded
from data_sources.decode.twice import in_order
from data_sources.records import messages
from tests.data_sources.decode.cases import contract

FIELDS: list[dict[str, Any]] = [
    {"name": "m", "type": "string"},
    {"name": "at", "type": "timestamp", "time_zone": "Europe/Berlin", "on_dst": "in_order"},
    {"name": "kwh", "type": "float64"},
]
NAMES = ["m", "at", "kwh"]


def feed(form: str = "csv", **at: Any) -> Contract:
    fields = [FIELDS[0], {**FIELDS[1], **at}, FIELDS[2]]
    return contract(form, fields, dedup={"key": ["m", "at"]})


def decode(lines: list[str], contract: Contract) -> Decoded:
    return decode_csv(split_csv("".join(f"{line}\n" for line in lines).encode(), 1, contract, True)[0], contract, NAMES)


def hours(decoded: Decoded) -> list[str]:
    return [f"{at:%H:%M}" for at in decoded.rows["at"].to_pylist()]


def settled(lines: list[str], contract: Contract, seen: set[int] | None = None) -> tuple[list[str], set[int]]:
    decoded, now = in_order(decode(lines, contract), seen or set())
    return hours(decoded), now


DAY = [f"a,2025-10-26 {hour}:{minute},1" for hour in ("01", "02", "02", "03") for minute in ("00", "30")]


def test_the_second_occurrence_is_the_later_instant() -> None:
    assert hours(decode(DAY, feed())) == ["23:00", "23:30", "00:00", "00:30", "00:00", "00:30", "02:00", "02:30"]
    assert settled(DAY, feed())[0] == ["23:00", "23:30", "00:00", "00:30", "01:00", "01:30", "02:00", "02:30"]


@pytest.mark.parametrize("cut", range(1, len(DAY)))
def test_wherever_the_file_is_cut(cut: int) -> None:
    first, seen = settled(DAY[:cut], feed())
    second, _ = settled(DAY[cut:], feed(), seen)
    assert first + second == settled(DAY, feed())[0]


def test_each_key_by_itself_and_a_third_is_the_second_again() -> None:
    lines = [f"{m},2025-10-26 02:00,1" for m in "abaa"]
    assert settled(lines, feed())[0] == ["00:00", "00:00", "01:00", "01:00"]


def test_a_reject_counts_as_an_occurrence() -> None:
    lines = ["a,2025-10-26 02:00,bad", "a,2025-10-26 02:00,1"]
    decoded = decode(lines, feed())
    assert len(decoded.rejecting) == 1 and hours(in_order(decoded, set())[0]) == ["01:00"]


def test_times_with_an_offset_are_what_they_say() -> None:
    lines = ["a,2025-10-26T02:00:00+02:00,1", "a,2025-10-26T02:00:00+02:00,1"]
    assert settled(lines, feed())[0] == ["00:00", "00:00"]


def test_a_shift_is_added_to_both() -> None:
    assert settled(DAY[2:6], feed(shift="-30m"))[0] == ["23:30", "00:00", "00:30", "01:00"]


def test_a_time_that_does_not_exist_stays_a_reject() -> None:
    assert len(decode(["a,2025-03-30 02:30,1"], feed()).rejecting) == 1


def test_json_and_parquet_do_so_too() -> None:
    rows = [line.split(",") for line in DAY]
    raw = [f'{{"m": "{m}", "at": "{at}", "kwh": {kwh}}}'.encode() for m, at, kwh in rows]
    whole = settled(DAY, feed())[0]
    json = decode_json(messages(raw, range(len(raw)), [0] * len(raw)), feed("json"))
    assert hours(in_order(json, set())[0]) == whole
    other = [line.replace(b'"at"', b'"t"') for line in raw]
    json = decode_json(messages(other, range(len(raw)), [0] * len(raw)), feed("json", aliases=["t"]))
    assert hours(in_order(json, set())[0]) == whole
    texts = pa.table({"m": [r[0] for r in rows], "at": [r[1] for r in rows]})
    native = texts.set_column(1, "at", texts["at"].cast(pa.timestamp("ms")))
    for table in (texts, native):
        assert hours(in_order(decode_parquet(table, 1, feed("parquet")), set())[0]) == whole


def test_contracts_that_do_not_ask_carry_nothing() -> None:
    decoded = decode(DAY, feed(on_dst="earlier"))
    assert decoded.twice is None and in_order(decoded, {1}) == (decoded, {1})
