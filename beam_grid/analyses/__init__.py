"""The analyses of gold: one SQL file each, made into a table by refine, or a view that `query` looks through.

A file `NAME.sql` defines `gold.NAME`. It is one SELECT, in Spark's SQL where it is a table and in DataFusion's where
it is a view. The lines of comment before it say what it is:

    -- What the table tells; the first lines are its description.
    -- kind: view                              left out for a table
    -- cluster_by: meter_id, timestamp         for tables that grow with the data
    -- order_by: energy_type                   the rows' order in a small table
    -- key: event_id, timestamp                } of a table too large to be made anew as a whole: what names a row, and
    -- touched: meter_id, hour(timestamp)      } which rows it reads decide each other; in the SQL as :touched
    -- since: timestamp                        where no row decides one of its group with an earlier time; never null
    -- parameter: as_of DATE = 2021-01-01      in the SQL as :as_of
    -- detect: median_mad value=reading_kwh time=timestamp by=meter_id      the SELECT gives series, the table their scores
    -- show: WHERE a > 1 ORDER BY b          which rows a report shows first, in DataFusion's SQL
    -- expect: unique(meter_id, timestamp)     fail | warn | drop, fail unless said: see expectations.py

What it reads is found in the SQL by a parser: every silver., gold. or bronze. name where a table stands. An analysis
exists in a lake when all it reads does. A table is made by Spark or in process by DuckDB, and is the same (sql.py says
how). One with `touched` reads its first table `WHERE :touched`: true when all is made anew, else whether the row's
group (the values of these expressions) is one that new, changed or removed rows belong to. Rows of one group must not
depend on those of another, and the expressions mean the same on the table itself, where the group's rows are replaced;
with `since` only those from the earliest changed time on, so sort such a table by time: then few files are rewritten.
With `detect`, :touched is whether the row's series is one of these, and `key` names a row of the SELECT (detections.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from beam_grid.analyses import sql as spark_sql
from data_sources.expectations import Expectation, parse_expectation
from data_sources.identifiers import backticked

if TYPE_CHECKING:
    from beam_grid.analyses.detections import Detect
    from beam_grid.analyses.features import Told
    from beam_grid.analyses.validations import Validation

HERE = Path(__file__).parent
_WORD = re.compile(r"--\s*(kind|cluster_by|order_by|key|touched|since|detect|parameter|show|expect):\s*(.*)")
_PARAMETER = re.compile(r"(\w+)\s+(DATE|STRING|INT)\s*=\s*(\S+)")


@dataclass(frozen=True)
class Parameter:
    """A value of an analysis that a user may choose: `kind` is DATE, STRING or INT."""

    name: str
    kind: str
    default: str


@dataclass(frozen=True)
class Clock:
    """What an analysis takes for the time: `:upto` in its SQL is the newest window_start of `table`, less `back`. It is a
    parameter that nobody gives: when it moves, the table is made anew."""

    table: str
    back: timedelta


@dataclass(frozen=True)
class Analysis:
    """One gold table or view and the SELECT that makes it."""

    name: str
    description: str
    sql: str
    reads: tuple[str, ...]
    is_view: bool = False
    cluster_by: tuple[str, ...] = ()
    order_by: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    touched: str = ""
    since: str = ""
    show: str = ""
    parameters: tuple[Parameter, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    clock: Clock | None = None
    by_series: Detect | Validation | Told | None = None
    """What makes the table's rows of whole series of the SELECT's; None where these are the table's."""
    ties: tuple[str, ...] = ()
    """Where `key` does not name a row of what `by_series` is given: columns that order those of one series and time."""
    newest_by: str = ""
    """Of one whose rows are, per group, the newest of its first table: the column that tells."""
    settled: str = ""
    """Of one with `touched`: which rows of its first table it reads at all; others may change as they like."""
    watched: tuple[str, ...] = ()
    """The columns it reads, with `settled`."""
    at_commit: bool = False
    """Whether a run that follows brings it up after each publish, not with the others at --refine-every."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tables that decide its rows: those it reads, and those whose keys its rows must have."""
        parents = [f"silver.{e.feed}" for e in self.expectations if e.on_fail == "drop" and e.feed]
        return tuple(dict.fromkeys([*self.reads, *parents]))

    def reads_from(self, name: str) -> bool:
        return name in self.inputs

    def select(self, dialect: spark_sql.Dialect, place: Callable[[str], str], values: Mapping[str, str]) -> str:
        """Its SELECT for an engine: tables as `place` names them, parameters (and `touched`) as the SQL in `values`."""
        return spark_sql.put(spark_sql.tree(self.sql), dialect, place, values)

    @property
    def hash(self) -> str:
        """Identifies the definition, so that a changed one is made anew."""
        said = repr((self.sql, self.cluster_by, self.order_by, self.key, self.touched, self.expectations))
        if self.since:
            said += repr(self.since)
        if self.clock is not None:
            said += repr((self.clock, self.settled, self.watched))
        if self.by_series is not None:
            said += repr((self.by_series, self.by_series.version))
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def feed_of(analysis: Analysis) -> str:
    """The feed it is about: that of the first silver table it reads, itself or through others."""
    first = analysis.reads[0]
    return first.removeprefix("silver.") if first.startswith("silver.") else feed_of(by_name()[first])


def by_name() -> dict[str, Analysis]:
    return {analysis.name: analysis for analysis in analyses()}


@cache
def analyses() -> tuple[Analysis, ...]:
    """All of them, each after those it reads."""
    left = {a.name: a for a in (parse(p.stem, p.read_text(encoding="utf-8")) for p in sorted(HERE.glob("**/*.sql")))}
    done: list[Analysis] = []
    while left:
        ready = [a for a in left.values() if not any(name in left for name in a.reads)]
        if not ready:
            raise ValueError(f"analyses {', '.join(left)}: read each other in a circle")
        done += ready
        for analysis in ready:
            del left[analysis.name]
    return tuple(done)


def parse(stem: str, text: str) -> Analysis:
    """The analysis that a file's text defines; raises ValueError for a word that does not fit."""
    lines = text.strip().splitlines()
    head = lines[: next(i for i, line in enumerate(lines) if not line.startswith("--"))]
    sql = "\n".join(lines[len(head) :]).strip().rstrip(";")
    said: dict[str, list[str]] = {}
    description = []
    for line in head:
        if match := _WORD.fullmatch(line):
            said.setdefault(match[1], []).append(match[2].strip())
        else:
            description.append(line.removeprefix("--").strip())
    name = f"gold.{stem}"
    parameters = []
    for parameter in said.get("parameter", []):
        match = _PARAMETER.fullmatch(parameter)
        if match is None:
            raise ValueError(f"{name}: parameter {parameter!r} is not NAME KIND = VALUE")
        parameters.append(Parameter(match[1], match[2], match[3]))
    try:
        tree = spark_sql.tree(sql)
    except ValueError as cause:
        raise ValueError(f"{name}: its SQL cannot be read: {cause}") from cause
    detect = _detect(name, said)
    known = {p.name for p in parameters} | ({"touched"} if "touched" in said or detect else set())
    if "since" in said and "touched" not in said:
        raise ValueError(f"{name}: since goes with touched, which says what the rows' groups are; add it")
    if unknown := spark_sql.parameters(tree) - known:
        raise ValueError(f"{name}: its SQL has :{', :'.join(sorted(unknown))}, which its head does not declare")
    key, touched, cluster_by = _names(said.get("key")), said.get("touched", [""])[0], _names(said.get("cluster_by"))
    if detect is not None:
        key = (*key, "detector")
        touched = backticked(detect.series) if "touched" in spark_sql.parameters(tree) else ""
        cluster_by = cluster_by or (detect.series, detect.time)
    return Analysis(
        name,
        " ".join(description),
        sql,
        spark_sql.reads(tree),
        said.get("kind") == ["view"],
        cluster_by,
        _names(said.get("order_by")),
        key,
        touched,
        said.get("since", [""])[0],
        said.get("show", [""])[0],
        tuple(parameters),
        tuple(
            parse_expectation(f"{stem}-{number}", *_action(text))
            for number, text in enumerate(said.get("expect", []), start=1)
        ),
        by_series=detect,
    )


def _detect(name: str, said: Mapping[str, list[str]]) -> Detect | None:
    """What `-- detect:` says."""
    lines = said.get("detect", [])
    if not lines:
        return None
    from beam_grid.analyses.detections import parse_detect

    if len(lines) > 1:
        raise ValueError(f"{name}: detect is said twice; name all detectors in one, as in fused,flatline")
    for word, why in (("touched", "by= says it"), ("kind", "a view has no engine to score in")):
        if word in said:
            raise ValueError(f"{name}: {word} does not go with detect ({why}); leave it out")
    if "key" not in said:
        raise ValueError(f"{name}: key is missing; with detect, name the columns that name a reading")
    try:
        return parse_detect(lines[0])
    except ValueError as cause:
        raise ValueError(f"{name}: {cause}") from cause


def _names(said: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in said[0].split(",")) if said else ()


def _action(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*?)\s+(fail|warn|drop)", text)
    return (match[1], match[2]) if match else (text, "fail")
