"""What the sample's local times say of the clock: an autumn hour that comes twice, labels at an interval's end."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from data_sources.durations import format_duration


@dataclass(frozen=True)
class Twice:
    """times: local times that come twice in a row of rows; first: one of them; where: whose clock goes back then."""

    times: int
    first: datetime
    where: str


def twice(times: Sequence[datetime | None], subjects: Sequence[object], zone: str | None) -> Twice | None:
    """Whether the hour at which the clock goes back is there twice: times of one subject that come two times, while no
    others do. subjects: of each row what is metered."""
    pairs = Counter((s, t) for s, t in zip(subjects, times, strict=True) if t is not None)
    doubled = [t for (_, t), n in pairs.items() if n == 2]
    ambiguous = [t for t in doubled if _goes_back(t, zone)]
    if not ambiguous or len(doubled) - len(ambiguous) > len(ambiguous) // 4 or any(n > 2 for n in pairs.values()):
        return None
    return Twice(len(ambiguous), min(ambiguous), zone or _whose(min(ambiguous)))


def _goes_back(time: datetime, zone: str | None) -> bool:
    if zone is None:
        return bool(_whose(time))
    local = pa.array([time], pa.timestamp("us"))
    early = pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="earliest")
    late = pc.assume_timezone(local, zone, ambiguous="latest", nonexistent="earliest")
    return bool(pc.not_equal(early, late)[0].as_py())


def _whose(time: datetime) -> str:
    """Whose clock goes back at a local time; empty for nobody's known here."""
    if time.date() == _last_sunday(time.year, 10):
        hours = {1: "Western Europe (such as Europe/London)", 2: "Central Europe (such as Europe/Berlin)",
                 3: "Eastern Europe (such as Europe/Athens)"}  # fmt: skip
        return hours.get(time.hour, "")
    if time.month == 11 and time.weekday() == 6 and time.day <= 7 and time.hour == 1:
        return "North America (such as America/New_York)"
    if time.month == 4 and time.weekday() == 6 and time.day <= 7 and time.hour == 2:
        return "Australia (such as Australia/Sydney)"
    return ""


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)


def step_of(times: Sequence[datetime | None]) -> str | None:
    """The time that most are apart, as a duration of a contract; None where there are too few."""
    given = sorted({t for t in times if t is not None})
    steps = Counter(b - a for a, b in itertools.pairwise(given))
    if not steps:
        return None
    step, count = steps.most_common(1)[0]
    return format_duration(step) if count * 2 > len(given) - 1 and step <= timedelta(days=1) else None
