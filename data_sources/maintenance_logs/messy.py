"""What goes wrong with monthly exports, in known shares (at least one of each a month).

An entry has at most one fault; copies are drawn on their own. Nothing is late: an entry out of order stands further
down, or in the next month's file. Every broken record costs exactly one reject, whatever stands around it:

    ...,"Replaced seal, tested,False,2025-07-01        the closing quote is lost: the record goes on
    ML-2025_04-0017B,...,"Checked, ok",False,...       to the next quote and has 22 values
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import polars as pl

from data_sources.generators.damage import TO_2099_MS, Way, any_of, damage_of, delayed, pick, sent_again
from data_sources.maintenance_logs.jobs import COLUMNS

FAULT_SHARES = {
    "delayed": 0.08,
    "next_file": 0.01,
    "future": 0.01,
    "rule_broken": 0.02,
    "truncated": 0.01,
    "too_few": 0.01,
    "too_many": 0.01,
    "not_utf8": 0.01,
    "wrong_type": 0.02,
    "null_key": 0.01,
    "lost_quote": 0.01,
}
COPY_SHARES = {"near": 0.02, "far": 0.02, "conflict": 0.03}
DAY_MS = 86_400_000
# [from, to) after the day it is reported, or for copies after the original.
FAULT_DELAYS_MS = {"delayed": (DAY_MS, 10 * DAY_MS), "next_file": (32 * DAY_MS, 40 * DAY_MS)}
COPY_DELAYS_MS = {"near": (0, 1), "far": (32 * DAY_MS, 60 * DAY_MS), "conflict": (10 * DAY_MS, 40 * DAY_MS)}

DAMAGE = ("truncated", "too_few", "too_many", "not_utf8", "wrong_type", "null_key", "lost_quote", "never_closed")


def disturb(base: pl.DataFrame, rng: np.random.Generator) -> list[pl.DataFrame]:
    """The entries with their faults, then their copies; takes and gives labelled rows (`data_sources/generators/damage.py`)."""
    n = base.height
    fault = pick(FAULT_SHARES, n, rng)
    copy = pick(COPY_SHARES, n, rng)
    arrival_ms = delayed(base, fault, FAULT_DELAYS_MS, rng)
    broken = fault["rule_broken"]
    which = np.where(broken, rng.integers(0, 3, n), -1)
    negative = pl.Series(-rng.uniform(1, 500, n).round(1))
    far_ahead = pl.duration(days=TO_2099_MS // DAY_MS)
    rows = base.with_columns(
        *(
            pl.when(pl.Series(which == i)).then(negative).otherwise(pl.col(name)).alias(name)
            for i, name in enumerate(("hours_spent", "cost_inr", "downtime_hours"))
        ),
        pl.when(pl.Series(fault["future"]))
        .then(pl.col("reported_date") + far_ahead)
        .otherwise(pl.col("reported_date"))
        .alias("reported_date"),
        arrival_ms,
        damage_of({"never_closed": np.zeros(n, bool), **fault}, DAMAGE, n),  # which `cut_off` draws
        pl.Series("_rule_broken", broken),
        pl.Series("_future", fault["future"]),
        pl.Series("_sent_again", any_of(copy, n)),
    )
    return [rows, *_copies(rows, copy, rng)]


def cut_off(rows: pl.DataFrame) -> pl.DataFrame:
    """The last of these rows, arriving last of all, with a quote that never closes: the export stopped there."""
    return rows.tail(1).with_columns(
        pl.lit(DAMAGE.index("never_closed") + 1, pl.UInt8).alias("_damage"),
        pl.lit(False).alias("_sent_again"),
        pl.col("_arrival_ms") + 365 * DAY_MS,
    )


def _copies(rows: pl.DataFrame, masks: dict[str, np.ndarray], rng: np.random.Generator) -> list[pl.DataFrame]:
    copies = []
    for name, again, _ in sent_again(rows, masks, COPY_DELAYS_MS, rng):
        copies.append(_closed(again, rng) if name == "conflict" else again)
    return copies


def _closed(copies: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The entry as a later export has it: done (again), weeks after it was planned, and dearer."""
    n = copies.height
    done = pl.col("scheduled_date") + pl.duration(days=pl.lit(pl.Series(rng.integers(14, 25, n))))
    dearer = pl.Series(rng.uniform(1_000, 9_000, n).round(2))
    return copies.with_columns(
        done.alias("completed_date"),
        pl.col("hours_spent").fill_null(4.5),
        pl.when(pl.col("cost_inr") < 0)
        .then(pl.col("cost_inr"))
        .otherwise((pl.col("cost_inr").fill_null(0) + dearer).round(2))
        .alias("cost_inr"),
        pl.lit("Reopened, done in a second visit").alias("resolution_notes"),
        (done + pl.duration(days=90)).alias("next_inspection_date"),
        pl.lit(1, pl.Int64).alias("_version"),
    )


def _truncate(line: bytes, rng: np.random.Generator) -> bytes:
    """Cut before the last column and before any quote: fewer values, and no quote is left open."""
    quote = line.find(b'"')
    end = line.rfind(b",") if quote < 0 else quote
    return line[: rng.integers(1, end)]


def _too_few(line: bytes, _: np.random.Generator) -> bytes:
    return line[: line.rfind(b",")]


def _too_many(line: bytes, _: np.random.Generator) -> bytes:
    return line + b",checked by A. Iyer"


def _break_utf8(line: bytes, rng: np.random.Generator) -> bytes:
    wrong = (b"\xff", b"\x80", b"\xe2\x82", b"Orl\xe9ans")[rng.integers(4)]
    return line.replace(b",TRF-", b"," + wrong + b"TRF-", 1)


def _change_type(line: bytes, rng: np.random.Generator) -> bytes:
    wrong = (
        ("reported_date", "05/04/2025"),
        ("reported_date", "2025-02-30"),
        ("completed_date", "next week"),
        ("hours_spent", "two hours"),
        ("cost_inr", "1,250.50"),
        ("cost_inr", "₹1250"),
        ("downtime_hours", "n/a"),
        ("follow_up_required", "maybe"),
    )
    return _with(line, dict([wrong[rng.integers(len(wrong))]]))


def _lose_key(line: bytes, rng: np.random.Generator) -> bytes:
    return _with(line, {("log_id", "transformer_id", "reported_date")[rng.integers(3)]: ""})


def _lose_quote(line: bytes, _: np.random.Generator) -> bytes:
    first = _with(line, {"resolution_notes": "Replaced seal, tested"}).replace(b', tested",', b", tested,")
    plain = dict.fromkeys(("technician_name", "parts_replaced", "root_cause"), "")
    log_id = _values(line)[0] + "B"
    return first + b"\n" + _with(line, {**plain, "log_id": log_id, "resolution_notes": "Checked, ok"})


def _never_close(line: bytes, _: np.random.Generator) -> bytes:
    text = _with(line, {"resolution_notes": "Work stopped, to be"})
    return text[: text.rfind(b"to be")]


WAYS: Sequence[Way] = (
    _truncate,
    _too_few,
    _too_many,
    _break_utf8,
    _change_type,
    _lose_key,
    _lose_quote,
    _never_close,
)


def _values(line: bytes) -> list[str]:
    return next(csv.reader(io.StringIO(line.decode(), newline="")))


def _with(line: bytes, changed: dict[str, str]) -> bytes:
    """The record with other values."""
    values = dict(zip(COLUMNS, _values(line), strict=True)) | changed
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(values.values())  # quotes what holds one of these
    return text.getvalue().removesuffix("\r\n").encode()
