"""How numbers are written in a CSV: which mark separates decimals, which groups thousands, what stands for no value.

0,113   1,5   1.204,5   1.204.500      decimal = ","
0.113   1.5   1,204.5   1,204,500      decimal = "."
12,250                                 says nothing: three digits may be a group
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from beam_grid.first_contract.model import APOSTROPHES, BLANKS, NUMBER, Column
from beam_grid.first_contract.names import is_unit
from beam_grid.first_contract.tables import NULLS

_COMMA = re.compile(
    r"[+-]?(0|\d+),(?!\d{3}$)\d+|[+-]?0\d*,\d+|[+-]?\d{4,},\d+|[+-]?\d{1,3}(\.\d{3})+,\d+|[+-]?\d{1,3}(\.\d{3}){2,}|[+-]?,\d+"
)
_POINT = re.compile(
    r"[+-]?\d+\.(?!\d{3}$)\d+|[+-]?0\d*\.\d+|[+-]?\d{4,}\.\d+|[+-]?\d{1,3}(,\d{3})+\.\d+|[+-]?\d{1,3}(,\d{3}){2,}|[+-]?\.\d+"
)
_OPEN_COMMA, _OPEN_POINT = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}"), re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_SPACED = re.compile(rf"[+-]?\d{{1,3}}({BLANKS}\d{{3}})+([.,]\d+)?")
_APART = re.compile(rf"[+-]?\d{{1,3}}({APOSTROPHES}\d{{3}})+([.,]\d+)?")
_DRESSED = re.compile(
    rf"(?P<before>[€$£¥]|[A-Z]{{3}} )?\s*({NUMBER.pattern})\s*(?P<after>[^\d\s.,:/-][^\d.,:]{{0,7}})?"
)
_MONEY = {"€", "$", "£", "¥", "eur", "usd", "gbp", "chf", "sek", "nok", "dkk", "pln", "p", "ct", "c"}


@dataclass(frozen=True)
class Marks:
    """decimal: "?" where nothing tells; why: on what it rests."""

    decimal: str = "."
    thousands: str | None = None
    why: str = ""


def marks_of(columns: Sequence[Column], delimiter: str) -> Marks:
    """The marks that the numbers of a file have."""
    numeric = [c for c in columns if is_numeric(c)]
    cells: Counter[str] = Counter()
    for column in numeric:
        cells.update(column.seen)
    spaced, apart = _count(cells, _SPACED), _count(cells, _APART)
    if spaced or apart:
        cells = _without(cells, BLANKS if spaced else APOSTROPHES)
    comma, point = _count(cells, _COMMA), _count(cells, _POINT)
    open_comma, open_point = _count(cells, _OPEN_COMMA), _count(cells, _OPEN_POINT)
    thousands = " " if spaced else "'" if apart else None
    if delimiter == ",":
        comma = 0  # a decimal comma could not be told from the delimiter
    if comma and comma >= point:
        if (
            open_point
            or any("." in cell and "," in cell for cell in cells)
            or _count(cells, re.compile(r".*\.\d{3}\..*"))
        ):
            thousands = thousands or "."
        why = (
            f"{comma:,} of {sum(cells.values()):,} numbers, such as {_example(cells, _COMMA)}, can be read no other way"
        )
        return Marks(",", thousands, why + (f"; {point:,} have a decimal point" if point and thousands != "." else ""))
    if point:
        grouped = open_comma or any("," in cell and "." in cell for cell in cells)
        return Marks(".", thousands or ("," if grouped else None), f"Such as {_example(cells, _POINT)}")
    if open_comma and not open_point and delimiter != ",":
        return Marks(
            "?",
            thousands,
            f"{open_comma:,} numbers are written as {_example(cells, _OPEN_COMMA)}: thousands, or decimals?",
        )
    if open_comma:
        return Marks(".", thousands or ",", f"Such as {_example(cells, _OPEN_COMMA)}; are the commas thousands?")
    return Marks(".", thousands, "Blanks or apostrophes group the digits" if thousands else "")


def _without(cells: Counter[str], marks: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for text, count in cells.items():
        found[re.sub(marks, "", text)] += count
    return found


def is_numeric(column: Column) -> bool:
    """Whether most of the texts are numbers, whatever their marks, and the rest says that there is none."""
    numbers = sum(column.seen[text] for text in column.numbers)
    return numbers > 0 and numbers + sum(column.seen[null] for null in NULLS) >= 0.9 * column.count


def nulls_of(columns: Sequence[Column], values: Sequence[bool]) -> dict[str, tuple[int, str]]:
    """Texts that stand for no value in columns that else hold values: how often, and in which column first.

    values: per column, whether it holds numbers or times.
    """
    found: dict[str, tuple[int, str]] = {}
    for column, holds in zip(columns, values, strict=True):
        for text in NULLS if holds else ():
            if column.seen[text]:
                count, name = found.get(text, (0, column.name))
                found[text] = count + column.seen[text], name
    return found


def pattern_of(column: Column) -> tuple[str, str] | None:
    """(pattern, an example) where the column's texts are numbers in dress: `$0.12`, `1,5 kWh`, or Excel's `="EAN"`."""
    texts = [t for t in column.seen if t not in NULLS]
    if len(column.numbers) >= len(texts):
        return None
    if all(re.fullmatch(r'="[^"]*"', t) for t in texts):
        return '="([^"]*)"', texts[0]
    matches = [m for m in map(_DRESSED.fullmatch, texts) if m]
    dresses = {(m[part] or "").strip().lower() for m in matches for part in ("before", "after")} - {""}
    if len(matches) == len(texts) and dresses and all(dress in _MONEY or is_unit(dress) for dress in dresses):
        return r"([+-]?[0-9][0-9.,]*)", next(t for t in texts if not NUMBER.fullmatch(t))
    return None


def type_of(column: Column, marks: Marks, has_unit: bool, is_name: bool) -> tuple[str, list[str]]:
    """(type, comments) of a column of numbers written as text."""
    texts = [_plain(t, marks) for t in column.seen if t not in NULLS]
    if all(re.fullmatch(r"[+-]?\d+", t) for t in texts):
        if any(len(t.lstrip("+-")) > 1 and t.lstrip("+-").startswith("0") for t in texts):
            return "string", ["digits that begin with 0: a name, not a number"]
        if is_name or any(len(t) > 15 for t in texts):
            return "string", ["digits that name something; as a string they stay as they are"]
        return ("float64", []) if has_unit else ("int64", ["whole numbers in the sample; float64 if others may come"])
    if any("e" in t.lower() for t in texts):
        return "float64", []
    places = max((len(t.partition(".")[2]) for t in texts), default=0)
    whole = max((len(t.partition(".")[0].lstrip("+-")) for t in texts), default=1)
    return "float64", [
        f"up to {places} decimals: decimal({min(whole + places + 4, 38)},{places}) would keep them exactly"
    ]


def reads(text: str, marks: Marks) -> bool:
    """Whether the marks read the text as a number."""
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", _plain(text, marks)) is not None


def _plain(text: str, marks: Marks) -> str:
    if marks.thousands == " ":
        text = re.sub(BLANKS, "", text)
    elif marks.thousands == "'":
        text = re.sub(APOSTROPHES, "", text)
    elif marks.thousands:
        text = text.replace(marks.thousands, "")
    return text.replace(marks.decimal, ".") if marks.decimal not in (".", "?") else text


def _count(cells: Counter[str], form: re.Pattern[str]) -> int:
    return sum(n for text, n in cells.items() if form.fullmatch(text))


def _example(cells: Counter[str], form: re.Pattern[str]) -> str:
    return next(text for text in cells if form.fullmatch(text))
