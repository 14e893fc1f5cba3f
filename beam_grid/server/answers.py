"""Rows as the caller wants them, by its Accept header: JSON by the page, CSV, or Arrow's stream.

    application/json                        {"columns": [...], "rows": [{...}], "set": 12, "next": "..."}
    text/csv                                a header and all rows
    application/vnd.apache.arrow.stream     all rows, types kept

Values are written as `beam-grid query --format json` and csv do: times ISO 8601 UTC, decimals with a fraction as text. In CSV,
text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a line break) gets a leading
apostrophe. JSON has no <, > or & in it, so that it stays text wherever it is put.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from beam_grid.server.problems import Problem
from beam_grid.show import as_python, distinct, plain

Form = Literal["json", "csv", "arrow"]

ARROW = "application/vnd.apache.arrow.stream"
_TYPES: dict[str, Form] = {
    "application/json": "json", "text/csv": "csv", ARROW: "arrow", "application/*": "json", "text/*": "csv", "*/*": "json",
}  # fmt: skip
_CHUNK = 64 << 10
_FEW_ROWS = 200
_ESCAPED = [(sign.encode(), b"\\u%04x" % ord(sign)) for sign in "<>&\u2028\u2029"]
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Of the years 1 to 9999, microseconds since 1970."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def wanted(accept: str) -> Form:
    """The form an Accept header prefers; raises Problem for one that names none of ours."""
    best: tuple[float, int, Form] | None = None
    for place, part in enumerate(accept.split(",") if accept.strip() else ["*/*"]):
        kind, _, parameters = part.strip().partition(";")
        form = _TYPES.get(kind.strip().lower())
        quality = _quality(parameters)
        if form is not None and quality > 0 and (best is None or (quality, -place) > best[:2]):
            best = (quality, -place, form)
    if best is None:
        raise Problem(406, f"Accept: {accept[:100]}: give application/json, text/csv or {ARROW}")
    return best[2]


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def table_of(rows: bytes) -> pa.Table:
    """What a worker sent."""
    return pa.ipc.open_stream(rows).read_all()


def columns(table: pa.Table) -> list[dict[str, str]]:
    """Names, told apart where equal, and Arrow types."""
    return [{"name": n, "type": str(t)} for n, t in zip(distinct(table.column_names), table.schema.types, strict=True)]


def records(table: pa.Table) -> list[dict[str, Any]]:
    """A dict per row, of what JSON has."""
    names = distinct(table.column_names)
    return [dict(zip(names, row, strict=True)) for row in zip(*map(plain_column, table.columns), strict=True)]


def plain_column(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column, each as `plain` has it."""
    kind = column.type
    if pa.types.is_floating(kind):
        numbers = column.to_pylist()
        return numbers if pc.all(pc.is_finite(column)).as_py() is not False else list(map(plain, numbers))
    if pa.types.is_timestamp(kind) and kind.unit == "us" and _has_datetimes(column):
        # a datetime each would cost five times as much
        texts = np.datetime_as_string(column.cast(pa.timestamp("us")).to_numpy()).tolist()
        return [None if text == "NaT" else f"{text.removesuffix('.000000')}Z" for text in texts]
    as_they_are = pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    return column.to_pylist() if as_they_are else list(map(plain, as_python(column)))


def _has_datetimes(column: pa.ChunkedArray) -> bool:
    """Whether Python has one for each: none for infinity."""
    least, most = pc.min_max(column.cast(pa.int64())).values()
    return not least.is_valid or (least.as_py() >= _FIRST_US and most.as_py() <= _LAST_US)


def json_bytes(body: Any) -> bytes:
    """As JSON that no browser takes for anything else."""
    try:
        text = msgspec.json.encode(body)
    except UnicodeEncodeError:  # half a character that somebody sent, and is told of
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )
    for sign, escaped in _ESCAPED:
        text = text.replace(sign, escaped)
    return text


async def page_bytes(make: Callable[[], dict[str, Any]], rows: int) -> bytes:
    """A page of so many rows as JSON; of many, made beside the event loop, which others wait for."""
    if rows <= _FEW_ROWS:
        return json_bytes(make())
    return await asyncio.to_thread(lambda: json_bytes(make()))


def page_response(page: bytes, more: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """A page, and what is said beside its rows."""
    return Response(page[:-1] + b"," + json_bytes(more)[1:], media_type="application/json", headers=headers)


def json_response(body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(json_bytes(body), media_type="application/json", headers=headers)


class Unsent:
    """Bytes of answers that are on their way to clients, all together, and how many may be."""

    def __init__(self, most: int = 256 << 20) -> None:
        self.bytes, self._most = 0, most

    def streamed(self, rows: bytes, form: Form, name: str, headers: dict[str, str]) -> StreamingResponse:
        """All rows as CSV or Arrow, a piece at a time. name: of the file that a browser would save. Raises Problem where
        clients that read slowly hold too much already."""
        if self.bytes + len(rows) > self._most:
            raise Problem(
                503, "too much waits to be read by other clients; ask again in a moment", {"Retry-After": "5"}
            )
        ending, kind = ("csv", "text/csv; charset=utf-8") if form == "csv" else ("arrow", ARROW)
        pieces = _csv(rows) if form == "csv" else _cut(rows)
        said = {"Content-Disposition": f'attachment; filename="{name}.{ending}"', **headers}
        return _Counted(self, len(rows), pieces, media_type=kind, headers=said)


class _Counted(StreamingResponse):
    def __init__(self, unsent: Unsent, size: int, pieces: Iterator[bytes], **more: Any) -> None:
        super().__init__(pieces, **more)
        self._unsent, self._size = unsent, size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._unsent.bytes += self._size
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._unsent.bytes -= self._size


def _cut(rows: bytes) -> Iterator[bytes]:
    view = memoryview(rows)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])


def _csv(rows: bytes) -> Iterator[bytes]:
    reader = pa.ipc.open_stream(rows)
    yield _lines([map(_safe, distinct(reader.schema.names))])
    for batch in reader:
        for start in range(0, batch.num_rows, 2048):
            piece = batch.slice(start, 2048)
            yield _lines(zip(*(map(_cell, as_python(column)) for column in piece.columns), strict=True))


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    """A value's text; only what was text can be taken for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = plain(value)
    if isinstance(shown, dict | list):
        return _safe(json.dumps(shown, ensure_ascii=False))
    return _safe(shown) if isinstance(value, str | bytes) else str(shown)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
