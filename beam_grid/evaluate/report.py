"""Each detector on labelled readings of seeds it was not made with, as a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_grid.evaluate.labelled import Labelled, meters, transformers
from beam_grid.evaluate.measures import Counts, Share, count
from transforms.detect import detect

COLUMNS = (
    "feed", "value", "detector", "kinds", "readings", "unscored", "anomalies", "recall", "recall_low", "recall_high",
    "precision", "precision_low", "precision_high", "false_positive_rate", "false_positive_low", "false_positive_high",
    "alerts_per_1000_per_week", "median_delay_s",
)  # fmt: skip

THRESHOLD = 0.003
"""A reading is flagged whose probability is below: beyond three deviations, if readings are normal."""


def evaluate(seeds: Sequence[int], detectors: Sequence[str], threshold: float) -> pa.Table:
    """`COLUMNS`, a row per feed and detector, all seeds together; lows and highs are 95 % intervals (Wilson's).

    A detector without probabilities (the composite) is flagged from a score of 0.5.
    """
    totals: dict[tuple[str, str, str, str], Counts] = {}
    for seed in seeds:
        for labelled in (meters(seed), transformers(seed)):
            for name, counts in _judge(labelled, detectors, threshold).items():
                kinds = " and ".join(sorted(set(labelled.kinds.tolist()) - {""}, reverse=True))
                key = (labelled.feed, labelled.value, name, kinds)
                totals[key] = totals[key].plus(counts) if key in totals else counts
    return pa.Table.from_pylist([_row(*key, counts) for key, counts in totals.items()])


def _judge(labelled: Labelled, names: Sequence[str], threshold: float) -> dict[str, Counts]:
    found = {}
    for name, scores in detect(labelled.readings, names).items():
        rare = scores.probability < threshold
        scored = np.isfinite(scores.probability)
        if name == "composite":
            rare, scored = scores.score >= 0.5, np.isfinite(scores.score)
        found[name] = count(labelled.readings, rare, scored, labelled.kinds != "", labelled.judged)
    return found


def _row(feed: str, value: str, detector: str, kinds: str, counts: Counts) -> dict[str, object]:
    def named(name: str, share: Share, short: str | None = None) -> dict[str, object]:
        short = name if short is None else short
        return {name: _rounded(share.share), f"{short}_low": _rounded(share.low), f"{short}_high": _rounded(share.high)}

    return {
        "feed": feed,
        "value": value,
        "detector": detector,
        "kinds": kinds,
        "readings": counts.hit + counts.missed + counts.ordinary,
        "unscored": counts.unscored,
        "anomalies": counts.hit + counts.missed,
        **named("recall", counts.recall),
        **named("precision", counts.precision),
        **named("false_positive_rate", counts.false_positives, "false_positive"),
        "alerts_per_1000_per_week": _rounded(counts.alerts_per_1000_per_week, 1),
        "median_delay_s": float(np.median(counts.delays_s)) if len(counts.delays_s) else None,
    }


def _rounded(x: float, digits: int = 4) -> float | None:
    return None if x != x else round(x, digits)
