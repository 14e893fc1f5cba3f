"""evaluate --detector energy_balance: counts by hand, and what the product's documentation says, on a seed nobody chose by."""

from __future__ import annotations

import csv
import io

import polars as pl
import pytest

from beam_grid.evaluate import balance
from data_sources.smart_meter_readings.faults import KINDS
from tests.command_line import grid


def test_counts_by_hand() -> None:
    """Of two transformers with thefts, a was found after two hours and is named by most of its flags, b is named wrong."""
    rows = pl.DataFrame(
        [
            ("1/a", 0, False, "theft"), ("1/a", 1, False, "theft"), ("1/a", 2, True, "clock skew"), ("1/a", 3, True, "theft"),
            ("1/a", 4, True, "theft"), ("1/b", 0, True, "stuck meter"), ("1/b", 1, False, "theft"), ("1/c", 0, False, None),
        ],
        schema=["place", "hours", "is_anomaly", "reason"], orient="row",
    )  # fmt: skip
    found = balance._row(8, "theft", rows)
    assert list(found) == list(balance.COLUMNS)
    assert (found["transformers"], found["found"], found["named_share"], found["hours"]) == (3, 2, 0.5, 8)
    assert (found["flagged_share"], found["hours_named_share"], found["median_delay_h"]) == (0.5, 0.5, 1.0)
    assert found["flagged_low"] == pytest.approx(0.2152, abs=1e-4)  # Wilson's, of 4 in 8
    ordinary = balance._row(8, balance.NONE, rows)
    assert (ordinary["flagged_share"], ordinary["named_share"], ordinary["median_delay_h"]) == (0.5, None, None)


def test_the_marks_that_the_page_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "CUSTOMERS", (8,))
    monkeypatch.setattr(balance.evaluate, "__defaults__", ((8,),))
    monkeypatch.setattr(balance, "DAYS", 21)
    done = grid("evaluate", "--detector", "energy_balance", "--seed", "90002", "--format", "csv")
    assert done.returncode == 0, done.stderr
    rows = {row["kind"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert list(rows) == [*KINDS, balance.NONE] and {row["customers"] for row in rows.values()} == {"8"}
    affected = sum(int(rows[kind]["transformers"]) for kind in KINDS)
    assert affected > 50 and int(rows["mis-mapped meter"]["transformers"]) > int(rows["theft"]["transformers"])
    found, right = 0, 0.0
    for kind in KINDS:
        found += int(rows[kind]["found"])
        right += int(rows[kind]["found"]) * float(rows[kind]["named_share"])
        assert float(rows[kind]["hours_named_share"]) > 0.85
    assert found >= 0.9 * affected and right >= 0.95 * found
    none = rows[balance.NONE]
    assert int(none["hours"]) > 20_000 and float(none["flagged_high"]) < 0.001


def test_it_is_judged_alone() -> None:
    done = grid("evaluate", "--detector", "energy_balance", "--detector", "fused")
    assert done.returncode == 2 and "leave out other detectors" in done.stderr
    done = grid("evaluate", "--detector", "energy_balance", "--budget", "5")
    assert done.returncode == 2 and "--budget" in done.stderr
