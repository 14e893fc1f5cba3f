"""Synthetic smart-meter readings: 1,000 meters in five regions, as JSON lines in order of arrival.

Guaranteed: the same arguments give byte-identical files; a day is the same whatever `days` is, but for the days
in which anomalies are planted; with `messy` the undisturbed readings are those of the clean stream; `truth.json`
is counted from the generator's own arrays, never by reading the files back. Memory is bounded by the chunk, not by
the days.

Not guaranteed: the same bytes from another version of numpy or Polars.
"""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from data_sources.generators.output import emptied, not_data, whole_file
from data_sources.generators.registry import meters
from data_sources.generators.truth import record, record_planted, withdraw
from data_sources.smart_meter_readings.faults import Faults
from data_sources.smart_meter_readings.messy import damage, disturb
from data_sources.smart_meter_readings.order import (
    DAY_MS,
    FIRST_DAY,
    WINDOW_MS,
    Order,
    load_shape,
    local_hour,
    meter_sizes,
    noise,
    used_kwh,
)
from data_sources.smart_meter_readings.planted import NOTHING, SPIKE, THEFT, Plan, kwh_of

FEED = "smart_meter_readings"
FOLDER = "smart_meter_kafka"
SAMPLE = "sample_message.json"
STREAM = "smart_meter_stream.json"
STREAM_RECORDS = 500
THEFT_SHARE = 0.05
SPIKE_SHARE = 0.03
# The two limits that `truth.json` is counted with; the contract says the same.
LATE_AFTER_MS = 70 * 60_000
HIGHEST_KWH = 1000.0

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
    faults: int | None = None,
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
    in the last two days: see planted.py, and `out/planted.json`, which lists them. With `faults` all readings are ordinary
    but those of so many meters that are robbed, on a wrong clock or stuck, or another transformer's: see faults.py;
    `transformer_energy`, which is written with the same arguments, lists them. With any of these three, `messy`
    makes no corrections: they go from any of the 1,000 meters to any other, and are the greatest readings of all.

    Returns read, rejected, late, `landed - superseded`, `duplicates + superseded` and conflicts, in
    records (conflicts: in keys), as an out-of-orderness of 10 minutes, an allowed lateness of 1 hour and rule
    SM-001 judge them. Raises ValueError for an argument out of range or a `truth.json` that is no object.
    """
    if days < 1:
        raise ValueError(f"days is {days}: give at least 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
    if anomalies is not None and faults is not None:
        raise ValueError(f"anomalies is {anomalies} and faults {faults}: give one of them")
    order = Order.of(seed, scale, interval, meters, whole_substations=faults is not None)
    per_day = order.per_day
    plan = None if anomalies is None else Plan.of(anomalies, seed, days, per_day, len(order.meters))
    wrong = None if faults is None else Faults.of(faults, order, days)
    is_ordinary = plan is None and wrong is None and meters is None
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)

    folder = emptied(out / FOLDER, f"{FEED}_????-??-??.json", STREAM, SAMPLE)

    tally = Tally()
    planted: list[pl.DataFrame] = []
    waiting: pl.DataFrame | None = None
    for day in range(days):
        with whole_file(folder / _day_name(day)) as file:
            for first, last in order.chunks():
                kinds = None if plan is None else plan.kinds(day, first, last)
                base = _base(order, day, first, last, kinds, wrong)
                if kinds is not None and kinds.any():
                    planted.append(_as_planted(base, kinds))
                if messy:
                    messy_rng = np.random.default_rng([seed, 2, day, first])
                    disturbed = disturb(base, messy_rng, corrections=is_ordinary)
                    here, waiting = _arrived([waiting, *disturbed], day * DAY_MS + last * DAY_MS // per_day)
                    _write_damaged(file, here, messy_rng)
                else:
                    here = base
                    as_records(here).write_ndjson(file)
                tally.add(here)
    if waiting is not None and waiting.height:
        with whole_file(folder / _day_name(days)) as file:
            here, _ = _arrived([waiting], (days + 1) * DAY_MS)
            _write_damaged(file, here, np.random.default_rng([seed, 3, days]))
            tally.add(here)
    stream = _stream(order, days, plan is None and wrong is None)
    not_data(folder, SAMPLE)
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
    rng: np.random.Generator,
    meter: Ints,
    event_ms: Ints,
    size: Floats,
    kinds: Kinds | None = None,
    instead: Floats | None = None,
) -> pl.DataFrame:
    """One reading for each `meter` (row of `meters()`) and `event_ms` (milliseconds since the epoch, UTC).

    `size` is each meter's typical kWh. Columns: event_id (UUID 4), reading_kwh, voltage_v (V), current_a (A a
    phase, as if the reading were a quarter hour's), power_factor, frequency_hz (Hz), meter_status,
    is_anomaly_flag; and `_meter`, `_event_ms`, the arguments. `as_records` makes the feed's columns of it.

    Theft (5 %) reads 0.001-0.05 kWh, a spike (3 %) 50-119.9 kWh; everything else lies between the two. `kinds` says
    instead which readings are which (NOTHING, THEFT, SPIKE of planted.py), and `instead` what meters read that do not read
    what is used (NaN of all others).
    """
    n = len(meter)
    kwh = used_kwh(size, event_ms, noise(rng, n))
    if instead is not None:
        kwh = np.where(np.isnan(instead), kwh, instead)
    if kinds is None:
        kinds = np.searchsorted([THEFT_SHARE, THEFT_SHARE + SPIKE_SHARE], rng.random(n), "right").astype(np.uint8)
        kinds = np.array([THEFT, SPIKE, NOTHING], np.uint8)[kinds]
    theft, spike = kinds == THEFT, kinds == SPIKE
    for kind, hit in ((THEFT, theft), (SPIKE, spike)):
        kwh[hit] = kwh_of(kind, rng, int(hit.sum()))
    kwh = kwh.round(3)
    anomaly = theft | spike
    status = np.where(anomaly, np.searchsorted([0.10, 0.65], rng.random(n)), 0)

    normal = rng.standard_normal((3, n))
    voltage = (232 + 3.5 * normal[0] - 4 * (load_shape(local_hour(event_ms)) - 1)).round(1)
    power_factor = np.clip(0.93 + 0.025 * normal[1], 0.8, 0.999).round(3)
    return pl.DataFrame(
        {
            "event_id": event_ids(rng, n),
            "reading_kwh": kwh,
            "voltage_v": voltage,
            "current_a": (kwh * 4000 / (3 * voltage * power_factor)).round(2),
            "power_factor": power_factor,
            "frequency_hz": (50 + 0.03 * normal[2]).round(2),
            "meter_status": pl.Series(["ACTIVE", "TAMPERED", "DISCONNECTED"]).gather(status),
            "is_anomaly_flag": anomaly,
            "_meter": meter,
            "_event_ms": event_ms,
        }
    )


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
    days, day_of = np.unique(event_ms // DAY_MS, return_inverse=True)
    dates = "".join(np.datetime_as_string(days.astype("datetime64[D]")))
    text[:, :10] = np.frombuffer(dates.encode(), np.uint8).reshape(-1, 10)[day_of]
    milliseconds = (event_ms % DAY_MS).astype(np.int32)
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


def _base(order: Order, day: int, first: int, last: int, kinds: Kinds | None, faults: Faults | None) -> pl.DataFrame:
    """The undisturbed readings of some intervals of a day, in order of time."""
    meter, interval, event_ms = order.when(day, first, last)
    instead, speaks = None, np.ones(len(meter), bool)
    if faults is not None:
        wrong = faults.read(meter, interval, event_ms)
        kinds, instead = np.zeros(len(meter), np.uint8), np.full(len(meter), np.nan)
        instead[wrong.rows], speaks[wrong.rows] = wrong.kwh, ~wrong.silent
    rows = readings(order.drawn(day, first), meter, event_ms, meter_sizes(order.seed)[meter], kinds, instead)
    in_day = interval - day * order.per_day
    previous_ms = event_ms - order.start_ms(day, in_day) + order.start_ms(day, in_day - 1)
    record = interval[0] * len(order.meters) + np.arange(len(meter))
    rows = _undisturbed(rows, record).with_columns(
        pl.Series("_opens_window", event_ms // WINDOW_MS > previous_ms // WINDOW_MS),
    )
    return rows.filter(pl.Series(speaks))


def _stream(order: Order, days: int, with_anomalies: bool) -> pl.DataFrame:
    """Readings of up to 500 meters, evenly spaced over the next quarter hour in which meters read.

    None is late, and none is a copy: all that was read before and not rejected was measured before that midnight.
    """
    rng = np.random.default_rng([order.seed, 5, days])
    meter = rng.permutation(np.sort(order.meters))[:STREAM_RECORDS]
    n = len(meter)
    start_ms = int(FIRST_DAY.timestamp()) * 1000 + days * DAY_MS + order.earliest_ms
    event_ms = start_ms + np.arange(n) * (WINDOW_MS // n)
    kinds = None if with_anomalies else np.zeros(n, np.uint8)
    rows = readings(rng, meter, event_ms, meter_sizes(order.seed)[meter], kinds)
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
