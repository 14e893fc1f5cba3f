"""A sample to a draft: each aspect guessed in turn, with what it rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from beam_grid.first_contract import events
from beam_grid.first_contract.changes import as_changes
from beam_grid.first_contract.clocks import step_of, twice
from beam_grid.first_contract.events import Event
from beam_grid.first_contract.fields import Reading, nulls_of_all, plain_field, time_field
from beam_grid.first_contract.keys import Key, key_of, subject_rank
from beam_grid.first_contract.model import Column, Draft, FieldDraft, Sample
from beam_grid.first_contract.names import Taken, slug, unit_of
from beam_grid.first_contract.numbers import Marks, is_numeric, marks_of
from beam_grid.first_contract.times import Time, texts_of, time_of
from beam_grid.first_contract.wide import Wide, wide_of
from data_sources.lake_tables import HISTORY_COLUMNS

_SLOT = "slot"
"""The field that [unpivot] puts a column's name into."""


def draft_of(sample: Sample, name: str, zone: str | None) -> Draft:
    """The draft of a contract named `name`; zone: of local times, None where that is to be asked."""
    wide = wide_of(sample.columns) if sample.changes is None else None
    columns = [c for c in sample.columns if wide is None or c.name not in wide.names]
    reading = Reading(_marks(sample), zone, sample.format == "csv")
    times = {c.name: t for c in columns if (t := time_of(c)) is not None and events.is_epoch(c, t)}
    _say_nulls(sample, columns, times)
    names = Taken(HISTORY_COLUMNS if sample.changes is not None else ())
    names.free(_SLOT if wide else "")
    if sample.changes is not None:
        return as_changes(sample, name, columns, times, names, reading)
    event = _event(sample, columns, times, wide)
    fields = _fields(sample, columns, times, names, reading, event, wide)
    draft = Draft(name, sample, fields, "?", ["?"])
    if wide is not None:
        _unpivot(draft, wide, columns, names, reading, event)
    _more_fields(draft, names)
    if event is None:
        draft.comments["event_time"] = ["No column holds times that could be read; which field says when?"]
        return draft
    at = next(f for f in draft.fields if _first(f) == event.columns[0] and _is_time(f))
    draft.event_time = at.name
    draft.comments["event_time"] = [event.why]
    _clock(at, event, columns, draft, zone)
    _key(draft, at, event, columns, wide)
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


def _event(sample: Sample, columns: list[Column], times: dict[str, Time], wide: Wide | None) -> Event | None:
    """The likeliest event time: a date with a time of day beside it, else the column that looks most like one."""
    rows = sample.rows
    full = [c for c in columns if c.name in times and times[c.name].kind == "time"]
    days = [c for c in columns if c.name in times and times[c.name].kind == "date"]
    if not full and wide is None:
        for day in sorted(days, key=lambda c: -_score(c, times, columns, rows)):
            at = columns.index(day)
            for clock in [*columns[at + 1 :], *columns[:at]]:
                if clock.name not in times or times[clock.name].kind == "clock":
                    found = events.joined(day, times[day.name], clock)
                    if found is not None and _is_clock(clock, times):
                        return found
    best = max([*full, *days], key=lambda c: _score(c, times, columns, rows), default=None)
    if best is None:
        return None
    time = times[best.name]
    why = f"{best.name}: {best.count:,} of {rows:,} rows have a {'date' if time.kind == 'date' else 'time'} in it"
    others = [c.name for c in [*full, *days] if c is not best]
    if others:
        why += f"; others that could be it: {', '.join(others[:5])}"
    return Event((best.name,), time, tuple(events.times_of(best.values, time)), why)


def _is_clock(column: Column, times: dict[str, Time]) -> bool:
    """Times of day by their text, or bare hours by their name."""
    return (
        column.name in times
        or re.search(r"hour|hora|stunde|heure|uur|time|zeit|he$|^h$|period", column.name, re.I) is not None
    )


def _score(column: Column, times: dict[str, Time], columns: Sequence[Column], rows: int) -> float:
    return events.score(slug(column.name), column, times[column.name], rows, list(columns).index(column))


def _source(event: Event, wide: Wide | None) -> str | list[str]:
    if wide is not None and wide.form is not None:
        return [event.columns[0], _SLOT]
    return list(event.columns) if len(event.columns) > 1 else event.columns[0]


def _is_time(field: FieldDraft) -> bool:
    return field.type in ("timestamp", "date")


def _fields(
    sample: Sample,
    columns: list[Column],
    times: dict[str, Time],
    names: Taken,
    reading: Reading,
    event: Event | None,
    wide: Wide | None,
) -> list[FieldDraft]:
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


def _is_total(column: Column) -> bool:
    return (is_numeric(column) or column.kinds <= {"int", "float"}) and subject_rank(slug(column.name)) is None


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


def _unpivot(
    draft: Draft, wide: Wide, columns: list[Column], names: Taken, reading: Reading, event: Event | None
) -> None:
    all_columns = {c.name: c for c in draft.sample.columns}
    of_day = [all_columns[n] for n in wide.names]
    unit = next((u for c in columns if (u := unit_of(c.name)) is not None), None)
    value, slot = names.free("value"), _SLOT
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


def _more_fields(draft: Draft, names: Taken) -> None:
    """What a file says of all its records: lines above a header, values at a document's root."""
    sample = draft.sample
    for line in sample.preamble[:40]:
        label, mark, text = line.partition(str(sample.layout.get("delimiter", ";")))
        label, text = label.strip(' "\t'), text.strip(f' "\t{mark}')
        if not mark or not label or not text or mark in text or len(label) > 60:
            continue
        name = names.free(slug(label))
        pattern = rf"^\"?{_escaped(label)}\"?\s*{_escaped(mark)}\s*\"?([^{_escaped(mark)}\"]+)"
        pattern = pattern.replace(r"\"", '"')
        hidden = (subject_rank(slug(label)) or 9) > 4
        said = f"{text!r} in the lines above the header"
        draft.fields.append(FieldDraft(name, "string", {"from_preamble": pattern}, [said], hidden))
    for digits in _numbers_above(sample, draft):
        pattern = rf"(?:^|[^0-9])([0-9]{{{len(digits)}}})(?:[^0-9]|$)"
        said = f"{digits!r} in the lines above the header: does it name what is metered?"
        draft.fields.append(FieldDraft(names.free("meter"), "string", {"from_preamble": pattern}, [said]))
    for path, text in list(sample.roots.items())[:20]:
        name = names.free(slug(path.removeprefix("$.")))
        hidden = subject_rank(name) is None
        said = f"{text[:60]!r} at the document's root"
        draft.fields.append(FieldDraft(name, "string", {"source": path}, [said], hidden))
    if not any(subject_rank(f.name) is not None and not f.hidden for f in draft.fields):
        _from_name(draft, names)


def _from_name(draft: Draft, names: Taken) -> None:
    """A field for a long number in the files' names, where nothing else names what is metered."""
    files = [] if draft.sample.topic else draft.sample.files
    texts = [re.search(r"(?:^|[^0-9A-Za-z])([A-Z]{0,4}[0-9]{8,33})(?:[^0-9A-Za-z]|$)", file) for file in files[:1]]
    for match in texts:
        if match is not None and not re.fullmatch(r"(19|20)\d{6}(\d{4,6})?", match[1]):
            pattern = rf"(?:^|[^0-9A-Za-z])([0-9A-Z]{{{len(match[1])}}})(?:[^0-9A-Za-z]|$)"
            said = f"{match[1]!r} in the file's name: does it name what is metered?"
            draft.fields.append(FieldDraft(names.free("meter"), "string", {"from_name": pattern}, [said]))


def _numbers_above(sample: Sample, draft: Draft) -> list[str]:
    """A long number in the lines above a header, where no labelled one names what is metered."""
    if any("from_preamble" in f.words and not f.hidden for f in draft.fields):
        return []
    found = [m for line in sample.preamble[:40] for m in re.findall(r"(?<!\d)\d{8,33}(?!\d)", line)]
    return list(dict.fromkeys(found))[:1]


def _escaped(text: str) -> str:
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def _clock(at: FieldDraft, event: Event, columns: list[Column], draft: Draft, zone: str | None) -> None:
    """Whether its autumn hour comes twice, and whether its labels are the ends of intervals."""
    time = event.time
    wide = "into" in draft.unpivot
    if wide:
        found = wide_of(draft.sample.columns)
        if found is not None and found.ends and found.form is not None:
            at.words["shift"] = f"-{found.minutes}m" if found.minutes % 60 else f"-{found.minutes // 60}h"
            at.comments.append(
                "Names begin above 0 and end with the day: labels of an interval's end; shift makes it the beginning"
            )
        return
    if not time.has_offset and time.kind == "time" and not time.is_elapsed:
        subjects = list(zip(*(c.values for c in columns if subject_rank(slug(c.name)) is not None), strict=True))
        pairs = twice(event.times, subjects or [()] * len(event.times), zone)
        if pairs is not None and draft.sample.format != "sqlite":
            at.words["on_dst"] = "in_order"
            at.comments.append(
                f"{pairs.times} local times come twice, the first {pairs.first:%Y-%m-%d %H:%M}, as where the clock goes back "
                f"in {pairs.where}: the second in the file is the later"
            )
        elif "on_dst" not in at.words and (zone is None or zone != "UTC"):
            at.comments.append(
                'No autumn hour is in the sample twice: on_dst = "in_order", if such files hold it twice; without the word its '
                "times are rejected"
            )
    step = step_of(event.times)
    midnight = 0 in time.hours
    if (
        time.hours
        and max(time.hours) >= 24
        and not (midnight and time.has_24 and _has_zero(event))
        and step is not None
    ):
        at.words["shift"] = f"-{step}"
        at.comments.append(
            f"24:00 is there and 00:00 is not: labels of an interval's end, {step} long; shift makes them its beginning"
        )
    elif re.search(r"(?:^|_)(end|ende|bis|until|to|fin|hasta)(?:_|$)", slug(event.columns[-1])):
        at.comments.append(
            f'Its name speaks of an end: shift = "-{step or "15m"}" would make it the interval\'s beginning'
        )


def _has_zero(event: Event) -> bool:
    return any(t is not None and t.hour == 0 and t.minute == 0 for t in event.times) and 0 in event.time.hours


def _key(draft: Draft, at: FieldDraft, event: Event, columns: list[Column], wide: Wide | None) -> None:
    by_source: dict[str, FieldDraft] = {_first(f): f for f in draft.fields if not f.hidden}
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
        moments = _numbered(
            moments, [tuple(v[n] for v in values.values() if len(set(v)) < 50) for n in range(len(moments))]
        )
    values[at.name] = moments
    times = frozenset(
        f.name
        for f in draft.fields
        if _is_time(f) or re.search(r"\d:\d\d", str(next(iter(values.get(f.name) or [""]))))
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
        fields.append(_SLOT)
    draft.key = fields
    draft.comments["key"] = [_of_key(found, fields)]
    if len(fields) == 1:
        draft.comments["key"].append(
            "No field names what is metered: records of a second meter at the same time would be taken for copies. If files "
            "are of several, read it from their names with from_name, and add it here"
        )
    if found.apart < 0.9 * found.of:
        draft.key = [f"? {', '.join(fields)}"]


def _first(field: FieldDraft) -> str:
    """The column that the field is read from, of several the first."""
    source = field.words.get("source", field.name)
    return source[0] if isinstance(source, list) else str(source)


def _is_root(field: FieldDraft) -> bool:
    return str(field.words.get("source", "")).startswith("$.")


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
