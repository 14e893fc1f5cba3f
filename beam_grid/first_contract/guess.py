"""A sample to a draft: each aspect guessed in turn, with what it rests on."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from beam_grid.first_contract.beside import add_beside
from beam_grid.first_contract.changes import as_changes
from beam_grid.first_contract.events import Event, event_of, is_epoch
from beam_grid.first_contract.fields import Reading, nulls_of_all
from beam_grid.first_contract.keyed import tell_key
from beam_grid.first_contract.labels import tell_clock
from beam_grid.first_contract.model import Column, Draft, FieldDraft, Sample
from beam_grid.first_contract.names import Taken
from beam_grid.first_contract.numbers import Marks, marks_of
from beam_grid.first_contract.rows import SLOT, fields_of, first_column, is_time, unpivot
from beam_grid.first_contract.times import Time, time_of
from beam_grid.first_contract.wide import wide_of
from data_sources.lake_tables import HISTORY_COLUMNS


def draft_of(sample: Sample, name: str, zone: str | None) -> Draft:
    """The draft of a contract named `name`; zone: of local times, None where that is to be asked."""
    wide = wide_of(sample.columns) if sample.changes is None else None
    columns = [c for c in sample.columns if wide is None or c.name not in wide.names]
    reading = Reading(_marks(sample), zone, sample.format == "csv")
    times = {c.name: t for c in columns if (t := time_of(c)) is not None and is_epoch(c, t)}
    _say_nulls(sample, columns, times)
    names = Taken(HISTORY_COLUMNS if sample.changes is not None else ())
    if wide is not None:
        names.free(SLOT)
    if sample.changes is not None:
        return as_changes(sample, name, columns, times, names, reading)
    event = event_of(sample, columns, times, wide)
    fields = fields_of(sample, columns, times, names, reading, event, wide)
    draft = Draft(name, sample, fields, "?", ["?"])
    if wide is not None:
        unpivot(draft, wide, columns, names, reading, event)
    add_beside(draft, names)
    if event is None:
        draft.comments["event_time"] = ["No column holds times that could be read; which field says when?"]
        return draft
    at = next(f for f in draft.fields if first_column(f) == event.columns[0] and is_time(f))
    draft.event_time = at.name
    draft.comments["event_time"] = [event.why]
    tell_clock(at, event, columns, draft, zone)
    tell_key(draft, at, event, columns, wide)
    _future(draft, event)
    _window(draft)
    return draft


def _marks(sample: Sample) -> Marks:
    if sample.format != "csv":
        return Marks()
    marks = marks_of(sample.columns, str(sample.layout["delimiter"]))
    if marks.decimal != ".":
        sample.layout["decimal"] = marks.decimal
        sample.notes["decimal"] = marks.why
    if marks.thousands is not None:
        sample.layout["thousands"] = marks.thousands
        if marks.decimal == ".":
            sample.notes["thousands"] = marks.why
    return marks


def _say_nulls(sample: Sample, columns: list[Column], times: dict[str, Time]) -> None:
    found = nulls_of_all(columns, times)
    if sample.format != "csv" or not found:
        return
    sample.layout["null"] = ["", *found]
    sample.notes["null"] = "Stand for no value: " + ", ".join(
        f"{t!r} {n:,} times, first in {c!r}" for t, (n, c) in found.items()
    )


def _future(draft: Draft, event: Event) -> None:
    latest = event.time.latest or max((t for t in event.times if t is not None), default=None)
    if latest is not None and latest < datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1):
        draft.max_future = "1d"
    else:
        draft.comments["event_time"].append(
            "Some times lie in the future, so there is no max_future: are they forecasts?"
        )


def _adds_up(field: FieldDraft) -> bool:
    """Whether values of an hour can be added: energy of intervals; not power, voltage, or a name without a unit."""
    return str(field.words.get("unit", "")).lower().endswith("wh") or bool(re.search(r"(^|_)[km]?wh(_|$)", field.name))


def _window(draft: Draft) -> None:
    measured = [f for f in draft.fields if f.type == "float64" and not f.hidden][:3]
    by = [k for k in draft.key if k != draft.event_time and not k.startswith("?")][:1]
    if not measured:
        return
    measures = ", ".join(f'{f.name} = "{"sum" if _adds_up(f) else "avg"}({f.name})"' for f in measured)
    draft.windows = ["[[windows]]", f'name = "{draft.name[:90]}_hourly"', 'size = "1h"']
    draft.windows += [f'by = ["{by[0]}"]'] if by else []
    draft.windows += [f'measures = {{ readings = "count()", {measures} }}']
