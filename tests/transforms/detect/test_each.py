"""What each detector is for: it sees that, says so, and how rare it calls ordinary readings is how rare they are."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.transforms.detect.making import MONDAY, made, readings, table
from transforms.detect import SCHEMA, detect
from transforms.detect import table as as_table
from transforms.detect.fused import repeats

HOUR = timedelta(hours=1)


def noise(rows: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 1, rows)


def test_a_stuck_meter() -> None:
    values = noise(300).round(1)
    values[200:210] = values[200]
    found = detect(made(values, every=HOUR), ["flatline"])["flatline"]
    assert found.score[200:210].tolist() == list(range(1, 11))
    assert found.probability[209] < 1e-6 and (np.nan_to_num(found.probability[:200], nan=1.0) > 1e-4).all()
    assert found.reasons[found.reason[209]] == "says the same again and again"


def test_a_meter_that_always_repeats_itself_is_not_stuck() -> None:
    found = detect(made(np.repeat(noise(40), 8), every=HOUR), ["flatline"])["flatline"]
    assert (np.nan_to_num(found.probability, nan=1.0)[32:] > 0.2).all()


def test_a_reading_that_comes_late() -> None:
    rows = table(noise(300), every=HOUR)
    found = detect(readings(rows.filter(np.isin(np.arange(300), np.arange(200, 205), invert=True))), ["gap"])["gap"]
    assert found.score[200] == pytest.approx(6.0) and found.probability[200] < 1e-6
    assert (found.value[200], found.expected[200]) == (6 * 3600.0, pytest.approx(3600.0))
    assert np.nanmin(np.delete(found.probability, 200)) > 0.1


def test_a_spike_and_its_end() -> None:
    values = noise(300)
    values[200] = 30.0
    found = detect(made(values, every=HOUR), ["spike"])["spike"]
    assert found.probability[200] < 1e-9 and found.reasons[found.reason[200]] == "jumps up"
    assert found.probability[201] > 0.01  # back among its neighbours: the median of three is not moved by one
    assert found.expected[200] == pytest.approx(10, abs=1.5)


def test_a_level_that_shifts_by_less_than_a_reading_varies() -> None:
    values = noise(900)
    values[700:] += 1.5
    both = detect(made(values, every=HOUR), ["level_shift", "z"])
    shifted = both["level_shift"]
    assert shifted.probability[715] < 1e-4 and shifted.reasons[shifted.reason[715]] == "has gone up and stays"
    assert both["z"].probability[715] > 1e-3
    assert np.nanmin(shifted.probability[:700]) > 1e-5


def test_what_only_several_looks_see() -> None:
    """Two days of a daily load, twelve hours late: each value is usual, its hour is not."""
    hours = np.arange(24 * 28)
    values = 10 + 5 * np.sin(hours / 24 * 2 * np.pi) + np.random.default_rng(3).normal(0, 0.5, len(hours))
    values[24 * 25 : 24 * 27] = 20 - values[24 * 25 : 24 * 27]
    found = detect(made(values, every=HOUR), ["fused", "z"])
    odd = slice(24 * 25 + 2, 24 * 25 + 11)
    assert (found["fused"].probability[odd] < 1e-6).all()
    assert "for its hour of the day" in found["fused"].reasons[found["fused"].reason[24 * 25 + 6]]
    assert (found["z"].probability[odd] > 0.05).all()
    assert repeats(made(values, every=HOUR), found["fused"].score)[24 * 25 : 24 * 27].sum() >= 40


def test_probabilities_of_ordinary_readings_are_what_they_say() -> None:
    """Independent readings: one in a hundred is called one in a hundred, from long histories and, by z, from short ones."""
    rows = pa.concat_tables([table(noise(720, n), every=HOUR, series=f"s{n:02d}") for n in range(40)])
    found = detect(readings(rows), ["z", "mahalanobis", "median_mad", "spike", "fused"])
    for name, scores in found.items():
        scored = scores.probability[np.isfinite(scores.probability)]
        assert len(scored) > 5000 and 0.005 < np.mean(scored < 0.01) < 0.025, (name, np.mean(scored < 0.01))
    short = found["z"].probability[(found["z"].history >= 3) & (found["z"].history < 12)]
    assert np.mean(short < 0.05) == pytest.approx(0.05, abs=0.03)


def test_the_table_says_all_of_it() -> None:
    rows = pa.concat_tables([table(noise(60), every=HOUR), table([np.nan], series="b", start=MONDAY)])
    of = readings(rows)
    found = as_table(of, detect(of, ["z", "fused"]))
    assert found.schema.names == SCHEMA.names and found.num_rows == 120
    first, last = found.slice(0, 1).to_pylist()[0], found.slice(59, 1).to_pylist()[0]
    assert (first["row"], first["detector"], first["score"], first["fallback"]) == (0, "z", None, "no history")
    assert last["model_version"] == "z/1" and last["history"] == 59 and last["fallback"] is None
    assert last["score"] == pytest.approx((last["value"] - last["expected"]) / last["spread"])
    assert set(found["detector"].to_pylist()) == {"z", "fused"}
