"""Detectors over a stream of readings, a group of whole series at a time: what a table of scores is made with.

    rows, sorted by series and time   ─► whole series, GROUP rows or more ─► detect ─► rows beside their scores

A plain function of record batches: an engine in this process calls it, a worker of Spark's, or a program of one's own.
Memory is a group, or the longest series. No row is left out: one that cannot be judged has no score and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract.detections import COLUMNS
from data_sources.errors import UserError
from transforms.detect.readings import Ints, readings_of
from transforms.detect.run import detect
from transforms.detect.scores import SCHEMA, Scores
from transforms.whole_series import whole_series

THRESHOLD = 0.003
"""A reading is flagged whose probability is below: beyond three deviations, if readings are normal."""

COMPOSITE = 0.5
"""The composite has no probability; the score above which it flags."""


def scored(
    batches: Iterable[pa.RecordBatch],
    *,
    series: str,
    time: str,
    values: Sequence[str],
    detectors: Sequence[str],
    time_zone: str = "UTC",
    resolution: float | None = None,
    threshold: float | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows with `COLUMNS` beside them, one per detector. A series' rows stand together, in order of time.

    threshold: the probability below which `is_anomaly`; None is THRESHOLD. Raises UserError as `readings_of` does.
    """

    def judged(rows: pa.Table) -> Iterator[pa.RecordBatch]:
        readings = readings_of(rows, series=series, time=time, values=values, zone=time_zone, resolution=resolution)
        schema = scored_schema(rows.schema, series=series, time=time, values=values)
        carried = rows.select(schema.names[: -len(COLUMNS)])
        left_out = np.ones(rows.num_rows, bool)
        left_out[readings.places] = False
        missed = np.flatnonzero(left_out)
        why = _why(rows.take(missed), series, time)
        limit = THRESHOLD if threshold is None else threshold
        for scores in detect(readings, detectors).values():
            said = scores.table(readings)
            whole = pa.table([*carried.take(said["row"]), *_columns(said, limit)], schema=schema)
            rest = pa.table([*carried.take(missed), *_nothing(scores, why)], schema=schema)
            yield from pa.concat_tables([whole, rest]).to_batches()

    for rows in whole_series(batches, series):
        yield from judged(rows)


def scored_since(
    batches: Iterable[pa.RecordBatch], *, names: pa.Array, since: Ints, series: str, time: str, **settings: Any
) -> Iterator[pa.RecordBatch]:
    """As `scored`, without the rows of the named series that are earlier than `since` says of each, in microseconds since
    the epoch. Rows of other series, and of none, are all there."""
    first = pa.array(since)
    for batch in scored(batches, series=series, time=time, **settings):
        place = pc.index_in(batch[series], names.cast(batch.schema.field(series).type))
        at = batch[time].cast(pa.timestamp("us", tz=batch.schema.field(time).type.tz)).cast(pa.int64())
        yield batch.filter(pc.fill_null(pc.greater_equal(at, first.take(place)), True))


def scored_schema(rows: pa.Schema, *, series: str, time: str, values: Sequence[str]) -> pa.Schema:
    """The columns of the answer: those of the rows but the first value, which is `value` there, then `COLUMNS`.

    Raises UserError for a column that is missing, of another kind, or called as one of `COLUMNS`.
    """
    readings_of(rows.empty_table(), series=series, time=time, values=values)
    carried = [field for field in rows if field.name != values[0]]
    for field in carried:
        if field.name.lower() in COLUMNS:
            raise UserError(f"detectors: the answer has a column '{field.name}' of its own; call the rows' otherwise")
    return pa.schema([*carried, *_kinds().items()])


def _kinds() -> dict[str, pa.DataType]:
    """The types of `COLUMNS`."""
    kinds = {field.name: _plain(field.type) for field in SCHEMA} | {"is_anomaly": pa.bool_()}
    return {name: kinds[name] for name in COLUMNS}


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _columns(said: pa.Table, limit: float) -> list[pa.ChunkedArray | pa.Array]:
    """`COLUMNS` from what a detector said."""
    composite = pc.equal(pc.cast(said["detector"], pa.string()), "composite")
    rare = pc.if_else(composite, pc.greater(said["score"], COMPOSITE), pc.less(said["probability"], limit))
    return [rare if name == "is_anomaly" else _decoded(said[name]) for name in COLUMNS]


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(_plain(column.type))


def _nothing(scores: Scores, why: pa.Array) -> list[pa.Array]:
    """`COLUMNS` of rows that are no readings."""
    said = {"detector": scores.detector, "model_version": scores.model_version}
    none = {name: pa.array([said.get(name)] * len(why), kind) for name, kind in _kinds().items()}
    return list((none | {"fallback": why}).values())


def _why(rows: pa.Table, series: str, time: str) -> pa.Array:
    """What each of the rows lacks."""
    lacks = pc.case_when(
        pc.make_struct(pc.is_null(rows[series]), pc.is_null(rows[time])), pa.scalar("no series"), pa.scalar("no time"),
        pa.scalar("no number"),
    )  # fmt: skip
    return lacks.combine_chunks() if isinstance(lacks, pa.ChunkedArray) else lacks
