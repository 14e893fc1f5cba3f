"""One JSON object a line, or a message.

A last line without its line end is a record if it is one whole object: nothing could be appended to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import MAX_RECORD, Decoded
from data_sources.formats import Block, Planned, lines
from data_sources.formats.json_scan import ScanError, Scanner
from data_sources.records import Records
from data_sources.records import lines as cut_lines
from data_sources.sources.kinds import kind_of
from data_sources.sources.opening import opened
from data_sources.splits import FileEnd, FileSplit


@dataclass(frozen=True)
class JsonLines:
    """See Format."""

    contract: Contract
    endings = (".json", ".jsonl", ".ndjson")
    grows = True
    is_text = True

    def plan(self, split: FileSplit, before: FileEnd | None, rows: int) -> Planned:
        if before is None:
            with opened(split.path, self.contract) as stream:
                _check_is_lines(stream.read(MAX_RECORD), self.contract)
        found, waits = lines.count(split, rows, self.contract, _is_object, before is None)
        why = "its last line is no whole JSON object and has no line end: it waits for the rest" if waits else None
        return Planned(replace(split, rows=min(found, rows)) if found > 0 else None, waits=why)

    def cut(self, split: FileSplit, rows: int) -> list[FileSplit]:
        return lines.cut(split, self.contract, rows)

    def read(self, split: FileSplit) -> Iterator[Block | FileEnd]:
        return lines.read(split, self.contract, lambda data, first, _: (cut_lines(data, first), len(data)), _is_object)

    def decode(self, block: Block, header: tuple[str, ...] | None, constants: Mapping[str, str | None]) -> Decoded:
        assert isinstance(block, Records)
        return decode_json(block, self.contract, constants)

    def messages(self, records: Records) -> Records:
        return records


def _is_object(tail: bytes) -> bool:
    if len(tail) > MAX_RECORD or not tail.rstrip().endswith(b"}"):
        return False
    try:
        return isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        return False


def _check_is_lines(head: bytes, contract: Contract) -> None:
    """Raises ValueError for a file that is one document, or no text; of a record that is broken the decoder tells."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] not in (b"[", b"{"):
        if (kind := kind_of(head)) is not None:
            raise ValueError(f"is {kind}, not JSON text")
        return
    first, _, more = text.partition(b"\n")
    if not more.strip() and (path := _array_in(first)) and not _has_fields(first, contract):
        raise ValueError(
            f'is one JSON document, none of whose names is a field of the contract; write records = "{path}" into '
            "[json] of the contract, if its records are there"
        )
    if _is_object(first) or not _is_document(first, more, is_cut=len(head) >= MAX_RECORD):
        return
    if text[:1] == b"[":
        raise ValueError('is one JSON array, not a JSON object a line; write records = "." into [json] of the contract')
    path = _array_in(text) or "data.values"
    raise ValueError(
        "is one JSON document over several lines, not a JSON object a line; write the path to the array of its "
        f'records into the contract, as in [json] records = "{path}"'
    )


def _is_document(first: bytes, more: bytes, is_cut: bool) -> bool:
    """Whether a text whose first line is no object is one document, rather than lines of which the first is broken.

    is_cut: whether the text goes on beyond what is here.
    """
    scanner = Scanner(None)
    try:
        scanner.feed(first)
        if not scanner.is_within:
            return not more.strip() and first[:1] == b"[" and b"{" in first  # [1] is a broken record
        if not more.strip():
            return is_cut or first[:1] == b"["
        scanner.feed(b"\n" + more)
    except ScanError:
        return False
    if not scanner.is_within or is_cut or len(first.strip()) == 1:
        return True
    rest = [row.strip() for row in more.splitlines()]
    return any(row.endswith(b",") for row in rest) or not any(map(_is_object, rest))


def _has_fields(line: bytes, contract: Contract) -> bool:
    """Whether an object has anything that the contract reads; changes come in envelopes and have it further in, and what
    [unpivot] takes has any name."""
    if contract.lake.load != "append" or contract.unpivot is not None:
        return True
    document = json.loads(line)
    asked = [name for f in contract.fields for name in (f.source if isinstance(f.source, list) else f.wanted)]
    return any(name in document or name.removeprefix("$.").split(".")[0] in document for name in asked)


def _array_in(text: bytes) -> str | None:
    """The path to the first array of objects in a document, the least deep; None where there is none."""
    try:
        level = [("", json.loads(text))]
    except (ValueError, RecursionError):
        return None
    while level:
        below = []
        for path, value in level:
            if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
                return path
            if isinstance(value, dict):
                below += [(f"{path}.{name}" if path else name, inner) for name, inner in value.items()]
        level = below
    return None
