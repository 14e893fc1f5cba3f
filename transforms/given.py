"""What a transform is given, checked against the contract before anything is computed; lineage is made where it is missing.

    batch of one's own     pump | read_at | kwh                      ─► + _source, _position, ... null
    batch of ReadAndJudge  pump | read_at | kwh | _source | ... | _order  ─► as it is

A batch that has all columns in the contract's types costs a comparison of schemas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import LINEAGE, Contract, WindowSpec
from transforms.dedup import ORDER


def rows_given(batch: Any, contract: Contract, step: str) -> pa.RecordBatch:
    """The contract's columns and the lineage of a batch, and `_order` where it has that; others are left out.

    Lineage that is missing is null. A column of another type is cast where no value changes. Raises ValueError, naming
    step, column and remedy, for what is no batch, a column of the contract that is missing or there twice, and values that
    do not fit.
    """
    who = f"{step} of {contract.name}"
    if not isinstance(batch, pa.RecordBatch):
        raise ValueError(f"{who}: an element is {_kind(batch)}, not an Arrow RecordBatch; see transforms.__doc__")
    fields = {field.name: field.type for field in contract.schema}
    there = set(batch.schema.names)
    if missing := [name for name in fields if name not in there]:
        raise ValueError(
            f"{who}: rows lack {missing}, fields of the contract ({', '.join(f'{n}: {fields[n]}' for n in missing)}); they "
            f"have {batch.schema.names}. Make them in the step before (null where there is no value), or leave them out of "
            "the contract"
        )
    wanted = {**fields, **LINEAGE}
    names = [*wanted, ORDER] if ORDER in there else list(wanted)
    if batch.schema.names == names and all(_fits(f.type, wanted.get(f.name)) for f in batch.schema):
        return batch
    if twice := [name for name in names if batch.schema.names.count(name) > 1]:
        raise ValueError(f"{who}: rows have several columns called {twice}; rename them, or leave out all but one")
    columns = [_column(batch, name, wanted.get(name, pa.int64()), who) for name in names]
    return pa.RecordBatch.from_arrays(columns, names)


def check_times(rows: pa.Table | pa.RecordBatch, contract: Contract, step: str) -> None:
    """Raises ValueError where rows have no event time; a tombstone among changes has none."""
    if contract.lake.load == "append" and (nulls := rows.column(contract.event_time).null_count):
        raise ValueError(
            f"{step} of {contract.name}: {contract.event_time!r}, the event time, is null in {nulls} rows; leave them out "
            "before, as ReadAndJudge does (it rejects them)"
        )


def keyed(element: Any, step: str) -> tuple[int, pa.RecordBatch]:
    """(shard, batch); raises ValueError, with the remedy, for another element."""
    if isinstance(element, tuple) and len(element) == 2:
        return element
    raise ValueError(f"{step}: an element is {_kind(element)}, not (shard, batch); put KeyByShard(contract) before it")


def check_window(contract: Contract, window: Any, step: str) -> None:
    """Raises ValueError for a window that is not one of the contract's."""
    if not isinstance(window, WindowSpec) or window.name not in {known.name for known in contract.windows}:
        name = window.name if isinstance(window, WindowSpec) else repr(window)
        known = ", ".join(f"contract.windows[{n}] is {w.name}" for n, w in enumerate(contract.windows))
        raise ValueError(f"{step} of {contract.name}: {name} is no window of the contract; {known or 'it has none'}")


def _fits(kind: pa.DataType, wanted: pa.DataType | None) -> bool:
    """Whether a column may stay as it is; texts may be dictionaries."""
    return wanted is None or kind == wanted or (pa.types.is_dictionary(kind) and kind.value_type == wanted)


def _column(batch: pa.RecordBatch, name: str, kind: pa.DataType, who: str) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    column = batch.column(name)
    if _fits(column.type, kind):
        return column
    said = f"{who}: column {name!r} is {column.type}, the contract says {kind}, and its values do not fit"
    try:
        made = column.cast(kind)
    except pa.ArrowException as cause:
        raise ValueError(f"{said} ({cause})") from cause
    if _changes(column, made):
        raise ValueError(f"{said}: they have more places, or a time of day; round or cut them before")
    return made


def _changes(column: pa.Array, made: pa.Array) -> bool:
    """Whether Arrow rounded a fraction to a decimal's places, by more than a float is off, or cut a time of day off a date: it does so
    without a word."""
    if pa.types.is_timestamp(column.type) and pa.types.is_date(made.type):
        return bool(pc.any(pc.not_equal(made.cast(column.type), column)).as_py())
    if not (pa.types.is_floating(column.type) and pa.types.is_decimal(made.type)):
        return False
    given, back = (a.cast(pa.float64()).fill_null(0).to_numpy() for a in (column, made))
    return bool((np.abs(given - back) > 16 * np.finfo(f"f{column.type.bit_width // 8}").eps * np.abs(given)).any())


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
