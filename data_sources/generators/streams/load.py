"""Reading a spec: from TOML to a `StreamSpec` whose columns can be made one after the other.

Every mistake comes as a SpecError that names the file, the column and the remedy: a word or way unknown, weights or
bounds that cannot be, a column that is not there, expressions that go in a circle, a reference to a missing spec.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from data_sources.expressions import ExpressionError
from data_sources.generators.streams import expr
from data_sources.generators.streams.column import ColumnSpec
from data_sources.generators.streams.explain import explain, meant
from data_sources.generators.streams.spec import Step, StreamSpec
from data_sources.generators.streams.words import SpecError

MOST_PARENTS = 2_000_000


def load_spec(path: Path | str, _via: tuple[Path, ...] = ()) -> StreamSpec:
    """Read and check a spec file and those it refers to. Raises SpecError."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SpecError(f"spec {path}: no such file; give the path of a TOML spec") from None
    except (OSError, UnicodeDecodeError) as cause:
        raise SpecError(f"spec {path}: cannot be read as UTF-8 text ({cause})") from cause
    except tomllib.TOMLDecodeError as cause:
        raise SpecError(f"spec {path}: is not TOML: {cause}") from cause
    return parse_spec(raw, path, _via)


def parse_spec(raw: dict[str, Any], path: Path, _via: tuple[Path, ...] = ()) -> StreamSpec:
    """Check plain data as the spec of `path`, beside which referred specs are looked for. Raises SpecError."""
    try:
        spec = StreamSpec.model_validate(raw)
    except ValidationError as cause:
        raise SpecError("\n".join(explain(path, raw, e) for e in cause.errors())) from cause
    spec._path = path
    try:
        _check_names(spec)
        spec._steps = _in_order(spec)
        _check_expressions(spec)
        spec._lasting = _asked_for_later(spec)
    except ValueError as cause:
        raise SpecError(f"spec {path}, {cause}") from cause
    for column in spec.columns:
        if column.references is not None:
            _check_reference(spec, column, (*_via, path.resolve()))
    return spec


def parent_of(spec: StreamSpec, column: ColumnSpec) -> tuple[Path, str]:
    """The spec file and column that a `references = "devices.device_id"` means."""
    name, _, field = (column.references or "").partition(".")
    return spec.path.parent / f"{name}.toml", field


def needs(spec: StreamSpec, column: ColumnSpec) -> set[str]:
    """The columns that must be made before this one."""
    found: set[str] = set()
    if column.expr is not None:
        read = expr.used(expr.with_draws(column.name, column.expr)[0])
        found |= {n for n in read if n != expr.ROW_NUMBER and "#" not in n}
    if column.series is not None:
        found |= {spec.event_time} | ({column.series.by} if column.series.by else set())
    if column.correlate is not None:
        found.add(column.correlate.to)
    return found


def _in_order(spec: StreamSpec) -> list[Step]:
    """Columns in the order to make them. Raises ValueError that shows a circle."""
    open_columns: dict[str, set[str]] = {}
    names = [c.name for c in spec.columns]
    for column in spec.columns:
        try:
            open_columns[column.name] = needs(spec, column)
        except ExpressionError as cause:
            raise ValueError(f"column {column.name!r}, expr: {cause}") from cause
        for name in sorted(open_columns[column.name]):
            if name not in names:
                raise ValueError(f"column {column.name!r}: there is no column {name!r}{meant(name, names)}")
    steps: list[Step] = []
    while open_columns:
        step = Step([], [])
        while plain := _ready(spec, open_columns, told=False):
            step.plain.extend(plain)
        while told := _ready(spec, open_columns, told=True):
            step.told.append(told)
        if not step.plain and not step.told:
            raise ValueError(f"column {_circle(open_columns)}; let one of them stand on its own")
        steps.append(step)
    return steps


def _asked_for_later(spec: StreamSpec) -> set[str]:
    found = {c.name for c in spec.columns if not c.omit}
    for step in spec.steps:
        here = {n for level in step.told for n in level}
        found |= {n for name in here for n in needs(spec, spec.column(name)) if n not in here}
        found |= {n for name in step.plain for n in needs(spec, spec.column(name))}
    for anomaly in spec.anomalies:
        texts = [anomaly.when or "true", *anomaly.set.values()]
        found |= {n for t in texts for n in expr.used(expr.with_draws(anomaly.name, t)[0])} | anomaly.set.keys()
    return found


def _ready(spec: StreamSpec, waiting: dict[str, set[str]], told: bool) -> list[str]:
    """Take out the columns, expressions (`told`) or others, that need nothing that still waits."""
    ready = [n for n, needed in waiting.items() if (spec.column(n).expr is not None) == told]
    ready = [n for n in ready if not waiting[n] & waiting.keys()]
    for name in ready:
        del waiting[name]
    return ready


def _circle(waiting: dict[str, set[str]]) -> str:
    walk = [next(iter(waiting))]
    while walk.count(walk[-1]) < 2:
        walk.append(min(waiting[walk[-1]] & waiting.keys()))
    circle = walk[walk.index(walk[-1]) :]
    return f"{circle[0]!r}: is made of itself ({' -> '.join(circle)})"


def _check_names(spec: StreamSpec) -> None:
    names = [c.name for c in spec.columns]
    labels = list(dict.fromkeys(a.label for a in spec.anomalies))
    lower = [n.lower() for n in [*names, *labels, expr.ROW_NUMBER]]
    for name in [*names, *labels]:
        if lower.count(name.lower()) > 1:
            why = "is the row's number" if name.lower() == expr.ROW_NUMBER else "is declared twice"
            raise ValueError(f"column {name!r}: {why}; choose another name")
    chaos = spec.chaos
    wanted: dict[str, list[Any]] = {
        "event_time": [spec.event_time],
        "key": [spec.key],
        "chaos.broken_columns": chaos.broken_columns,
    }
    wanted |= {f"chaos.{w}.by": [d.by] for w in ("clock_skew", "dst") if (d := getattr(chaos, w)) is not None}
    for where, used in wanted.items():
        for name in used:
            if name is not None and name not in names:
                raise ValueError(f"{where}: there is no column {name!r}{meant(name, names)}")
            if name is not None and spec.column(name).omit:
                raise ValueError(f"{where}: column {name!r} is omitted; leave omit out of it")
    time = spec.column(spec.event_time)
    if time.begin is None:
        raise ValueError(f"event_time: column {time.name!r} has no begin and interval; give it both")
    if time.nulls or time.omit:
        raise ValueError(f"column {time.name!r}: the event time can be neither omitted nor null; use chaos.broken")
    if chaos.broken and not chaos.broken_columns:
        raise ValueError("chaos.broken: needs broken_columns = [...], the columns that are lost")
    if all(c.omit for c in spec.columns):
        raise ValueError("columns: all are omitted; leave omit out of one")


def _check_expressions(spec: StreamSpec) -> None:
    kinds = {c.name: arrow_type(c) for c in spec.columns} | {expr.ROW_NUMBER: pa.int64()}
    for column in spec.columns:
        if column.expr is not None:
            _check(f"column {column.name!r}, expr", column.name, column.expr, column.type, kinds)
        if column.correlate is not None and spec.column(column.correlate.to).way != "min":
            raise ValueError(f"column {column.name!r}, correlate: {column.correlate.to!r} is not drawn from a range")
        if column.values is not None:
            _check_values(column)
    kinds |= {a.label: pa.bool_() for a in spec.anomalies}
    for anomaly in spec.anomalies:
        where = f"anomaly {anomaly.name!r}"
        if anomaly.when is not None:
            _check(f"{where}, when", anomaly.name, anomaly.when, "bool", kinds)
        for name, text in anomaly.set.items():
            if name not in [c.name for c in spec.columns]:
                raise ValueError(f"{where}, set: there is no column {name!r}{meant(name, list(kinds))}")
            _check(f"{where}, set {name}", f"{anomaly.name}.{name}", text, spec.column(name).type, kinds)


def _check(where: str, purpose: str, text: str, into: str, kinds: dict[str, pa.DataType]) -> None:
    try:
        expr.check(purpose, text, into, kinds)
    except ExpressionError as cause:
        raise ValueError(f"{where}: {cause}") from cause


def _check_values(column: ColumnSpec) -> None:
    fits = {"string": str, "bool": bool, "int64": int}.get(column.type, (int, float))
    for value in column.values or []:
        if not isinstance(value, fits) or (isinstance(value, bool) and column.type != "bool"):
            raise ValueError(f"column {column.name!r}, values: {value!r} is not a {column.type}; change one of them")


def _check_reference(spec: StreamSpec, column: ColumnSpec, via: tuple[Path, ...]) -> None:
    where = f"spec {spec.path}, column {column.name!r}, references"
    path, field = parent_of(spec, column)
    if not field:
        raise SpecError(f"{where}: {column.references!r} must be <spec>.<column>, as in devices.device_id")
    if path.resolve() in via:
        raise SpecError(f"{where}: {path.name} refers back to this spec; let one of them stand on its own")
    if not path.is_file():
        raise SpecError(f"{where}: there is no spec {path}; write it beside this one, or correct the name")
    parent = load_spec(path, via)
    if field not in [c.name for c in parent.columns]:
        raise SpecError(f"{where}: {path} has no column {field!r}{meant(field, [c.name for c in parent.columns])}")
    if parent.column(field).type != column.type:
        raise SpecError(f"{where}: {column.references} is {parent.column(field).type}; write that as this one's type")
    if parent.rows_per_day > MOST_PARENTS:
        raise SpecError(
            f"{where}: {path} has {parent.rows_per_day:,} rows; at most {MOST_PARENTS:,} can be referred to"
        )


def arrow_type(column: ColumnSpec) -> pa.DataType:
    """The Arrow type of a column; timestamps are UTC without saying so."""
    if column.digits is not None:
        return pa.decimal128(int(column.type[8:].split(",")[0]), column.digits)
    return {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us"),
    }[column.type]
