"""What goes wrong between a substation and its reader, in known shares (at least one of each a chunk).

A message has at most one fault; copies are drawn on their own, so that there are copies of late, broken and garbled
messages too. All copies of a message lie within 20 minutes of event time of each other, well within the horizon;
the one other message of the same id more than an hour from all of them: what lands does not depend on slicing.
"""

from __future__ import annotations

from collections.abc import Callable

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
    "late": 0.02,
    "future": 0.01,
    "rule_broken": 0.02,
    "truncated": 0.01,
    "not_utf8": 0.01,
    "wrong_type": 0.01,
    "null_key": 0.01,
}
# "reused": the device gives the id to another message, more than the horizon of one hour later.
COPY_SHARES = {"near": 0.03, "far": 0.02, "much_later": 0.01, "conflict": 0.02, "reused": 0.02}
# [from, to) after the message's own time, or for copies after the original's arrival; on time is up to 35 minutes.
_MINUTE = 60_000
FAULT_DELAYS_MS = {
    "delayed": (1_000, 5 * _MINUTE),
    "long_delayed": (5 * _MINUTE, 30 * _MINUTE),
    "late": (45 * _MINUTE, 3 * 60 * _MINUTE),
}
COPY_DELAYS_MS = {
    "near": (1_000, 2 * _MINUTE),
    "far": (5 * _MINUTE, 30 * _MINUTE),
    "much_later": (2 * 60 * _MINUTE, 5 * 60 * _MINUTE),
    "conflict": (1_000, 20 * _MINUTE),
    "reused": (61 * _MINUTE, 4 * 60 * _MINUTE),
}
AHEAD_MS = 3 * 60 * _MINUTE
"""How far ahead of the stream a rule-breaking message is: a reader that lets it move its clock loses hours."""

DAMAGE = ("truncated", "not_utf8", "wrong_type", "null_key")
WAYS = (
    truncate,
    break_utf8,
    change_type_of(
        {
            "telemetry_id": (4711,),
            "transformer_id": ({"id": "TRF"},),
            "timestamp": ("half past ten", [2025, 6, 15]),
            "load_mw": ("87.34", True),
            "oil_temperature_c": ("hot",),
            "sequence_number": (1.5, "678234"),
            "iot_hub_enqueued_time": ("soon",),
            "alarm_code": (17,),
        }
    ),
    lose_one_of(("telemetry_id", "substation_id", "transformer_id", "timestamp")),
)


def disturb(base: pl.DataFrame, rng: np.random.Generator) -> list[pl.DataFrame]:
    """The messages with their faults, then their copies; takes and gives labelled rows (`data_sources/generators/damage.py`)."""
    n = base.height
    fault = pick(FAULT_SHARES, n, rng)
    copy = pick(COPY_SHARES, n, rng)
    arrival_ms = delayed(base, fault, FAULT_DELAYS_MS, rng)
    broken = fault["rule_broken"]
    sent_again = any_of({name: mask for name, mask in copy.items() if name != "reused"}, n)
    rows = base.with_columns(
        *_impossible(base, broken, rng),
        pl.col("_event_ms") + pl.Series(fault["future"] * TO_2099_MS + broken * AHEAD_MS),
        arrival_ms,
        damage_of(fault, DAMAGE, n),
        pl.Series("_rule_broken", broken),
        pl.Series("_future", fault["future"]),
        pl.Series("_sent_again", sent_again),
    )
    return [rows, *_copies(rows, copy, rng)]


def _impossible(base: pl.DataFrame, broken: np.ndarray, rng: np.random.Generator) -> list[pl.Series]:
    """Oil of a furnace, less than no gas, or air wetter than water."""
    which = np.where(broken, rng.integers(0, 3, base.height), -1)
    wrong = {
        "oil_temperature_c": rng.uniform(600, 900, base.height),
        "dissolved_gas_ppm": rng.uniform(-500, -1, base.height),
        "humidity_percent": rng.uniform(101, 400, base.height),
    }
    return [
        pl.Series(name, np.where(which == i, values.round(1), base[name].to_numpy()))
        for i, (name, values) in enumerate(wrong.items())
    ]


def _copies(rows: pl.DataFrame, masks: dict[str, np.ndarray], rng: np.random.Generator) -> list[pl.DataFrame]:
    change: dict[str, Callable[[pl.DataFrame, pl.Series, np.random.Generator], pl.DataFrame]] = {
        "conflict": _measured_again,
        "reused": _another_message,
    }
    copies = []
    for name, again, delay in sent_again(rows, masks, COPY_DELAYS_MS, rng):
        copies.append(change[name](again, delay, rng) if name in change else again)
    return copies


def _measured_again(copies: pl.DataFrame, delay: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    """The device retries: the same id with warmer oil, half of them stamped anew, and the hub takes it as another."""
    warmer = pl.Series(rng.integers(1, 9, copies.height)) / 10
    stamped = pl.Series(rng.integers(0, 2, copies.height)) * delay
    return copies.with_columns(
        (pl.col("oil_temperature_c") + warmer).round(1),
        pl.col("_event_ms") + stamped,
        pl.col("_enqueued_ms") + delay,
        pl.col("sequence_number") + 1,
        pl.lit(1, pl.Int64).alias("_version"),
    )


def _another_message(copies: pl.DataFrame, delay: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    """Another message under an id that was used more than an hour before: a record of its own."""
    load = pl.Series(rng.uniform(0.9, 1.1, copies.height))
    return copies.with_columns(
        (pl.col("load_mw") * load).round(2),
        pl.col("_event_ms") + delay,
        pl.col("_enqueued_ms") + delay,
        pl.col("sequence_number") + 1,
        (-1 - pl.col("_record")).alias("_record"),
    )
