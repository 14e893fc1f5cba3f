"""alerts: what is open, who has seen it, whether sinks work; one look, or a look at each publish."""

from __future__ import annotations

import os
import sys

import click

from beam_grid.cli.options import CONTEXT, FORMAT, LAKE
from beam_grid.cli.process import exit_with
from beam_grid.console import say
from beam_grid.interrupt import ends_in_order


@click.group(context_settings=CONTEXT)
def alerts() -> None:
    """Alerts by the rules of LAKE/alerts.toml (docs/alerts.md): list, ack, test, check, watch."""


@alerts.command("list")
@click.argument("what", type=click.Choice(["alerts", "sinks", "rules"]), default="alerts")
@click.option("--all", "with_cleared", is_flag=True, help="Cleared ones too.")
@LAKE
@FORMAT
def alerts_list(what: str, with_cleared: bool, lake: str, form: str) -> None:
    """Alerts that are open, worst first; what waits for each sink; how each rule was found. A table has an alert's evidence in
    short, json and csv have the whole row."""
    from beam_grid.alerts import command
    from beam_grid.landing import Lake
    from beam_grid.show import show

    opened = Lake.open(lake, create=False)
    answer = command.listed(opened, what, with_cleared)
    show(command.short(opened, answer) if (what, form) == ("alerts", "table") else answer, form, limit=1000)


@alerts.command("ack")
@click.argument("which", nargs=-1, required=True, metavar="ID|RULE...")
@click.option(
    "--by", default=lambda: os.environ.get("USER") or "somebody", metavar="NAME", help="Who; $USER unless given."
)
@LAKE
def alerts_ack(which: tuple[str, ...], by: str, lake: str) -> None:
    """Acknowledge alerts by id, its beginning, or rule: no reminders and no escalation until they are cleared."""
    from beam_grid.alerts import command
    from beam_grid.landing import Lake

    exit_with(command.ack(Lake.open(lake, create=False), which, by, say))


@alerts.command("test")
@click.argument("sinks", nargs=-1, metavar="[SINK...]")
@LAKE
def alerts_test(sinks: tuple[str, ...], lake: str) -> None:
    """Send a sample to the sinks, all unless named; nothing is stored."""
    from beam_grid.alerts import command
    from beam_grid.landing import Lake

    exit_with(command.test(Lake.open(lake, create=False), sinks, say))


@alerts.command("check")
@LAKE
def alerts_check(lake: str) -> None:
    """Look once at what was published, and send what follows. Exit code 1 where a rule or a sink failed."""
    from beam_grid.alerts import command
    from beam_grid.landing import Lake

    exit_with(command.check(Lake.open(lake, create=False), say))


@alerts.command("watch")
@LAKE
def alerts_watch(lake: str) -> None:
    """Look after each publish until told to end; `run --follow` has it beside itself."""
    from beam_grid.alerts.watch import watch
    from beam_grid.landing import Lake

    if os.nice(0) < 5:
        os.nice(5)  # landing goes first
    with ends_in_order() as ending:
        is_to_begin_anew = watch(Lake.open(lake, create=False), ending)
    if is_to_begin_anew:  # as the same process, so that whoever started it need not know
        os.execv(sys.executable, [sys.executable, "-m", "beam_grid", *sys.argv[1:]])
