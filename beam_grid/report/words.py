"""How values are written in the report: counts, shares, times in UTC, and text nobody vouches for.

Nothing here makes HTML: the template escapes. `printable` is for people's eyes: what cannot be printed (control
characters, bidirectional marks, bytes that are no UTF-8) becomes an escape, and what is long is cut.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_sources.contract import WindowSpec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECRET = re.compile(
    r"(?i)([\w.\-]*(?:password|passwd|passphrase|secret|token|credential|api[-_.]?key|jaas)[\w.\-]*)(\s*=\s*|\s+)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&]+)"
)
_USERINFO = re.compile(r"(://)[^/\s:@]*:[^/\s@]*@")


def count(n: int) -> str:
    """200,400."""
    return f"{n:,}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """`1 commit`, `4 commits`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def share(part: float, whole: float) -> str:
    """Percent; neither 0 nor 100 unless it is just that."""
    if not whole or not math.isfinite(part) or not math.isfinite(whole):
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.05:
        return "<0.1 %"
    if 99.95 <= percent < 100:
        return ">99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def number(value: Any, digits: int = 3) -> str:
    """A measured value, with as many digits as help: 12,345 or 12.3 or 0.0123; `digits` for values below 100."""
    if value is None:
        return "–"
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(digits, 4)}g}" if abs(value) >= 100 else f"{value:.{digits}g}"


def signed(value: float | None) -> str:
    """A score: +3.42, −12.1."""
    text = number(None if value is None else abs(value))
    return text if value is None else f"{'−' if value < 0 else '+'}{text}"


def as_time(value: Any) -> datetime | None:
    """Microseconds since the epoch, ISO text, a date or a datetime to an aware one; None if it is none of these."""
    try:
        if isinstance(value, int):
            return _EPOCH + timedelta(microseconds=value)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return None


def moment(value: Any, seconds: bool = False) -> str:
    """`2025-06-15 00:24`, UTC."""
    found = as_time(value)
    if found is None:
        return "–" if value is None else str(value)
    return f"{found:%Y-%m-%d %H:%M:%S}" if seconds else f"{found:%Y-%m-%d %H:%M}"


def duration(length: timedelta | float) -> str:
    """`1 h 10 min`."""
    seconds = int(length.total_seconds() if isinstance(length, timedelta) else length)
    parts = []
    for unit, width in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= width:
            parts.append(f"{seconds // width} {unit}")
            seconds %= width
    return " ".join(parts[:2]) or "0 s"


def step(seconds: int) -> str:
    """A step in words that go after `per` or `greatest`: `hour`, `15 min`."""
    named = {60: "minute", 3600: "hour", 86400: "day", 7 * 86400: "week", 2_629_746: "month", 31_556_952: "year"}
    return named.get(seconds) or duration(seconds)


def windows_of(spec: WindowSpec) -> str:
    """How long a table's windows are: `1 h every 15 min`, `a local day (Europe/Berlin)`."""
    if spec.calendar is not None:
        return f"a local {spec.calendar} ({spec.time_zone})"
    return duration(spec.length) + (f" every {duration(spec.every)}" if spec.every else "")


def printable(value: Any, limit: int = 200) -> str:
    """Any text or bytes as one line of printable characters, at most about `limit` of them."""
    if value is None:
        return "(none)"
    whole = len(value) if isinstance(value, bytes | str) else 0
    start = value[: 4 * limit] if isinstance(value, bytes) else str(value)[: 4 * limit]
    text = start.decode("utf-8", "backslashreplace") if isinstance(start, bytes) else start
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if len(text) <= limit and whole <= 4 * limit:
        return text
    kind = "bytes" if isinstance(value, bytes) else "characters"
    return f"{text[:limit]} … ({whole:,} {kind})" if limit > 60 else f"{text[: limit - 1]}…"


def excerpt(raw: bytes | None, limit: int = 200) -> str:
    """Raw bytes as `printable` has them; where they stop being UTF-8 late in the record, the part around that place."""
    try:
        (raw or b"").decode("utf-8")
    except UnicodeDecodeError as cause:
        if raw is not None and cause.start > limit - 40:
            start = cause.start - limit // 2
            return f"(from byte {start:,}) … {printable(raw[start : start + limit], limit)} … ({len(raw):,} bytes)"
    return printable(raw, limit)


def without_secrets(command: str) -> str:
    """A command line or source with what looks like a password taken out."""
    return _USERINFO.sub(r"\1…@", _SECRET.sub(r"\1\2…", command))


def place(source: Any, partition: Any, position: Any) -> str:
    """`file:line`, or `topic/partition/offset`."""
    if partition is None:
        return f"{printable(source, 120)}:{position}"
    return f"{printable(source, 120)}/{partition}/{position}"
