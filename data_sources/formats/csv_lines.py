"""CSV files: where the header is, which columns it has, and which of the contract's are missing.

    Zählpunkt;AT001            the preamble: neither records nor rejects
    Datum;Zeit;kWh             the header, here found by  header = "Datum;"
    01.01.2025;00:15;0,25      records

A last row without a line end waits, unless the contract says `last_line = "whole"`.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.decode.columns import bind, headerless_names
from data_sources.decode.csv_lines import MAX_LINES, codec, decode_csv, header_names, split_csv
from data_sources.decode.rejects import MAX_RECORD, Decoded
from data_sources.formats import Block, Planned, lines
from data_sources.patterns import first_group
from data_sources.records import Records
from data_sources.sources.kinds import kind_of
from data_sources.sources.opening import opened
from data_sources.splits import FileEnd, FileSplit

WAITS = (
    'its last row has no line end: it waits for the rest (where files end so, write last_line = "whole" into [csv] of the '
    "contract)"
)


class Head(NamedTuple):
    """What stands above a file's records: names of its columns, the lines above those, and where the records begin."""

    names: tuple[str, ...] | None
    preamble: str
    body: int
    line: int


@dataclass(frozen=True)
class Csv:
    """See Format."""

    contract: Contract
    endings = (".csv", ".txt")
    grows = True
    is_text = True

    def plan(self, split: FileSplit, before: FileEnd | None, rows: int) -> Planned:
        contract = self.contract
        with opened(split.path, contract) as stream:
            data = stream.read(MAX_RECORD)
        returns = b"\r" in data[:-1] and b"\n" not in data  # of a last \r the \n may be under way
        head = self._head(lines.mac(data, returns))
        if head is None:
            return Planned(None)
        notes: tuple[str, ...] = ()
        from_preamble = self._from_preamble(head.preamble)
        constants = dict(split.constants) | from_preamble
        if head.names is not None:
            absent = bind(head.names, contract).absent(contract.required)
            absent += (_nothing_above(name) for name, v in from_preamble.items() if v is None)
            notes = tuple(f"{why}; it is null in all its rows" for why in absent) if before is None else ()
        start, line = (before.offset, before.line) if before is not None else (head.body, head.line)
        split = replace(
            split, start=start, line=line, header=head.names, returns=returns, constants=tuple(constants.items())
        )
        found, waits = lines.count(split, rows, contract, self._is_whole, before is None)
        why = WAITS if waits else None
        return Planned(replace(split, rows=min(found, rows)), notes, why) if found > 0 else Planned(None, waits=why)

    def cut(self, split: FileSplit, rows: int) -> list[FileSplit]:
        return [split]  # a quoted field may hold line ends

    def read(self, split: FileSplit) -> Iterator[Block | FileEnd]:
        return lines.read(split, self.contract, self._cut, self._is_whole)

    def decode(self, block: Block, header: tuple[str, ...] | None, constants: Mapping[str, str | None]) -> Decoded:
        assert isinstance(block, Records)
        return decode_csv(block, self.contract, header or headerless_names(self.contract), constants)

    def messages(self, records: Records) -> Records:
        raise ValueError('messages are read as JSON, and the contract says format = "csv"')

    def _cut(self, data: bytes, first: int, final: bool) -> tuple[Records, int]:
        return split_csv(data, first, self.contract, final)

    def _is_whole(self, tail: bytes) -> bool:
        return self.contract.csv.last_line == "whole"

    def _head(self, data: bytes) -> Head | None:
        """None while the header is not there yet. Raises ValueError for a file without one, or one that fits nothing."""
        contract, bom = self.contract, len(BOM_UTF8) if data.startswith(BOM_UTF8) else 0
        wanted = contract.csv.header
        if wanted is False:
            return Head(None, "", bom, 1)
        text = data[bom:]
        if not text.strip():
            return None
        if isinstance(wanted, str):
            begins = wanted.encode(codec(contract))
            at, number = 0, 1
            while not text[at:].startswith(begins):
                end = text.find(b"\n", at) + 1
                if not end:
                    raise ValueError(_no_header(text, f"no line begins with {wanted!r}", contract))
                at, number = end, number + 1
        else:
            at, number = 0, 1
        line = _record_at(text, at, contract)
        if not line.strip():
            raise ValueError("the first line, where the header is due, is blank")
        names = self._names(line.rstrip(b"\r"), text)
        if names is None:
            return None
        return Head(
            names, self._preamble(text[:at]), min(bom + at + len(line) + 1, len(data)), number + 1 + line.count(b"\n")
        )

    def _preamble(self, above: bytes) -> str:
        """Raises ValueError where it is not in the encoding and a field reads it."""
        reads = [field.name for field in self.contract.fields if field.from_preamble is not None]
        try:
            return above.decode(codec(self.contract), "strict" if reads else "replace")
        except UnicodeDecodeError as cause:
            raise ValueError(
                f"byte {cause.start} of the lines above its header is not {self.contract.csv.encoding}, and field "
                f"{reads[0]!r} reads them; write the file's encoding into [csv]"
            ) from cause

    def _names(self, line: bytes, text: bytes) -> tuple[str, ...] | None:
        contract = self.contract
        try:
            names = tuple(header_names(line, contract))
        except UnicodeDecodeError as cause:
            raise ValueError(
                _no_header(text, f"byte {cause.start} is not {contract.csv.encoding}", contract)
            ) from cause
        if not bind(names, contract).fits:
            seen = line.decode(codec(contract), "replace")[:100]
            why = f"its first line, {seen!r}, names none of the contract's columns"
            raise ValueError(_no_header(text, why, contract))
        return names

    def _from_preamble(self, preamble: str) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for field in self.contract.fields:
            if field.from_preamble is not None:
                found[field.name] = first_group(preamble, field.from_preamble, by_line=True)
                if found[field.name] is None and field.name in self.contract.required:
                    raise ValueError(
                        f"the lines above its header hold nothing that from_preamble of field {field.name!r} finds "
                        f"('{field.from_preamble}'); they are: {preamble[:200]!r}"
                    )
        return found


def _nothing_above(field: str) -> str:
    return f"the lines above its header hold nothing that from_preamble of field {field!r} finds"


def _record_at(text: bytes, at: int, contract: Contract) -> bytes:
    """The line at a place, with those below it where a quoted name goes on there."""
    quote, end = contract.csv.quote.encode(), at
    for _ in range(MAX_LINES):
        found = text.find(b"\n", end)
        end = len(text) if found < 0 else found + 1
        line = text[at : end if found < 0 else found]
        if line.count(quote) % 2 == 0:
            return line
        if found < 0:
            break
    return text[at:].partition(b"\n")[0]


def _no_header(text: bytes, why: str, contract: Contract) -> str:
    """What is wrong with a header, and the likeliest reason: another kind of file, lines above it, another delimiter."""
    if (kind := kind_of(text)) is not None:
        remedy = " (say so with encoding in [csv])" if "UTF-16" in kind else ""
        return f"is {kind}, not CSV text in {contract.csv.encoding}{remedy}"
    csv = contract.csv
    rows = text[: 1 << 16].decode(codec(contract), "replace").splitlines()
    for number, row in enumerate(rows[:100], 1):
        try:
            names = header_names(row.encode(codec(contract), "replace"), contract)
        except ValueError:
            continue
        if len(bind(names, contract).columns) >= 2:
            begin = row[: row.find(csv.delimiter) + 1]
            mark = "'" if '"' in begin else '"'  # as TOML writes it
            return f"{why}; line {number} names them: write header = {mark}{begin}{mark} into [csv]"
    wanted = [name for field in contract.fields for name in field.wanted]
    for mark, word in ((";", ";"), (",", ","), ("\t", "a tab"), ("|", "|")):
        first = rows[0] if rows else ""
        if mark != csv.delimiter and {cell.strip(' "') for cell in first.split(mark)} & set(wanted):
            return f"{why}; its delimiter looks like {word}, and the contract says {csv.delimiter!r}"
    return f"{why} ({', '.join(wanted)[:200]}); is it another feed's?"
