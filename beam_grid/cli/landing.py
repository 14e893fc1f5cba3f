"""land, refine and run: records into the lake, tables brought up; maintain keeps both small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from beam_grid.cli.options import (
    CONTRACTS,
    ENGINE,
    LAKE,
    MASTER,
    METRICS_HOST,
    METRICS_PORT,
    RUNNER,
    SLICE_ROWS,
    Duration,
    Time,
)
from beam_grid.cli.process import exit_with
from beam_grid.cli.steps import Following, follow_feeds, land_feeds, refine_tables
from beam_grid.console import say
from beam_grid.errors import LakeBusy

if TYPE_CHECKING:
    from beam_grid.refine import Engine


def _land_options(command: Any) -> Any:
    for option in reversed(
        [
            click.argument("feeds", nargs=-1, metavar="[FEED...]"),
            click.option(
                "--source", required=True, metavar="S", help="A file, folder or glob, or kafka://host:port[/topic]."
            ),
            LAKE,
            CONTRACTS,
            RUNNER,
            MASTER,
            SLICE_ROWS,
            click.option("--shards", type=click.IntRange(1, 1024), help="At a feed's first commit; 4 unless given."),
            click.option("--now", type=Time(), metavar="T", help="The run's clock, for what counts as the future."),
            click.option(
                "--kafka-config",
                metavar="FILE",
                envvar="BEAM_GRID_KAFKA_CONFIG",
                help="Connection settings, key=value lines (TLS, SASL).",
            ),
            click.option("--follow", is_flag=True, help="Go on until SIGTERM or Ctrl-C, looking for new records."),
            click.option(
                "--standby",
                is_flag=True,
                help="--follow: where another follows this lake, wait, and take over when it ends, however it does.",
            ),
            click.option(
                "--every",
                type=Duration(least_s=1),
                default="10s",
                show_default=True,
                metavar="10s",
                help="How often --follow looks; at once where it is behind.",
            ),
            click.option(
                "--max-rows-per-s",
                type=click.IntRange(1),
                metavar="N",
                help="--follow: records read per second at most, all feeds together.",
            ),
            METRICS_PORT,
            METRICS_HOST,
        ]
    ):
        command = option(command)
    return command


@click.command()
@_land_options
def land(follow: bool, lake: str, **given: Any) -> None:
    """Read what is new, judge it, drop duplicates, land Parquet: one commit a slice."""
    how = Following.taken(given)
    exit_with(follow_feeds(lake, how, None, **given) if follow else land_feeds(lake, **given))


def _parameters(ctx: Any, param: Any, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, sign, value in pairs:
        if not (name and sign and value):
            raise click.BadParameter(f"{name + sign + value!r}: write it as active_agreements.as_of=2021-01-01")
    return {name.strip(): value.strip() for name, _, value in pairs}


PARAMETERS = click.option(
    "--parameter",
    "parameters",
    multiple=True,
    callback=_parameters,
    metavar="NAME=VALUE",
    help="A value for an analysis, such as active_agreements.as_of=2021-01-01; the lake keeps it.",
)


@click.command()
@click.argument("feeds", nargs=-1, metavar="[FEED...]")
@LAKE
@ENGINE
@MASTER
@PARAMETERS
def refine(
    feeds: tuple[str, ...], lake: str, engine: Engine, spark_master: str | None, parameters: dict[str, str]
) -> None:
    """Bring the Delta tables up to the last commit, and the analyses with them."""
    exit_with(refine_tables(lake, list(feeds) or None, engine, spark_master, parameters))


@click.command()
@_land_options
@ENGINE
@PARAMETERS
@click.option(
    "--refine-every",
    type=Duration(least_s=1),
    default="60s",
    show_default=True,
    metavar="60s",
    help="--follow: how often changes, master data, clustering and analyses are brought up, beside landing; detections come "
    "after each publish.",
)
def run(
    follow: bool,
    lake: str,
    engine: Engine,
    spark_master: str | None,
    parameters: dict[str, str],
    **given: Any,
) -> None:
    """land, then refine; with --follow, publish after each commit."""
    from beam_grid.refine import check_engine

    how = Following.taken(given)
    check_engine(engine, None if given["runner"] == "spark" else spark_master)
    of_land, of_refine = (spark_master, None) if given["runner"] == "spark" else (None, spark_master)
    if not follow:
        code = land_feeds(lake, spark_master=of_land, **given)
        exit_with(max(code, refine_tables(lake, None, engine, of_refine, parameters)))
        return
    from beam_grid.follow import Tables
    from beam_grid.landing import Lake

    tables = Tables(Lake.open(lake), engine, of_refine, parameters, say)
    exit_with(follow_feeds(lake, how, tables, spark_master=of_land, **given))


@click.command()
@LAKE
@MASTER
def maintain(lake: str, spark_master: str | None) -> None:
    """OPTIMIZE where it pays, VACUUM, remove what no commit lists."""
    from beam_grid.lakehouse.maintain import maintain as keep
    from beam_grid.landing import Lake
    from beam_grid.segments import collect
    from beam_grid.upkeep import published
    from beam_grid.visits import visiting

    opened = Lake.open(lake, create=False)
    done = keep(opened, spark_master=spark_master, progress=say)
    for line in done:
        click.echo(str(line))
    try:
        with visiting(opened, say):
            logs = [opened.feed(name) for name in opened.feeds]
            gone = sum(collect(log, published(opened, log.name)) for log in logs)
        click.echo(f"landing: {gone} file{'s' if gone != 1 else ''} that nobody reads any more removed")
    except LakeBusy:
        click.echo(
            "landing: skipped, a land or run is at work on it; files that nobody reads any more can be removed when it has ended"
        )
    exit_with(1 if any(entry.action == "left out" for entry in done) else 0)
