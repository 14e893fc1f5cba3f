"""`python -m benchmarks.sensors BOOTSTRAP TOPIC RATE SENSORS SINCE`: readings of grid sensors as they are taken, to Kafka.

And the hours before, as Parquet: both are the generator's (data_sources/grid_sensors), so that the live readings go on
where the history ended, with the same sensors and the same faults.

    hour:   |..... history, each sensor once an hour .....|  live, the sensors in turn, `rate` a second
                                                         SINCE (milliseconds since the epoch, a full hour)
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from beam_grid.feeds import BUILT_IN
from data_sources.generators.streams.sinks import Kafka
from data_sources.grid_sensors.readings import HOUR_MS, VALUES, Fleet, as_records, readings

FEED = "grid_sensors"
REGIONS = ("NORTH", "SOUTH", "EAST", "WEST", "CENTRAL")
_SEED = 13
_HOURS_A_FILE = 24
_EVERY_S = 0.05


def history(folder: Path, sensors: int, rows: int, until_ms: int) -> int:
    """Parquet files in the feed's declared shape, in order of time, so many hours that they have about `rows` rows.

    Returns the rows: sensors that are silent or new have fewer readings.
    """
    folder.mkdir(parents=True)
    fleet = Fleet(_SEED, sensors, until_ms)
    moments = np.random.default_rng([_SEED, 4]).integers(0, HOUR_MS, sensors)
    order = np.argsort(moments, kind="stable")
    hours, written = max(1, rows // sensors), 0
    for first in range(0, hours, _HOURS_A_FILE):
        parts = []
        for hour in range(first, min(hours, first + _HOURS_A_FILE)):
            at = until_ms - (hours - hour) * HOUR_MS + moments[order]
            is_last = np.full(sensors, int(hour == hours - 1))
            made = readings(fleet, np.random.default_rng([_SEED, 1, hour]), order, at, is_last)
            parts.append(_records(fleet, made.filter(pl.Series(fleet.speaks(order, at)))))
        day = pl.concat(parts)
        day.write_parquet(folder / f"{FEED}_{first:06d}.parquet", row_group_size=100_000)
        written += day.height
    return written


def _records(fleet: Fleet, rows: pl.DataFrame) -> pl.DataFrame:
    """As `as_records`, with times that are times: Parquet has a type for them."""
    at = fleet.places[rows["_sensor"].to_numpy()]
    return rows.select(
        at["sensor_id"],
        pl.col("_event_ms").cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        pl.col(*VALUES, "status"),
        at["transformer_id"],
        at["region"],
        at["state"],
    )


def parquet_contract(path: Path) -> Path:
    """The feed's contract, for files of Parquet: all else is as it is declared."""
    text = (BUILT_IN / FEED / "contract.toml").read_text()
    path.write_text(text.replace('format = "json"', 'format = "parquet"', 1))
    return path


def main(bootstrap: str, topic: str, rate: float, sensors: int, since_ms: int) -> None:
    """Send until told to stop, then print how many messages the broker has confirmed.

    A reading's event time is the millisecond at which it is due. Spikes spike with every reading. Raises ValueError
    where there is no broker or no such topic.
    """
    sink, rng, fleet = Kafka(bootstrap, topic), np.random.default_rng(_SEED), Fleet(_SEED, sensors, since_ms)
    stopped: list[int] = []
    for word in (signal.SIGTERM, signal.SIGINT):
        signal.signal(word, lambda number, _: stopped.append(number))
    started, due_before, sent = time.time(), 0, 0
    while not stopped:
        due = int((time.time() - started) * rate)
        number = np.arange(due_before, due)
        if len(number):
            event_ms = ((started + number / rate) * 1000).astype(np.int64)
            sensor = number % sensors
            rows = readings(fleet, rng, sensor, event_ms, np.ones(len(number), np.int64))
            rows = rows.filter(pl.Series(fleet.speaks(sensor, event_ms)))
            sink.write(as_records(fleet, rows))
            due_before, sent = due, sent + rows.height
        time.sleep(max(0.0, started + due_before / rate + _EVERY_S - time.time()))
    sink.close()
    print(sent, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
