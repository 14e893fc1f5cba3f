"""Texts to typed columns, whole arrays at a time, exact about which values do not fit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import CsvSpec, FieldSpec
from data_sources.decode.kernels import NONE, drop_non_finite, try_cast
from data_sources.decode.kernels import UTC_MICROS as UTC_MICROS
from data_sources.decode.kernels import beyond_years as beyond_years
from data_sources.decode.numbers import plain_numbers
from data_sources.decode.times import parse_dates as parse_dates
from data_sources.decode.times import parse_timestamps as parse_timestamps
from data_sources.decode.times import refusals
from data_sources.patterns import first_groups


def parse_text(values: pa.Array, field: FieldSpec, csv: CsvSpec | None = None) -> tuple[pa.Array, np.ndarray]:
    """Text to the field's type; returns typed array and refused indices. Floats are finite.

    csv: how numbers are written; without it, as programs write them.
    """
    if field.type == "string":
        return values, NONE
    odd = NONE
    if csv is not None and (field.is_numeric or field.epoch):
        values, odd = plain_numbers(values, csv)
    if field.type in ("timestamp", "date"):
        typed, bad = _times(values, field)
    else:
        cast = _to_int if field.type == "int64" else lambda a: pc.cast(a, field.arrow)
        typed, bad = try_cast(values, cast)
        if len(bad):
            typed, bad = try_cast(pc.utf8_trim_whitespace(values), cast)
        if field.type == "float64":
            typed, infinite = drop_non_finite(typed)
            bad = np.union1d(bad, infinite)
    return typed, np.union1d(bad, odd) if len(odd) else bad


def take_pattern(texts: pa.Array, field: FieldSpec, nulls: list[str]) -> tuple[pa.Array, np.ndarray]:
    """What the field's pattern takes out of each text, null where that is one of `nulls`; indices without a match."""
    if field.pattern is None:
        return texts, NONE
    groups, unmatched = first_groups(texts, field.pattern)
    return pc.if_else(pc.is_in(groups, pa.array(nulls, pa.string())), pa.scalar(None, pa.string()), groups), unmatched


def reasons(texts: pa.Array, bad: np.ndarray, field: FieldSpec) -> list[tuple[str, str]]:
    """Rule and sentence of each refused text."""
    rule = f"{'time' if field.type in ('timestamp', 'date') else 'type'}:{field.name}"
    return [(rule, reason) for reason in refusals(texts.take(pa.array(bad)), field)]


def _times(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Times and refused indices; blanks around a time are none of it, as with numbers."""
    read = parse_timestamps if field.type == "timestamp" else parse_dates
    typed, bad = read(values, field)
    if not len(bad):
        return typed, bad
    refused = values.take(pa.array(bad))
    again, still_bad = read(pc.utf8_trim_whitespace(refused), field)
    mask = np.zeros(len(values), bool)
    mask[bad] = True
    return pc.replace_with_mask(typed, pa.array(mask), again), bad[still_bad]


def _to_int(values: pa.Array) -> pa.Array:
    """Decimal digits only: Arrow would take 0x1F for 31."""
    if pc.any(pc.match_substring(values, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("hexadecimal")
    return pc.cast(values, pa.int64())
