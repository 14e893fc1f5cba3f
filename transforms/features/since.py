"""From when on the rows of each series are made anew, and what of its newest row goes on being true.

newest row, 10:00      today's changes, 10:15 on, all newer     the history's features are the newest row's
newest row, 23:50      the next local day                       they are read anew
newest row, 10:00      a late reading of 08:00                  they are read anew
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.detect.readings import DAY, offsets
from transforms.features.rows import Definition, Since

Ints = npt.NDArray[np.int64]


def since_of(changed: pa.Table, definition: Definition, carried: Sequence[str]) -> tuple[Since, Ints]:
    """What `feature_rows` takes, and from which time on it needs each series' readings, in microseconds.

    changed: a row per series: `__g0` its name, `__since` and `__upto` the least and greatest time of its changed readings,
    `__newest` the time of its newest row as it was, null where it has none, and that row's columns called as in `carried`.
    """
    since, upto, newest = (_micros(changed[name]) for name in ("__since", "__upto", "__newest"))
    is_known = changed["__newest"].is_valid().to_numpy()
    days = [_day(time, definition.zone) for time in (since, upto, newest)]
    is_carried = is_known & (newest < since) & (days[0] == days[1]) & (days[0] == days[2])
    values: dict[str, npt.NDArray[np.float64]] = {}
    for feature in definition.features:
        if feature.name in carried:
            column = changed[feature.name].cast(pa.float64()).fill_null(float("nan")).to_numpy()
            values[feature.name] = np.round(newest - column * DAY) if feature.function == "days_since" else column
    history = max((definition.history + 2) * DAY, definition.recent)
    is_short = is_carried | (not any(feature.is_carried for feature in definition.features))
    read_from = since - np.where(is_short, definition.recent, history)
    names = changed["__g0"].combine_chunks()
    if isinstance(names, pa.ChunkedArray):  # of no rows
        names = pa.array([], names.type)
    return Since(names, since, is_carried, values), read_from


def _micros(column: pa.ChunkedArray) -> Ints:
    return column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(0).to_numpy()


def _day(time: Ints, zone: str) -> Ints:
    order = np.argsort(time, kind="stable")  # few distinct quarters of hours follow each other then
    day = np.empty_like(time)
    day[order] = (time[order] + offsets(time[order], zone)) // DAY
    return day
