"""One sheet of an Excel workbook as CSV text: a row of the sheet is a line, so lines number rows as Excel does.

Numbers are written with the contract's decimal mark, dates and times as ISO 8601, truth as true and false; line breaks
within a cell are blanks. Of merged cells the first has the value. A formula is the value Excel last computed for it; a
workbook in which one has none is left out, as its cells would read as empty.
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
        if sheet is not None and sheet not in book.sheet_names:
            raise SourceError(f"has no sheet {sheet!r}; its sheets: {', '.join(map(repr, book.sheet_names))}")
        name = sheet or book.sheet_names[0]
        rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
        _check_computed(workbook, book.sheet_names.index(name))
    except (python_calamine.CalamineError, zipfile.BadZipFile, KeyError, IndexError, ElementTree.ParseError) as cause:
        raise SourceError(f"is no Excel workbook that can be read ({cause}); save it again as .xlsx or CSV") from cause
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quotechar=quote, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value, decimal) for value in row])
    return text.getvalue().encode()


def _cell(value: Any, decimal: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            plain = str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
            return plain.replace(".", decimal)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case _:
            return re.sub(r"\s*[\r\n]+\s*", " ", str(value))


def _check_size(workbook: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_BYTES:
        raise SourceError(f"unpacks to {size:,} bytes: not opened; save the sheet as CSV")


def _check_computed(workbook: bytes, number: int) -> None:
    """Raises SourceError where a formula of the sheet has no value."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        sheets = sorted(
            (name for name in archive.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)),
            key=lambda name: int(re.sub(r"\D", "", name.rsplit("/", 1)[1])),
        )
        if number >= len(sheets):
            return
        with archive.open(sheets[number]) as part:
            for _, element in ElementTree.iterparse(part):
                if not element.tag.endswith("}c"):
                    continue
                inside = {child.tag.rsplit("}", 1)[-1]: child for child in element}
                if "f" in inside and ("v" not in inside or not inside["v"].text):
                    where = element.get("r", "?")
                    raise SourceError(
                        f"has a formula without a value in cell {where}; open it in Excel and save it, or save it as CSV"
                    )
                element.clear()
