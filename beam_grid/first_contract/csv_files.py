"""A CSV file, or a sheet of a workbook, as a sample."""

from __future__ import annotations

import os

import python_calamine

from beam_grid.first_contract.look import ROWS, head_of, probe
from beam_grid.first_contract.model import Column, Sample, Word
from beam_grid.first_contract.tables import HEAD, Layout, layout_of
from beam_grid.first_contract.texts import decoded, encoding_of
from data_sources.sources import SourceError
from data_sources.sources.finding import Found
from data_sources.sources.opening import compression, place


def of_csv(file: Found, address: str, most: int) -> Sample:
    """The file's sample. Raises SourceError for what is no table, UnicodeDecodeError for what is no text."""
    is_sheet = file.path.lower().endswith(".xlsx")
    notes: dict[str, str] = {}
    sheet = None
    if is_sheet:
        (sheet, text), encoding = _sheet(file.path, most), "utf-8"
    else:
        data = head_of(file.path, most + 1)
        encoding, why = encoding_of(data)
        text = decoded(data[:most], encoding)
        if why:
            notes["encoding"] = why
        if len(data) > most:
            text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    layout = layout_of("".join(text.splitlines(keepends=True)[: ROWS + HEAD]))
    words = _words(layout, encoding, notes)
    if sheet is not None:
        words["sheet"] = sheet
        notes["sheet"] = "The first sheet that holds a table of two columns or more"
    if not is_sheet and encoding == "utf-8" and _ends_without_a_line_end(file.path):
        words["last_line"] = "whole"
        notes["last_line"] = f"{file.name} has no line end behind its last row"
    rows = layout.rows[:ROWS]
    columns = _columns(layout, rows, words, notes)
    return Sample(address, "csv", columns, words, notes, layout.above, files=[file.name])


def _sheet(path: str, most: int) -> tuple[str | None, str]:
    """Name (None for the first) and text of the first sheet that holds a table. Raises SourceError without any."""
    text = head_of(path, most, probe("csv", files=["*.xlsx"])).decode()
    book = python_calamine.CalamineWorkbook.from_path(path) if place(path).member is None else None
    for name in book.sheet_names if book is not None else []:
        spec = probe("csv", files=["*.xlsx"], csv={"sheet": name})
        try:
            found = head_of(path, most, spec).decode()
            layout_of(found)
        except SourceError:
            continue
        return (None if found == text else name), found
    return None, text


def _words(layout: Layout, encoding: str, notes: dict[str, str]) -> dict[str, Word]:
    words: dict[str, Word] = {"delimiter": layout.delimiter}
    if encoding != "utf-8":
        words["encoding"] = encoding
    if layout.quote != '"':
        words["quote"] = layout.quote
    if layout.header is None:
        words["header"] = False
        notes["header"] = "The first row holds values already; name the columns, in their order"
    elif layout.begins is not None:
        words["header"] = layout.begins
        above = len(layout.above)
        notes["header"] = f"{above} line{'s' if above > 1 else ''} above it: the file's preamble"
    return words


def _columns(layout: Layout, rows: list[list[str]], words: dict[str, Word], notes: dict[str, str]) -> list[Column]:
    width = len(layout.header) if layout.header is not None else max(map(len, rows))
    names = layout.header if layout.header is not None else [f"column_{n + 1}" for n in range(width)]
    short = sum(len(row) < width for row in rows)
    long = sum(len(row) > width for row in rows)
    if short:
        words["short_rows"] = "null"
        notes["short_rows"] = (
            f"{short:,} of {len(rows):,} rows have fewer values than the header; their last ones are null"
        )
    if long:
        notes["delimiter"] = f"{long:,} of {len(rows):,} rows have more values than the header: they will be rejected"
    times: dict[str, int] = {}
    columns = []
    for at, name in enumerate(names):
        times[name] = times.get(name, 0) + 1
        numbered = f"{name}#{times[name]}" if names.count(name) > 1 else name
        columns.append(Column(numbered, [row[at] if at < len(row) else None for row in rows]))
    return [c for c in columns if c.name.split("#")[0].strip() or layout.header is None]


def _ends_without_a_line_end(path: str) -> bool:
    if compression(path) is not None or place(path).member is not None:
        return False
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - 1, 0))
        return file.read(1) not in (b"\n", b"\r")
