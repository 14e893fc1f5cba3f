"""gold.ANALYSIS and gold.quality: what is computed from other tables, once those are up to date.

    silver, gold windows ──► analyses, in the order they read each other ──► gold.quality ──► the set of versions

A derived table is a function of the tables it reads. The set records, for each, which of their commits it was made
from; it is made anew when those or its definition changed, and left alone otherwise. So it needs no transaction id:
cut off before the set was published, it is simply made again. Small ones are made as a whole; of one that names its
key only the groups are, whose rows changed since. Views are kept in the set as text. Which engine computes is not seen
here, and makes no difference to the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import asdict, replace

from beam_grid.analyses import Analysis, Clock, analyses, by_name, detections, features, now, validations
from beam_grid.analyses.sql import has_windows, put, tree
from beam_grid.crash import point
from beam_grid.errors import GridError, RunFailed
from beam_grid.lakehouse import expected, guard, touched
from beam_grid.lakehouse.engines import DoesNotFit, Engine
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.table_set import LeftOut, PublishedTable, Recipe, View
from beam_grid.lakehouse.tables import Table
from beam_grid.lakehouse.touched import Touched, candidate, parameter, read_at, values
from beam_grid.lakehouse.versions import Content, published
from beam_grid.landing import Lake
from data_sources.errors import UserError

if TYPE_CHECKING:
    from data_sources.contract import Contract
    from data_sources.expectations import Expectation


def forget_lost(lake: Lake, content: Content, contracts: dict[str, Contract]) -> None:
    """Take out the derived tables that somebody deleted or changed, so that they are made again, and those no longer
    defined, by us or by the contracts of the lake's feeds."""
    known = {expected.NAME, *(a.name for a in _defined(contracts))}
    for name, said in list(content.tables.items()):
        if said.is_derived:
            table = Table(lake, name)
            state = table.state()
            is_ours = state.version is not None and state.id == said.id
            if name not in known or not is_ours or guard.check(table, state, said):
                del content.tables[name]


def _defined(contracts: dict[str, Contract]) -> list[Analysis]:
    """All analyses there are, each after those it reads: the SQL files, and what contracts ask for."""
    of = list(contracts.values())
    return [*analyses(), *now.tables(of), *detections.tables(of), *validations.tables(of), *features.tables(of)]


def has_at_commit(contracts: dict[str, Contract]) -> bool:
    """Whether a table is wanted after each publish."""
    return any(analysis.at_commit for analysis in _defined(contracts))


def is_due(
    lake: Lake,
    content: Content,
    contracts: dict[str, Contract],
    parameters: dict[str, str],
    at_commit_only: bool = False,
) -> bool:
    """Whether `make` has something to make, for which it needs an engine."""
    if _due(lake, content, contracts, parameters, at_commit_only):
        return True
    return not at_commit_only and bool(_to_ask(content, _expectations(contracts), set()))


def bytes_read(
    lake: Lake,
    content: Content,
    contracts: dict[str, Contract],
    parameters: dict[str, str],
    at_commit_only: bool = False,
) -> int:
    """Parquet that the tables to be made will be read from, each once. One with a clock reads little of its table, and
    sums it up."""
    due = [a for a in _due(lake, content, contracts, parameters, at_commit_only) if a.clock is None]
    there = {name for analysis in due for name in analysis.reads if name in content.tables}
    return sum(live(Table(lake, name).path, content.tables[name].version).bytes for name in there)


def make(
    engine: Engine,
    lake: Lake,
    content: Content,
    contracts: dict[str, Contract],
    parameters: dict[str, str],
    say: Callable[[str], None],
    at_commit_only: bool = False,
) -> list[str]:
    """Bring the derived tables up to `content`, enter them there, and return their names.

    at_commit_only: those that are wanted after each publish, and no expectation is asked.
    Raises RunFailed where an expectation says so, with the tables' names, counts and an example.
    """
    made: list[str] = []
    left = _due(lake, content, contracts, parameters, at_commit_only)
    while left:
        ready = [a for a in left if not any(a.reads_from(other.name) for other in left)]
        with ThreadPoolExecutor(engine.at_once) as pool:
            outcomes = list(pool.map(lambda a: _timed(engine, lake, content, a, parameters), ready))
        for analysis, (outcome, took) in zip(ready, outcomes, strict=True):
            left.remove(analysis)
            content.seconds[analysis.name] = took
            point(f"refine:made-{analysis.name}")
            if isinstance(outcome, str):
                content.tables.pop(analysis.name, None)
                recipe = _recipe(lake, content, analysis, parameters)
                content.left_out[analysis.name] = LeftOut(**asdict(recipe), reason=outcome)
                say(f"{analysis.name}: left out, its SQL does not fit this lake's tables ({outcome})")
            else:
                content.left_out.pop(analysis.name, None)
                before = content.tables.get(analysis.name)
                if before is None or outcome.version != before.version:
                    made.append(analysis.name)
                content.tables[analysis.name] = outcome
        left = [a for a in left if _is_there(a, content, {other.name for other in left})]
    if made:
        say(f"{len(made)} analyses: {', '.join(name.removeprefix('gold.') for name in made)}")
    if at_commit_only:
        return made
    content.views = _views(content, contracts)
    began = time.monotonic()
    if _ask(engine, lake, content, contracts, set(made)):
        content.seconds[expected.NAME] = time.monotonic() - began
        made.append(expected.NAME)
    return made


def check_parameters(parameters: dict[str, str]) -> None:
    """Raise GridError for a parameter that no analysis has, or a value that does not fit it."""
    known = {f"{a.name.removeprefix('gold.')}.{p.name}": p for a in analyses() for p in a.parameters}
    for name, value in parameters.items():
        if name not in known:
            raise GridError(f"parameter {name!r}: is not known; known: {', '.join(known)}")
        kind = known[name].kind
        try:
            parameter(kind, value)
        except ValueError as cause:
            example = known[name].default
            raise GridError(f"parameter {name}: {value!r} is not a {kind}; write it as {example}") from cause


def _due(
    lake: Lake,
    content: Content,
    contracts: dict[str, Contract],
    parameters: dict[str, str],
    at_commit_only: bool = False,
) -> list[Analysis]:
    """The tables to make, each after those it reads."""
    due: list[Analysis] = []
    for analysis in _defined(contracts):
        if analysis.is_view or (at_commit_only and not analysis.at_commit):
            continue
        if not _is_there(analysis, content, {a.name for a in due}):
            continue
        said = content.tables.get(analysis.name) or content.left_out.get(analysis.name)
        above = any(analysis.reads_from(a.name) for a in due)
        if above or said is None or not said.is_of(_recipe(lake, content, analysis, parameters)):
            due.append(analysis)
    return due


def _is_there(analysis: Analysis, content: Content, coming: set[str]) -> bool:
    return all(name in content.tables or name in coming for name in analysis.inputs)


def _recipe(lake: Lake, content: Content, analysis: Analysis, parameters: dict[str, str]) -> Recipe:
    """What the table is made from and how; the same recipe makes an equal table."""
    said = content.tables.get(analysis.name)
    before = said.parameters if said else {}
    short = analysis.name.removeprefix("gold.")
    chosen = {p.name: parameters.get(f"{short}.{p.name}", before.get(p.name, p.default)) for p in analysis.parameters}
    if analysis.clock is not None and analysis.clock.table in content.tables:
        chosen["upto"] = _upto(lake, content, analysis.clock).isoformat()
    inputs = {name: content.tables[name].signature for name in analysis.inputs if name in content.tables}
    return Recipe(definition=analysis.hash, inputs=inputs, parameters=chosen)


def _upto(lake: Lake, content: Content, clock: Clock) -> datetime:
    """The clock's time, by what the table's log says of its files; the epoch, where it has no row."""
    table = Table(lake, clock.table)
    starts = [file.greatest.get("window_start") for file in live(table.path, content.tables[clock.table].version).files]
    newest = max((datetime.fromisoformat(start) for start in starts if start is not None), default=_EPOCH + clock.back)
    return newest.astimezone(UTC) - clock.back


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _views(content: Content, contracts: dict[str, Contract]) -> dict[str, View]:
    views = {
        a.name: View(sql=a.sql, reads=a.reads, description=a.description)
        for a in analyses()
        if a.is_view and _is_there(a, content, set())
    }
    for spec in (contract.now for contract in contracts.values()):
        if spec is not None and (usual := content.tables.get(f"gold.{spec.usual}")) is not None:
            sql, reads, description = now.view(spec, usual.parameters)
            views[f"gold.{spec.name}"] = View(sql=sql, reads=reads, description=description)
    return views


def _timed(
    engine: Engine, lake: Lake, content: Content, analysis: Analysis, parameters: dict[str, str]
) -> tuple[PublishedTable | str, float]:
    """As `_make`, and the seconds it took."""
    began = time.monotonic()
    return _make(engine, lake, content, analysis, parameters), time.monotonic() - began


def _make(
    engine: Engine, lake: Lake, content: Content, analysis: Analysis, parameters: dict[str, str]
) -> PublishedTable | str:
    """The table's entry in the set; text that says why, where the lake's tables lack what the SQL asks for."""
    recipe = _recipe(lake, content, analysis, parameters)
    said = content.tables.get(analysis.name)
    if said and said.is_by(recipe) and said.read_at == read_at(content, analysis):
        return replace(said, **asdict(recipe))  # commits came, but none that changed what it reads
    table = Table(lake, analysis.name)
    order = analysis.cluster_by or analysis.order_by
    try:
        rest = touched.find(engine, lake, content, analysis, recipe)
        if said and rest and analysis.settled and not engine.ask(f"SELECT 1 AS n FROM {rest.groups} LIMIT 1").num_rows:
            return replace(said, **asdict(recipe), read_at=read_at(content, analysis))  # nothing it reads changed
        _define(engine, lake, content, analysis, recipe.parameters, rest)
        rows = _without_dropped(engine, lake, content, analysis)
        if rest is None:
            engine.write(table, rows, order, _weight(lake, content, analysis) if analysis.cluster_by else 0)
        else:
            is_in = put(tree(rest.is_replaced), engine.dialect)
            if rest.is_read != rest.is_replaced and rest.function is None:
                engine.define(
                    f"{rows}_since", put(tree(f"SELECT * FROM {rows} WHERE {rest.is_replaced}"), engine.dialect)
                )
                rows += "_since"
            engine.replace(table, rows, is_in, analysis.key, order, rest.replaced_where)
    except DoesNotFit as cause:
        return str(cause)
    except GridError:
        raise
    except Exception as cause:
        raise RunFailed(
            f"refine: {analysis.name} could not be made ({type(cause).__name__}: {engine.reason(cause)}); "
            "what was done before stays, run it again"
        ) from cause
    return published(table, table.state(), **asdict(recipe), read_at=read_at(content, analysis))


def _weight(lake: Lake, content: Content, analysis: Analysis) -> int:
    """Bytes of what it reads."""
    return sum(live(Table(lake, name).path, content.tables[name].version).bytes for name in analysis.reads)


def _define(
    engine: Engine,
    lake: Lake,
    content: Content,
    analysis: Analysis,
    parameters: dict[str, str],
    rest: Touched | None = None,
) -> None:
    """Give the analysis' rows the name of its candidate: those of its SELECT, or what it makes of their series."""
    view, made = candidate(analysis), analysis.by_series
    if made is None and (parts := _parts(engine, lake, content, analysis, rest)) > 1:
        is_in = [f"hash({analysis.touched}) % {parts} = {n}" for n in range(parts)]
        engine.gather(view, [_select(engine, lake, content, analysis, parameters, rest, part) for part in is_in])
        return
    sql = _select(engine, lake, content, analysis, parameters, rest)
    if made is None:
        engine.define(view, sql)
        return
    series = f"{view}_series"
    engine.define(series, sql)
    rows = engine.schema(series)
    try:
        schema = made.schema(rows)
    except UserError as cause:
        raise GridError(f"{analysis.name}, {cause}") from cause
    ties = (name for name in (*analysis.ties, *analysis.key) if name in rows.names)
    order = dict.fromkeys([made.series, made.time, *ties])
    engine.apply(view, series, list(order), (rest and rest.function) or made.function, schema)


def _parts(engine: Engine, lake: Lake, content: Content, analysis: Analysis, rest: Touched | None) -> int:
    """In how many parts the rows are made. Those of a group depend on those of no other, so any groups are a part. Without
    windows all are one: DuckDB spills what it groups and joins, but a partition it looks along must fit."""
    if engine.part_rows is None or not analysis.touched or not has_windows(analysis.sql):
        return 1
    first = analysis.reads[0]
    rows = sum(file.rows or 0 for file in live(Table(lake, first).path, content.tables[first].version).files)
    if rest is not None and rows > engine.part_rows:
        place = rest.narrowed or _rows(engine, lake, content, first)
        count = put(
            tree(f"SELECT count(*) AS n FROM silver.first WHERE {rest.is_read}"), engine.dialect, lambda _: place
        )
        rows = engine.ask(count)["n"][0].as_py()
    return -(-rows // engine.part_rows)


def _select(
    engine: Engine,
    lake: Lake,
    content: Content,
    analysis: Analysis,
    parameters: dict[str, str],
    rest: Touched | None = None,
    part: str = "true",
) -> str:
    """The analysis' SELECT over this lake's tables. Parameters are put in as literals: Delta's parser knows no others.

    part: of the rows that it would read, which it does."""
    chosen = values(analysis, parameters) | {"touched": f"({rest.is_read if rest else 'true'}) AND {part}"}

    def place(name: str) -> str:
        narrowed = rest.narrowed if rest and name == analysis.reads[0] else None
        return narrowed or _rows(engine, lake, content, name)

    return analysis.select(engine.dialect, place, chosen)


def _rows(engine: Engine, lake: Lake, content: Content, name: str) -> str:
    """A table of the set, as the engine has it."""
    return engine.rows(Table(lake, name), content.tables[name].version)


def _without_dropped(engine: Engine, lake: Lake, content: Content, analysis: Analysis) -> str:
    """A view of the candidate's rows that no expectation drops."""
    rows = candidate(analysis)
    for number, expectation in enumerate(e for e in analysis.expectations if e.on_fail == "drop"):
        parent = _rows(engine, lake, content, f"silver.{expectation.feed}") if expectation.feed else ""
        sql = expected.kept_sql(expectation, rows, "silver.parent")
        rows = f"{candidate(analysis)}_{number}"
        engine.define(rows, put(tree(sql), engine.dialect, {"silver.parent": parent}.__getitem__))
    return rows


def _expectations(contracts: dict[str, Contract]) -> list[tuple[str, Expectation]]:
    """Every expectation there is, with its table, in a settled order."""
    own = [(f"silver.{name}", e.parsed) for name, contract in contracts.items() for e in contract.expectations]
    return [*own, *((a.name, e) for a in analyses() if not a.is_view for e in a.expectations)]


def _to_ask(
    content: Content, expectations: list[tuple[str, Expectation]], made: set[str]
) -> dict[tuple[str, Expectation], tuple[str, ...]]:
    """Those whose answer is not the one in gold.quality, with the signature of the tables they look at."""
    said = _asked(content)
    found = {}
    for table, expectation in expectations:
        tables = [table, *([f"silver.{expectation.feed}"] if expectation.feed else [])]
        if all(name in content.tables for name in tables):
            seen = (repr(expectation), *(content.tables[name].signature for name in tables))
            if said.get(f"{table}/{expectation.id}") != seen or table in made:
                found[table, expectation] = seen
    return found


def _asked(content: Content) -> dict[str, str | tuple[str, ...]]:
    """By TABLE/EXPECTATION what was asked when gold.quality got its answer."""
    said = content.tables.get(expected.NAME)
    return (said.inputs if said else None) or {}


def _ask(engine: Engine, lake: Lake, content: Content, contracts: dict[str, Contract], made: set[str]) -> bool:
    """Write gold.quality where an answer may have changed; raises RunFailed where an expectation says so."""
    import pyarrow as pa

    from beam_grid.lakehouse import data_files

    expectations = _expectations(contracts)
    asked = _to_ask(content, expectations, made)
    if not asked:
        return False
    table = Table(lake, expected.NAME)
    questions = [_question(engine, lake, content, name, expectation, made) for name, expectation in asked]
    try:
        answers = expected.answers(
            questions, lambda sql, places: engine.ask(put(tree(sql), engine.dialect, places.__getitem__))
        )
    except Exception as cause:
        names = ", ".join(f"{name}/{e.id}" for name, e in asked)
        raise RunFailed(
            f"refine: the expectations {names} could not be asked ({type(cause).__name__}: {engine.reason(cause)}); "
            "fix the one it is about, and refine again"
        ) from cause
    failed = [row for row in answers if row["status"] == "failed"]
    if failed:
        raise RunFailed(
            "refine: the tables are not what is expected of them, so readers stay at the last set of versions:\n"
            + "\n".join(
                f"  {row['table_name']}: {row['rule']} ({row['expectation']}): {row['failed_rows']} of "
                f"{row['rows_checked']} rows fail, such as {row['example']}"
                for row in failed
            )
            + '\nmend the source or its contract, or let the expectation warn (on_fail = "warn"), and refine again'
        )
    said = content.tables.get(expected.NAME)
    rows = {(row["table_name"], row["expectation"]): row for row in answers}
    if said is not None:
        for row in data_files.read(table.path, expected.SCHEMA).to_pylist():
            rows.setdefault((row["table_name"], row["expectation"]), row)
    known = {(name, e.id): (name, e) for name, e in expectations if name in content.tables}
    kept = [rows[key] for key in known if key in rows]
    data_files.overwrite(table.path, table.name, pa.Table.from_pylist(kept, schema=expected.SCHEMA))
    point("refine:made-gold.quality")
    inputs = {
        **{k: v for k, v in _asked(content).items() if tuple(k.split("/", 1)) in known},
        **{f"{name}/{e.id}": seen for (name, e), seen in asked.items()},
    }
    content.tables[expected.NAME] = published(table, table.state(), inputs=inputs)
    return True


def _question(
    engine: Engine, lake: Lake, content: Content, name: str, expectation: Expectation, made: set[str]
) -> expected.Asked:
    """What drops is asked of the rows before any were dropped, the rest of the table as it is."""
    if expectation.on_fail == "drop":
        analysis = by_name()[name]
        rows = candidate(analysis)
        if name not in made:
            _define(engine, lake, content, analysis, content.tables[name].parameters)
    else:
        rows = _rows(engine, lake, content, name)
    parent = _rows(engine, lake, content, f"silver.{expectation.feed}") if expectation.feed else None
    return expected.Asked(name, expectation, rows, engine.schema(rows), parent)
