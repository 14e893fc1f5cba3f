"""query, reflections, status, ledger, inspect and report: what a lake holds and how it is."""

from __future__ import annotations

from pathlib import Path

import click

from beam_grid.cli.options import FORMAT, LAKE
from beam_grid.cli.process import command_line, exit_with
from beam_grid.console import say
from beam_grid.errors import GridError


@click.command()
@click.argument("sql")
@click.option("--explain", is_flag=True, help="Say which reflections were considered, and why; do not run it.")
@click.option("--no-reflections", is_flag=True, help="Read the tables themselves.")
@LAKE
@FORMAT
def query(sql: str, explain: bool, no_reflections: bool, lake: str, form: str) -> None:
    """Ask the tables in SQL (DataFusion); reading statements only."""
    from beam_grid.lakehouse.query import query as ask
    from beam_grid.landing import Lake
    from beam_grid.show import show

    opened = Lake.open(lake, create=False)
    if explain:
        from beam_grid.reflections.command import explained
        from beam_grid.reflections.plan import answer_plan

        show(explained(answer_plan(opened, sql)), form, limit=1000)
        return
    show(ask(opened, sql, with_reflections=not no_reflections), form, limit=1000)


@click.command()
@click.argument("what", type=click.Choice(["list", "check", "suggest"]))
@LAKE
@FORMAT
def reflections(what: str, lake: str, form: str) -> None:
    """Answers kept ready: which there are, whether they are right, which would pay (docs/reflections.md)."""
    from beam_grid.landing import Lake
    from beam_grid.reflections import command
    from beam_grid.show import show

    answer, is_well = command.run(Lake.open(lake, create=False), what)
    show(answer, form, limit=1000)
    if not is_well:
        raise SystemExit(1)


@click.command()
@LAKE
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--watch", is_flag=True, help="Anew each second, until interrupted.")
def status(lake: str, form: str, watch: bool) -> None:
    """How the lake and its follower are: lag, rates, ages, what waits, errors. Exit code 0 where all is well, else 1."""
    from beam_grid.landing import Lake
    from beam_grid.service import show_status
    from beam_grid.service.status import status as ask

    opened = Lake.open(lake, create=False)
    if watch:
        try:
            show_status.watch(lambda: ask(opened), form)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    found = ask(opened)
    show_status.show(found, form)
    exit_with(1 if found.wrong else 0)


@click.command()
@LAKE
@FORMAT
def ledger(lake: str, form: str) -> None:
    """What became of every record, per feed, and whether it balances."""
    from beam_grid.landing import Lake
    from beam_grid.ledger import ledger as book
    from beam_grid.show import show

    answer = book(Lake.open(lake, create=False))
    show(answer, form)
    if not all(answer["balanced"].to_pylist()):
        raise SystemExit(1)


@click.command()
@click.argument("what", type=click.Choice(["rejected", "late", "conflicts", "commits", "lineage", "sets"]))
@LAKE
@click.option("--feed", metavar="F", help="Only this feed.")
@click.option("--table", metavar="T", help="lineage: of rows of this table, as silver.F or gold.WINDOW.")
@click.option("--where", metavar="CONDITION", help="lineage: of which rows, in SQL.", default="true")
@FORMAT
def inspect(what: str, lake: str, feed: str | None, table: str | None, where: str, form: str) -> None:
    """Look at rejects, late rows, conflicts, commits, where rows came from, or what was done for each version set."""
    from beam_grid.inspect import inspect as look
    from beam_grid.landing import Lake
    from beam_grid.show import show

    opened = Lake.open(lake, create=False)
    if table is None and where == "true":
        show(look(opened, what, feed), form, limit=100)
        return
    if what != "lineage" or table is None or feed is not None:
        raise GridError("inspect: --table, with or without --where, goes with lineage, and names the feed by itself")
    from beam_grid.lakehouse.trace import trace

    show(trace(opened, table, where), form, limit=100)


@click.command()
@LAKE
@click.option("--out", required=True, metavar="FILE.html", help="Where the report is written.")
@click.option("--open", "open_it", is_flag=True, help="Show it in the browser.")
def report(lake: str, out: str, open_it: bool) -> None:
    """Write self-contained HTML on what was read and what came of it; of many feeds, a page each beside it."""
    from beam_grid.landing import Lake
    from beam_grid.report import write_report

    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pages = write_report(Lake.open(lake, create=False), path, command=command_line())
    except OSError as cause:
        raise GridError(f"report {out}: cannot be written ({cause.strerror or cause})") from cause
    beside = f" and {len(pages) - 1} pages beside it, one a feed" if len(pages) > 1 else ""
    say(f"report: {path}{beside}")
    if open_it:
        click.launch(path.absolute().as_uri())
