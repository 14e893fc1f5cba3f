"""edit: a value of a validated interval, by hand."""

from __future__ import annotations

import click

from beam_grid.cli.options import LAKE, Time
from beam_grid.cli.process import command_line
from beam_grid.cli.steps import who_publishes
from beam_grid.console import say
from beam_grid.errors import GridError


@click.command()
@click.argument("table", metavar="gold.NAME")
@click.option("--series", metavar="S", help="The meter; left out where the feed is one series.")
@click.option("--interval", required=True, type=Time(), metavar="T", help="When it begins.")
@click.option("--value", type=float, metavar="V", help="What it is to be.")
@click.option("--withdraw", is_flag=True, help="Instead of a value: take earlier edits of the interval back.")
@click.option("--author", required=True, metavar="WHO", envvar="BEAM_GRID_AUTHOR", show_envvar=True)
@click.option("--reason", required=True, metavar="WHY")
@LAKE
def edit(
    table: str,
    series: str | None,
    interval: int,
    value: float | None,
    withdraw: bool,
    author: str,
    reason: str,
    lake: str,
) -> None:
    """Give an interval of a [[vee]] table a value by hand, as a commit with author and reason; then refine. What was read
    is not changed."""
    from beam_grid import edits
    from beam_grid.landing import Lake
    from beam_grid.visits import visiting

    if (value is None) != withdraw:
        raise GridError("edit: give --value V, or --withdraw to take earlier edits back")
    opened = Lake.open(lake, create=False)
    with visiting(opened, say) as is_followed:
        number = edits.edit(opened, table, series, interval, value, author, reason, command_line())
    say(f"{edits.EDITS}: commit {number}; {who_publishes(lake, is_followed)} brings it into {table}")
