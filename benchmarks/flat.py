"""`python -m benchmarks.flat`: does a commit cost after ten thousand what it cost after an hour of event time?

    a time-ordered stream, cut into commits of some seconds each; 1 % of its records are up to an hour late, 2 % are copies
    of records of the last hour ──► follow (land, publish; refine beside it) ──► seconds and resident memory of every commit, in a CSV

At the end: how long a start on that lake takes that finds nothing new, and `query`, `ledger` and `status`, each as a
process of its own; and that the table holds each record once.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import psutil

from beam_grid.feeds import built_in
from beam_grid.follow import Pace, Tables, follow
from beam_grid.lakehouse.query import query
from beam_grid.land import Lander, Options
from beam_grid.landing import Lake

FEED = "smart_meter_readings"
_FILES = 100
_HOUR_S = 3600


def make(folder: Path, commits: int, rows: int, seconds: float) -> Path:
    """The stream, as a folder of files that form one log."""
    source = folder / f"flat-{commits}-{rows}-{seconds:g}"
    if source.exists():
        return source
    draft = source.with_suffix(".draft")
    draft.mkdir(parents=True, exist_ok=True)
    total, step = commits * rows, seconds / rows
    back = int(_HOUR_S / step)
    each = -(-total // _FILES)
    for number in range(_FILES):
        first, end = number * each, min(total, (number + 1) * each)
        duckdb.execute(
            f"""COPY (
              WITH lines AS (SELECT i, CASE WHEN hash(i, 1) % 50 = 0 THEN greatest(0, i - (hash(i, 2) % {back})::BIGINT)
                             ELSE i END AS j FROM range({first}, {end}) r(i)),
              timed AS (SELECT i, j, j * {step} - CASE WHEN hash(j, 3) % 100 = 0 THEN hash(j, 4) % 3500 ELSE 0 END AS s
                        FROM lines)
              SELECT md5(j::VARCHAR) AS event_id, 'MTR-' || lpad((hash(j, 5) % 5000)::VARCHAR, 6, '0') AS meter_id,
                     'CUS-' || (hash(j, 5) % 5000)::VARCHAR AS customer_id,
                     strftime(TIMESTAMP '2026-03-01' + to_microseconds((s * 1e6)::BIGINT), '%Y-%m-%dT%H:%M:%S.%fZ') AS "timestamp",
                     round((hash(j, 6) % 5000) / 1000.0, 3) AS reading_kwh, 228.0 + hash(j, 7) % 5 AS voltage_v,
                     round((hash(j, 8) % 3000) / 100.0, 2) AS current_a, 0.95 AS power_factor, 50.0 AS frequency_hz,
                     'ACTIVE' AS meter_status, 'North' AS region, 'NY' AS state, 'Zone-1' AS grid_zone,
                     false AS is_anomaly_flag
              FROM timed ORDER BY i) TO '{draft}/part-{number:04d}.json' (FORMAT json)"""
        )
    draft.rename(source)
    return source


def drive(lake: Path, source: Path, rows: int, out: Path, commits: int) -> None:
    """Follow the source to its end, in this process; a line per commit: number, seconds, those of CPU, resident MiB.

    A lake that is there is gone on with, from its last commit.
    """
    me, opened, feed = psutil.Process(), Lake.open(lake), built_in()[FEED]
    before = opened.feed(FEED).last
    with out.open("a" if before else "w", newline="") as lines:
        told = csv.writer(lines)
        if not before:
            told.writerow(["commit", "seconds", "cpu_seconds", "rss_mib"])
        last, spent = time.perf_counter(), time.process_time()

        def at(lander: Lander) -> None:
            nonlocal last, spent
            now, used = time.perf_counter(), time.process_time()
            resident = me.memory_info().rss / 2**20
            done = before + lander.done.commits
            told.writerow([done, f"{now - last:.4f}", f"{used - spent:.4f}", f"{resident:.1f}"])
            lines.flush()
            last, spent = now, used
            if done >= commits or not lander.is_behind:
                raise StopIteration

        options = Options(source=str(source), slice_rows=rows)
        with opened.lock("land"):
            follow(opened, [(feed, options)], Pace(every=0.0), Tables(opened), print, at)


def timed(arguments: list[str], may_say: tuple[int, ...] = (0,)) -> float:
    """Seconds of a command of the product, the median of three; raises where it exits otherwise than it may."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "beam_grid", *arguments], capture_output=True, text=True)
        if done.returncode not in may_say:
            raise RuntimeError(f"{arguments}: exit {done.returncode}\n{done.stderr}")
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def report(out: Path, seconds: float) -> dict[str, Any]:
    """What the commits cost, printed: a hundred after the first hour of event time, and the last hundred."""
    with out.open() as lines:
        rows = [tuple(map(float, r.values())) for r in csv.DictReader(lines)]
    hour = int(_HOUR_S / seconds)
    first, last = rows[hour : hour + 100], rows[-100:]
    if len(first) < 100:
        print(f"{len(rows)} commits are not an hour of event time and a hundred more")
        return {}
    taken, cpu, memory = ([statistics.median(r[n] for r in part) for part in (first, last)] for n in (1, 2, 3))
    for n, part in enumerate((first, last)):
        print(
            f"commits {part[0][0]:.0f}-{part[-1][0]:.0f}: {taken[n]:.3f} s, {cpu[n]:.3f} s of CPU, {memory[n]:.0f} MiB "
            f"(medians); mean {statistics.mean(r[1] for r in part):.3f} s, {statistics.mean(r[2] for r in part):.3f} s of CPU"
        )
    ratios = {name: two[1] / two[0] for name, two in (("time", taken), ("cpu", cpu), ("memory", memory))}
    print("last to first: " + ", ".join(f"{k} {v:.2f}" for k, v in ratios.items()) + " (aims: time 1.2, memory 1.1)")
    print(f"most memory {max(r[3] for r in rows):.0f} MiB; longest commit {max(r[1] for r in rows):.2f} s")
    return {"first_s": taken[0], "last_s": taken[1], "first_mib": memory[0], "last_mib": memory[1], **ratios}


def _only_late(lake: Lake, table: str) -> int:
    """Records that are in bronze.late and not in the table: the copy of an hour later, with a time up to an hour before."""
    late = {json.loads(row)["event_id"] for row in query(lake, "SELECT record FROM bronze.late")["record"].to_pylist()}
    known = ", ".join(f"'{name}'" for name in sorted(late)) or "''"
    return len(late) - query(lake, f"SELECT 1 AS n FROM {table} WHERE event_id IN ({known})").num_rows


def measure(
    folder: Path, commits: int = 10_000, rows: int = 500, seconds: float = 5.0, *, go_on: bool = False
) -> dict[str, dict[str, Any]]:
    """Figures, printed; every commit's in FOLDER/flat.csv. Raises AssertionError where the table is not each record once.

    go_on: from where an earlier run was cut off; memory is that of a new process then.
    """
    source, lake, out = make(folder, commits, rows, seconds), folder / "flat-lake", folder / "flat.csv"
    if not go_on:
        shutil.rmtree(lake, ignore_errors=True)
    began = time.perf_counter()
    options = ["--commits", str(commits), "--rows", str(rows), "--seconds", str(seconds), "--folder", str(folder)]
    subprocess.run([sys.executable, "-m", "benchmarks.flat", *options, "--drive"], check=True)
    print(f"{commits:,} commits of {rows} records in {time.perf_counter() - began:.0f} s")
    found = report(out, seconds)
    wanted = duckdb.execute(f"SELECT count(DISTINCT event_id) FROM read_json('{source}/*.json')").fetchall()[0][0]
    table, opened = f"silver.{FEED}", Lake.open(lake)
    (got,) = query(opened, f"SELECT count(*) AS n, count(DISTINCT event_id) AS d FROM {table}").to_pylist()
    only_late = _only_late(opened, table)
    assert got == {"n": wanted - only_late, "d": wanted - only_late}, (wanted, only_late, got)
    print(f"{wanted:,} records, each in the table once, but {only_late} that came more than an hour late")
    for name, command, aim, may_say in (
        ("start that finds nothing new", ["land", FEED, "--source", str(source)], 1.5, (0,)),
        ("query", ["query", f"SELECT count(*) FROM {table}"], 0.5, (0,)),
        ("ledger", ["ledger"], 0.5, (0,)),
        ("status", ["status"], 0.5, (0, 1)),  # 1: nobody follows it
    ):
        found[name] = timed([*command, "--lake", str(lake)], may_say)
        print(f"{name}: {found[name]:.2f} s (aim {aim})")
    return {"flat": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=500, help="records of a commit")
    parser.add_argument("--seconds", type=float, default=5.0, help="of event time of a commit")
    parser.add_argument("--go-on", action="store_true", help="from where an earlier run was cut off")
    parser.add_argument("--folder", type=Path, default=Path("bench-data"))
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drive:
        source = make(asked.folder, asked.commits, asked.rows, asked.seconds)
        drive(asked.folder / "flat-lake", source, asked.rows, asked.folder / "flat.csv", asked.commits)
    else:
        measure(asked.folder, asked.commits, asked.rows, asked.seconds, go_on=asked.go_on)


if __name__ == "__main__":
    main()
