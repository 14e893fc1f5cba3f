"""The key of a draft, with the share of rows it tells apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from beam_grid.first_contract.events import Event
from beam_grid.first_contract.keys import Key, key_of, subject_rank
from beam_grid.first_contract.model import Column, Draft, FieldDraft
from beam_grid.first_contract.rows import SLOT, first_column, is_time
from beam_grid.first_contract.wide import Wide


def tell_key(draft: Draft, at: FieldDraft, event: Event, columns: list[Column], wide: Wide | None) -> None:
    by_source: dict[str, FieldDraft] = {first_column(f): f for f in draft.fields if not f.hidden}
    values: dict[str, Sequence[str | None]] = {}
    measures = {f.name for f in draft.fields if f.type == "float64" or f.type.startswith("decimal")}
    for column in columns:
        field = by_source.get(column.name)
        if field is not None and field is not at:
            values[field.name] = column.values
    moments: list[str | None] = [None if t is None else t.isoformat() for t in event.times]
    if event.time.has_offset and len(event.columns) == 1:
        moments = list(next(c for c in columns if c.name == event.columns[0]).values)
    if at.words.get("on_dst") == "in_order":
        subjects = [v for name, v in values.items() if subject_rank(name) is not None and name not in measures]
        moments = _numbered(moments, [tuple(v[n] for v in subjects) for n in range(len(moments))])
    values[at.name] = moments
    times = frozenset(
        f.name for f in draft.fields if is_time(f) or re.search(r"\d:\d\d", str(next(iter(values.get(f.name) or [""]))))
    )
    found = key_of(at.name, values, measures, times)
    if draft.sample.layout.get("header") is False:
        found = _with_unnamed(found, values, measures)
    constants = [
        f.name
        for f in draft.fields
        if not f.hidden and ({"from_preamble", "from_name"} & f.words.keys() or _is_root(f))
    ]
    fields = (
        [*constants[:1], *found.fields]
        if not any(subject_rank(n) is not None for n in found.fields)
        else list(found.fields)
    )
    if wide is not None and wide.form is None:
        fields.append(SLOT)
    draft.key = fields
    draft.comments["key"] = [_of_key(found, fields)]
    if len(fields) == 1:
        draft.comments["key"].append(
            "No field names what is metered: records of a second meter at the same time would be taken for copies. If files "
            "are of several, read it from their names with from_name, and add it here"
        )
    if found.apart < 0.9 * found.of:
        draft.key = [f"? {', '.join(fields)}"]


def _with_unnamed(found: Key, values: dict[str, Sequence[str | None]], measures: set[str]) -> Key:
    """With the first column of text that has the same value again and again, where columns have no names to go by."""
    for name, texts in values.items():
        if name not in (*found.fields, *measures) and None not in texts and len(set(texts)) * 2 <= len(texts):
            return replace(found, fields=(name, *found.fields))
    return found


def _numbered(moments: list[str | None], subjects: list[tuple[object, ...]]) -> list[str | None]:
    seen: dict[tuple[object, object], int] = {}
    out: list[str | None] = []
    for moment, subject in zip(moments, subjects, strict=True):
        seen[(moment, subject)] = seen.get((moment, subject), 0) + 1
        out.append(None if moment is None else f"{moment} {seen[(moment, subject)]}")
    return out


def _of_key(found: Key, fields: list[str]) -> str:
    share = f"{', '.join(found.fields)}: {found.apart:,} of {found.of:,} rows that differ are told apart"
    if found.copies:
        share += f"; {found.copies:,} more {'row is a copy' if found.copies == 1 else 'rows are copies'}, and dropped"
    if not found.is_whole:
        share += f"; of the other {found.of - found.apart:,} the first of each counts, the rest are conflicts: which field is missing?"
    if fields != list(found.fields):
        share += f"; {', '.join(f for f in fields if f not in found.fields)} tells the files' meters apart"
    return share


def _is_root(field: FieldDraft) -> bool:
    return str(field.words.get("source", "")).startswith("$.")
