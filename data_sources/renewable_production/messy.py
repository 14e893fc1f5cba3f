"""What goes wrong between a plant and the folder its files land in, in known shares (at least one of each a file).

A reading has at most one fault; copies are drawn on their own. Nothing is late: a delayed reading comes out of
order, or in a later hour's file. One from before the new fields then lies among records that have them, as null.
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
    "delayed": 0.05,
    "next_file": 0.01,
    "future": 0.005,
    "rule_broken": 0.01,
    "truncated": 0.005,
    "not_utf8": 0.005,
    "wrong_type": 0.01,
    "null_key": 0.005,
}
COPY_SHARES = {"near": 0.02, "far": 0.015, "conflict": 0.01}
# [from, to) after the reading's own time, or for copies after the original's arrival.
_MINUTE = 60_000
FAULT_DELAYS_MS = {"delayed": (1_000, 30 * _MINUTE), "next_file": (60 * _MINUTE, 150 * _MINUTE)}
COPY_DELAYS_MS = {
    "near": (1_000, 3 * _MINUTE),
    "far": (60 * _MINUTE, 240 * _MINUTE),
    "conflict": (1_000, 120 * _MINUTE),
}

DAMAGE = ("truncated", "not_utf8", "wrong_type", "null_key")
WAYS = (
    truncate,
    break_utf8,
    change_type_of(
        {
            "reading_id": (4711,),
            "plant_id": (15, ["REN"]),
            "timestamp": ("this morning", 1749976452),
            "production_mw": ("6.234", True, {"mw": 6.234}),
            "capacity_factor": ("41 %",),
            "wind_speed_mps": ("gusty",),
        }
    ),
    lose_one_of(("reading_id", "plant_id", "timestamp", "production_mw")),
)


def disturb(base: pl.DataFrame, rng: np.random.Generator) -> list[pl.DataFrame]:
    """The readings with their faults, then their copies; takes and gives labelled rows (`data_sources/generators/damage.py`)."""
    n = base.height
    fault = pick(FAULT_SHARES, n, rng)
    copy = pick(COPY_SHARES, n, rng)
    arrival_ms = delayed(base, fault, FAULT_DELAYS_MS, rng)
    broken = fault["rule_broken"]
    rows = base.with_columns(
        *_impossible(base, broken, rng),
        pl.col("_event_ms") + pl.Series(fault["future"] * TO_2099_MS),
        arrival_ms,
        damage_of(fault, DAMAGE, n),
        pl.Series("_rule_broken", broken),
        pl.Series("_future", fault["future"]),
        pl.Series("_sent_again", any_of(copy, n)),
    )
    return [rows, *_copies(rows, copy, rng)]


def _impossible(base: pl.DataFrame, broken: np.ndarray, rng: np.random.Generator) -> list[pl.Series]:
    """Production far below nothing or beyond any plant's size; where a sensor's value is, half the time that one."""
    n = base.height
    production = np.where(rng.random(n) < 0.5, rng.uniform(-50, -1, n), rng.uniform(300, 900, n)).round(3)
    columns = []
    by_sensor = np.zeros(n, bool)
    for name, low, high in (
        ("irradiance_w_m2", 2_100, 9_999),
        ("wind_speed_mps", 160, 400),
        ("water_flow_m3s", -90, -1),
    ):
        hit = broken & base[name].is_not_null().to_numpy() & (rng.random(n) < 0.5)
        by_sensor |= hit
        columns.append(base[name].set(pl.Series(hit), None).fill_null(pl.Series(rng.uniform(low, high, n).round(1))))
        columns[-1] = columns[-1].set(pl.Series(base[name].is_null()), None)
    hit = broken & ~by_sensor
    return [*columns, pl.Series("production_mw", np.where(hit, production, base["production_mw"].to_numpy()))]


def _copies(rows: pl.DataFrame, masks: dict[str, np.ndarray], rng: np.random.Generator) -> list[pl.DataFrame]:
    copies = []
    for name, again, _ in sent_again(rows, masks, COPY_DELAYS_MS, rng):
        if name == "conflict":  # counted again, a little more or less
            more = pl.Series(rng.integers(1, 21, again.height)) / 1000
            again = again.with_columns((pl.col("production_mw") + more).round(3), pl.lit(1, pl.Int64).alias("_version"))
        copies.append(again)
    return copies
