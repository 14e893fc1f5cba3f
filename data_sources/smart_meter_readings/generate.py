"""Synthetic smart-meter readings: 1,000 meters in five regions, as JSON lines in order of arrival.

Guaranteed: the same arguments give byte-identical files; a day is the same whatever `days` is, but for the days
in which anomalies are planted; with `messy` the undisturbed readings are those of the clean stream; `truth.json`
is counted from the generator's own arrays, never by reading the files back. Memory is bounded by the chunk, not by
the days.

Not guaranteed: the same bytes from another version of numpy or Polars.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from data_sources.durations import format_duration
from data_sources.generators.output import emptied, whole_file
from data_sources.generators.registry import METERS_PER_REGION, STATES, meters
from data_sources.generators.truth import record, record_planted, withdraw
from data_sources.smart_meter_readings.messy import damage, disturb
from data_sources.smart_meter_readings.planted import NOTHING, SPIKE, THEFT, Plan, kwh_of

FEED = "smart_meter_readings"
FOLDER = "smart_meter_kafka"
SAMPLE = "sample_message.json"
STREAM = "smart_meter_stream.json"
STREAM_RECORDS = 500
FIRST_DAY = datetime(2025, 6, 15, tzinfo=UTC)
THEFT_SHARE = 0.05
SPIKE_SHARE = 0.03
# The two limits that `truth.json` is counted with; the contract says the same.
LATE_AFTER_MS = 70 * 60_000
HIGHEST_KWH = 1000.0

_METERS = 1000
_READINGS_PER_DAY = 96
_DAY_MS = 86_400_000
_WINDOW_MS = 900_000
_CHUNK_INTERVALS = 100
_INDIA_OFFSET_MS = 330 * 60_000  # people get up by India's clock (UTC+5:30, no summer time)
_INT64_MIN = np.iinfo(np.int64).min

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.uint8]


def generate(
    out: Path,
    *,
    seed: int = 42,
    scale: float = 1.0,
    days: int = 1,
    messy: bool = False,
    interval: timedelta | None = None,
    meters: int | None = None,
    anomalies: int | None = None,
) -> dict[str, int]:
    """Write `out/smart_meter_kafka/smart_meter_readings_YYYY-MM-DD.json`, the stream after them and `out/truth.json`.

    One file per day of arrival from 2025-06-15 (UTC); sorted by name they are one log. Every meter has
    `round(96 * scale)` readings a day (at least one), evenly spaced, so scale 1 is 96,000 rows a day. With
    `messy`, stragglers arrive after the last midnight: one file more than `days`. Last in the log comes
    `smart_meter_stream.json`: 500 clean readings of the next quarter hour, whatever the scale;
    `sample_message.json` is its first line, outside the log. Earlier files of this feed in the folder are
    replaced, other feeds' entries in `truth.json` are kept.

    `interval` is the time from one reading of a meter to its next, instead of `scale`; a whole number of them makes a
    day, and all meters read in its last quarter hour, as those do that read by the hour. `meters` takes only so many of the 1,000, from all regions alike, and the stream after the days holds at most
    one reading of each. With `anomalies` all readings are ordinary but so many, half of them thefts and half spikes,
    in the last two days: see planted.py, and `out/planted.json`, which lists them. With either of these two, `messy`
    makes no corrections: they go from any of the 1,000 meters to any other, and are the greatest readings of all.

    Returns read, rejected, late, `landed - superseded`, `duplicates + superseded` and conflicts, in
    records (conflicts: in keys), as an out-of-orderness of 10 minutes, an allowed lateness of 1 hour and rule
    SM-001 judge them. Raises ValueError for an argument out of range or a `truth.json` that is no object.
    """
    per_day = _readings_per_day(scale) if interval is None else _intervals_per_day(scale, interval)
    if days < 1:
        raise ValueError(f"days is {days}: give at least 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
    chosen = _chosen(meters)
    plan = None if anomalies is None else Plan.of(anomalies, seed, days, per_day, len(chosen))
    order = _Order.of(chosen, seed, per_day, 0 if interval is None else max(0, _DAY_MS // per_day - _WINDOW_MS))
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)

    folder = emptied(out / FOLDER, f"{FEED}_????-??-??.json", STREAM, SAMPLE)

    tally = Tally()
    planted: list[pl.DataFrame] = []
    waiting: pl.DataFrame | None = None
    for day in range(days):
        with whole_file(folder / _day_name(day)) as file:
            for first in range(0, per_day, _CHUNK_INTERVALS):
                last = min(first + _CHUNK_INTERVALS, per_day)
                rng = np.random.default_rng([seed, 1, day, first])
                kinds = None if plan is None else plan.kinds(day, first, last)
                base = _base(seed, rng, day, np.arange(first, last), per_day, order, kinds)
                if kinds is not None and kinds.any():
                    planted.append(_as_planted(base, kinds))
                if messy:
                    messy_rng = np.random.default_rng([seed, 2, day, first])
                    disturbed = disturb(base, messy_rng, corrections=meters is None and plan is None)
                    here, waiting = _arrived([waiting, *disturbed], day * _DAY_MS + last * _DAY_MS // per_day)
                    _write_damaged(file, here, messy_rng)
                else:
                    here = base
                    as_records(here).write_ndjson(file)
                tally.add(here)
    if waiting is not None and waiting.height:
        with whole_file(folder / _day_name(days)) as file:
            here, _ = _arrived([waiting], (days + 1) * _DAY_MS)
            _write_damaged(file, here, np.random.default_rng([seed, 3, days]))
            tally.add(here)
    stream = _stream(seed, days, order, plan is None)
    for name, rows in ((STREAM, stream), (SAMPLE, stream.head(1))):
        with whole_file(folder / name) as file:
            as_records(rows).write_ndjson(file)
    tally.add(stream)

    counts = tally.counts()
    record(out, FEED, {**counts, "rejected_by_cause": tally.causes})
    if plan is not None:
        record_planted(out, FEED, pl.concat(planted).to_dicts())
    return counts


class Tally:
    """What a reader of the log must count, from the generator's labels and a running maximum of event time.

    Keeps one number per on-time copy of a record that was sent more than once; all else is counted at once.
    """

    def __init__(self) -> None:
        self.causes = {"undecodable": 0, "rule_broken": 0, "from_the_future": 0}
        self._read = self._rejected = self._late = self._alone = 0
        self._greatest: int = _INT64_MIN
        self._copies: list[Ints] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Count `rows`, which follow in the log on all rows added before."""
        kwh = rows["reading_kwh"].to_numpy()
        event_ms = rows["_event_ms"].to_numpy()
        undecodable = rows["_damage"].to_numpy() > 0
        rule_broken = ~undecodable & ((kwh < 0) | (kwh > HIGHEST_KWH))
        future = ~undecodable & ~rule_broken & rows["_future"].to_numpy()
        rejected = undecodable | rule_broken | future

        reached = np.maximum.accumulate(np.where(rejected, _INT64_MIN, event_ms), dtype=np.int64)
        np.maximum(reached, self._greatest, out=reached)
        before = np.concatenate([np.array([self._greatest], np.int64), reached[:-1]])
        late = ~rejected & (before > _INT64_MIN) & (event_ms + LATE_AFTER_MS < before)
        self._greatest = int(reached.max(initial=self._greatest))

        on_time = ~rejected & ~late
        sent_again = rows["_sent_again"].to_numpy()
        self._read += rows.height
        self._rejected += int(rejected.sum())
        self._late += int(late.sum())
        self._alone += int((on_time & ~sent_again).sum())
        for cause, hit in zip(self.causes, (undecodable, rule_broken, future), strict=True):
            self.causes[cause] += int(hit.sum())
        copies = on_time & sent_again
        if copies.any():
            self._copies.append((rows["_record"].to_numpy() * 4 + rows["_version"].to_numpy())[copies])

    def counts(self) -> dict[str, int]:
        """The six counts over everything added."""
        payloads = np.unique(np.concatenate([np.empty(0, np.int64), *self._copies]))
        _, payloads_per_key = np.unique(payloads // 4, return_counts=True)
        current = self._alone + len(payloads_per_key)
        return {
            "read": self._read,
            "rejected": self._rejected,
            "late": self._late,
            "landed - superseded": current,
            "duplicates + superseded": self._read - self._rejected - self._late - current,
            "conflicts": int((payloads_per_key > 1).sum()),
        }


def readings(
    rng: np.random.Generator, meter: Ints, event_ms: Ints, size: Floats, kinds: Kinds | None = None
) -> pl.DataFrame:
    """One reading for each `meter` (row of `meters()`) and `event_ms` (milliseconds since the epoch, UTC).

    `size` is each meter's typical kWh. Columns: event_id (UUID 4), reading_kwh, voltage_v (V), current_a (A a
    phase, as if the reading were a quarter hour's), power_factor, frequency_hz (Hz), meter_status,
    is_anomaly_flag; and `_meter`, `_event_ms`, the arguments. `as_records` makes the feed's columns of it.

    Theft (5 %) reads 0.001-0.05 kWh, a spike (3 %) 50-119.9 kWh; everything else lies between the two. `kinds` says
    instead which readings are which (NOTHING, THEFT, SPIKE of planted.py).
    """
    n = len(meter)
    hour = (event_ms + _INDIA_OFFSET_MS) % _DAY_MS / 3_600_000
    kwh = np.clip(size * _load_shape(hour) * rng.lognormal(0, 0.18, n), 0.06, 45)
    if kinds is None:
        kinds = np.searchsorted([THEFT_SHARE, THEFT_SHARE + SPIKE_SHARE], rng.random(n), "right").astype(np.uint8)
        kinds = np.array([THEFT, SPIKE, NOTHING], np.uint8)[kinds]
    theft, spike = kinds == THEFT, kinds == SPIKE
    for kind, hit in ((THEFT, theft), (SPIKE, spike)):
        kwh[hit] = kwh_of(kind, rng, int(hit.sum()))
    kwh = kwh.round(3)
    anomaly = theft | spike
    status = np.where(anomaly, np.searchsorted([0.10, 0.65], rng.random(n)), 0)

    noise = rng.standard_normal((3, n))
    voltage = (232 + 3.5 * noise[0] - 4 * (_load_shape(hour) - 1)).round(1)
    power_factor = np.clip(0.93 + 0.025 * noise[1], 0.8, 0.999).round(3)
    return pl.DataFrame(
        {
            "event_id": event_ids(rng, n),
            "reading_kwh": kwh,
            "voltage_v": voltage,
            "current_a": (kwh * 4000 / (3 * voltage * power_factor)).round(2),
            "power_factor": power_factor,
            "frequency_hz": (50 + 0.03 * noise[2]).round(2),
            "meter_status": pl.Series(["ACTIVE", "TAMPERED", "DISCONNECTED"]).gather(status),
            "is_anomaly_flag": anomaly,
            "_meter": meter,
            "_event_ms": event_ms,
        }
    )


def meter_sizes(seed: int) -> Floats:
    """The typical reading of each of the 1,000 meters, in kWh: many flats, a few workshops."""
    return np.random.default_rng([seed, 0]).lognormal(math.log(2.5), 0.6, _METERS)


def as_records(rows: pl.DataFrame) -> pl.DataFrame:
    """The 14 columns of the feed, in the order of the keys in the JSON, from rows of `readings`."""
    meter = meters()[rows["_meter"].to_numpy()]
    return rows.select(
        pl.col("event_id"),
        meter["meter_id"],
        meter["customer_id"],
        iso_timestamps(rows["_event_ms"].to_numpy()).alias("timestamp"),
        pl.col("reading_kwh", "voltage_v", "current_a", "power_factor", "frequency_hz", "meter_status"),
        meter["region"],
        meter["state"],
        meter["grid_zone"],
        pl.col("is_anomaly_flag"),
    )


def event_ids(rng: np.random.Generator, n: int) -> pl.Series:
    """`n` random UUIDs (version 4), as strings."""
    raw = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.full((n, 36), ord("-"), np.uint8)
    # 8-4-4-4-12: where the two digits of each byte stand
    left = np.array([0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34])
    text[:, left] = digits[raw >> 4]
    text[:, left + 1] = digits[raw & 15]
    return _fixed_width(text)


def iso_timestamps(event_ms: Ints) -> pl.Series:
    """Milliseconds since the epoch as `2025-06-15T14:23:45.123Z`. Five times as fast as Polars' strftime."""
    n = len(event_ms)
    text = np.empty((n, 24), np.uint8)
    text[:] = np.frombuffer(b"YYYY-MM-DDThh:mm:ss.mmmZ", np.uint8)
    days, day_of = np.unique(event_ms // _DAY_MS, return_inverse=True)
    dates = "".join(np.datetime_as_string(days.astype("datetime64[D]")))
    text[:, :10] = np.frombuffer(dates.encode(), np.uint8).reshape(-1, 10)[day_of]
    milliseconds = (event_ms % _DAY_MS).astype(np.int32)
    seconds, milliseconds = milliseconds // 1000, milliseconds % 1000
    for start, width, part in (
        (11, 2, seconds // 3600),
        (14, 2, seconds // 60 % 60),
        (17, 2, seconds % 60),
        (20, 3, milliseconds),
    ):
        for place in range(width):
            text[:, start + place] = part // 10 ** (width - 1 - place) % 10 + ord("0")
    return _fixed_width(text)


def _fixed_width(text: npt.NDArray[np.uint8]) -> pl.Series:
    """Rows of equally many ASCII bytes as strings, without a Python object for each."""
    n, width = text.shape
    offsets = pa.py_buffer(np.arange(0, (n + 1) * width, width, dtype=np.int64))
    array = pa.LargeStringArray.from_buffers(n, offsets, pa.py_buffer(np.ascontiguousarray(text)))
    return pl.Series(pl.from_arrow(array))


def _load_shape(hour: Floats) -> Floats:
    """Load by local hour, mean about 1: a low night, a peak at 7:30 and a higher one in the evening."""
    morning = np.exp(-(((hour - 7.5) / 1.7) ** 2))
    evening = np.exp(-(((hour - 19.5) / 2.4) ** 2))
    return 0.55 + 0.85 * morning + 1.3 * evening + 0.15 * np.exp(-(((hour - 13) / 3) ** 2))


@dataclass(frozen=True)
class _Order:
    """The meters by the moment within each interval at which they read, in milliseconds from its start.

    None reads before `earliest_ms`.
    """

    meters: Ints
    moments_ms: Ints
    earliest_ms: int

    @classmethod
    def of(cls, chosen: Ints, seed: int, per_day: int, earliest_ms: int) -> _Order:
        moments = np.random.default_rng([seed, 4]).integers(earliest_ms, _DAY_MS // per_day, _METERS)
        order = np.argsort(moments, kind="stable")
        order = order[np.isin(order, chosen)]
        return cls(order, moments[order], earliest_ms)


def _base(
    seed: int, rng: np.random.Generator, day: int, interval: Ints, per_day: int, order: _Order, kinds: Kinds | None
) -> pl.DataFrame:
    """The undisturbed readings of some intervals of a day, in order of time.

    interval 0                    interval 1
    |--m3-----m1--------m2-------|--m3-----m1--------m2-------|   each meter at its own moment
    """
    start = _start_ms(day, interval, per_day)
    event_ms = (start[:, None] + order.moments_ms).ravel()
    meter = np.tile(order.meters, len(interval))
    rows = readings(rng, meter, event_ms, meter_sizes(seed)[meter], kinds)
    previous_ms = event_ms - np.repeat(start - _start_ms(day, interval - 1, per_day), len(order.meters))
    record = (day * per_day + interval[0]) * len(order.meters) + np.arange(len(meter))
    return _undisturbed(rows, record).with_columns(
        pl.Series("_opens_window", event_ms // _WINDOW_MS > previous_ms // _WINDOW_MS),
    )


def _stream(seed: int, days: int, order: _Order, with_anomalies: bool) -> pl.DataFrame:
    """Readings of up to 500 meters, evenly spaced over the next quarter hour in which meters read.

    None is late, and none is a copy: all that was read before and not rejected was measured before that midnight.
    """
    rng = np.random.default_rng([seed, 5, days])
    meter = rng.permutation(np.sort(order.meters))[:STREAM_RECORDS]
    n = len(meter)
    start_ms = int(FIRST_DAY.timestamp()) * 1000 + days * _DAY_MS + order.earliest_ms
    event_ms = start_ms + np.arange(n) * (_WINDOW_MS // n)
    rows = readings(rng, meter, event_ms, meter_sizes(seed)[meter], None if with_anomalies else np.zeros(n, np.uint8))
    return _undisturbed(rows, np.arange(n))


def _undisturbed(rows: pl.DataFrame, record: Ints) -> pl.DataFrame:
    """Readings with the labels that `Tally` counts by: each sent once, in time and whole."""
    return rows.with_columns(
        pl.Series("_record", record),
        pl.col("_event_ms").alias("_arrival_ms"),
        pl.lit(0, pl.Int64).alias("_version"),
        pl.lit(0, pl.UInt8).alias("_damage"),
        pl.lit(False).alias("_sent_again"),
        pl.lit(False).alias("_future"),
    )


def _start_ms(day: int, interval: Ints, per_day: int) -> Ints:
    return int(FIRST_DAY.timestamp()) * 1000 + day * _DAY_MS + interval * _DAY_MS // per_day


def _arrived(parts: list[pl.DataFrame | None], until_ms: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split into what has arrived `until_ms` after the first midnight, in order of arrival, and what has not.

    Ties keep the order of `parts`.
    """
    rows = pl.concat([part for part in parts if part is not None])
    until = int(FIRST_DAY.timestamp()) * 1000 + until_ms
    here = rows.filter(pl.col("_arrival_ms") < until).sort("_arrival_ms", maintain_order=True)
    return here, rows.filter(pl.col("_arrival_ms") >= until)


def _write_damaged(file: BinaryIO, rows: pl.DataFrame, rng: np.random.Generator) -> None:
    lines = io.BytesIO()
    as_records(rows).write_ndjson(lines)
    file.writelines(damage(lines.getvalue(), rows["_damage"].to_numpy(), rng))


def _as_planted(base: pl.DataFrame, kinds: Kinds) -> pl.DataFrame:
    """What planted.json says of the anomalies among `base`."""
    rows = base.with_columns(pl.Series("kind", kinds)).filter(pl.col("kind") != NOTHING)
    names = pl.Series([{THEFT: "theft", SPIKE: "spike"}[kind] for kind in rows["kind"]], dtype=pl.String)
    return as_records(rows).select("event_id", "meter_id", "timestamp", names.alias("kind"), "reading_kwh")


def _day_name(day: int) -> str:
    return f"{FEED}_{(FIRST_DAY + timedelta(days=day)).date().isoformat()}.json"


def _chosen(count: int | None) -> Ints:
    """Rows of `meters()`: all of them, or `count`, taken from the regions in turn."""
    if count is None:
        return np.arange(_METERS)
    if not 1 <= count <= _METERS:
        raise ValueError(f"meters is {count}: give 1 to {_METERS:,}")
    n = np.arange(count)
    return np.sort(n % len(STATES) * METERS_PER_REGION + n // len(STATES))


def _intervals_per_day(scale: float, interval: timedelta) -> int:
    if scale != 1:
        raise ValueError(f"scale is {scale} and interval {format_duration(interval)}: give one of them")
    day = timedelta(days=1)
    if not timedelta(0) < interval <= day or day % interval:
        raise ValueError(f"interval is {format_duration(interval)}: give one that divides a day, such as 15m or 1h")
    return day // interval


def _readings_per_day(scale: float) -> int:
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}: give a number above 0, such as 1 (96 readings a meter and day)")
    per_day = max(1, round(_READINGS_PER_DAY * scale))
    if per_day > _DAY_MS:
        most = _DAY_MS // _READINGS_PER_DAY
        raise ValueError(f"scale is {scale}: give at most {most} (a reading a millisecond)")
    return per_day
