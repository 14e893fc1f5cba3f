"""`make bench`: Beam Grid beside its peers, in turns, in one run; ratios, not absolute times.

Each variant runs as a whole process, and its output is compared with the oracle (DuckDB over the raw input) before its
time is printed. Spark's stream leaves its last windows out (its watermark has not passed them): those it wrote must be
right. The variants are listed in benchmarks/variants.py; of several sizes of input only the first has them all, the
others `run` and `duckdb-delta`.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beam_grid.console import set_up_logs
from benchmarks import (
    alert_latency,
    backlog,
    cluster,
    commit,
    detect,
    features,
    fixed,
    flat,
    follow_long,
    freshness,
    lake,
    page,
    serve,
)
from benchmarks.measure import Run, median, run
from benchmarks.variants import Variant, variants

Results = dict[str, dict[str, Any]]

FOLDER = Path("bench-data")
VARIANTS = ("run", "duckdb-delta", "run-analyses", "spark-batch", "spark-stream", "land", "duckdb", "beam-dicts")
COMPARED = {
    "run": ("duckdb-delta", "spark-batch", "spark-stream"),
    "land": ("duckdb", "beam-dicts"),
}
"""Each of ours with the variants it is put beside."""


def main() -> None:
    """Make data, run what was asked for, print, write bench-results.json."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--readings", type=int, nargs="*", default=[2_000_000, 8_000_000], help="sizes of the input")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dicts", type=int, default=100_000, help="records the one-dict-an-element variant gets")
    parser.add_argument("--rate", type=int, default=5_000, help="messages a second of the live topic")
    parser.add_argument("--follow-seconds", type=float, default=600, help="how long `follow` looks at a live topic")
    parser.add_argument("--messages", type=int, default=2_000_000, help="that wait in the topic of `backlog`")
    parser.add_argument("--long-minutes", type=float, default=30, help="how long `long` goes on, with kills")
    parser.add_argument("--commits", type=int, default=10_000, help="of `flat`")
    parser.add_argument("--cluster-rows", type=int, default=10_000_000, help="of `cluster`")
    serve.add_options(parser)
    parts: dict[str, Callable[[], Results]] = {
        "freshness": lambda: freshness.measure(FOLDER, "freshness", given.rate, 60),
        "alerts": lambda: alert_latency.measure(FOLDER, given.rate, 60),
        "follow": lambda: freshness.measure(FOLDER, "follow", given.rate, given.follow_seconds),
        "backlog": lambda: backlog.measure(FOLDER, given.messages, given.runs),
        "long": lambda: follow_long.measure(FOLDER, given.long_minutes, given.rate, 180),
        "flat": lambda: flat.measure(FOLDER, given.commits),
        "cluster": lambda: cluster.measure(FOLDER / "cluster", given.cluster_rows),
        "commit": lambda: commit.measure(FOLDER, given.runs),
        "fixed": lambda: fixed.measure(FOLDER, given.readings[0]),
        "lake": lambda: dict(lake.measure(FOLDER, given.runs)),
        "serve": lambda: serve.measure(FOLDER, serve.size_of(given)),
        "page": lambda: page.measure(FOLDER),
        "detect": lambda: detect.measure(1_000_000, given.runs),
        "features": lambda: features.measure(FOLDER, 100_000),
    }
    parser.add_argument("--only", nargs="*", default=[], choices=[*VARIANTS, *parts], metavar="PART", help=" ".join([*VARIANTS, *parts]))  # fmt: skip
    given = parser.parse_args()
    set_up_logs("text", debug=False)
    FOLDER.mkdir(exist_ok=True)
    results: Results = {}
    wanted = [name for name in VARIANTS if not given.only or name in given.only]
    for n, readings in enumerate(given.readings):
        folder = FOLDER / f"readings-{readings}"
        if wanted:
            found = beside(folder, variants(folder, readings, given.dicts, n == 0), wanted, given.runs)
            results |= found if n == 0 else {f"{name}@{readings}": each for name, each in found.items()}
    for name, part in parts.items():
        if not given.only or name in given.only:
            print()
            results |= part()
    Path("bench-results.json").write_text(json.dumps(results, indent=1) + "\n")
    print("\nwritten to bench-results.json")


def beside(folder: Path, found: list[Variant], wanted: list[str], runs: int) -> Results:
    """Run the variants in turns, so that a machine that slows down slows all; print medians and ratios."""
    chosen = [variant for variant in found if variant.name in wanted]
    records, size = found[0].records, sum(p.stat().st_size for p in (folder / "source").iterdir()) / 1e6
    print(f"{records:,} records in {size:,.0f} MB, {runs} runs each in turns, {platform.machine()}\n", flush=True)
    taken: dict[str, list[Run]] = {variant.name: [] for variant in chosen}
    verdicts: dict[str, str] = {}
    for n in range(runs):
        for variant in chosen:
            out = folder / f"out-{variant.name}"
            shutil.rmtree(out, ignore_errors=True)
            done = run(variant.command(out), folder / f"{variant.name}-{n}.log")
            verdicts[variant.name] = variant.check(out)
            taken[variant.name].append(done)
            told = f"{done.wall_s:.2f} s, {done.cpu_s:.2f} s CPU, {done.peak_mib:.0f} MiB"
            print(f"  {variant.name}, run {n + 1}: {told}", flush=True)
    print(f"\n{'variant':<14}{'wall s':>9}{'cpu s':>9}{'peak MiB':>10}{'records/s':>12}   output")
    results: Results = {}
    for variant in chosen:
        middle = median(taken[variant.name])
        results[variant.name] = {
            "wall_s": middle.wall_s,
            "cpu_s": middle.cpu_s,
            "peak_mib": middle.peak_mib,
            "records": variant.records,
            "records_per_s": variant.records / middle.wall_s,
            "output": verdicts[variant.name],
        }
        rate = variant.records / middle.wall_s
        figures = f"{middle.wall_s:>9.2f}{middle.cpu_s:>9.2f}{middle.peak_mib:>10.0f}{rate:>12,.0f}"
        print(f"{variant.name:<14}{figures}   {verdicts[variant.name]}")
    print()
    _compare(results)
    return results


def _compare(results: Results) -> None:
    """Print and note the ratios: time a record, and peak memory."""
    for mine, others in COMPARED.items():
        for other in others:
            if mine not in results or other not in results:
                continue
            a, b = results[mine], results[other]
            wall, cpu = ((a[k] / a["records"]) / (b[k] / b["records"]) for k in ("wall_s", "cpu_s"))
            memory = a["peak_mib"] / b["peak_mib"]
            text = f"{wall:.2f} x the wall time, {cpu:.2f} x the CPU time, {memory:.2f} x the memory of {other}"
            if wall < 1:
                text += f": {1 / wall:.1f} x faster"
            b[f"{mine}_is"] = text
            print(f"{mine} is {text}")
    if "run" in results and "run-analyses" in results:
        seconds = results["run-analyses"]["wall_s"] - results["run"]["wall_s"]
        results["run-analyses"]["analyses_s"] = seconds
        print(f"analyses and expectations: {seconds:.2f} s, {seconds / results['run']['wall_s']:.2f} x `run` without")


if __name__ == "__main__":
    started = time.time()
    main()
    print(f"{time.time() - started:.0f} s in all")
