"""What the report says, as plain data: gathered from the commits, the landing zone and the newest table versions.

Guarantees: counts are sums over the commits, the same as the ledger's; a lake's size changes the time this takes, not
the memory; a part that cannot be had (not refined yet, a table deleted) leaves a sentence in `notes`, not an error.
"""

from __future__ import annotations

import math
import os
import platform
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from beam_grid import history
from beam_grid.commit import Fates, total
from beam_grid.errors import GridError
from beam_grid.history import Line
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import FeedLog, Lake, utc_now
from beam_grid.report import examples
from beam_grid.report.load import Load, WindowTable, load, quoted, window_tables
from beam_grid.report.panels import Panel, Panels, panels
from beam_grid.report.sample import Expected, Sample, analysed, expected, sample
from beam_grid.report.scores import FEED as SCORED_FEED
from beam_grid.report.scores import TABLE as SCORES_TABLE
from beam_grid.report.scores import Scores, planted_beside, scores
from beam_grid.report.suspects import Suspects, applies, suspects
from beam_grid.report.words import as_time, plural, printable, without_secrets

if TYPE_CHECKING:
    from data_sources.contract import Contract

SHOWN_COMMITS = 30
SHOWN_RULES = 40
SHOWN_CONFLICTS = 5
SHOWN_PROBLEMS = 50
SHOWN_HIGHLIGHTS = 2

_SOFTWARE = ("beam-grid", "apache-beam", "pyarrow", "duckdb", "polars", "deltalake", "pyspark", "delta-spark")

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One statement that was put to the test."""

    text: str
    holds: bool


@dataclass(frozen=True)
class Rule:
    """Records a rule rejected or warned of, with one of them."""

    cause: str
    rule: str
    count: int
    explained: str
    example: examples.Reject | None = None


@dataclass(frozen=True)
class Delays:
    """Records by how far behind their partition's newest event time they came; limit None where nothing is late.

    bounds: upper bounds of the bins, seconds; the last bin is open.
    """

    bounds: list[int]
    counts: list[int]
    limit: float | None
    late: int
    whole_files: bool


@dataclass(frozen=True)
class CommitLine:
    """A commit as the report lists it; watermark None where what was read is final at once."""

    number: int
    created_at: datetime
    source: str
    fates: Fates
    watermark: datetime | None
    command: str


@dataclass(frozen=True)
class FeedReport:
    """One feed's part of the report."""

    name: str
    contract: Contract
    commits: int
    refined: int
    fates: Fates
    balanced: bool
    checks: list[Check]
    first: datetime | None
    last: datetime | None
    delays: Delays
    rejected: list[Rule]
    rejected_more: int
    warned: list[Rule]
    conflicts: list[examples.Conflict]
    problems: list[str]
    problems_more: int
    windows: list[WindowTable]
    load: Load | None
    panels: list[Panels]
    sample: Sample | None
    analyses: list[Sample]
    scores: Scores | None
    suspects: list[Suspects]
    newest_commits: list[CommitLine]
    has_meters: bool
    watermark: datetime | None
    extra: int
    suggest: str
    notes: list[str]

    @property
    def has_tables(self) -> bool:
        return self.refined > 0

    @property
    def highlights(self) -> list[tuple[Panels, Panel]]:
        """For an overview: measures that say more than how many records came, where the load is but that."""
        if self.load is not None and self.load.function == "sum":
            return []
        for shown in sorted(self.panels, key=lambda shown: not shown.few):
            telling = [(shown, panel) for panel in shown.panels if panel.measure.function not in ("count", "first")]
            if telling:
                return telling[:SHOWN_HIGHLIGHTS]
        return []

    @property
    def days(self) -> bool:
        """Whether event times are dates."""
        return self.contract.field(self.contract.event_time).type == "date"

    @property
    def provisional(self) -> int:
        """Windows that may still change."""
        return sum(table.provisional for table in self.windows)


@dataclass(frozen=True)
class LakeReport:
    """The whole report."""

    lake: str
    lake_id: str
    created_at: datetime
    feeds: list[FeedReport]
    set: TableSet | None
    software: dict[str, str]
    command: str
    first: datetime | None = None
    last: datetime | None = None
    totals: Fates = field(default_factory=Fates)
    expected: list[Expected] = field(default_factory=list)

    @property
    def unmet(self) -> list[Expected]:
        """Expectations that some rows do not meet."""
        return [one for one in self.expected if one.status != "passed"]

    @property
    def balanced(self) -> bool:
        return all(feed.balanced for feed in self.feeds)


def gather(lake: Lake, command: str = "") -> LakeReport:
    """Everything the report shows. Raises GridError for a commit or version set that cannot be read."""
    found = newest(lake)
    feeds = [gather_feed(lake, name, found) for name in lake.feeds]
    starts, ends = [f.first for f in feeds if f.first], [f.last for f in feeds if f.last]
    return LakeReport(
        lake=printable(lake.path.resolve().name, 80),
        lake_id=lake.id,
        created_at=utc_now(),
        feeds=feeds,
        set=found,
        software=software(),
        command=without_secrets(printable(command, 2000)),
        first=min(starts, default=None),
        last=max(ends, default=None),
        totals=total(feed.fates for feed in feeds),
        expected=_try([], "expectations", [], lambda: expected(lake, found)),
    )


def gather_feed(lake: Lake, name: str, found: TableSet | None) -> FeedReport:
    """One feed; `found` is the version set, None before the first refine."""
    feed = lake.feed(name)
    contract, commits = feed.contract(), history.read(feed)
    refined = min(found.commits.get(name, 0) if found else 0, len(commits))
    notes: list[str] = []
    first, last = _event_times(commits, contract)
    rejected = {rule: n for rule, n in _total(commit.rejected_by for commit in commits).items() if n}
    shown = sorted(rejected, key=lambda rule: (-rejected[rule], rule))[:SHOWN_RULES]
    problems = list(dict.fromkeys(problem for commit in reversed(commits) for problem in commit.problems))
    nothing: dict[str, examples.Reject] = {}
    instances = _try(notes, "examples of rejects", nothing, lambda: examples.rejects(feed, commits, shown))
    fates = total(commit.fates for commit in commits)
    checks = _checks(lake, feed, contract, commits, found, refined, notes)
    windows: list[WindowTable] = (
        _try(notes, "window tables", [], lambda: window_tables(lake, contract)) if refined else []
    )
    drawn = _try(notes, "load over time", None, lambda: load(lake, contract, windows)) if windows else None
    meters = applies(contract)
    none: list[dict[str, str]] = []
    planted = _try(notes, "what was planted", none, lambda: planted_beside(feed)) if name == SCORED_FEED else none
    scored: Scores | None = (
        _try(notes, "anomalies found", None, lambda: scores(lake, found, planted))
        if refined and name == SCORED_FEED
        else None
    )
    apart = () if scored is None else (SCORES_TABLE,)
    return FeedReport(
        name=name,
        contract=contract,
        commits=len(commits),
        refined=refined,
        fates=fates,
        balanced=all(check.holds for check in checks),
        checks=checks,
        first=first,
        last=last,
        delays=_delays(commits, contract, fates.late + _taken(commits)),
        rejected=[_rule(rule, rejected[rule], contract, instances.get(rule)) for rule in shown],
        rejected_more=sum(rejected.values()) - sum(rejected[rule] for rule in shown),
        warned=[
            _rule(f"warned/{rule}", n, contract, None)
            for rule, n in sorted(_total(commit.warned_by for commit in commits).items(), key=lambda p: (-p[1], p[0]))
        ],
        conflicts=_try(notes, "conflicts", [], lambda: examples.conflicts(feed, contract, SHOWN_CONFLICTS)),
        problems=[printable(problem, 400) for problem in problems[:SHOWN_PROBLEMS]],
        problems_more=max(0, len(problems) - SHOWN_PROBLEMS),
        windows=windows,
        load=drawn,
        panels=_panels(lake, contract, windows, drawn, notes),
        sample=_sample(lake, contract, found, notes) if refined and not contract.windows else None,
        analyses=_try(notes, "analyses", [], lambda: analysed(lake, name, found, apart)) if refined else [],
        scores=scored,
        suspects=_try(notes, "suspects", [], lambda: suspects(lake, contract)) if refined and meters else [],
        newest_commits=[_commit_line(commit) for commit in reversed(commits[-SHOWN_COMMITS:])],
        has_meters=meters,
        watermark=as_time(commits[-1].watermark) if commits else None,
        extra=sum(commit.extra for commit in commits),
        suggest=f"beam-grid contracts suggest {shlex.quote(name)} --lake {shlex.quote(printable(lake.path, 400))}",
        notes=notes,
    )


def _panels(
    lake: Lake, contract: Contract, tables: list[WindowTable], drawn: Load | None, notes: list[str]
) -> list[Panels]:
    """The charts of each window table, without the measure that is drawn large where that is split alike."""
    found = []
    for table in tables:
        by = table.spec.by[0] if table.spec.by else None
        large = drawn.measure if drawn and drawn.table == table.name and drawn.by == by else None
        charts = _try(notes, f"charts of {table.name}", None, lambda: panels(lake, contract, table, large))  # noqa: B023
        if charts is not None:
            found.append(charts)
    return found


def _sample(lake: Lake, contract: Contract, found: TableSet | None, notes: list[str]) -> Sample | None:
    if found is None or f"silver.{contract.name}" not in found.tables:
        return None
    return _try(notes, f"rows of silver.{contract.name}", None, lambda: sample(lake, contract))


def _try(notes: list[str], what: str, otherwise: T, ask: Callable[[], T]) -> T:
    """The answer; where it cannot be had, what is shown in its stead, and a note that says why."""
    try:
        return ask()
    except (GridError, OSError, ValueError, ArithmeticError) as cause:
        notes.append(f"Left out: {what} ({printable(cause, 300)})")
        return otherwise


def _checks(
    lake: Lake,
    feed: FeedLog,
    contract: Contract,
    commits: list[Line],
    found: TableSet | None,
    refined: int,
    notes: list[str],
) -> list[Check]:
    """The equation in each commit, files against commits, tables against the commits they hold."""
    equal = sum(commit.fates.balanced for commit in commits)
    listed = sum(commit.matches_files for commit in commits)
    said = "in the one commit" if len(commits) == 1 else f"in each of {len(commits):,} commits"
    checks = [
        Check(f"read = landed + duplicates + late + rejected {said}", equal == len(commits)),
        Check("the landing zone's files list as many rows as the commits say", listed == len(commits)),
    ]
    if not refined:
        return checks
    held = total(commit.fates for commit in commits[:refined])
    once = held.late + _taken(commits[:refined])
    name = feed.name.replace("'", "''")
    silver = (f"silver.{feed.name}", held.landed - held.superseded, "landed − superseded", "")
    for table, due, words, where in (
        *([silver] if contract.lake.load == "append" else []),  # others merge what landed: no such equation
        ("bronze.rejected", held.rejected, "rejected", f" WHERE feed = '{name}'"),
        ("bronze.late", once, "late when read" if once > held.late else "late", f" WHERE feed = '{name}'"),
    ):
        if found is not None and table in found.tables:
            schema, _, plain = table.partition(".")
            n = _try(notes, f"the count of {table}", None, lambda: _count(lake, f"{schema}.{quoted(plain)}{where}"))  # noqa: B023
            if n is not None:
                text = (
                    f"{table} holds {plural(n, 'row')}: {words}"
                    if n == due
                    else f"{table} holds {plural(n, 'row')}, {words} is {due:,}"
                )
                checks.append(Check(text, n == due))
    return checks


def _count(lake: Lake, table: str) -> int:
    from beam_grid.lakehouse.query import query

    return int(query(lake, f"SELECT count(*) AS n FROM {table}")["n"][0].as_py())


def _taken(commits: list[Line]) -> int:
    """Late rows that were taken in again."""
    return sum(commit.taken for commit in commits)


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in counts:
        found.update(one)
    return dict(found)


def _event_times(commits: list[Line], contract: Contract) -> tuple[datetime | None, datetime | None]:
    """First and last event time of what landed, from the manifests; dates are kept there as days."""
    scale = 86_400_000_000 if contract.field(contract.event_time).type == "date" else 1
    least = min((time for commit in commits if (time := commit.least) is not None), default=None)
    greatest = max((time for commit in commits if (time := commit.greatest) is not None), default=None)
    return as_time(None if least is None else least * scale), as_time(None if greatest is None else greatest * scale)


def _delays(commits: list[Line], contract: Contract, late: int) -> Delays:
    counts: Counter[float] = Counter()  # by upper bound, whatever bounds a commit has
    whole = ordered = False
    for commit in commits:
        for bound, n in zip((*commit.delay_bounds_s, math.inf), commit.delays, strict=False):
            counts[bound] += n
        whole |= commit.reads_files and contract.file_order == "none"
        ordered |= commit.reads_topics or (commit.reads_files and contract.file_order == "name")
    ordered &= contract.lake.load == "append"  # changes and master data are never late
    limit = contract.lateness.total_seconds() if ordered else None
    bounds = sorted(counts)
    return Delays([int(bound) for bound in bounds[:-1]], [counts[bound] for bound in bounds], limit, late, whole)


_EXPLAINED = {
    "json": "not a JSON object that can be read",
    "utf-8": "bytes that are not UTF-8 text",
    "max_future": "event time further ahead of its arrival than the contract allows",
}
_FIELD_EXPLAINED = {
    "type": "{} has a value of another type",
    "null": "{} is missing or null",
    "time": "{} is not a time that can be read",
}


def _rule(name: str, n: int, contract: Contract, example: examples.Reject | None) -> Rule:
    cause, _, rule = name.partition("/")
    declared = next((r for r in contract.rules if r.id == rule), None)
    kind, _, of = rule.partition(":")
    if declared is not None:
        explained = declared.description if example else f"{declared.description} Must hold: {declared.check}".strip()
    elif example is not None:  # its reason says more
        explained = ""
    else:
        explained = _FIELD_EXPLAINED[kind].format(of) if of and kind in _FIELD_EXPLAINED else _EXPLAINED.get(rule, "")
    return Rule(cause.replace("_", " "), printable(rule, 80), n, printable(explained, 300), example)


def _commit_line(commit: Line) -> CommitLine:
    return CommitLine(
        commit.number,
        commit.created_at,
        without_secrets(printable(commit.source, 120)),
        commit.fates,
        as_time(commit.watermark),
        without_secrets(printable(commit.command, 2000)),
    )


def software() -> dict[str, str]:
    """Names and versions of what made the tables and the report."""
    found = {"Python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    java = _java()
    return {**found, "Java": java} if java else found


def _java() -> str | None:
    """Java's version from the `release` file beside it: starting it to ask would take longer than all the rest."""
    command = shutil.which("java")
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += [Path(command).resolve().parent.parent] if command else []
    for home in homes:
        try:
            lines = (home / "release").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            if line.startswith("JAVA_VERSION="):
                return printable(line.partition("=")[2].strip('"'), 40)
    return None
