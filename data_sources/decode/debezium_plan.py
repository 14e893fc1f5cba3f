"""How one contract reads Debezium messages, worked out once: which fields stand where, and how their values are read.

A `Plan` belongs to a contract and keeps, per schema block, the readers of each image's columns. A path such as
`$.source.lsn` leads from the message's `payload`, wrapped or bare; `$.payload.source.lsn` says the same. Its value stands
in the flat record under the whole path, which the decoder finds as a name.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from data_sources.contract import Contract, FieldSpec
from data_sources.decode.debezium_values import Column, Reader, Refused, metadata_reader, read_schema, value_reader
from data_sources.decode.flat import names_once

_MOST_SCHEMAS = 64
_PLACEHOLDER = b"__debezium_unavailable_value"
_UNAVAILABLE = tuple(
    b'"%s"' % text for text in (_PLACEHOLDER, base64.b64encode(_PLACEHOLDER), _PLACEHOLDER.hex().encode())
)
"""As text, and as bytes are written: in base64, or hex (`binary.handling.mode`)."""

_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


class Image(NamedTuple):
    """A row of a message: its JSON and its values by name; `is_changed` where the values no longer are the JSON's."""

    raw: bytes
    values: Mapping[str, msgspec.Raw]
    is_changed: bool = False

    def get(self, name: str) -> msgspec.Raw | None:
        """The value of a name or a path, as the decoder will look for it; None where it leads nowhere."""
        value = self.values.get(name)
        if value is None and "." in name and not name.startswith("$."):
            return _at(tuple(name.split(".")), {(): self.values})
        return value

    def has(self, name: str) -> bool:
        value = self.get(name)
        return value is not None and bytes(value) != b"null"

    def replaced(self, values: Mapping[str, msgspec.Raw]) -> Image:
        return Image(self.raw, {**self.values, **values}, True) if values else self

    def with_added(self, added: Mapping[str, Any]) -> bytes:
        """The row's JSON with what it does not have itself, or has as null."""
        new = {name: value for name, value in added.items() if value is not None and not self.has(name)}
        if self.is_changed or not self.values.keys().isdisjoint(new):
            return _encode({**self.values, **new})
        if not new:
            return self.raw
        comma = b"," if self.raw[1:-1].strip() else b""
        return self.raw[:-1] + comma + _encode(new)[1:]


class _Path(NamedTuple):
    name: str
    field: FieldSpec
    steps: tuple[str, ...]


class Plan:
    """See the module."""

    def __init__(self, contract: Contract) -> None:
        lake = contract.lake
        self.is_auto = lake.envelope == "auto"
        self.operation = contract.field(lake.operation or "")
        self.event_time = contract.field(contract.event_time)
        self.keys = [_names(contract.field(name)) for name in lake.key]
        self.sequence_names = [name for name in lake.sequence_by if name != lake.operation]
        places = [contract.field(name) for name in self.sequence_names]
        self.is_placed = any(field.is_constant for field in places)
        self.sequence = [name for field in places for name in _names(field)]
        joined_first = sorted(contract.fields, key=lambda f: not isinstance(f.source, list))
        read = {name: _as_read(f) for f in joined_first for name in _names(f)}
        self.paths = [_Path(name, f, _steps(name)) for name, f in read.items() if name.startswith("$.")]
        self._columns = {name: f for name, f in read.items() if not name.startswith("$.")}
        own = [f for f in places if not any(name in read and name.startswith("$.") for name in _names(f))]
        parts = iter(part for part in ("commit_lsn", "change_lsn") if f"$.source.{part}" not in read)
        self.lsns = {f.input_name: part for f, part in zip((f for f in own if f.type == "string"), parts, strict=False)}
        # SQL Server's command id is in no message of Debezium's; a serial number in its place would order wrongly.
        numbers = [f.input_name for f in own if f.is_numeric and f.input_name != "__$command_id"]
        self.serials = [name for name in numbers if name == "event_serial_no"] or numbers
        self._schemas: dict[bytes, Column | None] = {}
        self._readers: dict[tuple[bytes, str], dict[str, Reader]] = {}
        self._path_readers: dict[bytes, list[Reader | None]] = {}

    def may_be_native(self, raw: bytes) -> bool:
        """Whether a record that looks like an envelope has the operation field of a native row."""
        name = self.operation.input_name
        return self.is_auto and name != "op" and name.encode() in raw

    def has_another_key(self, before: Image, after: Image) -> bool:
        """Whether an update changed the key: a before image that lacks it says nothing."""
        for names in self.keys:
            old, new = (next((im.get(n) for n in names if im.has(n)), None) for im in (before, after))
            if old is not None and new is not None and not _equal(old, new):
                return True
        return False

    def read(self, image: Image, schema: bytes, which: str) -> Image:
        """The image with its values as the decoder reads them; raises Refused."""
        readers = self._readers.get((schema, which))
        if readers is None:
            readers = self._keep(schema, which)
        if any(text in image.raw for text in _UNAVAILABLE):
            self._check_available(image)
        new: dict[str, msgspec.Raw] = {}
        for name, reader in readers.items():
            value = image.get(name)
            if value is not None:
                raw = bytes(value)
                if raw != b"null" and (read := reader(raw)) is not raw:
                    if name in image.values:
                        new[name] = msgspec.Raw(read)
                    else:
                        _put(tuple(name.split(".")), msgspec.Raw(read), image.values, new)
        return image.replaced(new)

    def from_message(self, message: bytes, schema: bytes) -> dict[str, Any]:
        """Values of the fields that have a path from the message, by input name; raises Refused."""
        readers = self._path_readers.get(schema)
        if readers is None:
            self._keep(schema, "after")
            readers = self._path_readers[schema]
        parts: dict[tuple[str, ...], Mapping[str, msgspec.Raw]] = {(): _decode_parts(message)}
        found: dict[str, Any] = {}
        for path, reader in zip(self.paths, readers, strict=True):
            value = _at(path.steps, parts)
            if value is not None and (raw := bytes(value)) != b"null":
                if raw in _UNAVAILABLE:
                    raise _unavailable(path.field)
                found[path.name] = value if reader is None else msgspec.Raw(reader(raw))
        return found

    def _keep(self, schema: bytes, which: str) -> dict[str, Reader]:
        if len(self._readers) > _MOST_SCHEMAS:
            self._readers, self._path_readers, self._schemas = {}, {}, {}
        if schema not in self._schemas:
            self._schemas[schema] = read_schema(schema)
        whole = self._schemas[schema]
        image = whole.at(which) if whole is not None else None
        found = {}
        for name, field in self._columns.items():
            reader = value_reader(field, _column_at(image, name))
            if reader is not None:
                found[name] = reader
        self._readers[schema, which] = found
        self._path_readers[schema] = [_path_reader(path, whole) for path in self.paths]
        return found

    def _check_available(self, image: Image) -> None:
        for name, field in self._columns.items():
            value = image.get(name)
            if value is not None and bytes(value) in _UNAVAILABLE:
                raise _unavailable(field)


@functools.lru_cache(maxsize=16)
def plan_of(contract: Contract) -> Plan:
    """The contract's plan, with the schema blocks it has seen."""
    return Plan(contract)


def _names(field: FieldSpec) -> list[str]:
    """Names in a record that the field may be read from."""
    return field.source if isinstance(field.source, list) else field.wanted


def _as_read(field: FieldSpec) -> FieldSpec:
    """The field, as text where its columns are joined or searched."""
    if isinstance(field.source, list) or (field.pattern is not None and field.is_numeric):
        return field.model_copy(update={"type": "string", "format": None})
    return field


def _steps(path: str) -> tuple[str, ...]:
    steps = tuple(path.split(".")[1:])
    return steps[1:] if steps[0] == "payload" else steps


def _path_reader(path: _Path, schema: Column | None) -> Reader | None:
    if path.steps[:1] not in (("before",), ("after",)):
        return metadata_reader(path.field, path.steps[-1] if path.steps else "")
    return value_reader(path.field, _led_to(path.steps, schema))


def _column_at(image: Column | None, name: str) -> Column | None:
    """What the schema of an image says of a name, or of a path from it."""
    found = image.at(name) if image is not None else None
    return _led_to(tuple(name.split(".")), image) if found is None and "." in name else found


def _led_to(steps: tuple[str, ...], column: Column | None) -> Column | None:
    for step in steps:
        column = column.at(step) if column is not None else None
    return column


def _unavailable(field: FieldSpec) -> Refused:
    return Refused(
        f"unavailable:{field.name}",
        f"{field.name}: Debezium did not have the value, which this update left as it was; let the database log whole rows "
        "(PostgreSQL: ALTER TABLE ... REPLICA IDENTITY FULL)",
    )


def _put(
    steps: tuple[str, ...], value: msgspec.Raw, image: Mapping[str, msgspec.Raw], new: dict[str, msgspec.Raw]
) -> None:
    """Put a value at the end of a path that leads there, into the first object on it as it becomes in `new`."""
    within = new.get(steps[0], image[steps[0]])
    inside = _decode_parts(within)
    if not names_once(bytes(within), inside):  # left as it is, for the decoder to refuse
        return
    if len(steps) == 2:
        inside[steps[1]] = value
    else:
        _put(steps[1:], value, inside, inside)
    new[steps[0]] = msgspec.Raw(_encode(inside))


def _at(steps: tuple[str, ...], parts: dict[tuple[str, ...], Mapping[str, msgspec.Raw]]) -> msgspec.Raw | None:
    """JSON at the end of the path, None where it leads nowhere. parts: objects on the way that are read already."""
    for n in range(1, len(steps)):
        if steps[:n] not in parts:
            raw = parts[steps[: n - 1]].get(steps[n - 1])
            try:
                parts[steps[:n]] = _decode_parts(raw) if raw is not None else {}
            except (ValueError, RecursionError):  # no object: nothing stands below it
                parts[steps[:n]] = {}
    return parts[steps[:-1]].get(steps[-1]) if steps else None


def _equal(left: msgspec.Raw, right: msgspec.Raw) -> bool:
    if bytes(left) == bytes(right):
        return True
    try:
        return bool(msgspec.json.decode(left) == msgspec.json.decode(right))
    except (ValueError, RecursionError):  # no value: the decoder will refuse the record, which stays one
        return True
