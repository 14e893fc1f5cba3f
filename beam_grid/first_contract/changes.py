"""Changes of a table: what [lake] load = "cdc" needs, of Debezium's messages and of rows of SQL Server's change tables."""

from __future__ import annotations

import re

from beam_grid.first_contract.fields import Reading, plain_field, time_field
from beam_grid.first_contract.keys import subject_rank
from beam_grid.first_contract.model import Column, Draft, FieldDraft, Sample
from beam_grid.first_contract.names import Taken, slug
from beam_grid.first_contract.times import Time, time_of

_NATIVE = {"__$operation": "int64", "__$start_lsn": "string", "__$end_lsn": "string", "__$seqval": "string",
           "__$update_mask": "string", "__$command_id": "int64", "event_serial_no": "int64"}  # fmt: skip


def as_changes(
    sample: Sample, name: str, columns: list[Column], times: dict[str, Time], names: Taken, reading: Reading
) -> Draft:
    """The draft of a feed of changes."""
    changes = sample.changes
    assert changes is not None
    fields: list[FieldDraft] = []
    for column in columns:
        if column.name in _NATIVE:
            names.free(column.name)
            fields.append(FieldDraft(column.name, _NATIVE[column.name]))
            continue
        time = times.get(column.name) or _counted(column)
        if time is not None and time.kind != "clock":
            field = time_field(names.free(slug(column.name)), time, column.name, reading)
            if column.type is not None:
                field.comments.append("The message's schema says how its numbers count")
            elif time.form is not None and time.form.startswith("epoch") and not time.has_offset:
                field.comments.append(
                    "Debezium writes a datetime as if its clock were UTC; texts are ISO 8601 whatever the format"
                )
            fields.append(field)
        else:
            fields.append(plain_field(column, names, reading))
    draft = Draft(name, sample, fields, "?", [])
    sequence = _places(draft, columns, names)
    operation = _operation(draft, columns, names)
    key, why = _key(fields, columns)
    draft.lake = {"load": "cdc", "key": key, "operation": operation, "sequence_by": sequence}
    if not changes.native:
        draft.lake["envelope"] = "debezium"
    draft.comments["lake"] = [
        f"{changes.envelopes:,} of {sample.rows:,} records are Debezium's envelopes, {changes.native:,} rows of SQL Server's "
        "change tables"
    ]
    draft.comments["key"] = [why]
    _event_time(draft, changes.native, names)
    draft.max_future = "1d"
    return draft


def _counted(column: Column) -> Time | None:
    """Times of changes: numbers that count from 1970, some of them far off (9999-12-31), with texts among them."""
    numbers = [t for t in column.seen if re.fullmatch(r"-?\d+", t)]
    texts = [t for t in column.seen if t not in numbers]
    if not numbers or "int" not in column.kinds or subject_rank(slug(column.name)) in (0, 1, 2):
        return None
    rest = Column(column.name, list(texts))
    if texts and time_of(rest) is None:
        return None
    weight = sum(column.seen[n] for n in numbers)
    for unit, per in (("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6), ("epoch_ns", 10**9)):
        likely = sum(column.seen[n] for n in numbers if 631_152_000 * per <= int(n) <= 2_524_608_000 * per)
        possible = all(-62_135_596_800 * per <= int(n) <= 253_402_300_799 * per for n in numbers)
        if (
            possible
            and likely * 2 >= weight
            and (texts or likely > 1 or re.search("date|time|_at|from|to", column.name))
        ):
            return Time("time", unit, why=f"{likely:,} of {weight:,} numbers are times of 1990 to 2050 as {unit}")
    return None


def _places(draft: Draft, columns: list[Column], names: Taken) -> list[str]:
    """Fields that say the place of a change in the log, those that are not there added."""
    changes = draft.sample.changes
    assert changes is not None
    there = {c.name for c in columns}
    places: list[str] = []
    if changes.native:
        places = [n for n in ("__$start_lsn", "__$command_id", "__$seqval") if n in there]
        if "event_serial_no" in changes.places and "event_serial_no" not in there:
            draft.fields.append(FieldDraft(names.free("event_serial_no"), "int64"))
            there.add("event_serial_no")
        places += ["event_serial_no"] if "event_serial_no" in there else []
        return places or ["?"]
    if "commit_lsn" in changes.places:
        for name in ("commit_lsn", "change_lsn", "event_serial_no"):
            kind = "int64" if name == "event_serial_no" else "string"
            draft.fields.append(FieldDraft(names.free(name), kind))
            places.append(name)
        return places
    for name in changes.places[:1]:
        draft.fields.append(FieldDraft(field := names.free(name), "int64", {"source": f"$.source.{name}"}))
        draft.comments["sequence_by"] = [f"source.{name} is there, and no commit_lsn: it says the place in the log"]
        places.append(field)
    return places or ["?"]


def _operation(draft: Draft, columns: list[Column], names: Taken) -> str:
    if any(c.name == "__$operation" for c in columns):
        return "__$operation"
    draft.fields.insert(
        0, FieldDraft(name := names.free("op_code"), "int64", {}, ["Debezium's op c, u, d, r as 2, 4, 1, 2"])
    )
    return name


def _key(fields: list[FieldDraft], columns: list[Column]) -> tuple[list[str], str]:
    values = {str(f.words.get("source", f.name)): f for f in fields}
    likely = []
    for at, column in enumerate(columns):
        field = values.get(column.name)
        if (
            field is None
            or column.name in _NATIVE
            or column.count < len(column.values)
            or field.type not in ("string", "int64")
        ):
            continue
        if re.fullmatch(r"(.*_)?(id|no|nr|key|number|code)", field.name):
            likely.append((at, field.name, len(column.seen)))
    if not likely:
        return ["?"], "No column that every change has looks like a key: which is the table's primary key?"
    _, name, distinct = min(likely)
    others = [n for _, n, _ in likely if n != name]
    also = f" Others that could be it: {', '.join(others[:5])}" if others else ""
    return (
        [name],
        f"{name}, the first of its kind, is in every change, with {distinct:,} values: is it the table's primary key?{also}",
    )


def _event_time(draft: Draft, native: int, names: Taken) -> None:
    times = [f for f in draft.fields if f.type == "timestamp"]
    named = [f for f in times if re.search(r"chang|cdc|updat|modif|event", f.name)]
    if named:
        draft.event_time = named[0].name
        draft.comments["event_time"] = ["By its name the time of the change; where an image lacks it, source.ts_ms"]
    elif not native:
        draft.fields.append(
            FieldDraft(names.free("changed_at"), "timestamp", {}, ["Debezium's source.ts_ms: no column of the row"])
        )
        draft.event_time = "changed_at"
    else:
        draft.comments["event_time"] = [
            f"Which says when a change was made? Times: {', '.join(f.name for f in times) or 'none'}"
        ]
