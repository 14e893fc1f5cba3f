"""The command line. Results go to stdout, all else to stderr.

Exit codes: 0 done; 1 ran, but something failed, was skipped or did not balance; 2 usage or environment;
130 interrupted. Imports stand inside the commands: a query must not wait for Beam, nor `--help` for anything.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beam_grid.about import about
from beam_grid.console import Progress, say, set_up_logs
from beam_grid.errors import GridError, LakeBusy
from beam_grid.interrupt import ends_in_order, heard, leave
from data_sources.errors import UserError

if TYPE_CHECKING:
    from beam_grid.feed_plan import FeedPlan
    from beam_grid.follow import Tables
    from beam_grid.land import Landed, Options
    from beam_grid.landing import Lake
    from beam_grid.plan import Plan
    from beam_grid.refine import Engine
    from beam_grid.service.told import Telling
    from data_sources.contract import Contract

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
LAKE = click.option(
    "--lake", required=True, metavar="DIR", help="The lake's folder.", envvar="BEAM_GRID_LAKE", show_envvar=True
)
FORMAT = click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
ENGINE = click.option(
    "--engine",
    type=click.Choice(["auto", "embedded", "spark"]),
    default="auto",
    show_default=True,
    help="Where windows and analyses are computed; auto is in this process unless a Spark master is named. Changes "
    "(cdc) and master data (scd2) are Spark's in any case, with embedded too.",
)
MASTER = click.option(
    "--spark-master",
    metavar="URL",
    default=None,
    help="Where Spark runs, whatever needs it; the default is this machine. With --runner spark it is landing's.",
)


METRICS_PORT = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    envvar="BEAM_GRID_METRICS_PORT",
    show_envvar=True,
    help="Of a run that follows: answer /metrics (Prometheus), /healthz and /readyz on this port; 0 is not at all.",
)
METRICS_HOST = click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    envvar="BEAM_GRID_METRICS_HOST",
    show_envvar=True,
    help="The address to listen on. There is no login: mind who reaches it.",
)


@click.group(context_settings=CONTEXT)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", envvar="BEAM_GRID_LOG_FORMAT", show_envvar=True
)
@click.option(
    "--debug", is_flag=True, envvar="BEAM_GRID_DEBUG", show_envvar=True, help="Libraries' logs and tracebacks."
)
@click.version_option(package_name="beam-grid", prog_name="beam-grid")
def cli(log_format: str, debug: bool) -> None:
    """Event-time dataflow for electricity grids: files and Kafka to tables you can trust, and a report."""
    set_up_logs(log_format, debug)


class _Time(click.ParamType):
    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time; write it as 2025-06-15T14:00:00Z", param, ctx)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        since = found - datetime(1970, 1, 1, tzinfo=UTC)
        return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


class _Duration(click.ParamType):
    name = "duration"

    def __init__(self, least_s: float = 0) -> None:
        self._least_s = least_s

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        from data_sources.durations import parse_duration

        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(value).total_seconds()
        except ValueError as cause:
            self.fail(str(cause), param, ctx)
        if seconds < self._least_s:
            self.fail(f"{value!r} is too short; the shortest is {self._least_s:g}s", param, ctx)
        return seconds


def _land_options(command: Any) -> Any:
    for option in reversed(
        [
            click.argument("feeds", nargs=-1, metavar="[FEED...]"),
            click.option(
                "--source", required=True, metavar="S", help="A file, folder or glob, or kafka://host:port[/topic]."
            ),
            LAKE,
            click.option(
                "--contract", "contracts", multiple=True, metavar="FILE", help="Contract of a feed of your own."
            ),
            click.option("--runner", type=click.Choice(["direct", "spark"]), default="direct", show_default=True),
            MASTER,
            click.option(
                "--slice-rows", type=click.IntRange(1), default=500_000, show_default=True, help="Records a commit."
            ),
            click.option("--shards", type=click.IntRange(1, 1024), help="At a feed's first commit; 4 unless given."),
            click.option("--now", type=_Time(), metavar="T", help="The run's clock, for what counts as the future."),
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
                type=_Duration(least_s=1),
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


@cli.command()
@_land_options
def land(follow: bool, lake: str, **given: Any) -> None:
    """Read what is new, judge it, drop duplicates, land Parquet: one commit a slice."""
    how = _Following.taken(given)
    _exit(_follow(lake, how, None, **given) if follow else _land(lake, **given))


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


@cli.command()
@click.argument("feeds", nargs=-1, metavar="[FEED...]")
@LAKE
@ENGINE
@MASTER
@PARAMETERS
def refine(
    feeds: tuple[str, ...], lake: str, engine: Engine, spark_master: str | None, parameters: dict[str, str]
) -> None:
    """Bring the Delta tables up to the last commit, and the analyses with them."""
    _exit(_refine(lake, list(feeds) or None, engine, spark_master, parameters))


@cli.command()
@_land_options
@ENGINE
@PARAMETERS
@click.option(
    "--refine-every",
    type=_Duration(least_s=1),
    default="60s",
    show_default=True,
    metavar="60s",
    help="--follow: how often changes, master data, clustering and analyses are brought up, beside landing.",
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

    how = _Following.taken(given)
    check_engine(engine, None if given["runner"] == "spark" else spark_master)
    of_land, of_refine = (spark_master, None) if given["runner"] == "spark" else (None, spark_master)
    if not follow:
        code = _land(lake, spark_master=of_land, **given)
        _exit(max(code, _refine(lake, None, engine, of_refine, parameters)))
        return
    from beam_grid.follow import Tables
    from beam_grid.landing import Lake

    tables = Tables(Lake.open(lake), engine, of_refine, parameters, say)
    _exit(_follow(lake, how, tables, spark_master=of_land, **given))


def _exit(code: int) -> None:
    if code:
        raise SystemExit(code)


@dataclass(frozen=True)
class _Following:
    """What --follow takes besides what landing does."""

    every: float
    standby: bool
    max_rows_per_s: int | None
    metrics_port: int
    metrics_host: str
    refine_every: float = 60.0

    @classmethod
    def taken(cls, given: dict[str, Any]) -> _Following:
        """Out of a command's options."""
        return cls(**{field.name: given.pop(field.name) for field in fields(cls) if field.name in given})

    def limited(self, feeds: list[tuple[Contract, Options]]) -> list[tuple[Contract, Options]]:
        """Slices with no more than may be read from one look to the next."""
        if self.max_rows_per_s is None:
            return feeds
        rows = max(1, int(self.max_rows_per_s * self.every / len(feeds)))
        return [(contract, replace(options, slice_rows=min(rows, options.slice_rows))) for contract, options in feeds]


def _follow(lake_path: str, how: _Following, tables: Tables | None, **given: Any) -> int:
    from beam_grid.follow import Pace, follow
    from beam_grid.service.starting import leading, when_there
    from beam_grid.service.told import Told

    told = Told(Path(lake_path), how.every, tables is not None)
    answering = _answering(told.newest, how.metrics_port, how.metrics_host)
    with ends_in_order() as ending, told, answering:
        found = when_there(lambda: _feeds(lake_path, **given), ending, say)
        if found is None:
            return 0
        lake, feeds, unread = found
        for name in unread:
            say(f"  not read: {name}")
        pace = Pace(how.every, how.refine_every, is_steady=how.max_rows_per_s is not None)
        with leading(lake, how.standby, ending, told.beat, say) as leads:
            return follow(lake, how.limited(feeds), pace, tables, say, beat=told.beat, ending=ending) if leads else 0


@contextmanager
def _answering(
    tellings: Callable[[], list[Telling]], port: int, host: str, missing: Callable[[], dict[str, str]] = dict
) -> Iterator[None]:
    """Metrics and health of what is told, where a port was asked for."""
    if not port:
        yield
        return
    from beam_grid.service.health import Address, served

    with served(Address(port, host), tellings, missing):
        say(f"metrics: http://{f'[{host}]' if ':' in host else host}:{port}/metrics")
        yield


def _land(lake_path: str, **given: Any) -> int:
    from beam_grid.land import land
    from beam_grid.summaries import landed_lines

    lake, feeds, unread = _feeds(lake_path, **given)
    with lake.lock("land"):
        for name in unread:
            say(f"  not read: {name}")
        code = 1 if unread else 0
        for contract, options in feeds:
            with about(feed=contract.name), Progress(f"land {contract.name}").shown() as progress:

                def at(done: Landed, plan: Plan, progress: Progress = progress) -> None:
                    progress.at(done.fates.read, note=f"commit {done.commits}")

                landed = land(lake, contract, options, at)
            with about(feed=contract.name, commit=lake.feed(contract.name).last):
                for line in landed_lines(landed, lake):
                    say(line)
            code = max(code, 1 if landed.problems else 0)
    return code


def _feeds(
    lake_path: str, feeds: tuple[str, ...], contracts: tuple[str, ...], source: str, **given: Any
) -> tuple[Lake, list[tuple[Contract, Options]], list[str]]:
    """The lake, made where it is missing, the feeds with how each is to be landed, and the files that no feed reads."""
    from beam_grid.asked import asked
    from beam_grid.landing import Lake

    each, unread = asked(feeds, contracts, source, command=_command(), **given)
    return Lake.open(lake_path), each, unread


def _refine(
    lake_path: str,
    feeds: list[str] | None,
    engine: Engine = "auto",
    spark_master: str | None = None,
    parameters: dict[str, str] | None = None,
) -> int:
    from beam_grid.landing import Lake
    from beam_grid.refine import refine
    from beam_grid.summaries import refined_lines

    lake = Lake.open(lake_path, create=False)
    result = refine(lake, feeds, engine=engine, spark_master=spark_master, parameters=parameters, progress=say)
    for line in refined_lines(result):
        say(line)
    return 1 if result.left_out else 0


@cli.command("plan")
@click.argument("feed")
@click.option("--source", metavar="S", help="Say what a slice of it would read now, without reading.")
@click.option(
    "--lake", metavar="DIR", envvar="BEAM_GRID_LAKE", show_envvar=True, help="Size the state by what landed there."
)
@click.option("--contract", "contracts", multiple=True, metavar="FILE", help="Contract of a feed of your own.")
@click.option("--runner", type=click.Choice(["direct", "spark"]), default="direct", show_default=True)
@click.option("--slice-rows", type=click.IntRange(1), default=500_000, show_default=True, help="Records a commit.")
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


@cli.command("preview")
@click.argument("feed")
@click.option(
    "--source", required=True, metavar="S", help="The topic: kafka://host:port/topic. It is read from its beginning."
)
@click.option("--contract", "contracts", multiple=True, metavar="FILE", help="Contract of a feed of your own.")
@click.option(
    "--every",
    type=_Duration(least_s=1),
    default="1s",
    show_default=True,
    metavar="1s",
    help="How long a batch is gathered.",
)
@click.option(
    "--for",
    "for_s",
    type=_Duration(least_s=1),
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


@cli.command()
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


@cli.command()
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


@cli.command("serve")
@LAKE
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Other than loopback needs keys.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, metavar="N", help="0: a free one."
)
@click.option(
    "--keys", "keys_file", metavar="FILE", envvar="BEAM_GRID_KEYS", help="Keys; LAKE/server/keys.json unless given."
)
@click.option("--require-keys", is_flag=True, help="On loopback too.")
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="A name that a proxy before it has.")
@click.option("--tls-cert", metavar="FILE", help="PEM: the certificate and its chain; with --tls-key.")
@click.option("--tls-key", metavar="FILE", help="PEM: the certificate's key.")
@click.option(
    "--timeout", type=_Duration(least_s=0.1), default="10s", show_default=True, help="A statement's, at most."
)
@click.option("--max-rows", type=click.IntRange(1), default=1_000_000, show_default=True, help="Rows of an answer.")
@click.option("--memory-mib", type=click.IntRange(64), default=512, show_default=True, help="A statement's, at most.")
@click.option("--workers", type=click.IntRange(1, 64), help="Statements answered at once; two a core unless given.")
def serve_lake(**given: Any) -> None:
    """Serve tables, SQL, ledger, lineage, status and news over HTTP, on loopback unless told otherwise."""
    from beam_grid.server.commands import serve_until

    with ends_in_order() as ending:
        serve_until(ending, say, **given)


@cli.group(context_settings=CONTEXT)
def keys() -> None:
    """API keys of `serve`: add, list, revoke."""


LAKES = click.option(
    "--lake", "lakes", required=True, multiple=True, metavar="DIR", help="The lake; several with --keys."
)
KEYS = click.option(
    "--keys", "keys_file", metavar="FILE", envvar="BEAM_GRID_KEYS", help="LAKE/server/keys.json unless given."
)


@keys.command("add")
@click.argument("name")
@LAKES
@KEYS
@click.option(
    "--table", "tables", multiple=True, metavar="PATTERN", help="Tables it reaches, as gold.*; all unless given."
)
@click.option("--rate", default="100/second", show_default=True, help="Requests it may make, as 6000/minute.")
@click.option("--expires", type=_Duration(least_s=1), metavar="90d", help="From now; never unless given.")
def keys_add(name: str, **given: Any) -> None:
    """Make a key and print it, once; only its hash is kept."""
    from beam_grid.server.commands import add_key

    click.echo(add_key(name, **given))


@keys.command("list")
@LAKES
@KEYS
@FORMAT
def keys_list(lakes: tuple[str, ...], keys_file: str | None, form: str) -> None:
    """Keys with what they reach, revoked ones too."""
    from beam_grid.server.commands import list_keys
    from beam_grid.show import show

    show(list_keys(lakes, keys_file), form)


@keys.command("revoke")
@click.argument("which", metavar="NAME")
@LAKES
@KEYS
def keys_revoke(which: str, lakes: tuple[str, ...], keys_file: str | None) -> None:
    """Refuse a key, by name or id, from the next request on."""
    from beam_grid.server.commands import revoke_key

    for line in revoke_key(which, lakes, keys_file):
        say(line)


@cli.command()
@click.argument("what", type=click.Choice(["late", "rejected"]))
@click.option("--feed", required=True, metavar="F", help="The feed whose late rows or rejects are taken again.")
@click.option("--rule", metavar="ID", help="rejected: only those of this rule, as `inspect rejected` names it.")
@click.option("--contract", metavar="FILE", help="rejected: the mended contract of a feed of your own.")
@LAKE
def reinject(what: str, feed: str, rule: str | None, contract: str | None, lake: str) -> None:
    """Let what was kept land after all, as commits of its own; then refine. late: late rows, kept whole. rejected: the
    kept bytes of rejects, judged again under the contract of now."""
    from beam_grid.landing import Lake
    from beam_grid.reinject import reinject as again

    opened = Lake.open(lake, create=False)
    if what == "rejected":
        _reinject_rejected(opened, feed, rule, contract)
        return
    if rule or contract:
        raise GridError(f"{'--rule' if rule else '--contract'}: late rows are taken in as they are; leave it out")
    with opened.lock("land"):
        done = again(opened, feed, command=_command())
    f = done.fates.by_name()
    if not done.commits:
        say(f"{feed}: no late rows that were not taken in before")
        return
    say(
        f"{feed}: {-f['late']:,} late rows = landed {f['landed']:,} + duplicates {f['duplicates']:,}; superseded "
        f"{f['superseded']:,}, conflicts {f['conflicts']:,} ({done.commits} commit{'s' if done.commits > 1 else ''}, "
        f"{done.seconds:.1f} s); beam-grid refine --lake {lake} brings them into the tables"
    )


def _reinject_rejected(lake: Lake, feed: str, rule: str | None, contract: str | None) -> None:
    from beam_grid.reinject_rejected import reinject_rejected
    from data_sources.contract import load_contract

    mended = load_contract(contract) if contract else None
    with lake.lock("land"):
        done = reinject_rejected(lake, feed, mended=mended, rule=rule, command=_command())
    f = done.fates.by_name()
    if done.commits:
        more = f" ({f['read']:,} records more than there were rejects)" if f["read"] > 0 else ""
        say(
            f"{feed}: {_rejects(done.judged)} judged again: landed {f['landed']:,}, duplicates {f['duplicates']:,}{more}, "
            f"still rejected {done.still_rejected:,}; superseded {f['superseded']:,}, conflicts {f['conflicts']:,} "
            f"({done.commits} commit{'s' if done.commits > 1 else ''}, {done.seconds:.1f} s); "
            f"beam-grid refine --lake {lake.path} brings them into the tables"
        )
    elif not done.there:
        say(f"{feed}: no rejects")
    elif done.there > done.snapshots:
        say(f"{feed}: nothing to judge again: this contract has judged its {_rejects(done.there - done.snapshots)}")
    else:
        say(f"{feed}: nothing that can be judged again")
    if done.snapshots:
        say(f"  left out: {_rejects(done.snapshots)} of full snapshots; land the snapshot again, under another name")


def _rejects(count: int) -> str:
    return f"{count:,} reject{'' if count == 1 else 's'}"


@cli.command()
@click.argument("file", metavar="LAKES.toml")
@METRICS_PORT
@METRICS_HOST
def run_lakes(file: str, metrics_port: int, metrics_host: str) -> None:
    """Follow several lakes, each with limits of its own: a process per lake, started anew when it ends."""
    from beam_grid.service.lakes import served_lakes
    from beam_grid.service.run_lakes import Serving

    serving = Serving(served_lakes(file))
    with _answering(serving.tellings, metrics_port, metrics_host, serving.missing):
        _exit(serving.run())


@cli.command()
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
    _exit(1 if found.wrong else 0)


@cli.command()
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


@cli.command()
@click.argument("what", type=click.Choice(["rejected", "late", "conflicts", "commits", "lineage"]))
@LAKE
@click.option("--feed", metavar="F", help="Only this feed.")
@click.option("--table", metavar="T", help="lineage: of rows of this table, as silver.F or gold.WINDOW.")
@click.option("--where", metavar="CONDITION", help="lineage: of which rows, in SQL.", default="true")
@FORMAT
def inspect(what: str, lake: str, feed: str | None, table: str | None, where: str, form: str) -> None:
    """Look at rejects, late rows, conflicts, commits, or where rows came from."""
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


@cli.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@click.option("--out", metavar="DIR", help="Folder for the data; truth.json is written beside it.")
@click.option("--seed", type=int, default=42, show_default=True)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Times the readings of a day.")
@click.option("--days", type=int, default=1, show_default=True)
@click.option("--messy", is_flag=True, help="Add duplicates, disorder, late, future and broken records.")
@click.option("--interval", type=_Duration(), metavar="1h", help="Meters, sensors: between two readings, not --scale.")
@click.option("--meters", type=int, metavar="N", help="Meters: how many; 1000 unless given.")
@click.option("--sensors", type=int, metavar="N", help="Sensors: how many, up to 100000; 100 unless given.")
@click.option(
    "--anomalies", type=int, metavar="N", help="Meters: plant N in the last two days, listed in planted.json."
)
@click.option("--spec", metavar="FILE", help="Generate a stream by this spec (TOML).")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Stream: records a second.")
@click.option("--for", "seconds", type=_Duration(), metavar="20s", help="Stream: how long.")
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
        say(f"{name}: {counts['read']:,} records in {out}, truth in {Path(out) / 'truth.json'}{planted}")


@cli.command()
@LAKE
@MASTER
def maintain(lake: str, spark_master: str | None) -> None:
    """OPTIMIZE where it pays, VACUUM, remove what no commit lists."""
    from beam_grid.lakehouse.maintain import maintain as keep
    from beam_grid.landing import Lake
    from beam_grid.segments import collect
    from beam_grid.upkeep import published

    opened = Lake.open(lake, create=False)
    done = keep(opened, spark_master=spark_master, progress=say)
    for line in done:
        click.echo(str(line))
    try:
        with opened.lock("land"):
            logs = [opened.feed(name) for name in opened.feeds]
            gone = sum(collect(log, published(opened, log.name)) for log in logs)
        click.echo(f"landing: {gone} file{'s' if gone != 1 else ''} that nobody reads any more removed")
    except LakeBusy:
        click.echo(
            "landing: skipped, a land or run is at work on it; files that nobody reads any more can be removed when it has ended"
        )
    _exit(1 if any(entry.action == "left out" for entry in done) else 0)


@cli.command()
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
        pages = write_report(Lake.open(lake, create=False), path, command=_command())
    except OSError as cause:
        raise GridError(f"report {out}: cannot be written ({cause.strerror or cause})") from cause
    beside = f" and {len(pages) - 1} pages beside it, one a feed" if len(pages) > 1 else ""
    say(f"report: {path}{beside}")
    if open_it:
        click.launch(path.absolute().as_uri())


@cli.command()
@click.option("--out", default="demo", show_default=True, metavar="DIR", help="Folder for data, lake and report.")
@click.option("--days", type=int, default=84, show_default=True, help="Of hourly readings; scores need 23 or more.")
def demo(out: str, days: int) -> None:
    """Everything on sample data: generate, land, refine, report."""
    from beam_grid.demo import demo as show_all

    show_all(
        Path(out),
        days,
        lambda lake, source: _land(
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
        lambda lake: _refine(lake, None),
        _command(),
    )


@cli.command()
def doctor() -> None:
    """What this machine has and lacks, line by line."""
    from beam_grid.doctor import examine

    lacking = False
    for found in examine():
        click.echo(f"{'ok  ' if found.ok else 'MISS' if found.needed else 'none'}  {found.what:<14} {found.seen}")
        lacking |= found.needed and not found.ok
    if lacking:
        raise SystemExit(2)


@cli.group(context_settings=CONTEXT)
def contracts() -> None:
    """List, show and check contracts."""


@contracts.command("list")
@FORMAT
def contracts_list(form: str) -> None:
    """The built-in feeds."""
    import pyarrow as pa

    from beam_grid.feeds import built_in
    from beam_grid.show import show

    rows = [
        {
            "feed": c.name,
            "format": c.format,
            "topic": c.topic,
            "load": c.lake.load,
            "windows": ", ".join(w.name for w in c.windows),
            "description": c.description,
        }
        for c in built_in().values()
    ]
    show(pa.Table.from_pylist(rows), form)


@contracts.command("show")
@click.argument("feed")
@click.option("--format", "form", type=click.Choice(["md", "ddl", "arrow"]), default="md", show_default=True)
@click.option("--contract", "path", metavar="FILE", help="Show this file's instead of a built-in one.")
def contracts_show(feed: str, form: str, path: str | None) -> None:
    """One feed's contract as Markdown, Spark DDL or Arrow schema. FEED is a name or a contract file."""
    from beam_grid.feeds import chosen
    from data_sources import faces
    from data_sources.contract import load_contract

    if path is None and feed.endswith(".toml"):
        path = feed
    contract = load_contract(path) if path else chosen((feed,), (), "")[0]
    click.echo({"md": faces.markdown, "ddl": faces.ddl, "arrow": faces.arrow}[form](contract))


@contracts.command("suggest")
@click.argument("feed")
@LAKE
def contracts_suggest(feed: str, lake: str) -> None:
    """Contract lines that would adopt the unknown fields which landed in _extra."""
    from beam_grid.landing import Lake
    from beam_grid.suggest import lines, unknown_fields

    opened = Lake.open(lake, create=False)
    fields = unknown_fields(opened, feed)
    if not fields:
        say(f"{feed}: no unknown fields have landed")
        return
    click.echo(lines(opened.feed(feed).contract(), fields), nl=False)


@contracts.command("init")
@click.argument("file")
@click.option("--name", metavar="F", help="The feed's name; without it that of the file, folder or topic.")
@click.option("--time-zone", "zone", metavar="Z", help="Of local times, as Europe/Berlin; without it a question.")
@click.option("--out", metavar="FILE.toml", help="Where the contract is written; without it to stdout.")
@click.option("--kafka-config", metavar="FILE", envvar="BEAM_GRID_KAFKA_CONFIG", help="As of land.")
def contracts_init(file: str, name: str | None, zone: str | None, out: str | None, kafka_config: str | None) -> None:
    """Write a first contract from a sample: a file, folder, glob or archive, or kafka://host:port/topic."""
    from beam_grid.first_contract import first_contract
    from beam_grid.first_contract.closing import closing
    from beam_grid.first_contract.place import check_place, write_to

    if out is not None:
        check_place(out)
    first = first_contract(file, name, zone, kafka_config)
    if out is None:
        click.echo(first.text, nl=False)
    else:
        write_to(out, first.text)
    for line in closing(first, out, kafka_config):
        say(line)


@contracts.command("check")
@click.argument("file")
def contracts_check(file: str) -> None:
    """Say what is wrong with a contract file, naming field and remedy."""
    from beam_grid.feeds import built_in
    from beam_grid.lakehouse.steps import check_owners
    from data_sources.contract import ContractError, load_contract
    from data_sources.lake_tables import clash

    contract = load_contract(file)
    try:
        check_owners({contract.name: contract})  # the names of analyses are taken in every lake
    except GridError as cause:
        raise ContractError(f"contract {file}, {cause}") from cause
    shared = clash(contract, built_in().values())
    for warning in [*contract.warnings, *([shared] if shared else [])]:
        say(f"{file}: warning: {warning}")
    click.echo(
        f"{file}: ok: feed {contract.name}, {len(contract.fields)} fields, {len(contract.windows)} windows, {len(contract.rules)} rules"
    )


def _command() -> str:
    import shlex

    return shlex.join(["beam-grid", *sys.argv[1:]])


def main() -> None:
    """Entry point of the console script."""
    with heard() as interrupted:
        code = _code(interrupted)
    leave(code)


def _code(interrupted: threading.Event) -> int:
    """Run the command; what went wrong is said, what an interrupt broke is not."""
    debug = "--debug" in sys.argv or bool(os.environ.get("BEAM_GRID_DEBUG"))
    try:
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        return _interrupted() if interrupted.is_set() and code != 130 else code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _interrupted()
    except click.ClickException as cause:
        cause.show()
        return cause.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as cause:
        if interrupted.is_set():
            return _interrupted()
        if debug:
            raise
        if isinstance(cause, UserError):
            say(f"error: {cause}")
            return cause.exit_code
        say(f"error: {type(cause).__name__}: {cause}; run again with --debug (beam-grid --debug ...) for the traceback")
        return 1


def _interrupted() -> int:
    say("interrupted; what was committed stays, the rest is read again by the next run")
    return 130
