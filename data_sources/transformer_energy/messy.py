"""What goes wrong between a transformer's meter and its reader, in known shares (at least one of each a day).

A reading has at most one fault; copies are drawn on their own, so that there are copies of broken and garbled ones too.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from data_sources.generators.damage import (
    TO_2099_MS,
    any_of,
    change_type_of,
    damage_of,
    delayed,
    lose_one_of,
    pick,
    sent_again,
    truncate,
)

FAULT_SHARES = {
    "delayed": 0.05,
    "future": 0.002,
    "rule_broken": 0.003,
    "truncated": 0.002,
    "not_utf8": 0.002,
    "wrong_type": 0.002,
    "null_key": 0.002,
}
COPY_SHARES = {"again": 0.03, "conflict": 0.005}
_HOUR_MS = 3_600_000
FAULT_DELAYS_MS = {"delayed": (60_000, 12 * _HOUR_MS)}
COPY_DELAYS_MS = {"again": (0, 6 * _HOUR_MS), "conflict": (60_000, 6 * _HOUR_MS)}
"""[from, to) after the reading's own time, or for copies after the original's arrival."""

DAMAGE = ("truncated", "not_utf8", "wrong_type", "null_key")


def _break_utf8(line: bytes, rng: np.random.Generator) -> bytes:
    wrong = (b"\xff", b"\x80", b"\xe2\x82")[rng.integers(3)]
    return line.replace(b'"substation_id":"', b'"substation_id":"' + wrong, 1)


WAYS = (
    truncate,
    _break_utf8,
    change_type_of(
        {
            "transformer_id": (17, ["TRF-N-0001"]),
            "timestamp": ("noon", [2025, 6, 15]),
            "supplied_kwh": ("12.5", True, {"kwh": 12.5}),
        }
    ),
    lose_one_of(("transformer_id", "timestamp", "supplied_kwh")),
)
"""By DAMAGE."""


def disturb(base: pl.DataFrame, rng: np.random.Generator) -> list[pl.DataFrame]:
    """The readings with their faults, then their copies; takes and gives labelled rows (`data_sources/generators/damage.py`)."""
    n = base.height
    fault, copy = pick(FAULT_SHARES, n, rng), pick(COPY_SHARES, n, rng)
    backwards = pl.Series(-rng.uniform(0.001, 50, n).round(3))
    rows = base.with_columns(
        pl.when(pl.Series(fault["rule_broken"])).then(backwards).otherwise("supplied_kwh").alias("supplied_kwh"),
        pl.col("_event_ms") + pl.Series(fault["future"] * TO_2099_MS),
        delayed(base, fault, FAULT_DELAYS_MS, rng),
        damage_of(fault, DAMAGE, n),
        pl.Series("_rule_broken", fault["rule_broken"]),
        pl.Series("_future", fault["future"]),
        pl.Series("_sent_again", any_of(copy, n)),
    )
    copies = []
    for name, again, _ in sent_again(rows, copy, COPY_DELAYS_MS, rng):
        if name == "conflict":
            more = pl.Series(rng.integers(1, 41, again.height)) / 1000
            again = again.with_columns((pl.col("supplied_kwh") + more).round(3), pl.lit(1, pl.Int64).alias("_version"))
        copies.append(again)
    return [rows, *copies]
