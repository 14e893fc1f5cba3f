"""What goes wrong with records on their way, in known numbers: whom it hits, when they arrive, which bytes break.

A generator labels its rows with these columns and changes them as it likes; `Tally` counts from the labels.

    _record       int64  the same for what is one record to dedup
    _version      int64  the payload: 0 as first sent
    _arrival_ms   int64  when it reaches the log, milliseconds since the epoch
    _damage       uint8  0 none, else 1 + index into the ways to break bytes
    _rule_broken, _future, _sent_again   bool
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from data_sources.generators.tally import Tally

TO_2099_MS = int((np.datetime64("2099-01-01", "ms") - np.datetime64("2025-01-01", "ms")).astype(np.int64))

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Way = Callable[[bytes, np.random.Generator], bytes]


def labelled(rows: pl.DataFrame, record: Ints) -> pl.DataFrame:
    """Rows with the labels of undisturbed records, arriving at their event time (`_event_ms`)."""
    return rows.with_columns(
        pl.Series("_record", record, dtype=pl.Int64),
        pl.lit(0, pl.Int64).alias("_version"),
        pl.col("_event_ms").alias("_arrival_ms"),
        pl.lit(0, pl.UInt8).alias("_damage"),
        *(pl.lit(False).alias(name) for name in ("_rule_broken", "_future", "_sent_again")),
    )


def tally_rows(tally: Tally, rows: pl.DataFrame) -> None:
    """Add labelled rows, in the order of the log."""
    tally.add(
        rows["_event_ms"].to_numpy(),
        undecodable=rows["_damage"].to_numpy() > 0,
        rule_broken=rows["_rule_broken"].to_numpy(),
        future=rows["_future"].to_numpy(),
        sent_again=rows["_sent_again"].to_numpy(),
        record=rows["_record"].to_numpy(),
        version=rows["_version"].to_numpy(),
    )


def pick(shares: dict[str, float], n: int, rng: np.random.Generator) -> dict[str, Mask]:
    """For each name which of `n` rows it hits: its share of them, at least one, and no row twice.

    Where `n` is too small for all, the last names go without.
    """
    order, taken = rng.permutation(n), 0
    hit = {}
    for name, share in shares.items():
        mask = np.zeros(n, bool)
        mask[order[taken : taken + max(1, round(share * n))]] = True
        taken += int(mask.sum())
        hit[name] = mask
    return hit


def any_of(masks: dict[str, Mask], n: int) -> Mask:
    """Rows that at least one of the masks hits."""
    return np.logical_or.reduce([np.zeros(n, bool), *masks.values()])


def delayed(
    rows: pl.DataFrame, fault: dict[str, Mask], delays_ms: dict[str, tuple[int, int]], rng: np.random.Generator
) -> pl.Series:
    """_arrival_ms of the rows, those that a fault with a delay hits so much later: milliseconds, [from, to)."""
    arrival_ms = rows["_arrival_ms"].to_numpy().copy()
    for name, (low, high) in delays_ms.items():
        arrival_ms[fault[name]] += rng.integers(low, high, int(fault[name].sum()))
    return pl.Series("_arrival_ms", arrival_ms)


def damage_of(fault: dict[str, Mask], ways: Sequence[str], n: int) -> pl.Series:
    """_damage of n rows, by the names of the ways."""
    kind = np.zeros(n, np.uint8)
    for i, name in enumerate(ways):
        kind[fault[name]] = 1 + i
    return pl.Series("_damage", kind)


def sent_again(
    rows: pl.DataFrame, masks: dict[str, Mask], delays_ms: dict[str, tuple[int, int]], rng: np.random.Generator
) -> Iterator[tuple[str, pl.DataFrame, pl.Series]]:
    """(name, copies, by how much later each arrives in milliseconds) of each way to be sent again; no copy is damaged."""
    for name, (low, high) in delays_ms.items():
        again = rows.filter(pl.Series(masks[name]))
        delay = pl.Series(rng.integers(low, high, again.height))
        yield name, again.with_columns(pl.col("_arrival_ms") + delay, pl.lit(0, pl.UInt8).alias("_damage")), delay


def arrived(parts: Sequence[pl.DataFrame | None], until_ms: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split into what has arrived before `until_ms`, in order of arrival (ties: of `parts`), and what has not.

    None for `until_ms`: all has arrived.
    """
    rows = pl.concat([part for part in parts if part is not None])
    here = pl.lit(True) if until_ms is None else pl.col("_arrival_ms") < until_ms
    return rows.filter(here).sort("_arrival_ms", maintain_order=True), rows.filter(~here)


def spoiled(
    lines: bytes, kind: npt.NDArray[np.uint8], ways: Sequence[Way], rng: np.random.Generator
) -> Iterator[bytes]:
    """The lines in pieces, those whose `kind` (one entry a line) is k > 0 broken by `ways[k - 1]`.

    Every line still ends in its one line break, and none is empty.
    """
    line_breaks = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
    written = 0
    for i in np.flatnonzero(kind):
        start, end = (int(line_breaks[i - 1]) + 1 if i else 0), int(line_breaks[i])
        yield lines[written:start]
        yield ways[kind[i] - 1](lines[start:end], rng)
        written = end
    yield lines[written:]


def truncate(line: bytes, rng: np.random.Generator) -> bytes:
    """A JSON object cut short."""
    return line[: rng.integers(1, len(line))]


def break_utf8(line: bytes, rng: np.random.Generator) -> bytes:
    """Into the state's name: an impossible byte, a stray continuation, a sequence cut short, or Latin-1."""
    wrong = (b"\xff", b"\x80", b"\xe2\x82", b"Orl\xe9ans")[rng.integers(4)]
    return line.replace(b'"state":"', b'"state":"' + wrong, 1)


def lose_one_of(names: Sequence[str]) -> Way:
    """A way that makes one of the required fields null, or leaves it out."""

    def lose(line: bytes, rng: np.random.Generator) -> bytes:
        record = json.loads(line)
        name = names[int(rng.integers(len(names)))]
        if rng.random() < 0.5:
            return compact(record | {name: None})
        del record[name]
        return compact(record)

    return lose


def change_type_of(wrong: dict[str, Sequence[object]]) -> Way:
    """A way that gives a field a value of another type, or makes the record no object at all."""
    choices = [(name, value) for name, values in wrong.items() for value in values]

    def change(line: bytes, rng: np.random.Generator) -> bytes:
        record = json.loads(line)
        at = int(rng.integers(len(choices) + 2))
        if at >= len(choices):
            return compact([record] if at == len(choices) else "no record")
        name, value = choices[at]
        return compact(record | {name: value})

    return change


def compact(value: object) -> bytes:
    """JSON without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()
