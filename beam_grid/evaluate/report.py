"""Each detector on labelled readings of seeds it was not made with, as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_grid.evaluate.labelled import Labelled, meters, transformers
from beam_grid.evaluate.measures import Counts, Share, count
from transforms.detect import detect
from transforms.detect.scored import COMPOSITE

COLUMNS = (
    "feed", "value", "detector", "kinds", "readings", "unscored", "anomalies", "recall", "recall_low", "recall_high",
    "precision", "precision_low", "precision_high", "false_positive_rate", "false_positive_low", "false_positive_high",
    "alerts_per_1000_per_week", "median_delay_s",
)  # fmt: skip

CALIBRATION = (101, 102)
"""Seeds that thresholds of a budget are taken from; none of `SEEDS`."""

KINDS = {"smart_meter_readings": "theft and spike", "substation_telemetry": "overheating"}

Floats = npt.NDArray[np.float64]


class Key(NamedTuple):
    """A row of the answer; a feed is a cohort of its own."""

    feed: str
    value: str
    detector: str


def evaluate(seeds: Sequence[int], detectors: Sequence[str], threshold: float, budget: float | None = None) -> pa.Table:
    """`COLUMNS`, a row per feed and detector, all seeds together; lows and highs are 95 % intervals (Wilson's).

    A detector without probabilities (the composite) is flagged above a score of 0.5. budget: alerts per 1,000 series and
    week; then each detector has, per feed, the threshold that kept it on `CALIBRATION`, and a column shows it beside what
    came.
    """
    found: dict[Key, Counts] = {}
    limits = None if budget is None else _limits(detectors, budget)
    for labelled in _cohorts(seeds):
        for name, rarity in _rarity(labelled, detectors).items():
            key = Key(labelled.feed, labelled.value, name)
            limit = (1 - COMPOSITE if name == "composite" else threshold) if limits is None else limits[key]
            scored = np.isfinite(rarity)
            counts = count(labelled.readings, rarity < limit, scored, labelled.kinds != "", labelled.judged)
            found[key] = found[key].plus(counts) if key in found else counts
    return pa.Table.from_pylist([_row(key, KINDS[key.feed], budget, counts) for key, counts in found.items()])


def _limits(detectors: Sequence[str], budget: float) -> dict[Key, float]:
    """Below which rarity a reading is flagged, so that the calibration's readings make at most `budget` alerts."""
    rarities: dict[Key, list[Floats]] = {}
    days: dict[Key, float] = {}
    for labelled in _cohorts(CALIBRATION):
        for name, rarity in _rarity(labelled, detectors).items():
            key = Key(labelled.feed, labelled.value, name)
            rarities.setdefault(key, []).append(rarity[labelled.judged & np.isfinite(rarity)])
            nothing = np.zeros(len(rarity), bool)
            days[key] = (
                days.get(key, 0.0) + count(labelled.readings, nothing, nothing, nothing, labelled.judged).series_days
            )
    limits = {}
    for key, parts in rarities.items():
        ordered = np.sort(np.concatenate(parts))
        alerts = int(budget * days[key] / 7000)
        limits[key] = float(ordered[alerts]) if alerts < len(ordered) else math.inf
    return limits


def _cohorts(seeds: Sequence[int]) -> Iterator[Labelled]:
    for seed in seeds:
        yield meters(seed)
        yield transformers(seed)


def _rarity(labelled: Labelled, names: Sequence[str]) -> dict[str, Floats]:
    """The smaller, the more unusual; NaN of a reading that is not scored."""
    found = detect(labelled.readings, names)
    return {name: 1 - each.score if name == "composite" else each.probability for name, each in found.items()}


def _row(key: Key, kinds: str, budget: float | None, counts: Counts) -> dict[str, object]:
    def named(name: str, share: Share, short: str | None = None) -> dict[str, object]:
        short = name if short is None else short
        return {name: _rounded(share.share), f"{short}_low": _rounded(share.low), f"{short}_high": _rounded(share.high)}

    return {
        **key._asdict(),
        "kinds": kinds,
        "readings": counts.hit + counts.missed + counts.ordinary,
        "unscored": counts.unscored,
        "anomalies": counts.hit + counts.missed,
        **named("recall", counts.recall),
        **named("precision", counts.precision),
        **named("false_positive_rate", counts.false_positives, "false_positive"),
        **({} if budget is None else {"budget": budget}),
        "alerts_per_1000_per_week": _rounded(counts.alerts_per_1000_per_week, 1),
        "median_delay_s": float(np.median(counts.delays_s)) if len(counts.delays_s) else None,
    }


def _rounded(x: float, digits: int = 4) -> float | None:
    return None if x != x else round(x, digits)
