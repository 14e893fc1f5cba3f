"""A key's shard is the same today, with any library and in any disguise of the same value."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from transforms.shard import HASH, shard_of, split_by_shard

TIME = pa.timestamp("us", "UTC")
BULB = "\U0001f50c"

# Written down once by hand from the first version; a lake holds rows by them. They change only with HASH.
GOLDEN: dict[str, tuple[pa.DataType, list[Any], list[int]]] = {
    "string": (
        pa.string(),
        ["", "a", "ab", "abcdefgh", "abcdefghi", "SM-N-00001", "zähler-ß-Ω", BULB * 9],
        [4995, 432808, 723647, 732731, 651521, 991904, 362819, 350552],
    ),
    "int64": (
        pa.int64(),
        [0, 1, -1, 2**63 - 1, -(2**63), 4711],
        [4995, 745530, 55612, 953673, 797915, 657804],
    ),
    "float64": (pa.float64(), [0.0, 1.5, -1.5, 1e300, 5e-324], [4995, 991858, 779555, 272451, 745530]),
    "decimal(10,2)": (
        pa.decimal128(10, 2),
        [Decimal("0.00"), Decimal("1.50"), Decimal("-1.50"), Decimal("12345678.90"), Decimal("0.01")],
        [970917, 981799, 993294, 237213, 155487],
    ),
    "decimal(38,10)": (
        pa.decimal128(38, 10),
        [Decimal("0.0000000001"), Decimal("-0.0000000001"), Decimal("1234567890123456789012345678.0000000001")],
        [200127, 286610, 461672],
    ),
    "bool": (pa.bool_(), [True, False], [745530, 4995]),
    "date": (pa.date32(), [date(1970, 1, 1), date(2025, 6, 15), date(1900, 2, 28)], [4995, 983956, 610797]),
    "timestamp": (
        TIME,
        [
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(2025, 6, 15, 12, 0, 0, 1, tzinfo=UTC),
            datetime(1850, 1, 1, tzinfo=UTC),
        ],
        [4995, 542013, 324917],
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_no_upgrade_moves_a_key(kind: str) -> None:
    type_, values, shards = GOLDEN[kind]
    assert HASH == "splitmix-words-v1", "another hash needs golden values of its own"
    assert shard_of(pa.table({"k": pa.array(values, type_)}), ["k"], 1_000_003).tolist() == shards


def test_no_upgrade_moves_a_key_of_several_columns() -> None:
    keys = pa.table({"a": ["ab", "a"], "b": ["c", "bc"]})
    assert shard_of(keys, ["a", "b"], 1_000_003).tolist() == [11759, 236612]


def test_minus_zero_is_zero() -> None:
    zero, minus = shard_of(pa.table({"k": [0.0, -0.0]}), ["k"], 1_000_003).tolist()
    assert zero == minus


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param(lambda c: c.dictionary_encode(), id="dictionary"),
        pytest.param(lambda c: pa.chunked_array([c.slice(0, 3), c.slice(3, 0), c.slice(3)]), id="chunks"),
        pytest.param(
            lambda c: pa.chunked_array([c.slice(0, 5).dictionary_encode(), c.slice(5).dictionary_encode()]),
            id="chunks of two dictionaries",
        ),
        pytest.param(lambda c: pa.concat_arrays([pa.array(["x", "yy"]), c]).slice(2), id="slice of a longer array"),
    ],
)
def test_the_same_text_in_any_disguise(disguise: Any) -> None:
    _, values, shards = GOLDEN["string"]
    plain = pa.array(values, pa.string())
    assert shard_of(pa.table({"k": disguise(plain)}), ["k"], 1_000_003).tolist() == shards


def test_a_column_in_slices_of_a_longer_array() -> None:
    for kind, (type_, values, shards) in GOLDEN.items():
        longer = pa.array([values[0], *values], type_).slice(1)
        assert shard_of(pa.table({"k": longer}), ["k"], 1_000_003).tolist() == shards, kind


@pytest.mark.parametrize("kind", GOLDEN)
def test_no_rows_no_shards(kind: str) -> None:
    empty = pa.table({"k": pa.array([], GOLDEN[kind][0])})
    assert len(shard_of(empty, ["k"], 4)) == 0
    assert list(split_by_shard(empty, ["k"], 4)) == []


def test_text_is_not_run_together() -> None:
    keys = pa.table({"a": ["ab", "a", "", "abc"], "b": ["c", "bc", "abc", ""]})
    assert len(set(shard_of(keys, ["a", "b"], 1_000_003).tolist())) == 4


def test_a_zero_byte_counts() -> None:
    keys = pa.table({"a": ["a", "a\0", "a\0\0"]})
    assert len(set(shard_of(keys, ["a"], 1_000_003).tolist())) == 3


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 32])
def test_keys_spread_evenly(shards: int) -> None:
    ids = pa.table({"k": [f"event-{n}" for n in range(20_000)], "n": list(range(20_000))})
    for key in (["k"], ["n"], ["k", "n"]):
        counts = np.bincount(shard_of(ids, key, shards), minlength=shards)
        assert counts.min() > 0.8 * 20_000 / shards


def test_split_keeps_every_row_in_its_order() -> None:
    table = pa.table({"k": [f"k{n % 37}" for n in range(500)], "n": list(range(500))})
    parts = dict(split_by_shard(table, ["k"], 4))
    assert sorted(n for part in parts.values() for n in part["n"].to_pylist()) == list(range(500))
    for shard, part in parts.items():
        assert part["n"].to_pylist() == sorted(part["n"].to_pylist())
        assert set(shard_of(part, ["k"], 4).tolist()) == {shard}
    homes = [set(part["k"].to_pylist()) for part in parts.values()]
    assert sum(map(len, homes)) == len(set().union(*homes)), "a key has one shard"
