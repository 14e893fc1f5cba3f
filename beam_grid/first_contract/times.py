"""Which columns are times, and how they are written.

A text's shape (digits as 9, letters as a) leaves a handful of strptime formats; DuckDB, which the product reads times
with, says which of them read every value. Of two that do (03/04/2025), the one by which the rows follow each other
more closely is taken, and where that tells nothing it is asked.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from beam_grid.first_contract.model import Column
from beam_grid.first_contract.tables import NULLS
from data_sources.expressions import sandbox

_DATES = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d", "%Y%m%d", "%d.%m.%y",
    "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%d-%b-%Y", "%d %b %Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%d %b %y", "%Y. %m. %d.", "%d%m%Y", "%Y-%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y",
)  # fmt: skip
_CLOCKS = (
    "%H:%M",
    "%H:%M:%S",
    "%H:%M:%S.%f",
    "%I:%M %p",
    "%I:%M:%S %p",
    "%I:%M%p",
    "%H.%M",
    "%H%M",
    "%H%M%S",
    "%H",
    "%H.%M.%S",
)
_BETWEEN = (" ", "T", ", ", "", " - ", " / ", ";")
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?( ?(Z|[+-]\d\d(:?\d\d)?))?")
_OFFSET = re.compile(r"( ?)(Z|[+-]\d\d:?\d\d)$")
_NAMED = re.compile(r" *\([A-Z]{2,5}\)")
"""The name of a clock in brackets behind a time, as (CEST)."""
_APART = re.compile(r"(.+?)(\s+(?:-|–|—|to|bis|till|until|à|a)\s+|\s*(?:/|–|—|→)\s*|-)(.+)")
_UNITS = (("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6), ("epoch_ns", 10**9))
_FIRST, _LAST = 631_152_000, 2_524_608_000
"""Seconds of 1990 and 2050."""
MOST_TEXTS = 3_000


@dataclass(frozen=True)
class Time:
    """How a column's times are written. kind: time, date or clock (a time of day). form: None for ISO 8601; other:
    the other format that reads all of them; pattern: what takes a time out of a text of two; latest: the greatest."""

    kind: str
    form: str | None
    has_offset: bool = False
    other: str | None = None
    pattern: str | None = None
    hours: frozenset[int] = frozenset()
    why: str = ""
    latest: datetime | None = None
    is_padded: bool = False
    """Whether blanks stand around texts."""

    @property
    def has_24(self) -> bool:
        return 24 in self.hours

    @property
    def is_elapsed(self) -> bool:
        return max(self.hours, default=0) > 24


def time_of(column: Column, joined: bool = False) -> Time | None:
    """How the column's texts are times; None where they are none."""
    found = _time_of(column, joined)
    padded = column.kinds == {"text"} and any(v != v.strip() for v in column.values if v is not None and v.strip())
    return replace(found, is_padded=True) if found is not None and padded else found


def _time_of(column: Column, joined: bool) -> Time | None:
    if not column.kinds <= {"text", "int", "float", "time", "local", "date"}:
        return None
    texts, _ = texts_of(column)
    if not texts:
        return None
    if column.type in ("timestamp", "date"):
        aware = column.kinds == {"time"}
        return Time("date" if column.type == "date" else "time", None, aware, latest=_latest(texts, None))
    if column.kinds <= {"int", "float"} or all(re.fullmatch(r"\d{9,19}(\.\d*)?", t) for t in texts):
        return _epoch(column, texts) or (_written(texts, column, joined) if column.kinds == {"text"} else None)
    if "text" not in column.kinds:
        return None
    return _written(texts, column, joined) or _of_two(texts, column)


def _written(texts: list[str], column: Column, joined: bool) -> Time | None:
    plain, hours = _hours(texts)
    if all(_ISO.fullmatch(t) for t in texts) and not any("," in t for t in texts):
        if all(len(t) == 10 for t in texts):
            return Time(
                "date", None, why=f"{column.count:,} of {column.count:,} values are dates", latest=_latest(plain, None)
            )
        aware = sum(bool(_OFFSET.search(t[10:])) for t in texts)
        if _latest(plain, None) is None:
            return None
        return Time("time", None, aware == len(texts), hours=hours, latest=_latest(plain, None))
    offset = sum(bool(_OFFSET.search(t)) and ":" in t for t in texts) == len(texts)
    tail = ""
    if offset:
        blank = _OFFSET.search(texts[0])
        tail = (blank[1] if blank else "") + "%z"
    fitting = [form for form in _fitting(plain, tail) if _share(plain, form) == 1.0]
    if not fitting:
        return None
    form, other = _chosen(fitting, column)
    has_date, has_clock = "%Y" in form or "%y" in form, "%H" in form or "%I" in form
    kind = "time" if has_date and has_clock else "date" if has_date else "clock"
    if kind == "clock" and not joined and form in ("%H", "%H%M", "%H%M%S", "%H.%M", "%H.%M.%S"):
        return None
    return Time(kind, form, offset, other, hours=hours, latest=_latest(plain, form) if has_date else None)


def texts_of(column: Column) -> tuple[list[str], list[str]]:
    """The texts that may be times, and the few words among them (a last row that says `Sum`), which are none."""
    texts = [t for t in column.seen if t not in NULLS]
    words = [t for t in texts if not any(c.isdigit() for c in t)]
    rows = sum(column.seen[t] for t in words)
    if words and (rows == 1 < column.count // 3 or rows <= column.count // 20):
        return [t for t in texts if t not in words][:MOST_TEXTS], words
    return texts[:MOST_TEXTS], []


def clock_of(column: Column) -> Time | None:
    """The times of day of a column that would be joined to a date, also those written as 0130, 1 or 24."""
    texts, _ = texts_of(column)
    found = time_of(column, joined=True)
    if found is not None or not texts:
        return found if found and found.kind == "clock" else None
    if all(re.fullmatch(r"\d{1,2}", t) and int(t) <= 25 for t in texts) and len(texts) > 3:
        return Time("clock", "%H", hours=frozenset(int(t) for t in texts))
    return None


def _of_two(texts: list[str], column: Column) -> Time | None:
    """A text of two times, `a - b`: the first of them."""
    named = any(_NAMED.search(t) for t in texts)
    texts = [_NAMED.sub("", t) for t in texts] if named else texts
    halves = [_halves(t) for t in texts] if _halves(texts[0]) else []
    if not halves or not all(halves):
        return None
    between = {h[1].strip() for h in halves if h}
    firsts = Column(column.name, [h[0] for h in halves if h])
    found = _written(list(firsts.seen), firsts, True)
    second = Column(column.name, [h[2] for h in halves if h])
    if found is None or len(between) > 1 or _written(list(second.seen), second, True) is None:
        return None
    mark = re.escape(between.pop()).replace("/", "/").replace(r"\-", "-")
    pattern = rf"^(.+?) *{mark} " if mark == "-" and " - " in texts[0] else rf"^(.+?) *{mark}"
    if mark == "-" and " - " not in texts[0]:
        pattern = r"^([^-]+)-"
    pattern = pattern.replace("(.+?)", r"(.+?)(?: *\([A-Z]+\))?") if named else pattern
    return replace(found, pattern=pattern, why="each text holds two times; the first is read")


def _halves(text: str) -> tuple[str, str, str] | None:
    """(first, mark, second) of a text that holds two times."""
    for mark in (" - ", " – ", " — ", " to ", " bis ", " à ", " / ", "→", "–", "/", "-"):
        first, found, second = text.partition(mark)
        if found and ":" in first and ":" in second and mark not in second:
            return first.strip(), mark, second.strip()
    return None


def _epoch(column: Column, texts: list[str]) -> Time | None:
    """Numbers that count from 1970, where all lie between 1990 and 2050 in one unit."""
    try:
        numbers = [float(t) for t in texts]
    except ValueError:
        return None
    for unit, per in _UNITS:
        if all(_FIRST * per <= n <= _LAST * per for n in numbers):
            latest = datetime.fromtimestamp(max(numbers) / per, UTC).replace(tzinfo=None)
            return Time("time", unit, True, why=f"read so the greatest is {latest:%Y-%m-%d %H:%M} UTC", latest=latest)
    return None


def _hours(texts: list[str]) -> tuple[list[str], frozenset[int]]:
    """The texts with hours of 24 and more at 00, and the hours that they have."""
    plain, hours = [], set()
    for text in texts:
        match = re.search(r"(?<![\d:.])(\d{1,2}):\d\d", text)
        if match:
            hours.add(int(match[1]))
            if 24 <= int(match[1]) <= 25:
                text = f"{text[: match.start(1)]}00{text[match.end(1) :]}"
        plain.append(text)
    return plain, frozenset(hours)


def _fitting(texts: Sequence[str], tail: str) -> list[str]:
    shapes = {_shape(t) for t in texts[:200]}
    return [form for form, shape in _formats(tail) if shapes <= shape]


@functools.cache
def _formats(tail: str) -> list[tuple[str, frozenset[str]]]:
    """Every format with the shapes of its texts."""
    found = []
    for form in _combined():
        days = (datetime(2006, 12, 16, 17, 24, 31, 123456, UTC), datetime(2005, 5, 3, 4, 5, 6, 7, UTC))
        shapes = {_shape(day.strftime(form) + off) for day in days for off in _offsets(tail)}
        if "%f" in form:
            shapes |= {s.replace("9{6}", f"9{{{n}}}" if n > 2 else "9") for s in shapes for n in range(1, 10)}
        found.append((form + tail, frozenset(shapes)))
    return found


def _combined() -> Iterator[str]:
    for date in _DATES:
        yield date
        for clock in _CLOCKS:
            for between in _BETWEEN:
                if between or (date == "%Y%m%d" and clock in ("%H", "%H%M", "%H%M%S")):
                    yield date + between + clock
    yield from _CLOCKS


def _offsets(tail: str) -> list[str]:
    blank = tail[: -len("%z")] if tail else ""
    return [blank + text for text in ("+01:00", "+0100", "-05:00", "Z")] if tail else [""]


def _shape(text: str) -> str:
    text = re.sub(r"[^\W\d_]+", lambda m: m[0] if m[0] in ("T", "Z") else "a", text.strip())
    text = re.sub(r"[+-](?=\d\d:?\d\d$)", "±", text) if ":" in text else text
    return re.sub(r"\d+", lambda m: "9" if len(m[0]) < 3 else f"9{{{len(m[0])}}}", text)


def _share(texts: Sequence[str], form: str) -> float:
    parsed = parsed_times(texts, form)
    return sum(p is not None for p in parsed) / len(parsed)


def parsed_times(texts: Sequence[str], form: str | None) -> list[datetime | None]:
    """The texts' times as they stand, without their offset; None where the format reads none."""
    call = "try_cast(replace(t, 'Z', '') AS TIMESTAMP)" if form is None else f"try_strptime(t, '{form}')"
    texts = [_OFFSET.sub("", t) if form is None and len(t) > 10 else t for t in texts]
    if form and form.endswith("%z"):
        texts = [re.sub(r"(\d) ?Z$", r"\1+00:00", t) for t in texts]
        call = f"CAST({call} AS TIMESTAMPTZ)::TIMESTAMP"
    cursor = sandbox().cursor()
    try:
        cursor.register("texts", pa.table({"t": pa.array(texts, pa.string())}))
        return [row[0] for row in cursor.execute(f"SELECT {call} FROM texts").fetchall()]
    finally:
        cursor.close()


def _latest(texts: Sequence[str], form: str | None) -> datetime | None:
    return max((p for p in parsed_times(texts, form) if p is not None), default=None)


def _chosen(fitting: list[str], column: Column) -> tuple[str, str | None]:
    """The format, and another that reads all the texts as well where nothing tells which."""
    first = fitting[0]
    rivals = [f for f in fitting[1:] if _places(f) != _places(first) and len(f) == len(first)]
    if not rivals or "." in first:
        return first, None
    words = {*NULLS, *texts_of(column)[1]}
    given = [v.strip() for v in column.values if v and v.strip() and v.strip() not in words][:MOST_TEXTS]
    plain = _hours(given)[0]
    steps = {form: _step(parsed_times(plain, form)) for form in (first, rivals[0])}
    near, far = sorted(steps, key=lambda form: steps[form])
    return (near, None) if steps[far] >= 5 * steps[near] > 0 else (first, rivals[0])


def _places(form: str) -> list[str]:
    return re.findall(r"%([dmYyb])", form)


def _step(times: list[datetime | None]) -> float:
    """Seconds that most rows are apart from the one before."""
    given = [t for t in times if t is not None]
    steps = sorted(abs((b - a).total_seconds()) for a, b in itertools.pairwise(given) if a.date() != b.date())
    return steps[len(steps) // 2] if steps else 0.0
