"""Rows that are made by series: of each series that changed those from its earliest changed reading on.

            since     is read from                                      is replaced
features
  in order  10:15     10:15 - recent (the history is the newest row's)  10:15 on
  late      08:00     08:00 - history                                   08:00 on
scores, where the detectors tell how far they look (transforms/detect/reach.py)
  any       10:15     10:15 - so far                                    10:15 on
  sparse    10:15     its first reading                                 10:15 on

Readings of different times are read apart, so that a late one does not have all others' history read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from beam_grid.analyses import Analysis
from beam_grid.analyses.features import Told
from beam_grid.lakehouse.bounds import least, not_before
from beam_grid.lakehouse.spans import timestamp_sql
from beam_grid.lakehouse.tables import literal
from beam_grid.lakehouse.touched.rows import Below, Touched, candidate
from data_sources.identifiers import backticked, double_quoted

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.analyses.detections import Detect
    from beam_grid.lakehouse.engines import Engine
    from transforms.detect.reach import Reach

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Of Python's times, in microseconds."""

_DAY = 86_400_000_000

COUNTED = 30
"""Days before the change in which detectors that count readings find as many as they need, or a series is read as a whole. The
last does not count: a reading's own hour is no history, and may last longer where a clock goes back."""


def of_features(
    engine: Engine, below: Below, analysis: Analysis, made: Told, changed: str, newest: str | None
) -> Touched:
    """newest: the table's newest rows as they were, if they are known."""
    from transforms.features.since import since_of

    series, time = double_quoted(made.series), double_quoted(made.time)
    beside = f"LEFT JOIN {newest} n ON c.__g0 = n.{series}" if newest else ""
    carried = [feature.name for feature in made.definition.features if feature.is_carried]
    columns = [f"n.{double_quoted(name)}" for name in carried] if newest else []
    at = f"n.{time}" if newest else "CAST(NULL AS TIMESTAMPTZ)"
    found = engine.ask(
        f"SELECT c.*, {', '.join([f'{at} AS __newest', *columns])} FROM (SELECT {series} AS __g0, min({time}) AS __since, "
        f"max({time}) AS __upto FROM {changed} WHERE {series} IS NOT NULL AND {time} IS NOT NULL GROUP BY 1) c {beside} ORDER BY 1"
    )
    since, read_from = since_of(found, made.definition, carried if newest else [])
    view, function = f"{candidate(analysis)}_touched", made.since(since)
    engine.give(view, found.select(["__g0", "__since"]))
    is_near = since.time - read_from <= made.definition.recent
    read = _read(engine, below, made, view, found, read_from, (is_near, ~is_near))
    if not found.num_rows:
        return Touched(view, "true", "false", function, narrowed=_any_of(engine, below, read))
    earliest = int(since.time.min())
    where = not_before(made.time, _moment(earliest))
    return Touched(view, "true", _is_since(made, view, earliest), function, where, _any_of(engine, below, read))


def of_scores(engine: Engine, below: Below, analysis: Analysis, made: Detect, reach: Reach, changed: str) -> Touched:
    """A row without a series depends on no other."""
    series, time = double_quoted(made.series), double_quoted(made.time)
    view = f"{candidate(analysis)}_touched"
    (first,) = engine.ask(f"SELECT min({time}) AS t FROM {changed}")["t"].to_pylist()
    found = engine.ask(
        f"SELECT {series} AS __g0, min({time}) AS __since FROM {changed} "
        f"WHERE {series} IS NOT NULL AND {time} IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    engine.give(view, found)
    since = _micros(found["__since"])
    function = made.since(_array(found["__g0"]), since)
    if first is None:
        return Touched(view, "true", "false", function, narrowed=_any_of(engine, below, []))
    read_from = since - reach.days * _DAY
    is_new = since >= since.max(initial=_FIRST) - _DAY
    has_more = read_from > _oldest(below, made.time)
    is_enough = ~has_more
    for mask in (has_more & is_new, has_more & ~is_new):
        if mask.any():
            is_enough[mask] = _is_enough(engine, below, made, reach, f"{view}_asked", found.filter(mask))
    read_from[~is_enough] = _FIRST
    read = _read(engine, below, made, view, found, read_from, (is_enough & is_new, is_enough & ~is_new, ~is_enough))
    where = not_before(made.time, first)
    nameless = f"{series} IS NULL AND {time} >= TIMESTAMPTZ {literal(first.isoformat())}"
    read.append(f"SELECT * FROM {below.rows(engine, where)} WHERE {nameless}")
    moment = timestamp_sql((first - _EPOCH) // timedelta(microseconds=1))
    is_nameless = f"({backticked(made.series)} IS NULL AND {backticked(made.time)} >= {moment})"
    is_replaced = f"({_is_since(made, view, int(since.min(initial=_LAST)))} OR {is_nameless})"
    return Touched(view, "true", is_replaced, function, where, _any_of(engine, below, read))


def _oldest(below: Below, time: str) -> int:
    """No reading is from before."""
    found = [least(file, time, "timestamp") for file in below.files]
    if any(at is None for at in found):
        return _FIRST
    return min(((at - _EPOCH) // timedelta(microseconds=1) for at in found if isinstance(at, datetime)), default=_LAST)


def _is_enough(engine: Engine, below: Below, made: Detect, reach: Reach, asked: str, found: pa.Table) -> Bools:
    """Whether the readings that `reach` wants are there, by series."""
    import pyarrow.compute as pc

    series, time, value = (double_quoted(name) for name in (made.series, made.time, made.values[0]))
    days = reach.days if reach.and_before else COUNTED
    first = _moment(int(_micros(found["__since"]).min()) - days * _DAY)
    engine.give(asked, found)
    number = f"CAST(r.{value} AS DOUBLE)"  # as detectors see it
    lately = f"r.{time} >= g.__since - to_days({COUNTED}) AND r.{time} < g.__since - to_days(1)"
    enough = [
        f"count(*) FILTER ({lately}) >= {reach.rows}",
        f"min({number}) FILTER ({lately}) < max({number}) FILTER ({lately})",
    ]
    if reach.and_before:
        enough.append(f"min(r.{time}) < min(g.__since) - to_days({reach.days - COUNTED})")
    said = engine.ask(
        f"SELECT g.__g0 FROM {below.rows(engine, not_before(made.time, first))} r JOIN {asked} g ON r.{series} = g.__g0 "
        f"WHERE r.{time} >= g.__since - to_days({days}) AND isfinite({number}) "
        f"GROUP BY 1 HAVING {' AND '.join(enough)}"
    )
    is_in: Bools = pc.is_in(_array(found["__g0"]), _array(said["__g0"])).to_numpy(zero_copy_only=False)
    return is_in


def _read(
    engine: Engine,
    below: Below,
    made: Told | Detect,
    view: str,
    found: pa.Table,
    read_from: Ints,
    masks: Iterable[Bools],
) -> list[str]:
    """A SELECT for each mask: the readings of its series from the earliest of their times on."""
    import pyarrow as pa

    series, time = double_quoted(made.series), double_quoted(made.time)
    parts: list[str] = []
    for number, mask in enumerate(masks):
        if mask.any():
            these, first = f"{view}_{number}", _moment(int(read_from[mask].min()))
            engine.give(these, found.select(["__g0"]).filter(pa.array(mask)))
            parts.append(
                f"SELECT r.* FROM {below.rows(engine, not_before(made.time, first))} r "
                f"SEMI JOIN {these} g ON r.{series} = g.__g0 WHERE r.{time} >= TIMESTAMPTZ {literal(first.isoformat())}"
            )
    return parts


def _any_of(engine: Engine, below: Below, parts: list[str]) -> str:
    return f"({' UNION ALL '.join(parts) or f'SELECT * FROM {below.rows(engine)} WHERE false'})"


def _is_since(made: Told | Detect, view: str, earliest: int) -> str:
    """Whether a row is of a series that changed, and not before that; in Spark's SQL."""
    row, when = backticked(made.series), backticked(made.time)
    return (
        f"({when} >= {timestamp_sql(earliest)} AND "
        f"EXISTS (SELECT 1 FROM {view} __g WHERE __g.__g0 = {row} AND {when} >= __g.__since))"
    )


def _array(names: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    found = names.combine_chunks()
    return pa.array([], names.type) if isinstance(found, pa.ChunkedArray) else found  # of no rows


def _micros(times: pa.ChunkedArray) -> Ints:
    import pyarrow as pa

    found: Ints = times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return found


def _moment(micros: int) -> datetime:
    """As far as Python has it."""
    return _EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))
