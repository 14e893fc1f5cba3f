"""Parquet of any writer: units, encodings and types are widened where nothing is lost; the rest are rejects."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_sources.contract import Contract
from data_sources.decode.parquet_rows import decode_kept, decode_parquet
from data_sources.decode.poison import set_aside
from data_sources.records import messages
from data_sources.sources.files import plan_files, read_file
from data_sources.sources.finding import find_files
from data_sources.splits import FileEnd
from tests.data_sources.decode.cases import contract, fates

TEN = datetime(2025, 6, 15, 10, tzinfo=UTC)
BERLIN = [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp", "time_zone": "Europe/Berlin"}]


def decode(columns: dict[str, Any], feed: Contract | None = None) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Rows and the rejects' rules by row number; id and at are filled in where they are not given."""
    length = len(next(iter(columns.values())))
    table = pa.table({"id": [f"i{n}" for n in range(length)], "at": [TEN] * length, **columns})
    decoded = decode_parquet(table, 1, feed or contract("parquet"))
    return decoded.rows.to_pylist(), {p: rule for p, (_, rule) in fates(decoded)[1].items()}


def values(name: str, column: Any, **feed: Any) -> list[Any]:
    """What became of a column: values, or the rule that rejected."""
    rows, rejects = decode({name: column}, contract("parquet", **feed) if feed else None)
    by_position = {r["_position"]: r[name] for r in rows} | rejects
    return [by_position[p] for p in range(1, len(column) + 1)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_every_unit(unit: str) -> None:
    seconds = int(TEN.timestamp())
    ticks = pa.array([seconds * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit], None], pa.int64())
    for zone in ("UTC", "Europe/Berlin", "+05:30"):
        assert values("at", ticks.cast(pa.timestamp(unit, zone))) == [TEN, "null:at"]
    assert values("at", ticks.cast(pa.timestamp(unit))) == [TEN, "null:at"]
    local = TEN.replace(hour=8)
    assert values("at", ticks.cast(pa.timestamp(unit)), fields=BERLIN) == [local, "null:at"]


def test_nanoseconds_are_cut_off_as_in_text() -> None:
    found = values("at", pa.array([1_000_000_999, -1, None], pa.timestamp("ns", "UTC")))
    assert found[:2] == [
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]


def test_times_beyond_what_can_be_held() -> None:
    found = values("at", pa.array([2**62, -(2**62), 253_402_300_800_000, 0], pa.timestamp("ms", "UTC")))
    assert found == ["time:at"] * 3 + [datetime(1970, 1, 1, tzinfo=UTC)]
    assert values("day", pa.array([2**31 - 1, 0], pa.date32())) == ["time:day", date(1970, 1, 1)]
    assert values("at", pa.array([2**31 - 1, 0], pa.date32()))[0] == "time:at"


def test_local_times_that_do_not_exist() -> None:
    naive = [datetime.fromisoformat(t) for t in ("2025-03-30T02:30", "2025-10-26T02:30", "2025-07-01T12:00")]
    column = pa.array(naive, pa.timestamp("ns"))
    assert values("at", column, fields=BERLIN) == ["time:at", "time:at", datetime(2025, 7, 1, 10, tzinfo=UTC)]
    later = [BERLIN[0], {**BERLIN[1], "on_dst": "later"}]
    assert values("at", column, fields=later)[:2] == ["time:at", datetime(2025, 10, 26, 1, 30, tzinfo=UTC)]


def test_dates_and_text_as_times() -> None:
    assert values("at", pa.array([date(2025, 6, 15)])) == [datetime(2025, 6, 15, tzinfo=UTC)]
    assert values("at", pa.array(["2025-06-15T12:00:00+02:00", "junk"])) == [TEN, "time:at"]
    assert values("day", pa.array([date(2025, 6, 15)], pa.date64())) == [date(2025, 6, 15)]
    assert values("day", pa.array(["2025-06-15", "2025-02-30"])) == [date(2025, 6, 15), "time:day"]


def test_numbers_are_widened_where_nothing_is_lost() -> None:
    assert values("kwh", pa.array([1, 2], pa.int8())) == [1.0, 2.0]
    assert values("kwh", pa.array([1.5, None], pa.float32())) == [1.5, None]
    assert values("kwh", pa.array([Decimal("1.25")])) == [1.25]
    assert values("kwh", pa.array([float("nan"), float("inf"), 1.0])) == ["type:kwh", "type:kwh", 1.0]
    assert values("n", pa.array([1, 2**64 - 1], pa.uint64())) == [1, "type:n"]
    assert values("n", pa.array([1.0, 1.5, None, float("nan"), 1e300])) == [1, "type:n", None, "type:n", "type:n"]
    assert values("n", pa.array([Decimal("3.00"), Decimal("3.50")])) == [3, "type:n"]
    assert values("price", pa.array([7, 10**9])) == [Decimal("7.00"), "type:price"]
    assert values("price", pa.array([0.1, 1.25, 0.125, float("nan"), 1e12])) == [
        Decimal("0.10"),
        Decimal("1.25"),
        *["type:price"] * 3,
    ]
    assert values("price", pa.array([Decimal("1.2500"), Decimal("1.2550")])) == [Decimal("1.25"), "type:price"]
    assert values("price", pa.array([Decimal("12345678901.5")], pa.decimal256(50, 3))) == ["type:price"]


def test_values_of_another_type_are_rejects() -> None:
    assert values("kwh", pa.array(["1.5", None])) == ["type:kwh", None]
    assert values("note", pa.array([5])) == ["type:note"]
    assert values("ok", pa.array([1])) == ["type:ok"]
    assert values("n", pa.array([True])) == ["type:n"]
    assert values("kwh", pa.array([[1.5]])) == ["type:kwh"]
    assert values("at", pa.array([1_750_000_000])) == ["time:at"]
    assert values("at", pa.array([36_000_000_000], pa.time64("us"))) == ["time:at"]
    assert values("kwh", pa.nulls(1)) == [None]
    assert values("at", pa.array([1, None], pa.duration("us"))) == ["time:at", "null:at"]
    assert values("price", pa.array([1.25, 0.1], pa.float16())) == [Decimal("1.25"), "type:price"]


def test_text_in_every_shape() -> None:
    for kind in (
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int8(), pa.string()),
    ):
        assert values("note", pa.array(["a", None, "é"], pa.string()).cast(kind)) == ["a", None, "é"], kind
    bad = pa.array([b"ok", b"\xff"], pa.binary())
    assert values("note", bad) == ["ok", "type:note"]
    unchecked = pa.Array.from_buffers(pa.string(), 2, bad.buffers())  # Parquet does not check what it calls text
    assert values("note", unchecked) == ["ok", "type:note"]
    assert values("at", unchecked) == ["time:at", "time:at"]


def test_what_the_contract_does_not_know_goes_to_extra() -> None:
    rows, _ = decode(
        {
            "x": pa.array([1.5, float("nan"), None]),
            "ns": pa.array([1, None, None], pa.timestamp("ns", "UTC")),
            "far": pa.array([2**62, None, None], pa.timestamp("us")),
            "deep": pa.array([{"a": [1, float("inf")]}, None, None]),
            "raw": pa.array([b"\xff", None, None]),
            "text": pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff", None, None], pa.binary()).buffers()),
            "_extra": pa.array(["mine", None, None]),
        }
    )
    first = json.loads(rows[0]["_extra"], parse_constant=pytest.fail)
    assert (
        first["x"] == 1.5
        and first["deep"] == {"a": [1, "inf"]}
        and first["raw"] == first["text"] == {"$blob": "ff"}
        and first["_extra"] == "mine"
    )
    assert set(first) == {"x", "ns", "far", "deep", "raw", "text", "_extra"} and first["ns"].startswith("1970-01-01")
    assert json.loads(rows[1]["_extra"], parse_constant=pytest.fail) == {"x": "nan"} and rows[2]["_extra"] is None


def test_rejects_keep_the_row_as_json() -> None:
    table = pa.table({"id": ["a"], "at": pa.array([2**62], pa.timestamp("ns")), "kwh": ["much"], "b": [b"\xff"]})
    rejects = decode_parquet(table, 9, contract("parquet")).rejecting.table().to_pylist()
    assert [r["_position"] for r in rejects] == [9] and rejects[0]["rule"] == "type:kwh"
    kept = json.loads(rejects[0]["raw"])
    assert kept["kwh"] == "much" and kept["b"] == {"$blob": "ff"}
    poisoned = set_aside((table, 9), contract("parquet"), "KeyError: x").rejecting.table()
    assert poisoned["raw"].to_pylist() == [rejects[0]["raw"]]


def test_bytes_that_are_no_text_stay_a_reject_when_they_are_judged_again() -> None:
    """What a reject keeps may not read as text that the row never had."""
    table = pa.table({"id": ["a", "b"], "at": [TEN] * 2, "note": [b"M\xfcnchen", b"ok"]})
    kept = decode_parquet(table, 1, contract("parquet")).rejecting.table()["raw"].to_pylist()
    again = decode_kept(messages(kept, [1], [0]), contract("parquet"))
    assert again.rows.num_rows == 0 and fates(again)[1] == {1: ("undecodable", "type:note")}


def test_missing_and_renamed_columns() -> None:
    fields = [
        {"name": "id", "type": "string", "source": "Meter Id"},
        {"name": "at", "type": "timestamp"},
        {"name": "n", "type": "int64"},
    ]
    table = pa.table({"Meter Id": ["a", None], "at": [TEN, TEN]})
    decoded = decode_parquet(table, 1, contract("parquet", fields=fields))
    assert [(r["id"], r["n"]) for r in decoded.rows.to_pylist()] == [("a", None)]
    assert fates(decoded)[1] == {2: ("undecodable", "null:id")}


def read(folder: Path, rows: int = 10**6) -> tuple[list[dict[str, Any]], list[str], list[int]]:
    """All rows under a folder, problems, and the rows of each slice."""
    feed = contract("parquet")
    known: dict[str, Any] = {}
    found, problems, slices = [], [], []
    while True:
        listing = plan_files(find_files(str(folder), feed, own_globs=False), known, feed, rows)
        problems = listing.problems
        if not listing.splits:
            return found, problems, slices
        slices.append(sum(split.rows for split in listing.splits))
        for split in listing.splits:
            for block in read_file(split, feed):
                if isinstance(block, FileEnd):
                    known[block.path] = block
                else:
                    found += decode_parquet(*block, feed).rows.to_pylist()


def make(path: Path, rows: int, **options: Any) -> None:
    pq.write_table(
        pa.table({"id": [f"i{n}" for n in range(rows)], "at": pa.array([TEN] * rows, pa.timestamp("us", "UTC"))}),
        path,
        **options,
    )


def test_int96_of_any_year(tmp_path: Path) -> None:
    """INT96, which Spark wrote for years, is nanoseconds by default: the year 2500 would become 1915."""
    far = datetime.fromisoformat("2500-01-01")
    table = pa.table({"id": ["a", "b"], "at": pa.array([far, TEN.replace(tzinfo=None)], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    rows, problems, _ = read(tmp_path)
    assert not problems and [r["at"] for r in rows] == [far.replace(tzinfo=UTC), TEN]


def test_row_groups_are_where_a_slice_may_cut(tmp_path: Path) -> None:
    make(tmp_path / "a.parquet", 10, row_group_size=3)
    make(tmp_path / "b.parquet", 4)
    rows, problems, slices = read(tmp_path, rows=4)
    assert not problems and slices == [6, 4, 4]
    assert [(r["id"], r["_position"]) for r in rows] == [(f"i{n}", n + 1) for n in [*range(10), *range(4)]]


def test_empty_row_groups_are_read_with_those_before_them(tmp_path: Path) -> None:
    """Else a full snapshot that ends with one is never read to its end, and deletes nothing."""
    table = pa.table({"id": ["a", "b"], "at": pa.array([TEN] * 2, pa.timestamp("us", "UTC"))})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as out:
        for part in (table.slice(0, 0), table, table.slice(0, 0), table, table.slice(0, 0), table.slice(0, 0)):
            out.write_table(part)
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 6
    feed, known = contract("parquet"), dict[str, FileEnd]()
    for rows in (2, 2, 2):
        for split in plan_files(find_files(str(tmp_path), feed, own_globs=False), known, feed, rows).splits:
            *blocks, end = read_file(split, feed)
            assert isinstance(end, FileEnd) and len(blocks) == 1
            known[end.path] = end
    (end,) = known.values()
    assert end.done and end.offset == 6


def test_files_without_rows_and_files_that_are_none(tmp_path: Path) -> None:
    make(tmp_path / "a.parquet", 2)
    make(tmp_path / "empty.parquet", 0)
    (tmp_path / "text.parquet").write_text("id,at\n")
    (tmp_path / "nothing.parquet").write_bytes(b"")
    make(tmp_path / "cut.parquet", 1000)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    pq.write_table(pa.table({"price": [1.0]}).rename_columns(["other"]), tmp_path / "other.parquet")
    rows, problems, slices = read(tmp_path)
    assert len(rows) == 2 and slices == [2]
    assert [p.split(":")[0] for p in problems] == ["cut.parquet", "nothing.parquet", "other.parquet", "text.parquet"]
    assert "none of the contract's" in problems[2]


def test_damage_inside_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "id": [f"{v:x}" for v in rng.integers(0, 2**62, 5000)],
            "at": pa.array([TEN] * 5000, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, path, compression="zstd")
    raw = bytearray(path.read_bytes())
    raw[5000:15000] = b"\x55" * 10000
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match=r"a\.parquet: cannot be read"):
        read(tmp_path)
