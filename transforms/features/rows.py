"""A stream of readings as rows of features, a group of whole series at a time: what a table of features is made with.

    readings, sorted by series and time ─► whole series ─► frames ─► aggregates ─► expressions ─► a row per reading

A plain function of record batches, for an engine of this process, a worker of Spark's, or a program of one's own.
Readings without a series or a time have no row: nobody could ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract.features import VERSION, Feature
from data_sources.errors import UserError
from transforms.features.expressions import Expressions
from transforms.features.frames import Frames
from transforms.features.group import Group
from transforms.whole_series import GROUP, whole_series

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
    carried: dict[str, Floats] = field(default_factory=dict)


def feature_rows(
    batches: Iterable[pa.RecordBatch], definition: Definition, since: Since | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of `feature_schema`. A series' readings stand together, in order of time and key. Raises UserError for a
    column that is missing or does not fit."""
    expressions: Expressions | None = None
    waiting: list[pa.Table] = []
    for rows in whole_series(batches, definition.series):
        waiting.append(_aggregated(rows, definition, since))
        expressions = expressions or Expressions(definition.features, waiting[0].schema)
        if sum(part.num_rows for part in waiting) >= GROUP:  # of a few rows each they would cost more than all else
            yield from _finished(pa.concat_tables(waiting), definition, expressions).to_batches()
            waiting.clear()
    if waiting and expressions is not None:
        yield from _finished(pa.concat_tables(waiting), definition, expressions).to_batches()


def feature_schema(rows: pa.Schema, definition: Definition) -> pa.Schema:
    """The columns of the table, where the readings' are `rows`: what names a row, the features, the version."""
    over = [f.argument for f in definition.features if f.function and not f.is_condition and f.argument]
    for name in [*definition.named, *over]:
        if name not in rows.names:
            raise UserError(f"features: no column '{name}'; the table has {', '.join(rows.names)}")
    kind = rows.field(definition.time).type
    if not pa.types.is_timestamp(kind):
        raise UserError(f"features: column '{definition.time}' is {kind}; a timestamp is needed")
    made = _aggregated(rows.empty_table(), definition, None)
    return _finished(made, definition, Expressions(definition.features, made.schema)).schema


def _aggregated(rows: pa.Table, definition: Definition, since: Since | None) -> pa.Table:
    """The rows that are wanted, beside them the features that are no expressions"""
    for name in (definition.series, definition.time):
        if rows[name].null_count:
            rows = rows.filter(pc.is_valid(rows[name]))
    code, names, time = _placed(rows, definition)
    later = (code[1:] > code[:-1]) | ((code[1:] == code[:-1]) & (time[1:] >= time[:-1]))
    if not later.all():
        order = np.lexsort((time, code))
        rows, code, time = rows.take(order), code[order], time[order]
    at = np.arange(len(code))
    is_carried, carried = np.zeros(len(at), bool), {}
    if since is not None and len(code):
        place = pc.index_in(names, since.series).to_numpy()[code]
        at = np.flatnonzero(time >= since.time[place])
        place = place[at]
        is_carried = since.is_carried[place]
        carried = {name: values[place] for name, values in since.carried.items()}
    frames = Frames(code, time, definition.zone, definition.history, definition.recent)
    made = Group(rows, frames, at, is_carried, carried).features([f for f in definition.features if f.function])
    wanted = rows.take(at) if len(at) < len(code) else rows
    return pa.table({name: _decoded(wanted[name]) for name in wanted.column_names} | made)


def _finished(rows: pa.Table, definition: Definition, expressions: Expressions) -> pa.Table:
    made = expressions.of(rows)
    columns = {name: rows[name] for name in definition.named}
    columns |= {f.name: made[f.name] if f.function is None else rows[f.name] for f in definition.features}
    return pa.table(columns | {VERSION: pa.array([definition.version] * rows.num_rows, pa.string())})


def _placed(rows: pa.Table, definition: Definition) -> tuple[Ints, pa.Array, Ints]:
    """A number for each row's series in the order in which they come, their names, and the rows' times."""
    named = _decoded(rows[definition.series])
    time = rows[definition.time].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    encoded = pc.dictionary_encode(named).combine_chunks()
    if not isinstance(encoded, pa.DictionaryArray):  # of no chunks
        return np.empty(0, np.int64), pa.array([], named.type), time
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary, time


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
