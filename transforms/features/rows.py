"""A stream of readings as rows of features, a group of whole series at a time: what a table of features is made with.

    readings, sorted by series and time ─► whole series ─► frames ─► aggregates ─► expressions ─► a row per reading

A plain function of record batches, for an engine of this process, a worker of Spark's, or a program of one's own.
Readings without a series or a time have no row: nobody could ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract.features import VERSION, Feature, plain
from data_sources.errors import UserError
from data_sources.expressions import sandbox
from data_sources.identifiers import double_quoted
from transforms.features.aggregates import aggregate, counts, newest
from transforms.features.frames import Frames
from transforms.whole_series import whole_series

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_DAY = 86_400 * 1_000_000


@dataclass(frozen=True)
class Definition:
    """What a contract's [[features]] says. series, time, key: columns that name a row; history: days; recent: microseconds."""

    series: str
    time: str
    key: tuple[str, ...]
    features: tuple[Feature, ...]
    version: str = "1"
    history: int = 90
    recent: int = _DAY
    zone: str = "UTC"

    @property
    def named(self) -> list[str]:
        """Columns of the readings that stand in the table, too."""
        return list(dict.fromkeys([self.series, self.time, *self.key]))


@dataclass(frozen=True)
class Since:
    """Of which readings rows are wanted: of each series those from a time on. series: an array of names, each once; time:
    microseconds since the epoch. carried: a row for each name that has one, by feature of the history what it is on the day
    of that time, and by days_since when its condition was last true before, in microseconds (below 0: never); then the
    readings given need not have a history."""

    series: pa.Array
    time: Ints
    is_carried: Bools
    carried: dict[str, Floats | Ints] = field(default_factory=dict)


def feature_rows(
    batches: Iterable[pa.RecordBatch], definition: Definition, since: Since | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of `feature_schema`. A series' readings stand together, in order of time and key. Raises UserError for a
    column that is missing or does not fit."""
    for rows in whole_series(batches, definition.series):
        yield from _told(rows, definition, since).to_batches()


def feature_schema(rows: pa.Schema, definition: Definition) -> pa.Schema:
    """The columns of the table, where the readings' are `rows`: what names a row, the features, the version."""
    names = [*definition.named, *(f.argument for f in definition.features if f.function and not f.is_condition and f.argument)]  # fmt: skip
    for name in names:
        if name not in rows.names:
            raise UserError(f"features: no column '{name}'; the table has {', '.join(rows.names)}")
    if not pa.types.is_timestamp(rows.field(definition.time).type):
        raise UserError(f"features: column '{definition.time}' is {rows.field(definition.time).type}; a timestamp is needed")  # fmt: skip
    return _told(rows.empty_table(), definition, None).schema


def _told(rows: pa.Table, definition: Definition, since: Since | None) -> pa.Table:
    rows = rows.filter(pc.and_(pc.is_valid(rows[definition.series]), pc.is_valid(rows[definition.time])))
    code, names, time = _placed(rows, definition)
    later = (code[1:] > code[:-1]) | ((code[1:] == code[:-1]) & (time[1:] >= time[:-1]))
    if not later.all():
        order = np.lexsort((time, code))
        rows, code, time = rows.take(order), code[order], time[order]
    frames = Frames(code, time, definition.zone, definition.history, definition.recent)
    at, carried = np.arange(len(code)), {}
    if since is not None and len(code):
        place = pc.index_in(names, since.series).fill_null(0).to_numpy()[code]
        at = np.flatnonzero(time >= since.time[place])
        place = place[at]
        carried = {name: np.where(since.is_carried[place], values[place], np.nan) for name, values in since.carried.items()}  # fmt: skip
        is_carried = since.is_carried[place]
    else:
        is_carried = np.zeros(len(at), bool)
    conditions = _conditions(rows, definition.features)
    shown = {name: rows[name].take(at) for name in rows.column_names}
    made: dict[str, pa.Array | pa.ChunkedArray] = {}
    for feature in definition.features:
        if feature.function is not None:
            column = _feature(feature, rows, frames, conditions, at, is_carried, carried.get(feature.name))
            made[feature.name] = pa.array(column, feature.type, from_pandas=True)
    made |= _expressions(shown, made, definition.features)
    columns = {name: _decoded(shown[name]) for name in definition.named}
    columns |= {feature.name: made[feature.name] for feature in definition.features}
    return pa.table(columns | {VERSION: pa.array([definition.version] * len(at), pa.string())})


def _placed(rows: pa.Table, definition: Definition) -> tuple[Ints, pa.Array, Ints]:
    """A number for each row's series in the order in which they come, their names, and the rows' times."""
    encoded = pc.dictionary_encode(_decoded(rows[definition.series])).combine_chunks()
    time = rows[definition.time].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    if not isinstance(encoded, pa.DictionaryArray):  # of no chunks
        return np.empty(0, np.int64), pa.array([], _decoded(rows[definition.series]).type), time
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary, time


def _feature(
    feature: Feature, rows: pa.Table, frames: Frames, conditions: dict[str, Bools], at: Ints, is_carried: Bools,
    carried: Floats | None,
) -> Floats | Ints:  # fmt: skip
    """The feature of the rows `at`; a number that there is none of is NaN."""
    if feature.function == "change":
        x, counted = _numbers(rows, feature.argument)
        before = at - (feature.rows or 0)
        is_there = before >= frames.last_rows((feature.rows or 0) + 1)[at]
        before = np.maximum(before, 0)
        is_there &= counted[before] & counted[at] if len(at) else is_there
        return np.where(is_there, x[at] - x[before], np.nan) if len(at) else np.empty(0)
    if feature.function == "days_since":
        return _days_since(conditions[feature.argument], frames, at, is_carried, carried)
    if feature.is_condition:
        x, counted = np.empty(0), conditions[feature.argument]
    elif feature.argument:
        x, counted = _numbers(rows, feature.argument) if feature.function != "count" else (np.empty(0), _valid(rows, feature.argument))  # fmt: skip
    else:
        x, counted = np.empty(0), np.ones(len(frames), bool)
    if feature.clock is not None:
        counted = counted & frames.within(feature.clock)
    if feature.rows is not None:
        return _over(feature, x, counted, frames.last_rows(feature.rows)[at], at + 1)
    if feature.span is not None:
        return _over(feature, x, counted, frames.since(feature.span)[at], frames.behind[at])
    if carried is None:
        return _of_days(feature, x, counted, frames, at)
    found = carried.copy()
    found[~is_carried] = _of_days(feature, x, counted, frames, at[~is_carried])
    return found


def _of_days(feature: Feature, x: Floats, counted: Bools, frames: Frames, at: Ints) -> Floats | Ints:
    """Of the history, once for each series and day."""
    if not len(at):
        return np.empty(0)
    days, place = np.unique(frames.today[at], return_inverse=True)
    return _over(feature, x, counted, frames.oldest[days], days)[place]


def _over(feature: Feature, x: Floats, counted: Bools, low: Ints, high: Ints) -> Floats | Ints:
    if feature.function in ("count", "count_if"):
        return counts(counted, low, high)
    return aggregate(str(feature.function), x, counted, low, high, feature.rank)


def _days_since(condition: Bools, frames: Frames, at: Ints, is_carried: Bools, carried: Floats | None) -> Floats:
    """From when it was last true, within the history and today."""
    if not len(at):
        return np.empty(0)
    row = newest(condition, frames.behind[at])
    is_there = row >= frames.oldest[at]
    last = np.where(is_there, frames.time[row], np.nan)
    if carried is not None:
        last = np.where(is_carried & ~is_there, carried, last)
    return (frames.time[at] - last) / _DAY


def _numbers(rows: pa.Table, name: str) -> tuple[Floats, Bools]:
    """A column as floats, and which of them are numbers."""
    column = rows[name].cast(pa.float64())
    x = column.to_numpy() if column.null_count == 0 else column.fill_null(float("nan")).to_numpy()
    return x, np.isfinite(x)


def _valid(rows: pa.Table, name: str) -> Bools:
    return rows[name].is_valid().to_numpy()


def _conditions(rows: pa.Table, features: Sequence[Feature]) -> dict[str, Bools]:
    """Which rows meet each condition; one that is NULL does not."""
    texts = list(dict.fromkeys(feature.argument for feature in features if feature.is_condition))
    if not texts:
        return {}
    told = ", ".join(f"coalesce(({text}\n), false) AS c{n}" for n, text in enumerate(texts))
    found = _asked(rows, f"SELECT {told} FROM rows")
    return {text: found[f"c{n}"].to_numpy() for n, text in enumerate(texts)}


def _expressions(
    shown: dict[str, pa.ChunkedArray], made: dict[str, pa.Array | pa.ChunkedArray], features: Sequence[Feature]
) -> dict[str, pa.ChunkedArray]:
    """The features that are expressions, each over the fields and the features that stand before it."""
    written = [feature for feature in features if feature.function is None]
    if not written:
        return {}
    sql, rows = "SELECT * FROM rows", pa.table({**shown, **made})
    for number, feature in enumerate(written):  # under a name of its own: a field may be called as it is
        kind = _asked(rows.slice(0, 0), f"SELECT ({feature.argument}\n) AS x FROM ({sql})").schema.field(0).type
        told = f"CAST(({feature.argument}\n) AS {_KINDS[plain(kind)]})"  # 0.6 is a decimal there, to Arrow 0.6000000000000001
        sql = f"SELECT *, {told} AS {_inner(feature, shown, number)} FROM ({sql})"
    names = [_inner(feature, shown, number) for number, feature in enumerate(written)]
    found = _asked(rows, f"SELECT {', '.join(names)} FROM ({sql})")
    return {f.name: found.column(n).cast(plain(found.schema.field(n).type)) for n, f in enumerate(written)}


_KINDS = {
    pa.float64(): "DOUBLE", pa.int64(): "BIGINT", pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.date32(): "DATE",
    pa.timestamp("us", "UTC"): "TIMESTAMPTZ",
}  # fmt: skip
"""The types that `plain` gives."""


def _inner(feature: Feature, shown: dict[str, pa.ChunkedArray], number: int) -> str:
    return double_quoted(f"__feature_{number}" if feature.name in shown else feature.name)


def _asked(rows: pa.Table, sql: str) -> pa.Table:
    cursor = sandbox().cursor()
    cursor.register("rows", rows)
    try:
        return cursor.sql(sql).to_arrow_table()
    finally:
        cursor.unregister("rows")


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
