"""`make bench`: Beam Grid beside its peers, one after the other, in one run; ratios, not absolute times.

Each variant's output is compared with the oracle (DuckDB over the raw input) before its time counts. Spark's stream
leaves its last windows out (its watermark has not passed them): those it wrote must be right.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from beam_grid.feeds import BUILT_IN
from benchmarks import data, lake
from benchmarks.columns import DUCKDB
from benchmarks.measure import Run, median, run

HERE = Path(__file__).parent
MEASURES = ("readings", "kwh", "peak_kwh", "mean_voltage_v")


def main() -> None:
    """Make data, run all, print, write bench-results.json."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--readings", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dicts", type=int, default=100_000, help="records the one-dict-an-element variant gets")
    parser.add_argument(
        "--only", nargs="*", default=[], help="land duckdb spark-stream spark-batch beam-dicts rest lake"
    )
    given = parser.parse_args()
    folder = Path("bench-data")
    records = data.make(folder, given.readings)
    source = str((folder / "source").absolute())
    oracle = make_oracle(source, folder)
    contract = str(same_outputs(folder))
    variants: dict[str, tuple[int, Callable[[Path], list[str]], Callable[[Path], str]]] = {
        "land": (
            records,
            lambda out: ["-m", "beam_grid", "land", "--contract", contract, "--source", source, "--lake", str(out)],
            lambda out: check_landed(out, oracle),
        ),
        "duckdb": (
            records,
            lambda out: ["-m", "benchmarks.peers.duckdb_sql", source, str(out)],
            lambda out: check_windows(f"{out}/windows.parquet", oracle, whole=True),
        ),
        "spark-stream": (
            records,
            lambda out: ["-m", "benchmarks.peers.spark_sql", "stream", source, str(out)],
            lambda out: check_windows(f"{out}/windows.parquet/*.parquet", oracle, whole=False),
        ),
        "spark-batch": (
            records,
            lambda out: ["-m", "benchmarks.peers.spark_sql", "batch", source, str(out)],
            lambda out: check_windows(f"{out}/windows.parquet/*.parquet", oracle, whole=True),
        ),
        "beam-dicts": (
            given.dicts,
            lambda out: ["-m", "benchmarks.peers.beam_dicts", source, str(out), str(given.dicts)],
            lambda out: check_dicts(f"{out}/windows.parquet", source, given.dicts),
        ),
    }
    results: dict[str, dict[str, float | str]] = {}
    print(f"{records:,} records in {source_size(source):,.0f} MB, {given.runs} runs each, {platform.machine()}\n")
    print(f"{'variant':<14}{'wall s':>9}{'cpu s':>9}{'peak MiB':>10}{'records/s':>12}   output")
    for name, (count, command, check) in variants.items():
        if given.only and name not in given.only:
            continue
        runs, verdict = [], ""
        for n in range(given.runs):
            out = folder / f"out-{name}"
            shutil.rmtree(out, ignore_errors=True)
            runs.append(run(command(out), folder / f"{name}-{n}.log"))
            verdict = check(out)
        middle = median(runs)
        results[name] = {
            "wall_s": middle.wall_s,
            "cpu_s": middle.cpu_s,
            "peak_mib": middle.peak_mib,
            "records": count,
            "records_per_s": count / middle.wall_s,
            "output": verdict,
        }
        print(
            f"{name:<14}{middle.wall_s:>9.2f}{middle.cpu_s:>9.2f}{middle.peak_mib:>10.0f}{count / middle.wall_s:>12,.0f}   {verdict}",
            flush=True,
        )
    print()
    if "land" in results:
        mine = results["land"]
        for name, found in results.items():
            if name == "land":
                continue
            each = {
                k: float(mine[k]) / float(mine["records"]) * float(found["records"]) / float(found[k])
                for k in ("wall_s", "cpu_s")
            }
            told = f"{each['wall_s']:.2f} x the wall time, {each['cpu_s']:.2f} x the CPU time of {name}"
            if each["wall_s"] < 1:
                told += f": {1 / each['wall_s']:.1f} x faster"
            found["land_is"] = told
            print(f"land is {told}")
    if not given.only or "rest" in given.only:
        results["rest"] = rest(folder, source)
    if not given.only or "lake" in given.only:
        results |= lake.measure(folder, given.runs)
    Path("bench-results.json").write_text(json.dumps(results, indent=1) + "\n")
    print("\nwritten to bench-results.json")


def rest(folder: Path, source: str) -> dict[str, float | str]:
    """Fixed costs, slices, a query over 5 M rows, other feeds and undeclared fields, as whole processes."""
    from benchmarks.commit import commit
    from benchmarks.feeds import feeds
    from benchmarks.slices import slices

    found: dict[str, float | str] = {}

    def timed(label: str, arguments: list[str]) -> Run:
        middle = median([run(arguments, folder / "rest.log") for _ in range(3)])
        print(f"{label:<58}{middle.wall_s:>8.2f} s")
        found[label] = middle.wall_s
        return middle

    print()
    five, big = lake.readings_lake(folder)
    timed("land, nothing new", ["-m", "beam_grid", "land", "smart_meter_readings", "--source", big, "--lake", five])
    timed("refine, nothing new", ["-m", "beam_grid", "refine", "--lake", five])
    sql = (
        "SELECT * FROM silver.smart_meter_readings WHERE meter_id = 'SM-N-00042' "
        "AND timestamp >= '2025-06-20T00:00:00Z' AND timestamp < '2025-06-21T00:00:00Z'"
    )
    timed("query a meter's day of 5 M rows", ["-m", "beam_grid", "query", sql, "--lake", five, "--format", "csv"])
    found["refine one reading into ten feeds"] = commit(folder, 3).wall_s
    print(f"{'refine one reading into ten feeds':<58}{found['refine one reading into ten feeds']:>8.2f} s")
    for order in ("time", "meter"):
        ratio = slices(folder, source, order)
        print(f"{'50 slices, ' + order + '-ordered: last ten / first ten':<58}{ratio:>8.2f} x")
        found[f"50 slices, {order}-ordered"] = ratio
    for label, ratio in feeds(folder, 3, 1_000_000).items():
        print(f"{label:<58}{ratio:>8.2f} x")
        found[label] = ratio
    return found


def same_outputs(folder: Path) -> Path:
    """The built-in contract with what the peers do: the rows, one window table, the one rule that rejects."""
    sections = re.split(r"(?m)^(?=\[\[)", (BUILT_IN / "smart_meter_readings" / "contract.toml").read_text())
    kept = [s for s in sections if '"energy_hourly"' not in s and 'on_fail = "warn"' not in s]
    path = folder / "contract.toml"
    path.write_text("".join(kept))
    return path


def make_oracle(source: str, folder: Path) -> Path:
    """Windows and the count of distinct rows, by DuckDB over the raw input."""
    out = folder / "oracle"
    if not out.exists():
        draft = folder / "oracle-draft"
        shutil.rmtree(draft, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "benchmarks.peers.duckdb_sql", source, str(draft)], check=True)
        draft.rename(out)
    return out


def check_landed(lake: Path, oracle: Path) -> str:
    """Rows and tiles of a landing zone against the oracle; raises SystemExit where they differ."""
    data_of = f"{lake}/landing/smart_meter_readings/data/*"
    names = ", ".join(DUCKDB)
    missing = _scalar(
        f"""SELECT count(*) FROM (
              (SELECT {names} FROM '{data_of}/rows-*.parquet' EXCEPT ALL SELECT {names} FROM '{oracle}/rows.parquet')
              UNION ALL
              (SELECT {names} FROM '{oracle}/rows.parquet' EXCEPT ALL SELECT {names} FROM '{data_of}/rows-*.parquet'))"""
    )
    if missing:
        raise SystemExit(f"land: {missing} rows differ from the oracle")
    merged = f"""(SELECT meter_id, epoch_us(_cell) // 900000000 AS cell, sum(readings) AS readings, sum(kwh) AS kwh,
                         max(peak_kwh) AS peak_kwh, sum(mean_voltage_v__sum) / sum(mean_voltage_v__n) AS mean_voltage_v
                  FROM '{data_of}/tiles-meter_15min-*.parquet' GROUP BY ALL)"""
    return "rows equal, " + _compare(merged, f"'{oracle}/windows.parquet'", whole=True)


def check_windows(written: str, oracle: Path, whole: bool) -> str:
    return _compare(f"'{written}'", f"'{oracle}/windows.parquet'", whole)


def check_dicts(written: str, source: str, limit: int) -> str:
    """The windows of the first `limit` lines."""
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in DUCKDB.items())
    expected = f"""(SELECT meter_id, epoch_us(timestamp) // 900000000 AS cell, count(*) AS readings,
                           sum(reading_kwh) AS kwh, max(reading_kwh) AS peak_kwh, avg(voltage_v) AS mean_voltage_v
                    FROM (SELECT DISTINCT * FROM (SELECT * FROM read_json('{source}/*.json',
                          format = 'newline_delimited', columns = {{{columns}}}) LIMIT {limit})) GROUP BY ALL)"""
    return _compare(f"'{written}'", expected, whole=True)


def _compare(written: str, expected: str, whole: bool) -> str:
    differing = " OR ".join(f"abs(w.{m} - e.{m}) > 1e-9 * greatest(1, abs(e.{m}))" for m in MEASURES)
    wrong, absent, count = duckdb.execute(
        f"""SELECT count(*) FILTER (WHERE e.cell IS NULL OR {differing}), count(*) FILTER (WHERE w.cell IS NULL), count(*)
            FROM {written} w FULL JOIN {expected} e ON w.meter_id = e.meter_id AND w.cell = e.cell"""
    ).fetchall()[0]
    if wrong or (whole and absent) or absent > count / 10:
        raise SystemExit(f"{written[:80]}: {wrong} windows wrong, {absent} missing of {count}")
    return f"windows equal ({absent:,} of {count:,} left out)" if absent else "windows equal"


def _scalar(sql: str) -> int:
    return int(duckdb.execute(sql).fetchall()[0][0])


def source_size(source: str) -> float:
    return sum(p.stat().st_size for p in Path(source).iterdir()) / 1e6


if __name__ == "__main__":
    started = time.time()
    main()
    print(f"{time.time() - started:.0f} s in all")
