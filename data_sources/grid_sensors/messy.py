"""What goes wrong between a sensor and its reader, in known shares (at least one of each a chunk).

A reading has at most one fault; copies are drawn on their own, so that there are copies of late, broken and garbled
readings too.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from data_sources.generators.damage import (
    TO_2099_MS,
    any_of,
    break_utf8,
    change_type_of,
    damage_of,
    delayed,
    lose_one_of,
    pick,
    sent_again,
    truncate,
)

FAULT_SHARES = {
    "delayed": 0.03,
    "long_delayed": 0.02,
    "late": 0.01,
    "future": 0.003,
    "rule_broken": 0.004,
    "truncated": 0.003,
    "not_utf8": 0.003,
    "wrong_type": 0.003,
    "null_key": 0.003,
}
COPY_SHARES = {"near": 0.03, "far": 0.02, "much_later": 0.01, "conflict": 0.01}
# [from, to) after the reading's own time, or for copies after the original's arrival; on time is up to 65 minutes.
_MINUTE = 60_000
FAULT_DELAYS_MS = {
    "delayed": (1_000, 5 * _MINUTE),
    "long_delayed": (5 * _MINUTE, 60 * _MINUTE),
    "late": (75 * _MINUTE, 4 * 60 * _MINUTE),
}
COPY_DELAYS_MS = {
    "near": (1_000, 2 * _MINUTE),
    "far": (5 * _MINUTE, 50 * _MINUTE),
    "much_later": (2 * 60 * _MINUTE, 5 * 60 * _MINUTE),
    "conflict": (1_000, 20 * _MINUTE),
}
AHEAD_MS = 3 * 60 * _MINUTE
"""How far ahead of the stream a rule-breaking reading is: a reader that lets it move its clock loses hours."""

DAMAGE = ("truncated", "not_utf8", "wrong_type", "null_key")
WAYS = (
    truncate,
    break_utf8,
    change_type_of(
        {
            "sensor_id": (4711, {"id": "GS"}),
            "timestamp": ("half past ten", [2025, 6, 15]),
            "temperature_c": ("hot", True),
            "pressure_kpa": ([520.1],),
            "status": (17,),
        }
    ),
    lose_one_of(("sensor_id", "timestamp")),
)


def disturb(base: pl.DataFrame, rng: np.random.Generator) -> list[pl.DataFrame]:
    """The readings with their faults, then their copies; takes and gives labelled rows (`data_sources/generators/damage.py`)."""
    n = base.height
    fault, copy = pick(FAULT_SHARES, n, rng), pick(COPY_SHARES, n, rng)
    arrival_ms = delayed(base, fault, FAULT_DELAYS_MS, rng)
    broken = fault["rule_broken"]
    impossible = np.where(rng.random(n) < 0.5, rng.uniform(-300, -61, n), rng.uniform(501, 900, n)).round(2)
    rows = base.with_columns(
        pl.Series("temperature_c", np.where(broken, impossible, base["temperature_c"].to_numpy())),
        pl.col("_event_ms") + pl.Series(fault["future"] * TO_2099_MS + broken * AHEAD_MS),
        arrival_ms,
        damage_of(fault, DAMAGE, n),
        pl.Series("_rule_broken", broken),
        pl.Series("_future", fault["future"]),
        pl.Series("_sent_again", any_of(copy, n)),
    )
    return [rows, *_copies(rows, copy, rng)]


def _copies(rows: pl.DataFrame, masks: dict[str, np.ndarray], rng: np.random.Generator) -> list[pl.DataFrame]:
    copies = []
    for name, again, _ in sent_again(rows, masks, COPY_DELAYS_MS, rng):
        if name == "conflict":
            warmer = pl.Series(rng.integers(1, 9, again.height)) / 10
            again = again.with_columns(
                (pl.col("temperature_c") + warmer).round(2), pl.lit(1, pl.Int64).alias("_version")
            )
        copies.append(again)
    return copies
