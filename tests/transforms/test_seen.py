"""Reading what is committed: nothing that matters is skipped, little else is read."""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from data_sources.contract import Contract, parse_contract
from data_sources.typed_json import decoder, encode
from tests.conftest import examples
from tests.transforms.making import contract, minute, rows, seen
from transforms import seen as seen_module
from transforms.files import LONGEST_BOUND, bound, write_file
from transforms.manifest import LandedFile
from transforms.merge_files import merge_files
from transforms.seen import conform, key_ranges, read_counted, read_seen, write_hashes

EDGE = "\U0010ffff"
TEXTS = st.one_of(
    st.text("ab\0zß" + EDGE, max_size=4),
    st.builds(lambda n, tail: "a" * (LONGEST_BOUND + n) + tail, st.integers(-2, 2), st.text("ab" + EDGE, max_size=3)),
)
VALUES: dict[str, Any] = {
    "string": TEXTS,
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
    "decimal(38,3)": st.integers(-(10**37), 10**37).map(lambda n: Decimal(n).scaleb(-3)),
    "decimal(38,20)": st.integers(-(10**37), 10**37).map(lambda n: Decimal(n).scaleb(-20)),
    "bool": st.booleans(),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
}
MINUTES = st.integers(-2000, 2000).map(minute)


def feed(kind: str, **dedup: Any) -> Contract:
    return parse_contract(
        {
            "name": "f", "format": "json", "event_time": "at", "dedup": {"key": ["k"], **dedup},
            "fields": [{"name": "k", "type": kind}, {"name": "at", "type": "timestamp"}],
        },
        "tests",
    )  # fmt: skip


def made(of: Contract, keys: list[Any], times: list[datetime] | None = None) -> pa.Table:
    schema = pa.schema([f.with_nullable(True) for f in of.landed_schema])
    times = times or [minute(0)] * len(keys)
    return pa.Table.from_pylist(
        [{"k": k, "at": t, "_position": n, "_commit": 1} for n, (k, t) in enumerate(zip(keys, times, strict=True))],
        schema=schema,
    )


def landed(folder: Path, of: Contract, tables: list[pa.Table]) -> list[LandedFile]:
    bounds = list(dict.fromkeys([*of.dedup.key, of.event_time]))
    entries = [write_file(folder / "data" / "x", "rows", t, of.sort_by, bounds, shard=0) for t in tables]
    for n, (entry, table) in enumerate(zip(entries, tables, strict=True)):
        if n % 2 == 0:  # lakes of earlier versions have files without
            entries[n] = replace(entry, keys=write_hashes(folder / entry.path, table, of.dedup.key))
    return decoder(list[LandedFile])(encode(entries))  # as a commit file keeps them


def keys_of(table: pa.Table | None) -> set[Any]:
    return set() if table is None else set(table["k"].to_pylist())


@pytest.mark.parametrize("kind", VALUES)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pruning_never_loses_a_key(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    of = feed(kind)
    old = data.draw(st.lists(st.lists(VALUES[kind], min_size=1, max_size=4), min_size=1, max_size=3))
    pool = [k for keys in old for k in keys]
    fresh = data.draw(st.lists(st.one_of(st.sampled_from(pool), VALUES[kind]), min_size=1, max_size=4))
    files = landed(tmp_path, of, [made(of, keys) for keys in old])
    assert keys_of(read_seen(files, tmp_path, made(of, fresh), of)) == set(pool) & set(fresh)
    assert set(pool) & set(fresh) <= keys_of(read_counted(files, tmp_path, made(of, fresh), of))


@pytest.mark.parametrize("key", [["k"], ["k", "at"]])
@pytest.mark.parametrize(("old", "new"), [(-0.0, 0.0), (0.0, -0.0)])
def test_zero_with_a_sign_is_the_same_key(key: list[str], old: float, new: float, tmp_path: Path) -> None:
    of = feed("float64", key=key)
    files = landed(tmp_path, of, [made(of, [old, 1.0]), made(of, [2.0, old])])
    for file in files:
        assert keys_of(read_seen([file], tmp_path, made(of, [new]), of)) == {0.0}


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=st.lists(MINUTES, min_size=1, max_size=4), new=st.lists(MINUTES, min_size=1, max_size=4))
def test_pruning_by_time_reaches_as_far_as_the_horizon(old: list[datetime], new: list[datetime], tmp_path: Path) -> None:  # fmt: skip
    of = feed("string", horizon="1h")
    files = landed(tmp_path, of, [made(of, ["a"], [t]) for t in old])
    found = read_seen(files, tmp_path, made(of, ["a"] * len(new), new), of)
    times = set() if found is None else set(found["at"].to_pylist())
    assert times >= {t for t in old if any(abs(t - n) <= timedelta(hours=1) for n in new)}


def test_a_conflict_counted_beyond_the_horizon_is_known(tmp_path: Path) -> None:
    """A key's conflict counts once, also when its records are too far apart to be copies of each other."""
    of = feed("string", horizon="1h")
    files = landed(tmp_path, of, [made(of, ["a"], [minute(0)])])
    assert keys_of(read_counted(files, tmp_path, made(of, ["a"], [minute(50_000)]), of)) == {"a"}


def test_a_date_reaches_whole_days(tmp_path: Path) -> None:
    of = parse_contract(
        {
            "name": "f", "format": "json", "event_time": "day", "dedup": {"key": ["k"], "horizon": "36h"},
            "fields": [{"name": "k", "type": "string"}, {"name": "day", "type": "date"}],
        },
        "tests",
    )  # fmt: skip
    ranges = key_ranges(pa.table({"k": ["a"], "day": [date(1970, 1, 11)]}), of)
    assert ranges["day"] == (8, 12)


@given(TEXTS, TEXTS)
def test_cut_bounds_stay_bounds(one: str, other: str) -> None:
    low, high = sorted([one, other])
    assert bound(pa.scalar(low)) <= low
    assert bound(pa.scalar(low)) <= bound(pa.scalar(high), up=True)
    assert len(bound(pa.scalar(high), up=True)) <= LONGEST_BOUND + 1


def test_python_and_arrow_agree_on_the_order_of_text() -> None:
    """Bounds are compared by Python (code points), taken by Arrow (bytes): UTF-8 keeps the order."""
    texts = ["\uffff", "\U00010000", "z", "ß", "\0", "", EDGE]
    assert sorted(texts) == sorted(texts, key=lambda t: t.encode())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened and row groups that are read from now on."""
    opened: list[str] = []

    class Spy(pq.ParquetFile):
        def __init__(self, path: Path, *args: Any, **named: Any) -> None:
            opened.append(Path(path).name)
            super().__init__(path, *args, **named)

        def read_row_group(self, group: int, *args: Any, **named: Any) -> pa.Table:
            opened.append(f"group {group}")
            return super().read_row_group(group, *args, **named)

    monkeypatch.setattr(pq, "ParquetFile", Spy)
    monkeypatch.setattr(seen_module.pq, "ParquetFile", Spy)
    return opened


def test_files_that_cannot_hold_a_key_are_not_opened(tmp_path: Path, reads: list[str]) -> None:
    of = contract()
    tables = [seen(rows(of, *((f"{n:02d}-{letter}", n) for letter in string.ascii_lowercase))) for n in range(20)]
    files = landed_named(tmp_path, of, tables)
    found = read_seen(files, tmp_path, rows(of, ("07-c", 7), ("07-x", 7)), of)
    assert found is not None and found.num_rows == 2
    assert {name for name in reads if not name.startswith("group")} == {Path(files[7].path).name}
    reads.clear()
    assert read_seen(files, tmp_path, rows(of, ("07-c", 900)), of) is None
    assert reads == [], "the key's id is in reach, its time is not"


def landed_named(folder: Path, of: Contract, tables: list[pa.Table]) -> list[LandedFile]:
    return [
        write_file(folder / "data" / "x", "rows", t, of.sort_by, ["id", "at"], shard=0, row_group=10) for t in tables
    ]


def test_row_groups_that_cannot_hold_a_key_are_not_read(tmp_path: Path, reads: list[str]) -> None:
    of = contract()
    files = landed_named(tmp_path, of, [seen(rows(of, *((f"k{n:03d}", n) for n in range(100))))])
    found = read_seen(files, tmp_path, rows(of, ("k055", 55)), of)
    assert found is not None and found["id"].to_pylist() == ["k055"]
    assert {name for name in reads if name.startswith("group")} == {"group 5"}


def test_of_many_small_files_put_together_little_is_read_for_a_row(tmp_path: Path, reads: list[str]) -> None:
    of = contract()
    parts = [seen(rows(of, *((f"k{n:05d}", n) for n in range(low, low + 7_000)))) for low in (0, 7_000, 14_000)]
    merged = merge_files(tmp_path, landed_named(tmp_path, of, parts), of, tmp_path / "data" / "y")
    reads.clear()
    found = read_seen([merged], tmp_path, rows(of, ("k15000", 15_000)), of)
    assert found is not None and found["id"].to_pylist() == ["k15000"]
    assert {name for name in reads if name.startswith("group")} == {"group 1"}


def test_rows_of_an_older_contract_get_nulls_for_what_came_later(tmp_path: Path) -> None:
    before = contract()
    files = landed_named(tmp_path, before, [seen(rows(before, ("a", 0, 1.5)))])
    later = contract(fields=[*(f.model_dump() for f in before.fields), {"name": "new", "type": "date", "since": "2"}])
    found = read_seen(files, tmp_path, rows(later, ("a", 0, 1.5)), later)
    assert found is not None
    assert found.schema.names == later.landed_schema.names and found["new"].to_pylist() == [None]
    assert found["kwh"].to_pylist() == [1.5]


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    kinds = {kind: f"f{n}" for n, kind in enumerate(VALUES)}
    of = parse_contract(
        {
            "name": "f", "format": "json", "event_time": kinds["timestamp"], "dedup": {"key": [kinds["int64"]]},
            "fields": [{"name": name, "type": kind} for kind, name in kinds.items()],
        },
        "tests",
    )  # fmt: skip
    row = {
        kinds["string"]: "ß\0" + EDGE, kinds["int64"]: -(2**63), kinds["float64"]: 5e-324,
        kinds["decimal(38,3)"]: Decimal("-99999999999999999999999999999999999.999"), kinds["decimal(38,20)"]: Decimal("1E-20"),
        kinds["bool"]: False, kinds["date"]: date(1, 1, 1), kinds["timestamp"]: datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    }  # fmt: skip
    schema = pa.schema([f.with_nullable(True) for f in of.landed_schema])
    table = pa.Table.from_pylist([row, {kinds["int64"]: 7, kinds["timestamp"]: minute(0)}], schema=schema)
    files = [write_file(tmp_path / "data" / "x", "rows", table, of.sort_by, [kinds["int64"], of.event_time], shard=0)]
    found = read_seen(files, tmp_path, table, of)
    assert found is not None
    assert sorted(found.to_pylist(), key=lambda r: r[kinds["int64"]]) == sorted(table.to_pylist(), key=lambda r: r[kinds["int64"]])  # fmt: skip


def test_conform_keeps_the_contracts_order(tmp_path: Path) -> None:
    of = contract()
    turned = rows(of, ("a", 0, 1.0)).select(["kwh", "at", "id", "_commit"])
    assert conform(turned, of).column_names == of.landed_schema.names
    assert isinstance(pl.from_arrow(conform(turned, of)), pl.DataFrame)


def test_hashes_that_do_not_fit_their_file_stop_the_run(tmp_path: Path) -> None:
    of = feed("string")
    (entry,) = landed(tmp_path, of, [made(of, ["a", "b"])])
    beside = (tmp_path / entry.path).with_name(str(entry.keys))
    beside.write_bytes(beside.read_bytes()[:8])
    with pytest.raises(ValueError, match=r"holds 1 keys of 2"):
        read_seen([entry], tmp_path, made(of, ["b"]), of)
