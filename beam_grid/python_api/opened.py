"""A lake opened from Python: looked at as one version set has it, until `refresh` or a run of its own moves it on.

    published   set 7 ────► set 8 ────► set 9            by a refine beside this
    lake        set 7 ─────────────────► refresh() ─► set 9
    a table of it taken before                 stays at set 7

A reader takes no lock and waits for nobody; nobody waits for it. Not guaranteed: that a set can be read for ever.
`maintain` keeps the newest 100 sets and what the versions of a week need (docs/python.md).
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.lakehouse.query import names_of, query, with_query_log
from beam_grid.lakehouse.versions import at_number, at_time, kept_numbers, newest
from beam_grid.landing import Lake
from beam_grid.python_api.rows import Answer, LakeTable

if TYPE_CHECKING:
    from beam_grid.lakehouse.table_set import TableSet
    from beam_grid.python_api.features import Features
    from beam_grid.python_api.runs import Done
    from beam_grid.refine import Engine


class OpenLake:
    """A lake as one version set has it; `beam_grid.open` gives one.

    >>> lake.tables
    ['bronze.conflicts', 'bronze.late', 'bronze.rejected', 'gold.pump_hourly', 'silver.pumps']
    >>> "gold.pump_hourly" in lake
    True
    """

    def __init__(self, lake: Lake, at: TableSet | None, *, is_past: bool = False) -> None:
        self._lake, self._at, self._is_past = lake, at, is_past

    @property
    def path(self) -> Path:
        """The lake's folder."""
        return self._lake.path

    @property
    def set(self) -> int | None:
        """Number of the version set that is looked at; None while nothing is published."""
        return None if self._at is None else self._at.number

    @property
    def set_at(self) -> datetime | None:
        """When that set was published, in UTC."""
        return None if self._at is None else self._at.created_at

    @property
    def feeds(self) -> list[str]:
        """Feeds of which something has landed, published or not."""
        return self._lake.feeds

    @property
    def tables(self) -> list[str]:
        """Names of tables and views, as `gold.meter_15min`."""
        at = self._at
        return [] if at is None else names_of(with_query_log(self._lake, at))

    def __getitem__(self, name: str) -> LakeTable:
        """A table or view, not read yet. Raises GridError for a name that is not there."""
        at = self._published()
        known = names_of(with_query_log(self._lake, at))
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1) or [t for t in known if t.split(".")[1] == name]
            hint = f"did you mean {close[0]!r}?" if close else f"tables: {', '.join(known)}"
            raise GridError(f"lake {self.path}: there is no table {name!r} in version set {at.number}; {hint}")
        return LakeTable(self._lake, at, name)

    def __contains__(self, name: object) -> bool:
        return name in self.tables

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def sql(self, statement: str) -> Answer:
        """The answer of one reading statement (DataFusion's SQL) over the tables of this set. Raises GridError for
        anything else, and for what cannot be computed.

        >>> lake.sql("SELECT pump, kwh FROM silver.pumps WHERE kwh > 1.4 ORDER BY kwh").arrow().to_pylist()
        [{'pump': 'P-2', 'kwh': 1.5}, {'pump': 'P-1', 'kwh': 1.75}]
        >>> lake.sql("DROP TABLE silver.pumps")
        Traceback (most recent call last):
        ...
        beam_grid.errors.GridError: query: 'DROP' is not allowed; query reads only: SELECT, WITH, VALUES, EXPLAIN of a query, SHOW TABLES or DESCRIBE
        """
        return Answer(query(self._lake, statement, self._published()))

    def features(self, name: str) -> Features:
        """A table of features, which a contract's [[features]] declare: training sets of it, and the newest of each series.
        Raises GridError for a name that is none."""
        from beam_grid.python_api.features import Features

        return Features(self._lake, self._published(), name)

    def as_of(self, *, set: int | None = None, time: datetime | str | None = None) -> OpenLake:
        """The lake as an earlier version set had it: by its number, or the newest one made at a time or before (without
        an offset it is UTC). Raises GridError where such a set is not kept.

        >>> lake.as_of(set=1).set
        1
        >>> lake.as_of(time="2001-01-01") # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        beam_grid.errors.GridError: lake lake: has no version set of 2001-01-01 00:00:00+00:00 or before; ...
        """
        if (set is None) == (time is None):
            raise GridError("as_of: give set=NUMBER or time=TIME, one of them")
        if set is not None:
            try:
                number = operator.index(set)
            except TypeError as cause:
                raise GridError(f"as_of: set={set!r} is no number of a version set") from cause
            found = at_number(self._lake, number) if number > 0 else None
            wanted = f"no version set {set}"
        else:
            when = _utc(time)
            found = at_time(self._lake, when)
            wanted = f"no version set of {when} or before"
        if found is None:
            kept = kept_numbers(self._lake)
            are = f"kept are {kept[0]} to {kept[-1]}" if kept else "none was published yet"
            raise GridError(f"lake {self.path}: has {wanted}; {are}")
        return OpenLake(self._lake, found, is_past=True)

    def refresh(self) -> OpenLake:
        """Look at the newest version set from now on; returns the lake itself. Tables taken before stay as they were.
        Raises GridError for a lake that is looked at as of an earlier set: it is that set's."""
        if self._is_past:
            raise GridError(f"lake {self.path}: is looked at as of version set {self.set}; open it anew for the newest")
        self._at = newest(self._lake)
        return self

    @property
    def ledger(self) -> Answer:
        """What became of every record that was ever read, per feed, published or not: `feed`, `read`, `landed`,
        `duplicates`, `late`, `rejected`, `superseded`, `conflicts`, `balanced`.

        >>> lake.ledger.arrow().select(["feed", "read", "landed", "duplicates", "rejected", "balanced"]).to_pylist()
        [{'feed': 'pumps', 'read': 5, 'landed': 3, 'duplicates': 1, 'rejected': 1, 'balanced': True}]
        """
        from beam_grid.ledger import ledger

        return Answer(ledger(self._lake), "ledger")

    def inspect(self, what: str, feed: str | None = None) -> Answer:
        """One row per reject, late row, conflict, commit or part of a source read: `what` is `rejected`, `late`,
        `conflicts`, `commits` or `lineage`; of one feed or of all.

        >>> lake.inspect("rejected").arrow().select(["rule", "_position"]).to_pylist()
        [{'rule': 'P-KWH', '_position': 6}]
        """
        from beam_grid.inspect import WHAT, inspect

        if what not in WHAT:
            raise GridError(f"inspect: {what!r} is not one of {', '.join(WHAT)}")
        return Answer(inspect(self._lake, what, feed), what)

    def land(
        self,
        source: str | Path,
        *feeds: str,
        contract: str | Path | Sequence[str | Path] = (),
        kafka_config: str | Path | None = None,
        slice_rows: int | None = None,
        now: datetime | str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Done:
        """Read what is new at a source, judge it, drop duplicates, land Parquet; `refine` then brings it into tables.

        source: a file, folder or glob, or `kafka://host:port[/topic]`. feeds: names, all whose files or topic are there
        unless given. contract: files of your own feeds. slice_rows: records per commit. now: the run's clock. progress:
        gets a line now and then. Raises GridError (LakeBusy where another run lands) before anything is read, RunFailed
        where a slice fails; what was committed before stays. What was left out is in `problems` of what it returns, and
        logged as a warning.
        """
        from beam_grid.python_api import runs

        self._check_present("land")
        files = (contract,) if isinstance(contract, str | Path) else tuple(contract)
        more: dict[str, Any] = {"kafka_config": None if kafka_config is None else str(kafka_config)}
        if slice_rows is not None:
            more["slice_rows"] = slice_rows
        if now is not None:
            more["now"] = int((_utc(now) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
        return runs.land(self._lake, str(source), feeds, tuple(map(str, files)), progress, **more)

    def refine(
        self,
        *feeds: str,
        engine: Engine = "auto",
        parameters: dict[str, str] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Done:
        """Bring the tables up to the last commit, of these feeds or of all, and look at the set that makes.

        engine, parameters: as of `beam_grid.refine.refine`, which says what is raised.
        """
        from beam_grid.python_api import runs

        self._check_present("refine")
        done = runs.refine(self._lake, feeds, engine, parameters, progress)
        self.refresh()
        return done

    def run(self, source: str | Path, *feeds: str, **more: Any) -> Done:
        """`land`, then `refine`: from files or a topic to tables; the words are those of the two.

        >>> lake.run("data", contract="pumps.toml")  # nothing new in there
        pumps: nothing new
        tables: nothing new
        """
        of_refine = {word: more.pop(word) for word in ("engine", "parameters") if word in more}
        landed = self.land(source, *feeds, **more)
        return landed + self.refine(progress=more.get("progress"), **of_refine)

    def __repr__(self) -> str:
        at = self._at
        seen = (
            "nothing published yet"
            if at is None
            else f"version set {at.number} of {at.created_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        return f"<lake {self.path}: {seen}, {len(self)} tables>"

    def _repr_html_(self) -> str:
        import pyarrow as pa

        from beam_grid.python_api.html import table_html

        at = None if self._at is None else with_query_log(self._lake, self._at)
        rows = [_described(name, at) for name in names_of(at)] if at is not None else []
        columns = {word: [row[word] for row in rows] for word in ("table", "kind", "version", "description")}
        return table_html(pa.table(columns), repr(self).strip("<>"))

    def _ipython_key_completions_(self) -> list[str]:
        return self.tables

    def _published(self) -> TableSet:
        if self._at is None:
            raise GridError(
                f"lake {self.path}: nothing was published when it was looked at; lake.run(...) makes tables, and "
                "lake.refresh() looks again"
            )
        return self._at

    def _check_present(self, what: str) -> None:
        if self._is_past:
            raise GridError(
                f"{what}: lake {self.path} is looked at as of version set {self.set}; open it anew to write"
            )


def opened(path: str | Path, create: bool) -> OpenLake:
    """The lake at a path as its newest set has it; `beam_grid.open` tells more."""
    lake = Lake.open(path, create=create)
    return OpenLake(lake, newest(lake))


def _described(name: str, at: TableSet) -> dict[str, Any]:
    if name in at.views:
        return {"table": name, "kind": "view", "version": None, "description": at.views[name].description}
    return {"table": name, "kind": "table", "version": at.tables[name].version, "description": None}


def _utc(time: datetime | str | None) -> datetime:
    try:
        found = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError as cause:
        raise GridError(f"{time!r} is not a time; write it as 2025-06-15T14:00:00Z") from cause
    if not isinstance(found, datetime):
        raise GridError(f"{time!r} is not a time; give a datetime, or text as 2025-06-15T14:00:00Z")
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as cause:
        raise GridError(f"{time!r} is before the year 1 or after 9999 in UTC") from cause
