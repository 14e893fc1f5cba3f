"""The fields of a sample: one a column, of a row that holds a day one for the names of its columns and one for values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from beam_grid.first_contract.events import Event
from beam_grid.first_contract.fields import Reading, plain_field, time_field
from beam_grid.first_contract.keys import subject_rank
from beam_grid.first_contract.model import Column, Draft, FieldDraft, Sample
from beam_grid.first_contract.names import Taken, slug, unit_of
from beam_grid.first_contract.numbers import is_numeric
from beam_grid.first_contract.times import Time, texts_of
from beam_grid.first_contract.wide import Wide

SLOT = "slot"
"""The field that [unpivot] puts a column's name into."""


def fields_of(
    sample: Sample,
    columns: list[Column],
    times: dict[str, Time],
    names: Taken,
    reading: Reading,
    event: Event | None,
    wide: Wide | None,
) -> list[FieldDraft]:
    """A field for each column, the event's with what it is joined of; a total of an unpivoted row hidden."""
    fields: list[FieldDraft] = []
    for column in columns:
        if event is not None and column.name == event.columns[0]:
            fields.append(_event_field(event, wide, names, reading, texts_of(column)[1]))
        elif event is not None and column.name in event.columns and sample.layout.get("header") is not False:
            continue
        elif column.name in times and times[column.name].kind != "clock":
            time = times[column.name]
            fields.append(
                time_field(names.free(slug(column.name.split("#")[0])), time, column.name, reading, texts_of(column)[1])
            )
        elif wide is not None and _is_total(column):
            field = plain_field(column, names, reading)
            field.hidden = True
            field.comments = ["A number of the whole row: it would come again with each of its records"]
            fields.append(field)
        else:
            fields.append(plain_field(column, names, reading))
    return fields


def _event_field(event: Event, wide: Wide | None, names: Taken, reading: Reading, words: Sequence[str]) -> FieldDraft:
    time, source = event.time, _source(event, wide)
    if wide is not None and wide.form is not None:
        day = time.form or "%Y-%m-%d"
        other = f"{time.other} {wide.form}" if time.other else None
        time = replace(
            time, kind="time", form=f"{day} {wide.form}", other=other, pattern=wide.pattern, has_offset=False
        )
    if isinstance(source, list):
        field = time_field(names.free("at"), time, source, reading, words)
    else:
        field = time_field(names.free(slug(source)), time, source, reading, words)
    return field


def _source(event: Event, wide: Wide | None) -> str | list[str]:
    if wide is not None and wide.form is not None:
        return [event.columns[0], SLOT]
    return list(event.columns) if len(event.columns) > 1 else event.columns[0]


def _is_total(column: Column) -> bool:
    return (is_numeric(column) or column.kinds <= {"int", "float"}) and subject_rank(slug(column.name)) is None


def unpivot(
    draft: Draft, wide: Wide, columns: list[Column], names: Taken, reading: Reading, event: Event | None
) -> None:
    """Make the wide columns records: [unpivot] of the draft, and the two fields that it fills."""
    all_columns = {c.name: c for c in draft.sample.columns}
    of_day = [all_columns[n] for n in wide.names]
    unit = next((u for c in columns if (u := unit_of(c.name)) is not None), None)
    value, slot = names.free("value"), SLOT
    draft.unpivot = {"columns": wide.columns, "into": [slot, value]}
    draft.comments["unpivot"] = [
        f"{len(wide.names)} columns, {wide.names[0]!r} to {wide.names[-1]!r}, are times of a day: each becomes a record, its "
        f"name in {slot!r}, its value in {value!r}"
    ]
    field = FieldDraft(
        value, "float64", {"unit": unit} if unit else {}, ["What is measured, and in which unit? Give it a name"]
    )
    if any("?" in c.seen for c in of_day):
        draft.sample.layout.setdefault("null", ["", "?"])
    slot_field = FieldDraft(slot, "string", {}, [] if wide.form else [_no_clock(wide)])
    draft.fields += [slot_field, field]


def _no_clock(wide: Wide) -> str:
    return (
        f"Numbers of the day's intervals of {wide.minutes} minutes: no format reads them as a time of day, so the event time "
        "is the date alone; with names such as 00:15 it would be exact"
    )


def first_column(field: FieldDraft) -> str:
    """The column that the field is read from, of several the first."""
    source = field.words.get("source", field.name)
    return source[0] if isinstance(source, list) else str(source)


def is_time(field: FieldDraft) -> bool:
    """Whether the field is a timestamp or a date."""
    return field.type in ("timestamp", "date")
