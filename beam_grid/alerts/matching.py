"""Which keys of a version set meet a rule: its SQL, put together, judged by the server's guard, run in its engine.

    table or sql ─► newest rows of each key, or those `within` ─► where ─► a row a key, those not in maintenance first
                                                              └─► clear ─► keys

Guarantees: one reading statement over one version set; nothing outside the lake's tables; an end after TIMEOUT_S. A rule
whose tables are as they were, and which asks no clock, is not asked again: a commit has a set for what is made of it, too.
"""

from __future__ import annotations

import difflib
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from beam_grid.alerts.declared import Maintenance, Rule
from beam_grid.alerts.lifecycle import Found, Match
from beam_grid.errors import GridError
from beam_grid.lakehouse.duck import literal
from beam_grid.lakehouse.live import live
from beam_grid.landing import Lake
from beam_grid.server.engine import Limits
from beam_grid.server.jobs import Job
from beam_grid.server.worker import Answering, quoted_table
from beam_grid.show import as_python, plain
from data_sources.durations import parse_duration
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import TableSet, TableVersion

MOST_KEYS = 100_000
"""So many keys of a rule are looked at."""

TIMEOUT_S = 30.0

_LIMITS = Limits(memory_mib=384, threads=1)
_MOST_TEXT = 500
_MOST_KEPT = 1_000
"""Keys of a rule that are kept from look to look."""
_NOT_SHOWN = ("_extra", "_warnings")
_SUPPRESSED = "__suppressed"


class NotThere(GridError):
    """The rule reads a table that the lake does not have, or not yet."""


class SetGone(GridError):
    """The version set, or a file of it, is no longer there."""


class Looked(NamedTuple):
    """What was found of a rule, and the tables that were read."""

    found: Found
    reads: tuple[str, ...]


class Matching:
    """Asks rules of one lake; for one thread."""

    def __init__(self, lake: Lake, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._lake = lake
        self._answering = Answering(lake, scratch, _LIMITS, rewriters=())
        self._number, self._repeats = 0, True
        self._scratch, self._newest = scratch, (0, datetime.min.replace(tzinfo=UTC))
        self._last: dict[Rule, tuple[dict[str, TableVersion], Looked]] = {}
        """The tables of a rule as they were, and what was found: it is found again while they are so."""

    def look(self, rule: Rule, maintenance: tuple[Maintenance, ...], found_set: TableSet) -> Looked:
        """Raises NotThere, SetGone, or GridError with what is wrong with the rule."""
        this = found_set.number, found_set.created_at
        if this[0] <= self._newest[0] and this != self._newest:  # a lake made anew counts from 1 again
            self._answering, self._last = Answering(self._lake, self._scratch, _LIMITS, rewriters=()), {}
        self._newest = this
        at = {name: table.at for name, table in found_set.tables.items()}
        if rule in self._last and self._last[rule][0].items() <= at.items():
            return self._last[rule][1]
        rows, set_number, self._repeats = _subject(rule), found_set.number, True
        columns, reads = self._columns(rows, set_number)
        _check_columns(rule, columns)
        suppressed = self._suppressed(rule, maintenance, columns, set_number)
        key, newest = ", ".join(map(double_quoted, rule.key)), self._within(rule, found_set) or _newest(rule)
        order = f", {double_quoted(rule.time)} DESC NULLS LAST" if rule.time else ""
        answer, read = self._ask(
            f"SELECT *, {suppressed} AS {_SUPPRESSED} FROM (SELECT * FROM {rows} AS alert {newest}) AS alert "
            f"WHERE {_bracketed(rule.where)} "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {_SUPPRESSED}{order}) = 1 "
            f"ORDER BY {key} LIMIT {MOST_KEYS + 1}",
            set_number,
        )
        matched = {row.key: row.match for row in _matches(rule, answer.slice(0, MOST_KEYS))}
        clear = None
        if rule.clear is not None:
            last = _newest_of_each(rule) if rule.time else ""
            cleared, more = self._ask(
                f"SELECT {key} FROM (SELECT * FROM (SELECT * FROM {rows} AS alert {newest}) AS alert {last}) AS alert "
                f"GROUP BY {key} HAVING bool_and(coalesce({_bracketed(rule.clear)}, false))",
                set_number,
            )
            clear, read = (
                {_key(values) for values in zip(*map(as_python, cleared.columns), strict=True)},
                (*read, *more),
            )
        found = Found(matched, clear, is_cut=answer.num_rows > MOST_KEYS)
        looked = Looked(found, tuple(dict.fromkeys((*reads, *read))))
        is_known = self._repeats and suppressed == "false" and len(matched) <= _MOST_KEPT
        if is_known and all(name in at for name in looked.reads):  # no clock in it, no chance, no view
            self._last[rule] = {name: at[name] for name in looked.reads}, looked
        return looked

    def _columns(self, rows: str, set_number: int) -> tuple[list[str], tuple[str, ...]]:
        answer, reads = self._ask(f"SELECT * FROM {rows} AS alert LIMIT 0", set_number)
        return answer.column_names, reads

    def _within(self, rule: Rule, found_set: TableSet) -> str | None:
        """As `_newest`, with the newest time as a literal: files that hold no such row are then not read, so that a look
        costs what the span is, not the table. None where the log's bounds do not tell."""
        table = found_set.tables.get(rule.table)
        if table is None or rule.time is None or rule.within is None:
            return None
        time, span = double_quoted(rule.time), parse_duration(rule.within)
        try:
            files = live(self._lake.path / table.path, table.version).files
            bounds = [datetime.fromisoformat(at) for file in files if (at := file.greatest.get(rule.time)) is not None]
            since = max(bounds) - timedelta(seconds=1)  # a bound may lie beside its value
            answer, _ = self._ask(
                f"SELECT max({time}) AS newest FROM {_subject(rule)} AS alert WHERE {time} >= {_literal(since)}",
                found_set.number,
            )
            newest = answer["newest"][0].as_py()
            return f"WHERE {time} >= {_literal(newest - span)}" if getattr(newest, "tzinfo", None) else None
        except (TypeError, ValueError, OverflowError, OSError):
            return None  # no time, or none near its bound: some rows are deleted

    def _suppressed(self, rule: Rule, maintenance: tuple[Maintenance, ...], columns: list[str], set_number: int) -> str:
        """A condition: whether a row is in maintenance."""
        conditions = []
        for one in maintenance:
            if one.rules and rule.name not in one.rules:
                continue
            wanted = list(one.match) if one.starts is not None else list(one.on)
            lacking = [name for name in wanted if name.lower() not in map(str.lower, columns)]
            if lacking and rule.name in one.rules:
                raise GridError(f"maintenance: the rows have no column {lacking[0]!r}; they have {', '.join(columns)}")
            if lacking:
                continue
            condition = _declared(one, rule) if one.starts is not None else _looked_up(one, rule)
            if one.starts is None:
                try:
                    self._ask(f"SELECT starts, ends FROM {_windows(one)} AS work LIMIT 0", set_number)
                except NotThere:
                    continue
            conditions.append(f"coalesce({condition}, false)")
        return f"({' OR '.join(conditions)})" if conditions else "false"

    def _ask(self, sql: str, set_number: int) -> tuple[pa.Table, tuple[str, ...]]:
        self._number += 1
        timer = threading.Timer(TIMEOUT_S, self._answering.cancel, (self._number,))
        timer.daemon = True
        timer.start()
        try:
            job = Job(kind="sql", sql=sql, number=self._number, set_number=set_number, max_bytes=256 << 20)
            told, rows = self._answering.cancellable(job)
        finally:
            timer.cancel()
        self._repeats &= told.again == "same"
        if told.status == "ok":
            return pa.ipc.open_stream(rows).read_all(), told.tables
        if told.status == "not_there":
            raise NotThere(told.message)
        if told.status == "gone":
            raise SetGone(told.message)
        if told.status == "cancelled":
            raise GridError(f"took longer than {TIMEOUT_S:.0f} s; ask for less, with `within` or a table of gold")
        raise GridError(told.message)


class _Row(NamedTuple):
    key: str
    match: Match


def key_text(values: list[Any]) -> str:
    """Values of the key columns, plain, as a JSON array: what an alert is known by."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _key(values: tuple[Any, ...]) -> str:
    return key_text([plain(value) for value in values])


def _matches(rule: Rule, answer: pa.Table) -> list[_Row]:
    named = {name.lower(): n for n, name in enumerate(answer.column_names)}
    keys = [named[name.lower()] for name in rule.key]
    suppressed = named[_SUPPRESSED]
    shown = [(n, name) for n, name in enumerate(answer.column_names) if n != suppressed and name not in _NOT_SHOWN]
    found = []
    for batch in answer.to_batches(max_chunksize=4096):
        for values in zip(*map(as_python, batch.columns), strict=True):
            row = {name: _short(values[n]) for n, name in shown if values[n] is not None}
            text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            found.append(_Row(_key(tuple(values[n] for n in keys)), Match(text, bool(values[suppressed]))))
    return found


def _short(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, list | dict) and len(text := json.dumps(value, ensure_ascii=False)) > _MOST_TEXT:
        value = text
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        return value[:_MOST_TEXT] + "…"
    return value


def _bracketed(condition: str) -> str:
    """A comment at its end must not take what comes behind."""
    return f"(\n{condition}\n)"


def _subject(rule: Rule) -> str:
    return quoted_table(rule.table) if rule.table else f"(\n{rule.sql.rstrip().rstrip(';')}\n)"


def _newest(rule: Rule) -> str:
    """What keeps of all rows those that count."""
    if rule.time is None:
        return ""
    if rule.within is None:
        return _newest_of_each(rule)
    time, span = double_quoted(rule.time), parse_duration(rule.within).total_seconds()
    return f"WHERE {time} >= (SELECT max({time}) FROM {_subject(rule)} AS alert) - INTERVAL '{span:.0f} seconds'"


def _newest_of_each(rule: Rule) -> str:
    assert rule.time is not None
    key = ", ".join(map(double_quoted, rule.key))
    return f"QUALIFY rank() OVER (PARTITION BY {key} ORDER BY {double_quoted(rule.time)} DESC NULLS LAST) = 1"


def _at(rule: Rule) -> str:
    """The time that maintenance is compared with: the row's, or where rows have none the clock's."""
    return f"CAST(alert.{double_quoted(rule.time)} AS TIMESTAMPTZ)" if rule.time else "now()"


def _declared(one: Maintenance, rule: Rule) -> str:
    starts, ends = (_literal(time) for time in (one.starts, one.ends))
    conditions = [f"{_at(rule)} >= {starts}", f"{_at(rule)} < {ends}"]
    for column, pattern in one.match.items():
        conditions.append(f"CAST(alert.{double_quoted(column)} AS VARCHAR) GLOB {literal(pattern)}")
    return f"({' AND '.join(conditions)})"


def _looked_up(one: Maintenance, rule: Rule) -> str:
    same = [f"work.{double_quoted(column)} = alert.{double_quoted(column)}" for column in one.on]
    at = _at(rule)
    span = f"{at} >= CAST(work.starts AS TIMESTAMPTZ) AND {at} < CAST(work.ends AS TIMESTAMPTZ)"
    return f"EXISTS (SELECT 1 FROM {_windows(one)} AS work WHERE {' AND '.join(same)} AND {span})"


def _windows(one: Maintenance) -> str:
    """What is worked at, and from when to when."""
    if one.sql:
        return f"(\n{one.sql.rstrip().rstrip(';')}\n)"
    longest = f"INTERVAL '{parse_duration(one.at_most).total_seconds():.0f} seconds'"
    begins = "CAST(coalesce(scheduled_date, reported_date) AS TIMESTAMPTZ)"
    done = "CAST(completed_date AS TIMESTAMPTZ) + INTERVAL '1 day'"
    on = ", ".join(map(double_quoted, one.on))
    return (
        f"(SELECT {on}, {begins} AS starts, least(coalesce({done}, {begins} + {longest}), {begins} + {longest}) AS ends "
        f"FROM silver.{double_quoted(one.feed)})"
    )


def _literal(time: datetime | None) -> str:
    assert time is not None
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return f"TIMESTAMPTZ {literal(aware.isoformat(sep=' '))}"


def _check_columns(rule: Rule, columns: list[str]) -> None:
    known = {name.lower(): name for name in columns}
    for word, name in [*(("key", name) for name in rule.key), *([("time", rule.time)] if rule.time else [])]:
        if name.lower() not in known:
            close = difflib.get_close_matches(name, columns, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"they have {', '.join(columns[:20])}"
            raise GridError(f"{word}: the rows have no column {name!r}; {hint}")
    if _SUPPRESSED in known:
        raise GridError(f"sql: the name {_SUPPRESSED} is taken; rename that column")
