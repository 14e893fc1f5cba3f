"""Records: where each begins and ends, and what its position is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_sources.records import Records, lines, messages


def raws(records: Records) -> list[tuple[int, bytes]]:
    return [(int(p), records.raw(i)) for i, p in enumerate(records.positions)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", []),
        (b"a\n", [(5, b"a")]),
        (b"a", [(5, b"a")]),
        (b"a\nb", [(5, b"a"), (6, b"b")]),
        (b"\na\n\n\nb\n", [(6, b"a"), (9, b"b")]),
        (b"a\r\n\r\nb\r\n", [(5, b"a"), (7, b"b")]),
        (b" \t\r\n" + b" " * 40 + b"\na\n", [(7, b"a")]),
        (b" a \n", [(5, b" a ")]),
        (b"a\rb\n", [(5, b"a\rb")]),
        (b"a\r\r\n", [(5, b"a\r")]),
        (b"\r", []),
        (b"a\r", [(5, b"a")]),
        (b"\0\n", [(5, b"\0")]),
    ],
)  # fmt: skip
def test_lines(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert raws(lines(data, 5)) == expected


@given(st.lists(st.binary(max_size=6).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.booleans())
def test_lines_are_those_of_split(parts: list[bytes], ended: bool) -> None:
    data = b"\n".join(parts) + (b"\n" if ended else b"")
    expected = [(n, raw.removesuffix(b"\r")) for n, raw in enumerate(data.split(b"\n"), 1) if raw.strip()]
    records = lines(data, 1)
    assert raws(records) == expected
    assert bytes(records.joined()) == b"\n".join(raw for _, raw in expected)


@given(st.lists(st.none() | st.binary(max_size=6), max_size=20))
def test_messages_keep_their_bytes(values: list[bytes | None]) -> None:
    positions, arrivals = [7 + 2 * n for n in range(len(values))], list(range(len(values)))
    records = messages(values, positions, arrivals)
    assert raws(records) == [(p, v or b"") for p, v in zip(positions, values, strict=True)]
    assert records.arrivals is not None and records.arrivals.tolist() == arrivals
    assert records.whole_lines == all(b"\n" not in (v or b"") for v in values)
    some = np.arange(0, len(values), 2)
    assert raws(records.take(some)) == raws(records)[::2] and len(records.take(some)) == len(some)
    assert bytes(records.take(some).joined()) == b"\n".join(raw for _, raw in raws(records)[::2])
