"""How far back the score of a reading looks, where what lies before changes not even its last digit.

    |───────────────────────── days ─────────────────────────|reading
    |─ history of what stands in the history ─|─── 30 days ──|        rows: in these

Medians and counts are such scores. Running sums are none: of a series that is constant for long, what rounding leaves of
them depends on where they began, and with it which way a score leans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transforms.detect.median_mad import DISTANCES


class Reach(NamedTuple):
    """days: of the series, before the reading. rows: readings that must lie in the last 30 of them, before the reading's own
    hour and not all with the same value; and_before: and one more than 30 days before these. Where they do not, the score may
    look back further."""

    days: int
    rows: int
    and_before: bool = False


_REACH = {
    "median_mad": Reach(61, DISTANCES + 1),  # so many distances from medians of 30 days
    "flatline": Reach(91, 2, True),  # a run that began in 30 days, the 30 before it, and the reading before these
}


def reach_of(detectors: Sequence[str]) -> Reach | None:
    """Of all of these together; None where one looks back on all there is."""
    found = [_REACH[name] for name in detectors if name in _REACH]
    if len(found) < len(detectors):
        return None
    return Reach(max(one.days for one in found), max(one.rows for one in found), any(one.and_before for one in found))
