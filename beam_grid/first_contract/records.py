"""JSON records as a sample: objects within objects by their path, changes of a table by the rows they tell of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from beam_grid.first_contract.model import Changes, Column, Sample

_OPERATIONS = {"c", "u", "d", "r", "t"}
_PLACES = ("commit_lsn", "change_lsn", "event_serial_no", "lsn", "pos", "scn")
"""What Debezium's connectors call the place in the log (SQL Server, PostgreSQL, MySQL, Oracle)."""


def of_records(records: Sequence[dict[str, Any]], address: str) -> Sample:
    """The sample of JSON objects."""
    changes = _changes(records)
    rows = [_image(record) for record in records] if changes else list(records)
    flat = [dict(_flat(row, "")) for row in rows]
    names: dict[str, None] = {}
    for row in flat:
        names |= dict.fromkeys(row)
    columns = [_column(name, [row.get(name) for row in flat]) for name in names]
    if changes is not None:
        declared = _declared(records)
        for column in columns:
            column.type = declared.get(column.name)
    return Sample(address, "json", columns, changes=changes)


def _column(name: str, values: list[Any]) -> Column:
    kinds = frozenset(_kind(v) for v in values if v is not None)
    return Column(name, [_text(v) for v in values], kinds or frozenset({"text"}))


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "text"
        case _:
            return "nested"


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _flat(row: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Names with dots are paths, unless a name has a dot of its own: then what is below stays as it is."""
    for name, value in row.items():
        if isinstance(value, dict) and value and "." not in name and name.strip():
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _envelope(record: dict[str, Any]) -> dict[str, Any] | None:
    for one in (record, record.get("payload")):
        if isinstance(one, dict) and one.get("op") in _OPERATIONS and ("after" in one or "before" in one):
            return one
    return None


def _changes(records: Sequence[dict[str, Any]]) -> Changes | None:
    envelopes = [e for e in map(_envelope, records) if e is not None]
    native = sum("__$operation" in record for record in records)
    if len(envelopes) + native <= len(records) // 2:
        return None
    sources = [e["source"] for e in envelopes if isinstance(e.get("source"), dict)]
    places = tuple(p for p in _PLACES if any(p in source for source in sources))
    schemas = sum(isinstance(record.get("schema"), dict) for record in records)
    return Changes(len(envelopes), native, places, schemas)


def _image(record: dict[str, Any]) -> dict[str, Any]:
    """The row of the source's table that a change tells of."""
    envelope = _envelope(record)
    if envelope is None:
        return record
    image = envelope.get("after") or envelope.get("before")
    return image if isinstance(image, dict) else {}


_LOGICAL = {
    "io.debezium.time.Date": "date", "org.apache.kafka.connect.data.Date": "date", "io.debezium.time.Timestamp": "timestamp",
    "io.debezium.time.MicroTimestamp": "timestamp", "io.debezium.time.NanoTimestamp": "timestamp",
    "io.debezium.time.ZonedTimestamp": "timestamp", "org.apache.kafka.connect.data.Timestamp": "timestamp",
}  # fmt: skip
_DECIMAL = "org.apache.kafka.connect.data.Decimal"


def _declared(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The types that Debezium's schemas name for the row's columns, where they are times or decimals."""
    found: dict[str, str] = {}
    for record in records:
        schema = record.get("schema")
        parts = schema.get("fields") if isinstance(schema, dict) else None
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict) or part.get("field") not in ("after", "before"):
                continue
            for field in part.get("fields") or []:
                if isinstance(field, dict) and (kind := _declared_type(field)) is not None:
                    found[str(field.get("field"))] = kind
    return found


def _declared_type(field: dict[str, Any]) -> str | None:
    if field.get("name") != _DECIMAL:
        return _LOGICAL.get(str(field.get("name")))
    parameters = field.get("parameters") or {}
    scale, precision = str(parameters.get("scale", "")), str(parameters.get("connect.decimal.precision", "38"))
    return f"decimal({precision},{scale})" if scale.isdigit() and precision.isdigit() else None
