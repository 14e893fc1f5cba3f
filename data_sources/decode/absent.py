"""Empty cells of an unpivoted row that stand for no time of its day: they are no records.

A row a day has as many columns as the longest day, so most days leave some empty:

    columns     00:00  ...  23:30  24:00  24:30      on a day of 24 hours 24:00 and 24:30 are empty; 24:00 would be a null
                                                     at the next day's first instant, beside (or before) its value
    columns     00:15  ...  24:00                    no column at the day's beginning: 24:00 is this day's, null or not
    columns     ...  02:00  02:30  ...               empty on the day on which the clock skips that hour

A cell with a value is a record, or a reject, wherever it stands; so is any cell of a row without a time.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract, FieldSpec
from data_sources.decode.rejects import Decoded
from data_sources.decode.times import day_starts, local_times, shifted

_DAY = 86_400_000_000
_LONGEST = 3 * 3_600_000_000
"""Beyond a day's end: as far as columns of one day go. A row that goes farther holds several days."""


def absent(times: dict[str, pa.Array], empty: np.ndarray, rows: np.ndarray, contract: Contract) -> np.ndarray:
    """Mask of the records that are none.

    times: the contract's timestamps, null where refused; empty: whether the record's cell is; rows: which row each
    record is of.
    """
    found = np.zeros(len(rows), bool)
    slot = contract.unpivot.into[0] if contract.unpivot else ""
    for field in contract.fields if empty.any() else ():
        if field.type == "timestamp" and isinstance(field.source, list) and slot in field.source:
            found |= empty & _beyond_its_day(times[field.name], rows, field)
    return found


def _beyond_its_day(times: pa.Array, rows: np.ndarray, field: FieldSpec) -> np.ndarray:
    times = times if field.shift is None else shifted(times, -field.shift)
    refused = times.is_null().to_numpy(zero_copy_only=False)
    micros = pc.cast(times, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    _, row = np.unique(rows, return_inverse=True)
    first, last = (
        np.full(row.max(initial=-1) + 1, bound) for bound in (np.iinfo(np.int64).max, np.iinfo(np.int64).min)
    )
    np.minimum.at(first, row[~refused], micros[~refused])
    np.maximum.at(last, row[~refused], micros[~refused])
    has_time = last >= first
    local = np.zeros(len(first), np.int64)
    local[has_time] = local_times(first[has_time], field.time_zone)
    midnight = local // _DAY * _DAY
    ends = day_starts(midnight + _DAY, field.time_zone)
    is_one_day = has_time & (first == day_starts(midnight, field.time_zone)) & (last < ends + _LONGEST)
    return np.where(refused, has_time[row], is_one_day[row] & (micros >= ends[row]))


def without(decoded: Decoded, dropped: np.ndarray) -> Decoded:
    """The records but those of the mask, counted anew."""
    assert decoded.parents is not None
    kept = np.flatnonzero(~dropped)
    number = np.cumsum(~dropped) - 1

    def counted(table: pa.Table) -> pa.Table:
        index = table["_index"].to_numpy()
        stays = ~dropped[index]
        at = table.column_names.index("_index")
        return table.filter(pa.array(stays)).set_column(at, "_index", pa.array(number[index[stays]], pa.int64()))

    return decoded._replace(
        rows=counted(decoded.rows),
        rejecting=decoded.rejecting.only(kept),
        parents=decoded.parents[kept],
        twice=None if decoded.twice is None else counted(decoded.twice),
    )
