"""generate, demo and doctor: sample data, everything on it, and what the machine lacks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from beam_grid.cli.options import Duration
from beam_grid.cli.process import command_line
from beam_grid.cli.steps import land_feeds, refine_tables
from beam_grid.console import say
from beam_grid.errors import GridError


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@click.option("--out", metavar="DIR", help="Folder for the data; truth.json is written beside it.")
@click.option("--seed", type=int, default=42, show_default=True)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Times the readings of a day.")
@click.option("--days", type=int, default=1, show_default=True)
@click.option("--messy", is_flag=True, help="Add duplicates, disorder, late, future and broken records.")
@click.option("--interval", type=Duration(), metavar="1h", help="Meters, sensors: between two readings, not --scale.")
@click.option("--meters", type=int, metavar="N", help="Meters: how many; 1000 unless given.")
@click.option("--sensors", type=int, metavar="N", help="Sensors: how many, up to 100000; 100 unless given.")
@click.option(
    "--anomalies", type=int, metavar="N", help="Meters: plant N in the last two days, listed in planted.json."
)
@click.option(
    "--faults", type=int, metavar="N", help="Meters and transformer_energy: plant N that go on, listed in planted.json."
)
@click.option("--spec", metavar="FILE", help="Generate a stream by this spec (TOML).")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Stream: records a second.")
@click.option("--for", "seconds", type=Duration(), metavar="20s", help="Stream: how long.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Stream: how many records.")
@click.option("--format", "form", type=click.Choice(["json", "parquet"]), help="Stream: kind of files; json.")
@click.option("--records-per-file", type=click.IntRange(1), metavar="N", help="Stream: instead of the spec's.")
@click.option("--kafka", metavar="HOST:PORT", help="Stream: send to the spec's topic instead of files.")
def generate(
    sources: tuple[str, ...],
    out: str | None,
    seed: int,
    scale: float,
    days: int,
    messy: bool,
    interval: float | None,
    meters: int | None,
    sensors: int | None,
    anomalies: int | None,
    faults: int | None,
    **streaming: Any,
) -> None:
    """Make sample data and the truth a run should count, or a stream of it by a spec."""
    from beam_grid.generate import generate as make
    from beam_grid.generate import stream
    from beam_grid.report.words import plural

    given = {
        "interval": None if interval is None else timedelta(seconds=interval),
        "meters": meters,
        "sensors": sensors,
        "anomalies": anomalies,
        "faults": faults,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if any(value is not None for value in streaming.values()):
        if options:
            raise GridError(
                f"generate: --{next(iter(options))} is not for a stream; its spec and --rate say what comes"
            )
        for line in stream(sources, out, seed=seed, scale=scale, days=days, messy=messy, **streaming):
            say(line)
        return
    if out is None:
        raise GridError("generate: give --out DIR, the folder for the data")
    done = make(sources, Path(out), seed=seed, scale=scale, days=days, messy=messy, options=options)
    for name, counts in done.items():
        planted = f", the {plural(anomalies, 'anomaly', 'anomalies')} in planted.json" if anomalies else ""
        if faults and name == "transformer_energy":
            planted = f", the {plural(faults, 'fault')} in planted.json"
        say(f"{name}: {counts['read']:,} records in {out}, truth in {Path(out) / 'truth.json'}{planted}")


@click.command()
@click.option("--out", default="demo", show_default=True, metavar="DIR", help="Folder for data, lake and report.")
@click.option("--days", type=int, default=84, show_default=True, help="Of hourly readings; scores need 23 or more.")
def demo(out: str, days: int) -> None:
    """Everything on sample data: generate, land, refine, report."""
    from beam_grid.demo import demo as show_all

    show_all(
        Path(out),
        days,
        lambda lake, source: land_feeds(
            lake,
            feeds=(),
            contracts=(),
            source=source,
            spark_master=None,
            runner="direct",
            slice_rows=500_000,
            shards=None,
            now=None,
            kafka_config=None,
        ),
        lambda lake: refine_tables(lake, None),
        command_line(),
    )


@click.command()
def doctor() -> None:
    """What this machine has and lacks, line by line."""
    from beam_grid.doctor import examine

    lacking = False
    for found in examine():
        click.echo(f"{'ok  ' if found.ok else 'MISS' if found.needed else 'none'}  {found.what:<14} {found.seen}")
        lacking |= found.needed and not found.ok
    if lacking:
        raise SystemExit(2)
