"""What goes wrong between a meter and its reader, in known shares.

Two steps: `disturb` works on rows (when they arrive, how often, with what values), `damage` on finished
lines (bytes no reader can decode). A reading has at most one fault; copies are drawn independently of faults,
so that there are copies of late, broken and garbled readings too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

# Share of the readings with each fault. "ahead" puts a rule-breaking record just before the reading.
FAULT_SHARES = {
    "delayed": 0.02,
    "long_delayed": 0.01,
    "late": 0.005,
    "future": 0.002,
    "rule_broken": 0.003,
    "ahead": 0.001,
    "truncated": 0.003,
    "not_utf8": 0.002,
    "wrong_type": 0.003,
    "null_key": 0.002,
}
# Share of the readings that are sent again, in each way; "midnight": of those of the day's last half hour.
COPY_SHARES = {
    "near": 0.02,
    "far": 0.01,
    "much_later": 0.003,
    "conflict": 0.005,
    "correction": 0.002,
    "midnight": 0.10,
}
# [from, to) after the reading's own time, or for copies after the original's arrival. On time is up to 70
# minutes after the reading's own time.
_MINUTE = 60_000
FAULT_DELAYS_MS = {
    "delayed": (1_000, 10 * _MINUTE),
    "long_delayed": (10 * _MINUTE, 69 * _MINUTE),
    "late": (75 * _MINUTE, 6 * 60 * _MINUTE),
}
COPY_DELAYS_MS = {
    "near": (1_000, 3 * _MINUTE),
    "far": (10 * _MINUTE, 60 * _MINUTE),
    "much_later": (2 * 60 * _MINUTE, 8 * 60 * _MINUTE),
    "conflict": (1_000, 60 * _MINUTE),
    "correction": (5 * _MINUTE, 60 * _MINUTE),
    "midnight": (30 * _MINUTE, 35 * _MINUTE),
}
# How far ahead of the stream the rule-breaking record is: one lead for all, so each is the greatest so far.
AHEAD_MS = 6 * 60 * _MINUTE

DAMAGE = ("truncated", "not_utf8", "wrong_type", "null_key")
_ORIGINAL, _CONFLICT, _CORRECTION = 0, 1, 2

Mask = npt.NDArray[np.bool_]

_DAY_MS = 86_400_000
_TO_2099_MS = int((np.datetime64("2099-01-01", "ms") - np.datetime64("2025-01-01", "ms")).astype(np.int64))


def disturb(base: pl.DataFrame, rng: np.random.Generator, *, corrections: bool = True) -> list[pl.DataFrame]:
    """Records that run ahead, the readings with their faults, copies; ties of arrival keep this order.

    Takes and gives the columns of `readings` and: _opens_window (the meter's first reading in its 15-minute
    window), _record (the key as a number), _version (0 the original
    payload, 1 a conflict, 2 a correction), _arrival_ms, _damage (0 none, else 1 + index into DAMAGE),
    _sent_again (this key has copies), _future.
    """
    n = base.height
    fault = _draw(FAULT_SHARES, rng.random(n))
    event_ms = base["_event_ms"].to_numpy()
    arrival_ms = event_ms.copy()
    for name, (low, high) in FAULT_DELAYS_MS.items():
        hit = fault[name]
        arrival_ms[hit] += rng.integers(low, high, int(hit.sum()))

    kwh = base["reading_kwh"].to_numpy().copy()
    kwh[fault["rule_broken"]] = _impossible_kwh(rng, int(fault["rule_broken"].sum()))

    copy = _draw({name: share for name, share in COPY_SHARES.items() if name != "correction"}, rng.random(n))
    copy["midnight"] &= event_ms % _DAY_MS >= _DAY_MS - 30 * _MINUTE
    correctable = base["_opens_window"].to_numpy() & ~_any(fault, n) & ~_any(copy, n)
    share = COPY_SHARES["correction"] * n / max(1, int(correctable.sum())) if corrections else 0.0
    corrected = correctable & (rng.random(n) < share)
    copy["correction"] = corrected
    # What a correction takes back is the window's greatest: above every spike, and one a meter and window.
    kwh[corrected] = rng.uniform(119.95, 120, int(corrected.sum())).round(3)

    spoiled = np.zeros(n, np.uint8)
    for i, name in enumerate(DAMAGE):
        spoiled[fault[name]] = 1 + i
    rows = base.with_columns(
        pl.Series("reading_kwh", kwh),
        pl.when(pl.lit(pl.Series(corrected)))
        .then(pl.lit("TAMPERED"))
        .otherwise(pl.col("meter_status"))
        .alias("meter_status"),
        pl.col("is_anomaly_flag") | pl.Series(corrected),
        pl.Series("_event_ms", event_ms + fault["future"] * _TO_2099_MS),
        pl.Series("_arrival_ms", arrival_ms),
        pl.Series("_sent_again", _any(copy, n)),
        pl.Series("_future", fault["future"]),
        pl.Series("_damage", spoiled),
    )
    return [_ahead(rows.filter(pl.Series(fault["ahead"])), rng), rows, *_copies(rows, copy, rng)]


def damage(lines: bytes, kind: npt.NDArray[np.uint8], rng: np.random.Generator) -> Iterator[bytes]:
    """The lines in pieces, those spoiled whose `kind` is not 0 (one entry a line).

    Every line still ends in its one line break, and none is empty.
    """
    line_breaks = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
    written = 0
    for i in np.flatnonzero(kind):
        start, end = (int(line_breaks[i - 1]) + 1 if i else 0), int(line_breaks[i])
        yield lines[written:start]
        yield (_truncate, _break_utf8, _change_type, _lose_key)[kind[i] - 1](lines[start:end], rng)
        written = end
    yield lines[written:]


def _draw(shares: dict[str, float], u: npt.NDArray[np.float64]) -> dict[str, Mask]:
    """For each name which of the uniform numbers fell to it; to some fell none, to none fell two."""
    ends = np.cumsum(list(shares.values()))
    return {name: (u >= end - share) & (u < end) for (name, share), end in zip(shares.items(), ends, strict=True)}


def _any(masks: dict[str, Mask], n: int) -> Mask:
    return np.logical_or.reduce([np.zeros(n, bool), *masks.values()])


def _impossible_kwh(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    below, above = rng.uniform(-50, -0.001, n), rng.uniform(1000.001, 5000, n)
    return np.where(rng.random(n) < 0.5, below, above).round(3)


def _ahead(before: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Rule-breaking records that carry the greatest time so far and arrive just before an on-time record.

    log   ... 14:20:07  14:20:08  20:20:09 (-12 kWh)  14:20:09  14:20:10 ...
    A reader that moves its clock to 20:20 for a record it rejects calls the next six hours late.
    """
    tails = pl.Series([f"{tail:012x}" for tail in rng.integers(0, 1 << 48, before.height)], dtype=pl.String)
    return before.with_columns(
        pl.col("event_id").str.head(-12) + tails,
        pl.Series("reading_kwh", _impossible_kwh(rng, before.height)),
        pl.col("_event_ms") + AHEAD_MS,
        (-1 - pl.col("_record")).alias("_record"),
        pl.lit(False).alias("_sent_again"),
    )


def _copies(rows: pl.DataFrame, masks: dict[str, Mask], rng: np.random.Generator) -> list[pl.DataFrame]:
    change: dict[str, Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]] = {
        "conflict": _conflicting,
        "correction": _corrected,
    }
    copies = []
    for name, (low, high) in COPY_DELAYS_MS.items():
        if not masks[name].any():
            continue
        again = rows.filter(pl.Series(masks[name]))
        again = again.with_columns(
            pl.col("_arrival_ms") + pl.Series(rng.integers(low, high, again.height)),
            pl.lit(0, pl.UInt8).alias("_damage"),
        )
        copies.append(change[name](again, rng) if name in change else again)
    return copies


def _conflicting(copies: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The same reading with another number. At most 0.04 kWh more: it never passes a corrected value."""
    more = pl.Series(rng.integers(1, 41, copies.height)) / 1000
    return copies.with_columns((pl.col("reading_kwh") + more).round(3), pl.lit(_CONFLICT, pl.Int64).alias("_version"))


def _corrected(copies: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The reading was another meter's, of another region and grid zone, and an ordinary one.

    Its voltage is 0.1 V higher: under `keep = "latest"`, `order_by = ["voltage_v"]` it wins.
    """
    regions_on = rng.integers(1, 5, copies.height)
    # The zone goes by the meter's number within its region, modulo 5: one meter on is another zone.
    meter = copies["_meter"].to_numpy()
    number = (meter % 200 + rng.integers(1, 5, copies.height)) % 200
    kwh = rng.uniform(0.1, 8, copies.height).round(3)
    return copies.with_columns(
        pl.Series("_meter", (meter // 200 + regions_on) % 5 * 200 + number),
        pl.Series("reading_kwh", kwh),
        (pl.col("voltage_v") + 0.1).round(1),
        pl.lit("ACTIVE").alias("meter_status"),
        pl.lit(False).alias("is_anomaly_flag"),
        pl.lit(_CORRECTION, pl.Int64).alias("_version"),
    )


def _truncate(line: bytes, rng: np.random.Generator) -> bytes:
    return line[: rng.integers(1, len(line))]


def _break_utf8(line: bytes, rng: np.random.Generator) -> bytes:
    """Into the state's name: an impossible byte, a stray continuation, a sequence cut short, or Latin-1."""
    wrong = (b"\xff", b"\x80", b"\xe2\x82", b"Orl\xe9ans")[rng.integers(4)]
    return line.replace(b'"state":"', b'"state":"' + wrong, 1)


def _change_type(line: bytes, rng: np.random.Generator) -> bytes:
    record = json.loads(line)
    wrong = (
        record | {"reading_kwh": str(record["reading_kwh"])},
        record | {"reading_kwh": True},
        record | {"meter_id": {"id": record["meter_id"]}},
        record | {"event_id": 4711},
        record | {"timestamp": "yesterday, about noon"},
        record | {"timestamp": [2025, 6, 15]},
        record | {"voltage_v": "high"},
        record | {"is_anomaly_flag": "perhaps"},
        [record],
        record["reading_kwh"],
    )
    return _compact(wrong[rng.integers(len(wrong))])


def _lose_key(line: bytes, rng: np.random.Generator) -> bytes:
    record = json.loads(line)
    name = ("event_id", "meter_id", "timestamp", "reading_kwh")[rng.integers(4)]
    if rng.random() < 0.5:
        return _compact(record | {name: None})
    del record[name]
    return _compact(record)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
