"""All detectors over a table, a few series at a time: what fits into a core's cache, on as many threads as given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from transforms.detect.composite import composed, composite
from transforms.detect.energy_balance import energy_balance
from transforms.detect.flatline import flatline
from transforms.detect.fused import fused
from transforms.detect.gap import gap
from transforms.detect.joined import Joined
from transforms.detect.level_shift import level_shift
from transforms.detect.mahalanobis import mahalanobis
from transforms.detect.median_mad import median_mad
from transforms.detect.rate_of_change import rate_of_change
from transforms.detect.readings import Readings
from transforms.detect.scores import Scores
from transforms.detect.seasonal_z import seasonal_z
from transforms.detect.spike import spike
from transforms.detect.z import z

Detector = Callable[[Readings], Scores]


def mahalanobis_robust(readings: Readings) -> Scores:
    """`mahalanobis` without outliers in the history."""
    return mahalanobis(readings, robust=True)


DETECTORS: dict[str, Detector] = {
    "z": z,
    "seasonal_z": seasonal_z,
    "rate_of_change": rate_of_change,
    "mahalanobis": mahalanobis,
    "mahalanobis_robust": mahalanobis_robust,
    "composite": composite,
    "median_mad": median_mad,
    "flatline": flatline,
    "gap": gap,
    "spike": spike,
    "level_shift": level_shift,
    "fused": fused,
}

_LARGE = 24 << 20
"""Bytes. glibc gives the end of its memory back to the system whenever twice the largest array freed so far lies there
unused, and page by page it comes back: half of the time here, unless once a large array was made, of which nothing is used."""

OF_SEVERAL: dict[str, Detector] = {"energy_balance": energy_balance}
"""Those whose values have meanings of their own: not for any feed."""

DEFAULT = ("z", "seasonal_z", "rate_of_change", "mahalanobis", "composite", "median_mad", "flatline", "gap", "spike", "level_shift", "fused")  # fmt: skip


def detect(readings: Readings, names: Sequence[str] = DEFAULT, *, threads: int = 1) -> dict[str, Scores]:
    """The scores of each named detector, in the readings' order. Raises KeyError for a name that is none."""
    wanted = {name: (DETECTORS | OF_SEVERAL)[name] for name in names}
    np.empty(_LARGE, np.int8)
    chunks = list(readings.chunks())
    if len(chunks) < 2:
        return _all(readings, wanted)
    found = Joined(names, readings)

    def score(begin: int, end: int) -> None:
        chunk = readings.part(begin, end)
        found.put(chunk, begin, _all(chunk, wanted))

    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(score, *zip(*chunks, strict=True)))
    else:
        for begin, end in chunks:
            score(begin, end)
    return found.scores()


def table(readings: Readings, found: dict[str, Scores]) -> pa.Table:
    """One row per reading and detector, as `SCHEMA` in scores.py says."""
    return pa.concat_tables([scores.table(readings) for scores in found.values()]).unify_dictionaries()


def _all(chunk: Readings, wanted: dict[str, Detector]) -> dict[str, Scores]:
    """Each once: the composite takes its four parts from those that were wanted, too."""
    found = {name: detector(chunk) for name, detector in wanted.items() if name != "composite"}
    if "composite" in wanted:
        parts = ("z", "seasonal_z", "rate_of_change", "mahalanobis")
        found["composite"] = composed(
            chunk, *(found[name] if name in found else DETECTORS[name](chunk) for name in parts)
        )
    return {name: found[name] for name in wanted}
