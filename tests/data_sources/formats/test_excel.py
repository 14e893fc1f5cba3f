"""A sheet as CSV text: what Excel shows is what is read, and what has no value is told."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import from_excel

from data_sources.formats.excel import _cell, sheet_as_csv
from data_sources.sources.errors import SourceError
from tests.data_sources.decode.cases import contract


def workbook(*sheets: list[list[Any]], patch: Callable[[str, bytes], bytes] = lambda _, part: part) -> bytes:
    """Sheets named S1, S2, ...; patch: what becomes of each part of the archive."""
    book, made, patched = openpyxl.Workbook(), io.BytesIO(), io.BytesIO()
    book.remove(book.active)
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"S{number}")
        for row in rows:
            sheet.append(row)
    book.save(made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(patched, "w") as new:
        for name in old.namelist():
            new.writestr(name, patch(name, old.read(name)))
    return patched.getvalue()


def text(book: bytes, **words: Any) -> list[str]:
    return sheet_as_csv(book, contract("csv", files=["*.xlsx"], csv={"delimiter": ";", **words})).decode().splitlines()


def cell(name: str, xml: str) -> Callable[[str, bytes], bytes]:
    """Make another cell of the one called `name` in the first sheet."""

    def patch(part: str, content: bytes) -> bytes:
        if not part.endswith("sheet1.xml"):
            return content
        changed = re.sub(rf'<c r="{name}"[^>]*?(/>|>.*?</c>)'.encode(), xml.encode(), content)
        assert changed != content
        return changed

    return patch


def test_values_as_they_are_shown() -> None:
    row = [
        "AT1",
        datetime.fromisoformat("2025-01-01T00:15"),
        date(2025, 1, 2),
        time(0, 30),
        timedelta(hours=24),
        1.5,
        1234567.125,
        True,
    ]
    assert text(workbook([row]), decimal=",") == [
        "AT1;2025-01-01T00:15:00;2025-01-02;00:30:00;24:00:00;1,5;1234567,125;true"
    ]


def test_an_error_is_no_empty_cell() -> None:
    for shown in ("#N/A", "#DIV/0!"):
        for formula in ("", "<f>1/0</f>"):
            book = workbook([["a", "b"], ["x", 2]], patch=cell("B2", f'<c r="B2" t="e">{formula}<v>{shown}</v></c>'))
            assert text(book) == ["a;b", f"x;{shown}"]


def test_a_formula_may_give_an_empty_text_but_not_nothing() -> None:
    rows = [["a", "b"], ["x", "=1+1"]]
    empty = cell("B2", '<c r="B2" t="str"><f>IF(TRUE,"","x")</f><v></v></c>')
    assert text(workbook(rows, patch=empty)) == ["a;b", "x;"]
    assert text(workbook(rows, patch=cell("B2", '<c r="B2"><f>1+1</f><v>2</v></c>'))) == ["a;b", "x;2"]
    with pytest.raises(SourceError, match="formula without a value in cell B2"):
        text(workbook(rows))


def test_sheets_that_were_moved_are_judged_by_their_own_formulas() -> None:
    def moved(part: str, content: bytes) -> bytes:
        if part != "xl/workbook.xml":
            return content
        first, second = re.findall(rb"<sheet [^>]*/>", content)
        return content.replace(first + second, second + first)

    book = workbook([["a"], ["=1+1"]], [["a"], [5]], patch=moved)
    assert text(book) == ["a", "5"] and text(book, sheet="S2") == ["a", "5"]
    with pytest.raises(SourceError, match="formula without a value"):
        text(book, sheet="S1")


def test_an_empty_first_sheet_beside_others_is_told() -> None:
    with pytest.raises(SourceError, match=r"nothing in its first sheet.*one of 'S1', 'S2'"):
        text(workbook([], [["a"], [1]]))
    assert text(workbook([], [["a"], [1]]), sheet="S2") == ["a", "1"]


@pytest.mark.parametrize(
    ("serial", "shown"),
    [
        (45383.0208333, "2024-04-01T00:30:00"),
        (45383.010416667, "2024-04-01T00:15:00"),
        (45383.9999999, "2024-04-02T00:00:00"),
        (45383.99999421, "2024-04-01T23:59:59.500000"),
        (0.0208333, "00:30:00"),
        (0.9999999, "24:00:00"),
    ],
)
def test_a_part_of_a_day_with_few_digits_is_the_second_that_it_stands_for(serial: float, shown: str) -> None:
    assert _cell(from_excel(serial), ".") == shown


def test_a_number_has_the_digits_that_excel_shows() -> None:
    assert text(workbook([["kWh"], [0.1 + 0.2], [8.8999999999999996e-2], [1.0000000000000002], [123456789.25]]))[1:] == [
        "0.3", "0.089", "1", "123456789.25",
    ]  # fmt: skip
    whole = [1234567890123456, -(2**53) + 1, 1e3, -0.0, 1e18, 1234567890123456.5]
    assert [_cell(float(value), ",") for value in whole] == [
        "1234567890123456", "-9007199254740991", "1000", "0", "1e+18", "1234567890123460",
    ]  # fmt: skip


def test_each_minute_of_a_day_is_that_minute() -> None:
    rows = text(
        workbook([["at"], *([datetime.fromisoformat("2025-10-26") + timedelta(minutes=n)] for n in range(1440))])
    )
    assert rows[2:] == [f"2025-10-26T{n // 60:02d}:{n % 60:02d}:00" for n in range(1, 1440)]
