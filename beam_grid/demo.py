"""`beam-grid demo`: the whole way on sample data, from messy files to a report that finds what was planted."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click

from beam_grid.console import say
from beam_grid.errors import RunFailed
from beam_grid.generate import generate
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from beam_grid.report import write_report
from beam_grid.report.scores import planted_beside, scores
from beam_grid.show import show
from data_sources.smart_meter_readings.planted import HISTORY_DAYS, LAST_DAYS

FEED, METERS, ANOMALIES = "smart_meter_readings", 40, 30


def demo(out: Path, days: int, land: Callable[[str, str], int], refine: Callable[[str], object], command: str) -> None:
    """Make the demo's data, lake and report anew below `out`. Raises RunFailed if the ledger is not the truth.

    Few meters and many days: an anomaly is a reading unlike those of its meter in the same hour of the weeks before.
    With fewer days than such a history takes, nothing is planted.
    """
    started = time.monotonic()
    data, lake_path = out / "data", out / "lake"
    for folder in (data, lake_path):
        shutil.rmtree(folder, ignore_errors=True)
    anomalies = ANOMALIES if days >= HISTORY_DAYS + LAST_DAYS else None
    planted = f", {anomalies} anomalies planted in the last two" if anomalies else ""
    say(f"1/4 generate: messy hourly readings of {METERS} meters, {days} days{planted}")
    options = {"interval": timedelta(hours=1), "meters": METERS, **({"anomalies": anomalies} if anomalies else {})}
    generate((FEED,), data, seed=42, scale=1.0, days=days, messy=True, options=options)
    say("2/4 land: judge, drop duplicates, window, write Parquet")
    land(str(lake_path), str(data))
    say("3/4 refine: Delta tables")
    refine(str(lake_path))
    say("4/4 report")
    lake = Lake.open(lake_path, create=False)
    write_report(lake, out / "report.html", command=command)
    book = ledger(lake)
    show(book, "table")
    truth = json.loads((data / "truth.json").read_text(encoding="utf-8"))
    for row in book.to_pylist():
        if not row["balanced"] or differences(row, truth[row["feed"]]):
            raise RunFailed(f"the ledger of {row['feed']} is not the truth: {differences(row, truth[row['feed']])}")
    click.echo(f"Every record is accounted for, and the counts are those of {data / 'truth.json'}.")
    if (found := scores(lake, newest(lake), planted_beside(lake.feed(FEED)))) is not None:
        click.echo(f"Anomalies: {found.summary}")
    click.echo(f"Report: {out / 'report.html'}   ({time.monotonic() - started:.0f} s)")
    click.echo(
        'Try:    beam-grid query "SELECT meter_id, timestamp, reading_kwh, z_score FROM gold.anomalies '
        f"WHERE status = 'CRITICAL' ORDER BY timestamp DESC LIMIT 5\" --lake {lake_path}"
    )


def differences(row: dict[str, int], truth: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Counts that a ledger row and a truth file have different: {name: (ledger, truth)}."""
    counted = {
        **row,
        "landed - superseded": row["landed"] - row["superseded"],
        "duplicates + superseded": row["duplicates"] + row["superseded"],
    }
    return {k: (counted[k], v) for k, v in truth.items() if isinstance(v, int) and counted.get(k) != v}
