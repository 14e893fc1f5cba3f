"""plan, preview and optimize-window: what a feed would do; nothing is written."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import click

from beam_grid.cli.options import CONTRACTS, LAKE, RUNNER, SLICE_ROWS, Duration, Share
from beam_grid.console import say
from beam_grid.errors import GridError
from beam_grid.interrupt import ends_in_order

if TYPE_CHECKING:
    from beam_grid.feed_plan import FeedPlan


@click.command("plan")
@click.argument("feed")
@click.option("--source", metavar="S", help="Say what a slice of it would read now, without reading.")
@click.option(
    "--lake", metavar="DIR", envvar="BEAM_GRID_LAKE", show_envvar=True, help="Size the state by what landed there."
)
@CONTRACTS
@RUNNER
@SLICE_ROWS
@click.option("--kafka-config", metavar="FILE", envvar="BEAM_GRID_KAFKA_CONFIG", help="Connection settings.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def plan_feed(feed: str, form: str, **given: Any) -> None:
    """Draw a feed's graph, what the runner can do, and the state it will keep. Nothing is read or written."""
    from beam_grid.feed_plan_text import as_json, as_text

    plan = _feed_plan(feed, **given)
    if form == "json":
        import json

        click.echo(json.dumps(as_json(plan), ensure_ascii=False, indent=1))
    else:
        click.echo(as_text(plan))


def _feed_plan(
    feed: str, source: str | None, lake: str | None, contracts: tuple[str, ...], runner: str, slice_rows: int, kafka_config: str | None
) -> FeedPlan:  # fmt: skip
    from beam_grid import feeds as known
    from beam_grid.feed_plan import feed_plan
    from beam_grid.landing import Lake
    from data_sources.contract import load_contract
    from data_sources.sources import source_at
    from runners import capabilities

    opened = Lake.open(lake, create=False) if lake is not None else None
    by_file = {contract.name: contract for contract in map(load_contract, contracts)}
    if feed not in by_file and opened is not None and feed in opened.feeds and opened.feed(feed).last:
        contract = opened.feed(feed).contract()  # as it landed
    else:
        (contract,) = known.chosen((feed,), contracts, source or "")
    place = None
    if source is not None:
        own_globs = known.by_their_globs([contract], source, named=True)
        place = source_at(known.source_of(contract, source), own_globs=own_globs, kafka_config=kafka_config)
    capabilities.check(runner, slice_rows=slice_rows)
    return feed_plan(contract, capabilities.of(runner), opened, place, slice_rows)


@click.command("preview")
@click.argument("feed")
@click.option(
    "--source", required=True, metavar="S", help="The topic: kafka://host:port/topic. It is read from its beginning."
)
@CONTRACTS
@click.option(
    "--every",
    type=Duration(least_s=1),
    default="1s",
    show_default=True,
    metavar="1s",
    help="How long a batch is gathered.",
)
@click.option(
    "--for",
    "for_s",
    type=Duration(least_s=1),
    metavar="60s",
    help="When to end; not before SIGTERM or Ctrl-C unless given.",
)
@click.option("--kafka-config", metavar="FILE", envvar="BEAM_GRID_KAFKA_CONFIG", help="Connection settings.")
def preview_feed(
    feed: str, source: str, contracts: tuple[str, ...], every: float, for_s: float | None, kafka_config: str | None
) -> None:  # fmt: skip
    """Show a feed's windows as they fire, a JSON line per row and pane. A look, never a commit: nothing is written."""
    from beam_grid import feeds as known
    from beam_grid.preview import Options, Row, preview
    from data_sources.typed_json import encode

    (contract,) = known.chosen((feed,), contracts, source)
    stdout = threading.Lock()

    with ends_in_order() as ending:

        def show(row: Row) -> None:
            try:
                with stdout:
                    click.echo(encode(row).decode())
            except BrokenPipeError:  # nobody reads any more
                ending.set()

        preview(contract, Options(source, kafka_config, every, for_s), show, ending, say)


@click.command("optimize-window")
@click.argument("feed")
@LAKE
@click.option(
    "--loss",
    type=Share(),
    default="0.1%",
    show_default=True,
    metavar="P",
    help="Share of the records that may be late.",
)
@click.option("--latency", type=Duration(), metavar="30s", help="With --capacity: the window by Little's law, too.")
@click.option(
    "--capacity", type=click.FloatRange(0, min_open=True), metavar="N", help="Records that can be processed per second."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Records that come per second; what landed per second of event time unless given.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def optimize_window(
    feed: str, lake: str, loss: float, latency: float | None, capacity: float | None, rate: float | None, form: str
) -> None:
    """Propose an allowed lateness: what each would lose and cost, by what came, and proved by judging it anew."""
    from beam_grid.landing import Lake
    from beam_grid.optimize import optimize
    from beam_grid.optimize.littles_law import littles_law
    from beam_grid.optimize.text import as_json, as_text

    if (latency is None) != (capacity is None) or (rate is not None and latency is None):
        raise GridError("optimize-window: --latency and --capacity go together, and --rate with both (Little's law)")
    answer = optimize(Lake.open(lake, create=False).landed(feed), loss)
    law = None
    if latency is not None and capacity is not None:
        rate = answer.rate if rate is None else rate
        if rate is None:
            raise GridError(
                f"optimize-window: at what rate {feed} comes cannot be told from what landed; give --rate N"
            )
        law = littles_law(rate, capacity, latency, answer.record_bytes)
    if form == "json":
        import json

        click.echo(json.dumps(as_json(answer, law), ensure_ascii=False, indent=1))
    else:
        click.echo(as_text(answer, law))
