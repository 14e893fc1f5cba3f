"""The steps that commands are made of: land feeds, once or for as long as they are followed, and bring tables up."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_grid.about import about
from beam_grid.cli.process import answering, command_line
from beam_grid.console import Progress, say
from beam_grid.interrupt import ends_in_order

if TYPE_CHECKING:
    from beam_grid.follow import Tables
    from beam_grid.land import Landed, Options
    from beam_grid.landing import Lake
    from beam_grid.plan import Plan
    from beam_grid.refine import Engine
    from data_sources.contract import Contract


@dataclass(frozen=True)
class Following:
    """What --follow takes besides what landing does."""

    every: float
    standby: bool
    max_rows_per_s: int | None
    metrics_port: int
    metrics_host: str
    refine_every: float = 60.0

    @classmethod
    def taken(cls, given: dict[str, Any]) -> Following:
        """Out of a command's options."""
        return cls(**{field.name: given.pop(field.name) for field in fields(cls) if field.name in given})

    def limited(self, feeds: list[tuple[Contract, Options]]) -> list[tuple[Contract, Options]]:
        """Slices with no more than may be read from one look to the next."""
        if self.max_rows_per_s is None:
            return feeds
        rows = max(1, int(self.max_rows_per_s * self.every / len(feeds)))
        return [(contract, replace(options, slice_rows=min(rows, options.slice_rows))) for contract, options in feeds]


def follow_feeds(lake_path: str, how: Following, tables: Tables | None, **given: Any) -> int:
    """Land what comes until told to end, and publish where `tables` are given; the exit code."""
    from beam_grid.alerts.beside import watched
    from beam_grid.follow import Pace, follow
    from beam_grid.land import check_landed_under, landed_under
    from beam_grid.service.starting import leading, when_there
    from beam_grid.service.told import Told
    from beam_grid.service.unread import Unread

    told = Told(Path(lake_path), how.every, tables is not None)
    metrics = answering(told.newest, how.metrics_port, how.metrics_host)
    with ends_in_order() as ending, told, metrics:
        found = when_there(lambda: _feeds(lake_path, **given), ending, say)
        if found is None:
            return 0
        lake, feeds, unread = found
        for name in unread:
            say(f"  not read: {name}")
        known = [(lake.feed(c.name), c, landed_under(lake.feed(c.name)), lake.feed(c.name).last) for c, _ in feeds]
        later = Unread(lambda: _not_read(feeds, **given), unread, how.refine_every, say)
        pace = Pace(how.every, how.refine_every, is_steady=how.max_rows_per_s is not None)
        with leading(lake, how.standby, ending, told.beat, say) as lead:
            if lead is None:
                return 0
            for feed, contract, under, last in known:  # others landed while a standby waited
                check_landed_under(feed, contract, under, last)
            with watched(lake, say) if tables is not None else nullcontext():
                limited = how.limited(feeds)
                return follow(
                    lake, limited, pace, tables, say, lambda _: later.look(), told.beat, ending=ending, lead=lead
                )


def land_feeds(lake_path: str, **given: Any) -> int:
    """Land what is new, once; the exit code, 1 where something was left out."""
    from beam_grid.land import land
    from beam_grid.summaries import landed_lines
    from beam_grid.visits import visiting

    lake, feeds, unread = _feeds(lake_path, **given)
    with visiting(lake, say):
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

    each, unread = asked(feeds, contracts, source, command=command_line(), **given)
    return Lake.open(lake_path), each, unread


def _not_read(
    each: list[tuple[Contract, Options]],
    *,
    feeds: tuple[str, ...],
    contracts: tuple[str, ...],
    source: str,
    **given: Any,
) -> list[str]:
    """What lies at the source by now and is not read: files of feeds that came later, where all were asked for, and of none."""
    from beam_grid.feeds import not_followed, unread

    chosen, own_globs = [contract for contract, _ in each], each[0][1].own_globs
    later = [] if feeds or contracts else not_followed(source, chosen)
    return later + unread(source, chosen, own_globs)


def refine_tables(
    lake_path: str,
    feeds: list[str] | None,
    engine: Engine = "auto",
    spark_master: str | None = None,
    parameters: dict[str, str] | None = None,
) -> int:
    """Bring the tables of these feeds, or all, up to the last commit; the exit code, 1 where some were left out."""
    from beam_grid.landing import Lake
    from beam_grid.refine import refine
    from beam_grid.summaries import refined_lines

    lake = Lake.open(lake_path, create=False)
    result = refine(lake, feeds, engine=engine, spark_master=spark_master, parameters=parameters, progress=say)
    for line in refined_lines(result):
        say(line)
    return 1 if result.left_out else 0


def who_publishes(lake: object, is_followed: bool) -> str:
    """For a line about what landed: who brings it into the tables."""
    if is_followed:
        return "the run that follows the lake (or, if that only lands, beam-grid refine)"
    return f"beam-grid refine --lake {lake}"
