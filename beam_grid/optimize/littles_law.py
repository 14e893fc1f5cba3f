"""A window's size by Little's law, L = λW, as the published optimizer has it; kept to the formula.

It asks nothing of the data: what comes late is no part of it. `beam_grid.optimize.propose` measures that.
"""

from __future__ import annotations

from typing import NamedTuple

SHORTEST_S, LONGEST_S = 1, 3600
UTILISATION = 0.8
_BUFFER, _OVERHEAD = 1.2, 2
_MIB = 1024 * 1024


class LittlesLaw(NamedTuple):
    """window_s: seconds, from 1 to 3600; throughput: records/s; buffer_records: with 20 % to spare; memory_mib: whole
    mebibytes, cut, structures included."""

    window_s: float
    throughput: float
    buffer_records: int
    memory_mib: int


def littles_law(rate: float, capacity: float, latency_s: float, record_bytes: float) -> LittlesLaw:
    """min(latency, capacity / rate * 0.8), clamped. rate, capacity: records/s that come and that can be processed.

    Raises ValueError for a rate that is not above 0, or another value below 0.
    """
    if not rate > 0:
        raise ValueError(f"rate: {rate:g} records/s; it must be above 0")
    for name, value in (("capacity", capacity), ("latency", latency_s), ("record_bytes", record_bytes)):
        if not value >= 0:
            raise ValueError(f"{name}: {value:g}; it must not be below 0")
    window_s = max(SHORTEST_S, min(LONGEST_S, min(latency_s, capacity / rate * UTILISATION)))
    records = rate * window_s
    return LittlesLaw(window_s, capacity, int(records * _BUFFER), int(records * record_bytes * _OVERHEAD / _MIB))
