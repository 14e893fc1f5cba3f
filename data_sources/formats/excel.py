"""One sheet of an Excel workbook as CSV text: a row of the sheet is a line, so lines number rows as Excel does.

Numbers are written with the contract's decimal mark and the 15 digits that Excel shows, whole ones with all (ids that another
program wrote may have 16), dates and times as ISO 8601,
hours counted beyond a day as 24:00:00, truth as true and false; line breaks within a cell are blanks. Of merged cells the
first has the value. A formula is the value Excel last computed for it, an error its text (#N/A), so that it is no number;
a workbook in which a formula has no value is left out, as its cells would read as empty.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

from data_sources.contract import Contract
from data_sources.sources.errors import SourceError

_EXACT = 1 << 53
"""Below it a double holds each whole number."""

MOST_BYTES = 1 << 30
"""Bytes the parts of a workbook may unpack to."""


def sheet_as_csv(workbook: bytes, contract: Contract) -> bytes:
    """CSV text, as the contract says it is written. Raises SourceError for what is no workbook, or has no such sheet."""
    csv_spec = contract.csv
    return _as_csv(workbook, csv_spec.sheet, csv_spec.delimiter, csv_spec.quote, csv_spec.decimal)


@lru_cache(maxsize=1)
def _as_csv(workbook: bytes, sheet: str | None, delimiter: str, quote: str, decimal: str) -> bytes:
    import python_calamine

    try:
        _check_size(workbook)
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(workbook))
        sheets = ", ".join(map(repr, book.sheet_names))
        if sheet is not None and sheet not in book.sheet_names:
            raise SourceError(f"has no sheet {sheet!r}; its sheets: {sheets}")
        name = sheet or book.sheet_names[0]
        rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
        if not rows and sheet is None and len(book.sheet_names) > 1:
            raise SourceError(
                f"has nothing in its first sheet; name the one to read with sheet in [csv], one of {sheets}"
            )
        for (at, column), text in _check_sheet(workbook, name).items():
            rows[at][column] = text
    except (python_calamine.CalamineError, zipfile.BadZipFile, KeyError, IndexError, ElementTree.ParseError) as cause:
        raise SourceError(f"is no Excel workbook that can be read ({cause}); save it again as .xlsx or CSV") from cause
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, quotechar=quote, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value, decimal) for value in row])
    return written.getvalue().encode()


def _cell(value: Any, decimal: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            if not value.is_integer() or abs(value) >= _EXACT:
                value = float(f"{value:.15g}")  # a sum of 0.1 and 0.2 is shown as 0.3
            plain = str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
            return plain.replace(".", decimal)
        case datetime():
            return _to_second(value).isoformat()
        case time():
            moment = _to_second(datetime.combine(date.min, value))
            return moment.time().isoformat() if moment.date() == date.min else "24:00:00"
        case date():
            return value.isoformat()
        case timedelta():
            seconds = round(value.total_seconds())
            return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        case _:
            return re.sub(r"\s*[\r\n]+\s*", " ", str(value))


def _to_second(value: datetime) -> datetime:
    """The whole second that a time stands for: it is stored as a part of a day, often with few digits."""
    whole = (value + timedelta(milliseconds=500)).replace(microsecond=0)
    return whole if abs(value - whole) <= timedelta(milliseconds=10) else value


def _check_size(workbook: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_BYTES:
        raise SourceError(f"unpacks to {size:,} bytes: not opened; save the sheet as CSV")


def _check_sheet(workbook: bytes, sheet: str) -> dict[tuple[int, int], str]:
    """Texts of the errors (#N/A, #DIV/0!) in a sheet by row and column, from 0; raises SourceError where a formula has no value.

    The reader shows either as an empty cell.
    """
    errors = {}
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive, archive.open(_part_of(archive, sheet)) as part:
        for _, element in ElementTree.iterparse(part):
            if not element.tag.endswith("}c"):
                continue
            inside = {child.tag.rsplit("}", 1)[-1]: child.text for child in element}
            kind, where = element.get("t"), element.get("r", "?")
            if kind == "e" and inside.get("v"):
                errors[_place(where)] = inside["v"] or ""
            elif "f" in inside and not inside.get("v") and kind != "str":  # a formula's text may be empty
                raise SourceError(
                    f"has a formula without a value in cell {where}; open it in Excel and save it, or save it as CSV"
                )
            element.clear()
    return errors


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str:
    """The archive's name of a sheet's own part: sheets may have been moved since they were numbered."""
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    ids = {
        element.get("name"): value
        for element in book.iter()
        if element.tag.endswith("}sheet")
        for key, value in element.attrib.items()
        if key.endswith("}id")
    }
    links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    target = {link.get("Id"): link.get("Target", "") for link in links}[ids[sheet]]
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _place(name: str) -> tuple[int, int]:
    """Row and column, from 0, of a cell by its name: C2 is (1, 2)."""
    letters = name.rstrip("0123456789")
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - ord("A") + 1
    return int(name[len(letters) :]) - 1, column - 1
