"""From texts to a contract's typed columns: one way for CSV, for constants and for texts in JSON and Parquet.

text ──► pattern ──► null words ──► numbers written plainly ──► type ──► (finish: shift, years, nulls)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract, CsvSpec, FieldSpec
from data_sources.decode.casting import parse_text, reasons, take_pattern
from data_sources.decode.kernels import NONE, scatter
from data_sources.decode.rejects import Rejecting
from data_sources.decode.times import COUNT

Convert = Callable[[pa.Array, FieldSpec], tuple[pa.Array, np.ndarray]]
Said = Callable[[pa.Array, np.ndarray, FieldSpec], list[str]]


class Reading:
    """Reads the texts of a block's fields; what is no value of its field is a reject of the record at `index`.

    later: of fields with on_dst = "in_order", the instants where each local time is taken for the later one.
    """

    def __init__(
        self, contract: Contract, index: np.ndarray, rejecting: Rejecting, constants: Mapping[str, str | None]
    ) -> None:
        self._index, self._rejecting, self._constants = index, rejecting, constants
        self._of_changes = contract.lake.load == "cdc"
        self._csv = contract.csv if contract.format == "csv" else None
        self._nulls = contract.csv.nulls if contract.format == "csv" else []
        self.later: dict[str, pa.Array] = {}

    def taken(self, texts: pa.Array, field: FieldSpec) -> pa.Array:
        """The texts as the field's pattern takes them."""
        if field.pattern is None:
            return texts
        groups, unmatched = take_pattern(texts, field, self._nulls)
        for i in unmatched.tolist():
            shown = texts[i].as_py()[:60]
            reason = f"{field.name}: pattern '{field.pattern}' is not found in {shown!r}"
            self._rejecting.add(self._index[i], "undecodable", f"pattern:{field.name}", reason)
        return groups

    def typed(self, texts: pa.Array, field: FieldSpec) -> pa.Array:
        """The field's values, of texts that its pattern has been taken from."""
        if field.epoch and self._of_changes:
            values, bad = _counted_or_iso(texts, field, self._csv)
        else:
            values, bad = parse_text(texts, field, self._csv)
        for i, (rule, reason) in zip(bad.tolist(), reasons(texts, bad, field) if len(bad) else (), strict=True):
            self._rejecting.add(self._index[i], "undecodable", rule, reason)
        if field.on_dst == "in_order":
            self.later[field.name], _ = parse_text(texts, taken_later(field), self._csv)
        return values

    def native(self, column: pa.Array, field: FieldSpec, convert: Convert, said: Said) -> pa.Array:
        """The field's values, of a column that has types of its own."""
        values, bad = convert(column, field)
        rule = f"{'time' if field.type in ('timestamp', 'date') else 'type'}:{field.name}"
        for i, reason in zip(bad.tolist(), said(column, bad, field) if len(bad) else (), strict=True):
            self._rejecting.add(self._index[i], "undecodable", rule, reason)
        if field.on_dst == "in_order":
            self.later[field.name], _ = convert(column, taken_later(field))
        return values

    def has_constant(self, field: FieldSpec) -> bool:
        return field.name in self._constants

    def constant(self, field: FieldSpec, count: int) -> pa.Array:
        """The text that holds for all records, its pattern taken."""
        return self.taken(self.said(field.name, count), field)

    def said(self, name: str, count: int) -> pa.Array:
        """The text of that name, which holds for all records."""
        text = self._constants[name]
        if text is None or text in self._nulls:
            return pa.nulls(count, pa.string())
        return pa.repeat(pa.scalar(text, pa.string()), count)


def _counted_or_iso(texts: pa.Array, field: FieldSpec, csv: CsvSpec | None) -> tuple[pa.Array, np.ndarray]:
    """In a feed of changes `format` says how numbers are read; text is ISO, as Debezium's numbers by now are."""
    mask = pc.match_substring_regex(texts, COUNT).fill_null(False).to_numpy(zero_copy_only=False)
    parts, refused = [], []
    iso = field.model_copy(update={"format": None})
    for at, spec in ((np.flatnonzero(mask), field), (np.flatnonzero(~mask), iso)):
        if len(at):
            times, bad = parse_text(texts.take(pa.array(at)), spec, csv)
            parts.append((at, times))
            refused.append(at[bad])
    if not parts:
        return pa.array([], field.arrow), NONE
    return scatter(parts, len(texts), field.arrow), np.sort(np.concatenate(refused))


def joined(parts: Sequence[pa.Array], field: FieldSpec) -> pa.Array:
    """Several columns as one text, by one blank; null where one is (of a string field: where all are)."""
    stripped = [pc.utf8_trim_whitespace(part) for part in parts]
    if field.type != "string":
        return pc.binary_join_element_wise(*stripped, " ", null_handling="emit_null")
    return functools.reduce(_both_or_one, stripped)  # null_handling="skip" of Arrow 25 drops rows that are all null


def _both_or_one(left: pa.Array, right: pa.Array) -> pa.Array:
    return pc.coalesce(pc.binary_join_element_wise(left, right, " "), left, right)


def taken_later(field: FieldSpec) -> FieldSpec:
    """The field with the later of two instants."""
    return field.model_copy(update={"on_dst": "later"})
