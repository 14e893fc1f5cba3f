"""JSON records of contracts with words of their own, made flat: then they are decoded as any record is.

    {"site": {"id": "S1"}, "day": "2024-10-08", "power": {"w": "5 W", "pf": 0.9}, "note": "x"}
        meter = "site.id"     at = ["day", ...]     w = "power.w" with a pattern
    -> {"<0>": "S1", "<1>": "2024-10-08 ...", "<2>": "5 W", "power": {"pf": 0.9}, "note": "x"}

A name is the record's own where it has it literally, else a path. What a field reads as text (joined columns, a
pattern, a count from 1970, the name of an unpivoted column) becomes text, numbers by their own digits; the rest keeps
its JSON. What no field reads stays, for `_extra`. A record that is no object, or gives a name twice, is left as it is:
the decoder refuses it. With `[unpivot]` one record becomes several.
"""

from __future__ import annotations

import codecs
import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract, FieldSpec
from data_sources.decode.reading import Reading, joined
from data_sources.decode.rejects import EXTRA, MAX_RECORD, Rejecting
from data_sources.patterns import matching
from data_sources.records import Records

_MARK = "\ue000"
"""Begins the names of fields in a flat record; a private character, which no name of a source has."""

_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Plan(NamedTuple):
    """What of a contract is read from where in a record."""

    contract: Contract
    inner: Contract
    """The contract of the flat records: a field each (of joined columns the first), then the other joined columns."""
    reads: tuple[tuple[int, tuple[str, ...], bool], ...]
    """Per field of `inner` that records have: its place, the names looked for, and whether it is read as text."""
    columns: Mapping[str, tuple[int | str, ...]]
    """Per field of `contract` that is read as text: places in `inner`, or the field whose text stands for one."""
    slot: int | None
    value: int | None
    """Places of the fields that take an unpivoted name and its value."""
    is_level: bool
    """Whether no name could be a path, so that no object of a record is opened."""


def plan_of(contract: Contract, constants: Mapping[str, str | None]) -> Plan | None:
    """None for a contract (and a split) whose records need no preparation."""
    return _plan(contract, frozenset(constants))


class Flat(NamedTuple):
    """The flat records, and of each the place of the one it came from (None: one to one)."""

    records: Records
    rejecting: Rejecting
    parents: np.ndarray | None


def flatten(records: Records, plan: Plan, rejecting: Rejecting, settled: np.ndarray) -> Flat:
    """Prepare records; `settled`: mask of those that have their fate."""
    flat: list[bytes] = []
    parents: list[int] = []
    columns: list[int] = []
    failed: list[int] = []
    unpivot = plan.contract.unpivot
    for i in range(len(records)):
        raw = records.raw(i)
        opened = None if settled[i] or len(raw) > MAX_RECORD else _opened(raw)
        if opened is None:
            found: list[tuple[int, bytes]] = [(0, raw)]
        elif unpivot is None:
            found = [(0, _level(opened, plan) if plan.is_level else _nested(_Record(opened), plan))]
        else:
            found = _unpivoted(_Record(opened), plan)
            if not found:
                failed.append(len(flat))
                found = [(0, raw)]
        for column, made in found:
            flat.append(made)
            parents.append(i)
            columns.append(column)
    if unpivot is None:
        return Flat(_as_records(flat, records, None), rejecting, None)
    came = np.asarray(parents, np.int64)
    positions = records.positions[came] * 10_000 + np.asarray(columns, np.int64)
    firsts = np.flatnonzero(np.append(True, came[1:] != came[:-1])) if len(came) else came
    moved = rejecting.moved(lambda n: records.raw(int(came[n])), positions, firsts)
    moved.add_all(failed, "undecodable", "columns", "no name matches [unpivot] columns")
    return Flat(replace(_as_records(flat, records, came), positions=positions), moved, came)


@functools.lru_cache(maxsize=32)
def _plan(contract: Contract, constants: frozenset[str]) -> Plan | None:
    into = contract.unpivot.into if contract.unpivot else []
    if not into and not constants and not any(_is_special(f) for f in contract.fields):
        return None
    own: list[FieldSpec] = []
    more: list[FieldSpec] = []
    reads: list[tuple[int, tuple[str, ...], bool]] = []
    columns: dict[str, tuple[int | str, ...]] = {}
    elsewhere = constants | {*into}
    for n, field in enumerate(contract.fields):
        is_text = isinstance(field.source, list) or field.pattern is not None or field.epoch is not None
        is_text |= field.name in constants or field.name in into[:1]
        kind = "string" if is_text and field.type not in ("timestamp", "date") else field.type
        own.append(field.model_copy(update={"source": f"{_MARK}{n}", "type": kind}))
        if isinstance(field.source, list):
            places: list[int | str] = []
            for name in field.source:
                if name in elsewhere and name != field.name:
                    places.append(name)
                    continue
                at = n if n not in places else len(contract.fields) + len(more)
                if at != n:
                    more.append(field.model_copy(update={"source": f"{_MARK}{at}", "type": "string"}))
                places.append(at)
                reads.append((at, (name,), True))
            columns[field.name] = tuple(places)
        elif field.name not in elsewhere:
            reads.append((n, tuple(field.wanted), is_text))
        if is_text and not isinstance(field.source, list) and field.name not in constants:
            columns[field.name] = (n,)
    slot, value = ([f.name for f in contract.fields].index(name) for name in into) if into else (None, None)
    inner = contract.model_copy(update={"fields": [*own, *more]})
    is_level = not any("." in name for _, names, _ in reads for name in names)
    return Plan(contract, inner, tuple(reads), columns, slot, value, is_level)


def _is_special(field: FieldSpec) -> bool:
    """Whether a field is not simply the value of its name."""
    return bool(
        isinstance(field.source, list)
        or field.aliases
        or field.pattern is not None
        or field.epoch is not None
        or field.is_constant
        or "." in field.input_name
    )


class _Record:
    """One record with the objects that paths lead into opened once, and what was read from it taken out at the end."""

    def __init__(self, top: dict[str, msgspec.Raw]) -> None:
        self._objects: dict[tuple[str, ...], dict[str, msgspec.Raw] | None] = {(): top}
        self._read: list[tuple[tuple[str, ...], str]] = []
        self.top = top

    def find(self, name: str) -> msgspec.Raw | None:
        """The value of a name or path; None where it leads nowhere."""
        if name in self.top:
            self._read.append(((), name))
            return self.top[name]
        *above, last = name.removeprefix("$.").split(".")
        inside = self._object(tuple(above))
        if inside is None or last not in inside:
            return None
        self._read.append((tuple(above), last))
        return inside[last]

    def rest(self) -> dict[str, Any]:
        """What nothing has read."""
        for path, name in self._read:
            inside = self._objects[path]
            if inside is not None:
                inside.pop(name, None)
        deepest = sorted((p for p, o in self._objects.items() if p and o is not None), key=len, reverse=True)
        touched = {path[:depth] for path, _ in self._read for depth in range(1, len(path) + 1)}
        for path in (p for p in deepest if p in touched):
            above, inside = self._objects[path[:-1]], self._objects[path]
            if above is None or path[-1] not in above:
                continue
            if inside:
                above[path[-1]] = msgspec.Raw(_encode(inside))
            else:
                del above[path[-1]]
        return self.top

    def _object(self, path: tuple[str, ...]) -> dict[str, msgspec.Raw] | None:
        if path not in self._objects:
            above = self._object(path[:-1])
            value = above.get(path[-1]) if above is not None else None
            self._objects[path] = None if value is None else _opened(bytes(value))
        return self._objects[path]


def _level(top: dict[str, msgspec.Raw], plan: Plan) -> bytes:
    """The flat record of one without paths."""
    members, used = [], []
    for at, names, is_text in plan.reads:
        for name in names:
            value = top.get(name)
            if value is not None:
                members.append(_member(at, _as_text(bytes(value)) if is_text else bytes(value)))
                used.append(name)
                break
    if len(used) < len(top):
        for name in used:
            top.pop(name, None)
        return _object(members, top)
    return b"{" + b",".join(members) + b"}"


def _nested(record: _Record, plan: Plan) -> bytes:
    """The flat record of one that paths may lead into."""
    members = _values(record, plan)
    return _object(members, record.rest())


def _values(record: _Record, plan: Plan) -> list[bytes]:
    """What the record has of the contract's fields, as members of a flat record."""
    found = []
    for at, names, is_text in plan.reads:
        for name in names:
            value = record.find(name)
            if value is not None:
                found.append(_member(at, _as_text(bytes(value)) if is_text else bytes(value)))
                break
    return found


def _unpivoted(record: _Record, plan: Plan) -> list[tuple[int, bytes]]:
    """A flat record for each name that matches, with its number among the record's names."""
    assert plan.contract.unpivot is not None and plan.slot is not None and plan.value is not None
    numbers = {name: n for n, name in enumerate(record.top, 1)}
    found = _values(record, plan)
    rest = dict(record.rest())
    matches = matching(tuple(rest), plan.contract.unpivot.columns)
    chosen = [(name, rest.pop(name)) for name, is_one in zip(list(rest), matches, strict=True) if is_one]
    is_text = plan.contract.fields[plan.value].name in plan.columns
    made = []
    for name, value in chosen:
        raw = _as_text(bytes(value)) if is_text else bytes(value)
        own = [_member(plan.slot, _encode(name)), _member(plan.value, raw)]
        made.append((numbers[name], _object([*found, *own], rest)))
    return made


def _member(at: int, raw: bytes) -> bytes:
    return b'"\xee\x80\x80%d":%s' % (at, raw)


def _object(members: list[bytes], rest: Mapping[str, Any]) -> bytes:
    others = [_encode(name) + b":" + bytes(value) for name, value in rest.items()]
    return b"{" + b",".join([*members, *others]) + b"}"


def _as_text(raw: bytes) -> bytes:
    """A number by its digits, true and false by their words, as JSON text; the rest as it is."""
    raw = raw.strip()
    return raw if raw[:1] in b'"n{[' else b'"' + raw + b'"'


def _opened(raw: bytes) -> dict[str, msgspec.Raw] | None:
    """The names and values of an object; None for what is none, and where a name is given twice."""
    try:
        found = _open(raw.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return None
    return found if names_once(raw, found) else None


def names_once(raw: bytes, found: Mapping[str, msgspec.Raw]) -> bool:
    """Whether an object gives each of its names once. found: what was read of it."""
    colons = len(found) + "".join(found).count(":")
    if raw.count(b":") == colons + b"".join(found.values()).count(b":"):
        return True  # else a name is given twice, or written with escapes
    names: list[str] = []

    def pairs(these: list[tuple[str, Any]]) -> None:
        names[:] = [name for name, _ in these]  # the outermost object comes last

    try:
        json.loads(raw.removeprefix(codecs.BOM_UTF8), object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return False
    return len(names) == len(found)


def _as_records(values: list[bytes], like: Records, parents: np.ndarray | None) -> Records:
    """The same records with other bytes."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.cumsum(lengths + 1) - 1
    data = b"\n".join(values)
    whole = data.count(b"\n") == max(len(values) - 1, 0)
    positions, arrivals = like.positions, like.arrivals
    if parents is not None:
        positions, arrivals = positions[parents], None if arrivals is None else arrivals[parents]
    return Records(data, ends - lengths, ends, positions, arrivals, whole)


def typed(raw: pa.Table, plan: Plan, reading: Reading) -> pa.Table:
    """Decoded flat records (a column for each field of `inner`, then EXTRA) as the contract's own fields, typed where
    they were read as text."""
    count, texts = raw.num_rows, {}

    def column(at: int) -> pa.Array:
        chunks = raw.column(at).chunks
        return pa.concat_arrays(chunks) if chunks else pa.array([], raw.column(at).type)

    fields = plan.contract.fields
    for name in {at for places in plan.columns.values() for at in places if isinstance(at, str)}:
        if name.startswith("$."):  # a part of joined columns that the document's root says
            texts[name] = reading.said(name, count)
    for field in fields:
        if reading.has_constant(field):
            texts[field.name] = reading.constant(field, count)
        elif plan.columns.get(field.name, ("",)) == (fields.index(field),) and not isinstance(field.source, list):
            texts[field.name] = reading.taken(column(fields.index(field)), field)
    if plan.value is not None and fields[plan.value].name not in texts:
        texts_of_value = pc.cast(column(plan.value), pa.string())
    else:
        texts_of_value = None
    columns = []
    for n, field in enumerate(fields):
        if isinstance(field.source, list):
            parts = [
                column(at) if isinstance(at, int) else texts.get(at, texts_of_value) for at in plan.columns[field.name]
            ]
            columns.append(reading.typed(reading.taken(joined(parts, field), field), field))
        elif field.name in texts:
            columns.append(reading.typed(texts[field.name], field))
        else:
            columns.append(column(n))
    return pa.table([*columns, raw.column(raw.num_columns - 1)], names=[*(f.name for f in fields), EXTRA])


def missing_in(flat: bytes, field: FieldSpec, plan: Plan) -> str | None:
    """A sentence where a flat record has nothing of the field, None where that is null."""
    n = [f.name for f in plan.contract.fields].index(field.name)
    places = [at for at in plan.columns.get(field.name, (n,)) if isinstance(at, int)]
    wanted = {at: names for at, names, _ in plan.reads}
    for at in places:
        if at in wanted and _member(at, b"") not in flat:
            return f"{field.name} is missing: the record has no {' or '.join(map(repr, wanted[at]))}"
    return None
