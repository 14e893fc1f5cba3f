"""A JSON document, a file's or a message's, whose records are the elements of an array in it.

Position of a record: its number in the file, from 1; in a message `offset * 1,000,000 + number`. A document that is cut
off, or in which the path leads to no array, is left out whole.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import Decoded
from data_sources.formats import Block, Planned, ended
from data_sources.formats.json_scan import Path, ScanError, Scanner
from data_sources.records import Records
from data_sources.sources.kinds import kind_of
from data_sources.sources.opening import BLOCK, opened
from data_sources.splits import FileEnd, FileSplit

IN_MESSAGE = 1_000_000
"""Positions a message's records may have."""


@dataclass(frozen=True)
class JsonDocument:
    """See Format."""

    contract: Contract
    endings = (".json",)
    grows = False
    is_text = True

    def plan(self, split: FileSplit, before: FileEnd | None, rows: int) -> Planned:
        scanner, count = self._scanner(), 0
        with opened(split.path, self.contract) as stream:
            while block := stream.read(BLOCK):
                if not count and not scanner.texts and (kind := kind_of(block)) is not None:
                    raise ValueError(f"is {kind}, not JSON text")
                count += len(scanner.feed(block))
        scanner.finish()
        nowhere = self._check_led_there(scanner)
        constants = dict(split.constants) | self._constants(scanner)
        left = min(rows, count - split.start)
        if left <= 0:
            return Planned(None)
        notes = [f"{root}; it is null in all its records" for root in nowhere]
        taken = replace(split, rows=left, constants=tuple(constants.items()))
        return Planned(taken, tuple(notes) if before is None else ())

    def cut(self, split: FileSplit, rows: int) -> list[FileSplit]:
        return [split]  # a document is read from its beginning

    def read(self, split: FileSplit) -> Iterator[Block | FileEnd]:
        scanner, number = self._scanner(), 0
        first, last = split.start, split.start + split.rows
        is_last = False
        with opened(split.path, self.contract) as stream:
            while number <= last and (block := stream.read(BLOCK)):
                elements = scanner.feed(block)
                begin, number = number, number + len(elements)
                wanted = elements[max(first - begin, 0) : max(last - begin, 0)]
                if wanted:
                    yield _records(wanted, max(begin, first) + 1)
            is_last = number <= last
        yield ended(split, last, last, done=is_last)

    def decode(self, block: Block, header: tuple[str, ...] | None, constants: Mapping[str, str | None]) -> Decoded:
        assert isinstance(block, Records)
        return decode_json(block, self.contract, constants)

    def messages(self, records: Records) -> Records:
        """The elements of each message; a message without any such array is one record, refused."""
        elements: list[bytes] = []
        parents: list[int] = []
        numbers: list[int] = []
        refused: dict[int, tuple[str, str]] = {}
        for i in range(len(records)):
            raw = records.raw(i)
            scanner = self._scanner()
            try:
                found = scanner.feed(raw)
                scanner.finish()
                self._check_led_there(scanner)
                if len(found) >= IN_MESSAGE:
                    raise ScanError(f"has more than {IN_MESSAGE - 1:,} records")
                found = [self._with_roots(element, scanner) for element in found]
            except ScanError as cause:
                refused[len(elements)] = ("document", f"the message {cause}")
                found = [raw]
            elements += found
            parents += [i] * len(found)
            numbers += range(1, len(found) + 1)
        at = np.asarray(parents, np.int64)
        made = _records(elements, 1)
        return dataclasses.replace(
            made,
            positions=records.positions[at] * IN_MESSAGE + np.asarray(numbers, np.int64),
            arrivals=None if records.arrivals is None else records.arrivals[at],
            refused=refused,
        )

    def _with_roots(self, element: bytes, scanner: Scanner) -> bytes:
        """The element with the message's own values under the names that its fields have in the contract."""
        body = element.removeprefix(b"{")
        for path, value in scanner.values.items() if body != element else ():
            name = json.dumps("$." + ".".join(path)).encode()
            body = name + b":" + value + (b"," if body.strip() != b"}" else b"") + body
        return element if not element.startswith(b"{") else b"{" + body

    def _scanner(self) -> Scanner:
        document = self.contract.document
        assert document is not None
        records = document.records.removeprefix("$.")
        return Scanner(
            () if records == "." else tuple(records.split(".")), [path for root in self._roots for path in root.paths]
        )

    @property
    def _roots(self) -> list[Root]:
        """What fields read at the document's root."""
        found = []
        for field in self.contract.fields:
            if isinstance(field.source, list):
                parts = dict.fromkeys(name for name in field.source if name.startswith("$."))
                found += [Root(name, field.name, (_path(name),)) for name in parts]
            elif (paths := [_path(name) for name in field.wanted if name.startswith("$.")]) != []:
                found.append(Root(field.name, field.name, tuple(paths)))
        return found

    def _constants(self, scanner: Scanner) -> dict[str, str | None]:
        return {root.key: _as_text(root.value(scanner)) for root in self._roots}

    def _check_led_there(self, scanner: Scanner) -> list[Root]:
        """What no field has at the root, of fields that may be null. Raises ScanError for the others."""
        assert self.contract.document is not None
        path = self.contract.document.records
        if not scanner.arrays:
            seen = "an object" if scanner.led_to_object else "nothing"
            raise ScanError(f"has no array at {path!r} ({seen} there); correct [json] records of the contract")
        nowhere = [root for root in self._roots if root.value(scanner) is None]
        for root in nowhere:
            if root.field in self.contract.required:
                raise ScanError(str(root))
        return nowhere


class Root(NamedTuple):
    """A value at a document's root: what it is handed on as, the field that reads it, the paths it may be at."""

    key: str
    field: str
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return (
            f"has nothing at {' or '.join('$.' + '.'.join(p) for p in self.paths)}, where field {self.field!r} is read"
        )

    def value(self, scanner: Scanner) -> bytes | None:
        """JSON text; None where the document has none."""
        return next((scanner.values[path] for path in self.paths if path in scanner.values), None)


def _path(name: str) -> Path:
    return tuple(name.removeprefix("$.").split("."))


def _as_text(value: bytes | None) -> str | None:
    """A scalar of JSON as text; raises ScanError where it is none."""
    if value is None:
        return None
    try:
        found = msgspec.json.decode(value)  # as records are read: no NaN, no half of a surrogate pair
    except ValueError as cause:
        raise ScanError(f"has {value[:40]!r} where a value is due") from cause
    if found is None or isinstance(found, str):
        return found
    return value.decode()


def _records(elements: list[bytes], first: int) -> Records:
    lengths = np.fromiter(map(len, elements), np.int64, len(elements))
    ends = np.cumsum(lengths + 1) - 1
    data = b"\n".join(elements)
    positions = np.arange(first, first + len(elements), dtype=np.int64)
    return Records(data, ends - lengths, ends, positions, whole_lines=data.count(b"\n") == max(len(elements) - 1, 0))
