"""Land and refine from Python: the same runs as the commands', and what they did, to be looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from beam_grid.about import about
from beam_grid.asked import asked
from beam_grid.land import land as land_feed
from beam_grid.refine import check_engine
from beam_grid.refine import refine as refine_lake
from beam_grid.summaries import landed_lines, refined_lines
from beam_grid.visits import visiting

if TYPE_CHECKING:
    from beam_grid.land import Landed
    from beam_grid.landing import Lake
    from beam_grid.plan import Plan
    from beam_grid.refine import Engine, RefineResult

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True, repr=False)
class Done:
    """What a run did. landed: per feed, its commits and fates; refined: per feed the commits its tables got; unread:
    files at the source that no feed reads. `ok` is false where anything was left out, which `problems` then names."""

    lake: Lake
    landed: tuple[Landed, ...] = ()
    unread: tuple[str, ...] = ()
    refined: RefineResult | None = None

    @property
    def problems(self) -> list[str]:
        """What was found and not read, or could not be done here, each with its remedy."""
        unread = [f"not read: {name}" for name in self.unread]
        left_out = [f"left out: {line}" for line in self.refined.left_out] if self.refined is not None else []
        return unread + [problem for one in self.landed for problem in one.problems] + left_out

    @property
    def ok(self) -> bool:
        """Whether nothing was left out: the command's exit code would be 0."""
        return not self.problems

    def __add__(self, other: Done) -> Done:
        return Done(self.lake, self.landed + other.landed, self.unread + other.unread, other.refined or self.refined)

    def __repr__(self) -> str:
        lines = [f"  not read: {name}" for name in self.unread]
        lines += [line for one in self.landed for line in landed_lines(one, self.lake)]
        lines += refined_lines(self.refined) if self.refined is not None else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from beam_grid.python_api.html import list_html

        return list_html("done" if self.ok else "done, but for what is left out", repr(self).splitlines())


def land(
    lake: Lake, source: str, feeds: tuple[str, ...], contracts: tuple[str, ...], progress: Progress | None, **more: Any
) -> Done:
    """Land what is new of each feed asked for; raises as `asked` and `land` do."""
    each, unread = asked(feeds, contracts, source, command="lake.land(...)", **more)
    with visiting(lake):
        done: list[Landed] = []
        for contract, options in each:
            with about(feed=contract.name):
                done.append(land_feed(lake, contract, options, partial(_at, progress)))
    return _told(Done(lake, tuple(done), tuple(unread)))


def _at(progress: Progress | None, done: Landed, plan: Plan) -> None:
    if progress is not None:
        progress(f"{done.feed}: {done.fates.read:,} records, commit {done.commits}")


def refine(
    lake: Lake, feeds: tuple[str, ...], engine: Engine, parameters: dict[str, str] | None, progress: Progress | None
) -> Done:
    """Bring the tables up; raises as `refine` does."""
    check_engine(engine, None)
    result = refine_lake(lake, list(feeds) or None, engine=engine, parameters=parameters, progress=progress)
    return _told(Done(lake, refined=result))


def _told(done: Done) -> Done:
    """Python writes warnings to stderr where nobody set logs up: a cell shows them."""
    for problem in done.problems:
        log.warning("%s", problem)
    return done
