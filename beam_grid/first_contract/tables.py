"""How the sample of a CSV file is laid out: its delimiter, and where its header is.

    Zählpunkt;AT001;;          above: the preamble
    Datum;Zeit;kWh             the last row before values begin whose own cells are words
    01.01.2025;00:15;0,25      columns that hold values (digits) in most rows

DuckDB's sniffer is asked first; what it says stands where the rows bear it out.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass

from beam_grid.first_contract.names import is_unit
from data_sources.sources import SourceError

DELIMITERS = ";,\t|"
NULLS = (
    "?",
    "NULL",
    "Null",
    "null",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "NaN",
    "nan",
    "None",
    "none",
    "-",
    "--",
    "ND",
    "k.A.",
    "unavailable",
    "unknown",
    "n/e",
    "n.a.",
    "N.A.",
)
"""Texts that programs and people write where there is no value."""

HEAD = 1_000
"""Lines by which delimiter and header are told."""

_VALUE = re.compile(r"[-+]?[\d.,:/ '\u00a0TZeE%+-]*\d[\d.,:/ '\u00a0TZeE%+-]*(?:AM|PM|am|pm)?")


@dataclass(frozen=True)
class Layout:
    """header: the row's cells, None without one; begins: what the header's line begins with, where lines stand above
    it; rows: those below it, whatever their width."""

    delimiter: str
    quote: str
    header: list[str] | None
    begins: str | None
    above: list[str]
    rows: list[list[str]]


def layout_of(text: str) -> Layout:
    """How the text is laid out. Raises SourceError for one that is no table of two columns or more."""
    head = "".join(text.splitlines(keepends=True)[:HEAD])
    sniffed, quote = _sniffed(head)
    delimiter = _delimiter(head, sniffed, quote)
    rows, lines = _rows(text, delimiter, quote)
    full = [n for n, row in enumerate(rows) if any(cell.strip() for cell in row)]
    if not full:
        raise SourceError("is empty, or blank")
    width = _width([rows[n] for n in full])
    if width < 2:
        raise SourceError("has one column only, whatever the delimiter (; , tab |): a feed needs a time and a value")
    first = _first_of_values(rows, full[:HEAD], width)
    if first is None:
        at = next(n for n in full if len(rows[n]) == width)
        if len(full) - full.index(at) < 2:
            seen = text.splitlines()[lines[at]][:80]
            raise SourceError(f"has a header only ({seen!r}); a contract is told from rows below it")
        return _layout(text, delimiter, quote, rows, lines, at)
    above = [n for n in full if n < first]
    before = [n for n in above if len(rows[n]) == width] or [n for n in above if len(rows[n]) >= max(2, width - 1)]
    if not before:
        return Layout(delimiter, quote, None, None, [], [rows[n] for n in full if n >= first])
    at = before[-1]
    if len(before) > 1 and _is_of_units(rows[at]) and len(rows[before[-2]]) == len(rows[at]):
        at = before[-2]  # a row of units stands between the header and the values
    return _layout(text, delimiter, quote, rows, lines, at)


def _is_of_units(row: list[str]) -> bool:
    cells = [cell.strip(" ()[]") for cell in row if cell.strip()]
    return bool(cells) and all(is_unit(cell) for cell in cells)


def _layout(text: str, delimiter: str, quote: str, rows: list[list[str]], lines: list[int], at: int) -> Layout:
    physical = text.splitlines()
    line = physical[lines[at]]
    above = physical[: lines[at]]
    begins = _begin(line, delimiter, above) if above else None
    below = [row for row in rows[at + 1 :] if any(cell.strip() for cell in row)]
    return Layout(delimiter, quote, [cell.strip() for cell in rows[at]], begins, above, below)


def _begin(line: str, delimiter: str, above: list[str]) -> str:
    """The shortest beginning of the line, up to a delimiter, that no line above has."""
    end = line.find(delimiter) + 1
    while any(other.startswith(line[:end]) for other in above) and 0 < end < len(line):
        following = line.find(delimiter, end) + 1
        end = following or len(line)
    return line[:end] or line


def _sniffed(text: str) -> tuple[str | None, str]:
    """What DuckDB's sniffer takes for delimiter and quote; None where it finds no columns."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sample.csv")
        with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
        connection = duckdb.connect()
        try:
            sql = "SELECT Delimiter, Quote, len(Columns) FROM sniff_csv(?)"
            found = connection.execute(sql, [path]).fetchall()
        except duckdb.Error:
            found = []
        finally:
            connection.close()
    if not found:
        return None, '"'
    delimiter, quote, columns = found[0]
    return (delimiter if columns > 1 and len(delimiter) == 1 else None), (quote if quote == "'" else '"')


def _delimiter(text: str, sniffed: str | None, quote: str) -> str:
    scores = {mark: _evenness(text, mark, quote) for mark in DELIMITERS + (sniffed or "")}
    best = max(scores, key=lambda mark: (round(scores[mark], 1), -DELIMITERS.find(mark)))
    return sniffed if sniffed and scores[sniffed] >= 0.8 * scores[best] else best


def _evenness(text: str, delimiter: str, quote: str) -> float:
    """The share of rows, the first half left out, that have as many cells as most, and more than one."""
    rows = [row for row in _rows(text, delimiter, quote)[0] if row]
    rows = rows[len(rows) // 2 :]
    width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    return count / len(rows) if width > 1 else 0.0


def _rows(text: str, delimiter: str, quote: str) -> tuple[list[list[str]], list[int]]:
    """The rows, and of each the number of its first line, from 0."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote)
    rows, lines, before = [], [], 0
    try:
        for row in reader:
            rows.append(row)
            lines.append(before)
            before = reader.line_num
    except csv.Error:
        pass
    return rows, lines


def _width(rows: list[list[str]]) -> int:
    below = rows[len(rows) // 2 :]
    return Counter(map(len, below)).most_common(1)[0][0]


def _first_of_values(rows: list[list[str]], full: list[int], width: int) -> int | None:
    """The first row whose cells are values where most rows have values; None where no column has."""
    even = [n for n in full if len(rows[n]) == width]
    below = even[min(len(even) - 1, max(1, len(even) // 5)) :] if len(even) > 1 else even
    columns = [at for at in range(width) if _share([rows[n][at] for n in below]) > 0.5]
    if not columns:
        return None
    plain = [not any(":" in rows[n][at] for n in below) for at in columns]
    for n in even:
        cells = [rows[n][at].strip() for at in columns]
        if n == even[0] and _is_numbered(cells):
            continue
        words = sum(
            bool(c) and c not in NULLS and (not _VALUE.fullmatch(c) or (is_plain and ":" in c))
            for c, is_plain in zip(cells, plain, strict=True)
        )
        values = sum(bool(_VALUE.fullmatch(c)) for c in cells)
        if values and words <= len(columns) // 3:
            return n
    return None


def _is_numbered(cells: list[str]) -> bool:
    """Whether a dozen of the cells count up by one, as names of intervals of a day do."""
    numbers = [int(c) if c.isdecimal() and len(c) < 4 else -9 for c in cells]
    return sum(b == a + 1 for a, b in itertools.pairwise(numbers)) >= 12


def _share(cells: list[str]) -> float:
    """How many of the cells that hold anything hold a value."""
    given = [c.strip() for c in cells if c.strip() and c.strip() not in NULLS]
    return sum(bool(_VALUE.fullmatch(c)) for c in given) / len(given) if given else 0.0
