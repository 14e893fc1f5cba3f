"""What meterpoints take in by the half hour, and what goes wrong with the files they are sent in.

Half hours are counted in UTC and written in London's time with its offset, so that a day has 46, 48 or 50 of them:

    2021-03-28   00:30+00:00  02:00+01:00               the clock skips 01:00 to 02:00
    2021-10-31   01:30+01:00  01:00+00:00  01:30+00:00  and shows 01:00 to 02:00 twice
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from data_sources.generators.damage import (
    TO_2099_MS,
    any_of,
    change_type_of,
    labelled,
    lose_one_of,
    pick,
    truncate,
)

LONDON = ZoneInfo("Europe/London")
HALF_HOUR_MS = 1_800_000
_DAY_MS = 48 * HALF_HOUR_MS
COLUMNS = ["interval_start", "meterpoint_id", "consumption_delta", "recorded_at"]

# Of a file's records, at least one of each; a record has at most one fault, and copies of one kind.
FAULT_SHARES = {
    "delayed": 0.05,
    "unstamped": 0.02,
    "future": 0.01,
    "rule_broken": 0.01,
    "truncated": 0.01,
    "not_utf8": 0.01,
    "wrong_type": 0.01,
    "no_such_time": 0.01,
    "null_key": 0.01,
}
COPY_SHARES = {"again": 0.03, "in_utc": 0.02, "corrected": 0.03, "tied": 0.01}
VERSION = {"again": 0, "in_utc": 0, "corrected": 1, "tied": 2}
DAMAGE = ("truncated", "not_utf8", "wrong_type", "no_such_time", "null_key")


def _break_utf8(line: bytes, rng: np.random.Generator) -> bytes:
    wrong = (b"\xff", b"\x80", b"\xe2\x82")[rng.integers(3)]
    return line.replace(b'"meterpoint_id":"', b'"meterpoint_id":"' + wrong, 1)


WAYS = (
    truncate,
    _break_utf8,
    change_type_of({"meterpoint_id": (1210000000000,), "consumption_delta": ("0.2", True, [0.2])}),
    change_type_of(
        {"interval_start": ("2021-03-28T01:30:00", "2021-10-31T01:30:00", "2021-02-29T00:00:00+00:00", 1609459200)}
    ),
    lose_one_of(COLUMNS[:3]),
)
"""By DAMAGE. A London time that was skipped, and one that came twice, name no moment without an offset."""


def half_hours(first: date, days: int) -> list[int]:
    """Starts of the half hours of `days` local days from `first` on, milliseconds since the epoch."""
    midnight = datetime(first.year, first.month, first.day, tzinfo=LONDON)
    end = (midnight + timedelta(days=days)).timestamp()  # on the wall clock, as zoneinfo adds
    return list(range(int(midnight.timestamp()) * 1000, int(end) * 1000, HALF_HOUR_MS))


def readings(meterpoint_id: str, starts: list[int], rng: np.random.Generator, first_record: int) -> pl.DataFrame:
    """A meterpoint's labelled rows in order of time: a morning and an evening peak; recorded the night after."""
    n = len(starts)
    times = pl.from_epoch(pl.Series("t", starts), time_unit="ms").dt.replace_time_zone("UTC")
    local = times.dt.convert_time_zone("Europe/London")
    hour = local.dt.hour().to_numpy() + local.dt.minute().to_numpy() / 60
    shape = 0.3 + 0.9 * np.exp(-(((hour - 7.5) / 1.5) ** 2)) + 1.4 * np.exp(-(((hour - 18.5) / 2.5) ** 2))
    kwh = rng.lognormal(-1.6, 0.5) * shape * rng.gamma(4, 0.25, n)
    kwh[rng.random(n) < 0.01] = 0
    recorded = np.array(starts) // _DAY_MS * _DAY_MS + _DAY_MS + rng.integers(2 * 3_600_000, 6 * 3_600_000, n)
    rows = pl.DataFrame(
        {
            "interval_start": local.dt.strftime("%Y-%m-%dT%H:%M:%S%:z"),
            "meterpoint_id": [meterpoint_id] * n,
            "consumption_delta": kwh.round(3),
            "recorded_at": _utc(pl.Series(recorded)),
            "_event_ms": starts,
        }
    )
    return labelled(rows, first_record + np.arange(n))


def disturb(base: pl.DataFrame, rng: np.random.Generator) -> list[pl.DataFrame]:
    """The readings with their faults, then their copies; takes and gives labelled rows (`data_sources/generators/damage.py`)."""
    n = base.height
    fault, copy = pick(FAULT_SHARES, n, rng), pick(COPY_SHARES, n, rng)
    arrival_ms = base["_arrival_ms"].to_numpy() + fault["delayed"] * rng.integers(HALF_HOUR_MS, _DAY_MS, n)
    kind = np.zeros(n, np.uint8)
    for i, name in enumerate(DAMAGE):
        kind[fault[name]] = 1 + i
    future = base["_event_ms"] + pl.Series(fault["future"] * (TO_2099_MS // _DAY_MS * _DAY_MS))
    nonsense = np.where(rng.random(n) < 0.5, -rng.uniform(0.001, 5, n), rng.uniform(1_001, 9_999, n)).round(3)
    rows = base.with_columns(
        pl.when(pl.Series(fault["future"])).then(_utc(future)).otherwise("interval_start").alias("interval_start"),
        future.alias("_event_ms"),
        pl.when(pl.Series(fault["rule_broken"]))
        .then(pl.Series(nonsense))
        .otherwise("consumption_delta")
        .alias("consumption_delta"),
        pl.when(~pl.Series(fault["unstamped"])).then("recorded_at").alias("recorded_at"),
        pl.Series("_arrival_ms", arrival_ms),
        pl.Series("_damage", kind),
        pl.Series("_rule_broken", fault["rule_broken"]),
        pl.Series("_future", fault["future"]),
        pl.Series("_sent_again", any_of(copy, n)),
    )
    return [rows, *(_again(rows.filter(pl.Series(copy[name])), name, rng) for name in COPY_SHARES)]


def _again(rows: pl.DataFrame, kind: str, rng: np.random.Generator) -> pl.DataFrame:
    """Copies that arrive later and whole: the same, in another notation, corrected days after, or beyond telling."""
    changed = (rows["consumption_delta"] + pl.Series(rng.uniform(0.001, 0.5, rows.height))).round(3)
    changes = {
        "again": [],
        "in_utc": [_utc(rows["_event_ms"]).alias("interval_start")],
        "corrected": [
            changed.alias("consumption_delta"),
            _utc(rows["_event_ms"] + 3 * _DAY_MS + 43_200_000).alias("recorded_at"),
        ],
        "tied": [changed.alias("consumption_delta")],
    }
    return rows.with_columns(
        *changes[kind],
        pl.lit(VERSION[kind], pl.Int64).alias("_version"),
        pl.lit(0, pl.UInt8).alias("_damage"),
        pl.col("_arrival_ms") + pl.Series(rng.integers(0, _DAY_MS, rows.height)),
    )


def _utc(ms: pl.Series) -> pl.Series:
    return pl.from_epoch(ms, time_unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
