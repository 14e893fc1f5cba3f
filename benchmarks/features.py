"""`python -m benchmarks.features`: features of a fleet of sensors brought up to a commit, and the newest asked by key.

1. Sensors that read hourly, a day of them in the lake, then commits with a reading of each: seconds that `refine` takes for
   each, waited and computed. Before they are printed, rows of some sensors are compared with those made of all readings.
2. `latest` of one key and of a hundred, from Python; `GET /api/v1/features/NAME?key=` of one, asked one after the other.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import shutil
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import polars as pl
import psutil
import pyarrow as pa

import beam_grid as bg
from beam_grid.console import set_up_logs
from beam_grid.feeds import built_in
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.refine import refine
from benchmarks.measure import end, start
from benchmarks.sensors import history
from data_sources.contract import Contract, parse_contract
from data_sources.grid_sensors.readings import HOUR_MS
from tests.component.broker import free_ports
from transforms.features import Definition, feature_rows

_UNTIL = datetime(2025, 6, 15, 12, tzinfo=UTC)
_HOURS, _COMMITS = 24, 4
_FEATURES = {
    "name": "sensor_features",
    "series": "sensor_id",
    "recent": "1d",
    "time_zone": "Asia/Kolkata",
    "columns": {
        "temp_ma": "avg(temperature_c) over 11 rows",
        "vibration_stddev": "stddev(vibration_mm_s) over 21 rows",
        "temp_rate_of_change": "change(temperature_c, 5)",
        "temp_mean": "avg(temperature_c) over history",
        "temp_stddev": "stddev(temperature_c) over history",
        "pressure_p95": "quantile(pressure_kpa, 0.95) over history",
        "day_temp_avg": "avg(temperature_c) over history at 06:00-19:00",
        "night_temp_avg": "avg(temperature_c) over history at 19:00-06:00",
        "failures": "count_if(status = 'FAILED') over history",
        "days_since_failure": "days_since(status = 'FAILED')",
        "temp_z_score": "(temp_ma - temp_mean) / nullif(temp_stddev, 0)",
        "failure_risk": "CASE WHEN failures > 5 AND temp_rate_of_change > 10 THEN 0.9 WHEN vibration_stddev > 2 * temp_stddev "
        "THEN 0.7 WHEN abs(temp_ma - temp_mean) > 2 * temp_stddev THEN 0.6 ELSE 0.1 END",
    },
}  # fmt: skip


def measure(folder: Path, sensors: int, asked: int = 2_000) -> dict[str, dict[str, Any]]:
    """Both, printed. asked: requests of the server."""
    base = folder / "features"
    shutil.rmtree(base, ignore_errors=True)
    feed, lake = _contract(), Lake.open(base / "lake")
    source = (base / "source").absolute()
    parts = _parts(base, sensors)
    print(f"{sensors:,} sensors, load {os.getloadavg()[0]:.1f}", flush=True)
    took = []
    for n, rows in enumerate(parts):
        source.mkdir(exist_ok=True)
        rows.write_parquet(source / f"{n}.parquet", row_group_size=100_000)
        with lake.lock("land"):
            land(lake, feed, Options(source=str(source)))
        began, computed = time.perf_counter(), time.process_time()
        refine(lake, engine="embedded")
        took.append((time.perf_counter() - began, time.process_time() - computed))
        what = f"a day of {rows.height:,} readings" if n == 0 else f"a commit of {rows.height:,}"
        print(f"{what:<44}{took[-1][0]:>9.2f} s{took[-1][1]:>9.2f} s CPU", flush=True)
    _compare(lake, feed)
    wall, cpu = (statistics.median(each) for each in zip(*took[1:], strict=True))
    found = {f"features of {sensors:,} sensors, a commit": {"wall_s": wall, "cpu_s": cpu}}
    features = bg.open(lake.path).features("sensor_features")
    names = features.as_of(parts[-1].select("sensor_id", "timestamp").head(100)).arrow()["sensor_id"].to_pylist()
    features.latest(names)
    found |= _asked("latest of one key", asked, lambda n: features.latest(names[n % 100]))
    found |= _asked("latest of a hundred keys", asked, lambda n: features.latest(names))
    return found | _served(base, lake, names, asked)


def _served(base: Path, lake: Lake, names: list[str], asked: int) -> dict[str, dict[str, Any]]:
    (port,) = free_ports(1)
    server = start(["-m", "beam_grid", "serve", "--lake", str(lake.path), "--port", str(port)], base / "serve.log")
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def ask(n: int) -> None:
            connection.request("GET", f"/api/v1/features/sensor_features?{urlencode({'key': names[n % 100]})}")
            answer = connection.getresponse()
            if answer.status != 200 or names[n % 100].encode() not in answer.read():
                raise SystemExit(f"the server answered {answer.status}")

        until = time.monotonic() + 60
        while True:
            try:
                ask(0)
                break
            except OSError:
                connection.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        before = psutil.Process(server.pid).cpu_times()
        found = _asked("one key over HTTP", asked, ask)
        after = psutil.Process(server.pid).cpu_times()
        cpu_ms = 1e3 * (after.user + after.system - before.user - before.system) / asked
        print(f"{'of which the server computes':<44}{cpu_ms:.2f} ms CPU a request", flush=True)
        return {what: figures | {"server_cpu_ms": cpu_ms} for what, figures in found.items()}
    finally:
        end(server, 10)


def _asked(what: str, times: int, ask: Callable[[int], object]) -> dict[str, dict[str, Any]]:
    taken = []
    for n in range(times):
        began = time.perf_counter()
        ask(n)
        taken.append(1e3 * (time.perf_counter() - began))
    p50, p95, p99 = np.percentile(taken, [50, 95, 99])
    print(f"{what:<44}p50 {p50:.2f} ms, p95 {p95:.2f}, p99 {p99:.2f}", flush=True)
    return {f"features: {what}": {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99}}


def _contract() -> Contract:
    raw = {**built_in()["grid_sensors"].to_dict(), "format": "parquet", "files": ["*.parquet"], "features": [_FEATURES]}
    for word in ("expectations", "now", "windows"):
        del raw[word]
    return parse_contract(raw, "benchmarks/features.py")


def _parts(base: Path, sensors: int) -> list[pl.DataFrame]:
    """A day of readings, then an hour each."""
    history(base / "made", sensors, sensors * (_HOURS + _COMMITS), int(_UNTIL.timestamp() * 1000))
    rows = pl.concat([pl.read_parquet(path) for path in sorted((base / "made").glob("*.parquet"))])
    cuts = [_UNTIL - timedelta(milliseconds=HOUR_MS * (_COMMITS - n)) for n in range(_COMMITS + 1)]
    hours = [rows.filter(pl.col("timestamp").is_between(*ends, closed="left")) for ends in itertools.pairwise(cuts)]
    return [rows.filter(pl.col("timestamp") < cuts[0]), *hours]


def _compare(lake: Lake, feed: Contract) -> None:
    """Raises SystemExit where rows are not those made of all readings at once."""
    (spec,) = feed.features
    some = bg.open(lake.path)["silver.grid_sensors"].where("sensor_id LIKE 'GS-0000%'").arrow().sort_by(
        [("sensor_id", "ascending"), ("timestamp", "ascending")]
    )  # fmt: skip
    definition = Definition(
        spec.series, feed.event_time, tuple(feed.dedup.key), spec.parsed, spec.version, spec.history.days,
        int(spec.recent.total_seconds() * 1e6), spec.time_zone,
    )  # fmt: skip
    whole = pa.Table.from_batches(list(feature_rows(some.to_batches(), definition)))
    for name, table in (("sensor_features", whole), ("sensor_features_latest", None)):
        kept = (
            bg.open(lake.path)[f"gold.{name}"]
            .where("sensor_id LIKE 'GS-0000%'")
            .polars()
            .sort("sensor_id", "timestamp")
        )
        wanted = pl.DataFrame(pl.from_arrow(whole))
        if table is None:
            wanted = wanted.group_by("sensor_id", maintain_order=True).last().select(kept.columns)
        if not kept.height or not kept.equals(wanted.cast(dict(kept.schema))):  # type: ignore[arg-type]
            raise SystemExit(f"gold.{name} is not what all readings make at once")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensors", type=int, default=100_000)
    given = parser.parse_args()
    set_up_logs("text", debug=False)
    measure(Path("bench-data"), given.sensors)


if __name__ == "__main__":
    main()
