"""A field for each column: name, type, unit, and how its text is read; with what each rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from beam_grid.first_contract.keys import subject_rank
from beam_grid.first_contract.model import Column, FieldDraft, Word
from beam_grid.first_contract.names import Taken, slug, unit_of
from beam_grid.first_contract.numbers import Marks, is_numeric, nulls_of, pattern_of, reads, type_of
from beam_grid.first_contract.tables import NULLS
from beam_grid.first_contract.times import Time

_MEASURES = re.compile(
    r"(.*_)?(k?wh?|mwh?|kvarh?|kwp?|power|energy|value|wert|verbrauch|consumption|usage|price|amount|sum|mean|voltage|current|temp.*|menge|load|valeur|consumo|consommation)(_.*)?"
)


@dataclass(frozen=True)
class Reading:
    """What is known before the fields are drafted: the marks of numbers, the zone of local times."""

    marks: Marks
    zone: str | None
    is_text: bool
    """Whether all values are text, as in CSV."""


def plain_field(column: Column, names: Taken, reading: Reading) -> FieldDraft:
    """The field of a column that holds no time."""
    name = (
        column.name
        if column.name.startswith("__$")
        else names.free(slug(column.name.split("#")[0].strip() or column.name))
    )
    field = FieldDraft(name, "string", _source(column, name))
    unit = unit_of(column.name)
    if unit is not None:
        field.words["unit"] = unit
    if column.aliases:
        field.words["aliases"] = list(column.aliases)
        field.comments.append(
            "Other files have other names in its place: are all of them this field's? A file with yet another name is "
            "told, and leaves the field null"
        )
    if "nested" in column.kinds:
        field.hidden, field.comments = (
            True,
            [*field.comments, "Holds lists or objects, which no field takes: it stays in _extra"],
        )
    elif not column.count:
        field.comments.append("No value in the sample: is it text?")
    elif column.type is not None:
        field.type = column.type
    elif not reading.is_text and column.kinds != {"text"}:
        _typed(column, field)
    else:
        _of_text(column, field, reading)
    return field


def _source(column: Column, name: str) -> dict[str, Word]:
    return {"source": column.name} if column.name != name or column.aliases else {}


def _typed(column: Column, field: FieldDraft) -> None:
    """A field whose values have types in the input: JSON's, SQLite's."""
    if column.kinds == {"bool"}:
        field.type = "bool"
    elif column.kinds == {"int"} and not _MEASURES.fullmatch(field.name):
        big = any(not -(2**63) <= int(t) < 2**63 for t in column.seen)
        field.type = "decimal(38,0)" if big else "int64"
    elif column.kinds <= {"int", "float"}:
        field.type = "float64"
    else:
        counts = ", ".join(sorted(column.kinds))
        field.comments.append(f"Values of several kinds ({counts}): those that are no text will be rejected; decide")


def _of_text(column: Column, field: FieldDraft, reading: Reading) -> None:
    texts = set(column.seen) - set(NULLS)
    if texts and texts <= {"true", "false", "True", "False", "TRUE", "FALSE"}:
        field.type = "bool"
        return
    if not reading.is_text:
        if subject_rank(field.name) is None and texts and all(re.fullmatch(r"[+-]?\d*\.?\d+", t) for t in texts):
            field.type, field.words["pattern"] = "float64", "(.+)"
            field.comments.append("Numbers written as text: the pattern lets text be read as a number")
        return
    if (dressed := pattern_of(column)) is not None:
        pattern, example = dressed
        field.words["pattern"] = pattern
        field.comments.append(f"Its texts are as {example!r}: what the pattern's group finds is read")
        if pattern.startswith("="):
            return
        field.type = "float64"
    elif is_numeric(column):
        is_name = (
            subject_rank(field.name) is not None and not unit_of(column.name) and not _MEASURES.fullmatch(field.name)
        )
        measured = "unit" in field.words or _MEASURES.fullmatch(field.name) is not None
        field.type, said = type_of(column, reading.marks, measured, is_name)
        field.comments += [s[0].upper() + s[1:] for s in said]
        if field.type != "string":
            odd = [(t, n) for t, n in column.seen.items() if t not in NULLS and not reads(t, reading.marks)]
            if odd and reading.marks.decimal != "?":
                rows = sum(n for _, n in odd)
                field.comments.append(
                    f"{rows:,} of {column.count:,} values are not written so, such as {odd[0][0]!r}: rejected"
                )


def time_field(name: str, time: Time, source: Word | None, reading: Reading, words: Sequence[str] = ()) -> FieldDraft:
    """The field of a time, with what its format leaves open as a question. words: values of it that are no times."""
    kind = "date" if time.kind == "date" else "timestamp"
    field = FieldDraft(name, kind, {} if source is None or source == name else {"source": source})
    if time.pattern is not None:
        field.words["pattern"] = time.pattern
    elif time.is_padded:
        field.words["pattern"] = r"^\s*(.*?)\s*$"
        field.comments.append("Blanks stand around its texts")
    if time.other is not None:
        field.words["format"] = f"? {time.form} or {time.other}"
        field.comments.append(
            f"All its texts can be read as {time.form} and as {time.other}: which comes first, day or month?"
        )
    elif time.form is not None:
        field.words["format"] = time.form
    if words:
        field.comments.append(f"Some of its values are no times, such as {words[0]!r}: those rows will be rejected")
    if time.why:
        field.comments.append(time.why[0].upper() + time.why[1:])
    if kind == "timestamp" and not time.has_offset:
        says_utc = re.search(r"utc|gmt", str(source or name).lower()) is not None
        field.words["time_zone"] = "UTC" if says_utc else reading.zone or "?"
        if says_utc:
            field.comments.append("Its name speaks of UTC")
        elif reading.zone is None:
            field.comments.append("Its times have no offset: whose clock do they follow?")
    if time.is_elapsed:
        field.words["on_dst"] = "elapsed"
        field.comments.append("Hours go to 25: they count from the local midnight, not by the clock")
    return field


def nulls_of_all(columns: list[Column], times: dict[str, Time]) -> dict[str, tuple[int, str]]:
    """Texts that stand for no value, in columns of numbers and times."""
    return nulls_of(columns, [c.name in times or is_numeric(c) for c in columns])
