"""The balance of simulated transformers: what was done to a meter is the reason that is named, and no other hour is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tests.transforms.detect.making import MONDAY
from transforms.detect import SCHEMA, detect, readings_of, table

DAYS, FROM, METERS, LOSS = 30, 20 * 24, 25, 0.04
HOURS = DAYS * 24

Floats = npt.NDArray[np.float64]


def homes(draw: np.random.Generator) -> Floats:
    """kWh by meter and hour: evenings are high, each home has its own size and its own hours."""
    hour = np.arange(HOURS) % 24
    size = draw.gamma(8, 0.12, METERS)[:, None]
    peak = draw.integers(17, 22, METERS)[:, None]
    return size * (0.4 + np.exp(-((hour - peak) ** 2) / 8)) * draw.gamma(20, 0.05, (METERS, HOURS))


def scores(name: str, seed: int) -> list[dict[str, Any]]:
    """Of transformers A, to whose fifth meter something is done from FROM on, and B beside it."""
    draw = np.random.default_rng(seed)
    used = [homes(draw), homes(draw)]
    supplied = [one.sum(axis=0) / (1 - LOSS) * draw.normal(1, 0.003, HOURS) for one in used]
    read = [one.copy() for one in used]
    fifth = read[0][4]
    used[0][4] *= 3  # a home that is worth it
    supplied[0] = used[0].sum(axis=0) / (1 - LOSS) * draw.normal(1, 0.003, HOURS)
    fifth *= 3
    stuck = np.zeros(HOURS)
    taken = [one.sum(axis=0) for one in read]
    if name == "theft":
        taken[0][FROM:] -= 0.8 * fifth[FROM:]
    elif name == "mis-mapped meter":
        taken[0][FROM:] -= fifth[FROM:]
        taken[1][FROM:] += fifth[FROM:]
    elif name == "clock skew":
        taken[0][FROM:] += np.roll(fifth, 5)[FROM:] - fifth[FROM:]
    elif name == "stuck meter":
        taken[0][FROM:] += fifth[FROM - 1] - fifth[FROM:]
        stuck[FROM + 5 :] = 1
    missing = [s - t / (1 - LOSS) for s, t in zip(supplied, taken, strict=True)]
    rows = [
        {
            "transformer": "AB"[n], "at": MONDAY + timedelta(hours=hour), "supplied": supplied[n][hour],
            "taken": taken[n][hour] / (1 - LOSS), "stuck": stuck[hour] * (1 - n), "mirror": max(0.0, -missing[1 - n][hour]),
        }
        for n in range(2) for hour in range(HOURS)
    ]  # fmt: skip
    values = ["supplied", "taken", "stuck", "mirror"]
    readings = readings_of(pa.Table.from_pylist(rows), series="transformer", time="at", values=values)
    said = table(readings, detect(readings, ["energy_balance"]))
    assert said.schema.names == SCHEMA.names
    return [{**rows[one["row"]], **one, "hour": one["row"] % HOURS} for one in said.to_pylist()]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["theft", "mis-mapped meter", "clock skew", "stuck meter"])
def test_the_reason_is_what_was_done(name: str, seed: int) -> None:
    found = scores(name, seed)
    flagged = [row for row in found if row["probability"] is not None and row["probability"] < 0.003]
    ours = [row for row in flagged if row["transformer"] == "A" and row["hour"] >= FROM + 24]
    assert len(ours) > 24, "it goes on for ten days and must be seen on most evenings"
    named = [row["reason"] for row in ours]
    assert named.count(name) >= 0.8 * len(named), {reason: named.count(reason) for reason in set(named)}
    before = [row for row in flagged if row["hour"] < FROM]
    assert len(before) < 0.01 * 2 * FROM
    theirs = [row for row in flagged if row["transformer"] == "B" and row["hour"] >= FROM + 24]
    if name == "mis-mapped meter":
        assert theirs and all(row["reason"] == name and row["score"] < 0 for row in theirs)
    else:
        assert len(theirs) < 0.02 * (HOURS - FROM)


def test_a_theft_of_weeks_does_not_become_usual() -> None:
    found = [row for row in scores("theft", 3) if row["transformer"] == "A" and row["hour"] >= HOURS - 48]
    assert sum(row["probability"] < 0.003 for row in found) > 6


def test_a_mirror_that_is_not_known_in_an_hour_is_judged_by_the_day() -> None:
    """Two meters in three hours: now the transformer's own customers are not known, now those of the one beside it."""
    draw = np.random.default_rng(4)
    rows = []
    for hour in range(20 * 24):
        away = 0.4 * draw.gamma(30, 1 / 30) if hour >= 10 * 24 else 0.0
        rows.append(
            {
                "t": "a", "at": MONDAY + timedelta(hours=hour), "supplied": 3 + away + draw.normal(0, 0.01), "stuck": 0.0,
                "taken": None if hour % 3 == 1 else 3.0, "mirror": None if hour % 3 == 2 else away,
            }
        )  # fmt: skip
    values = ["supplied", "taken", "stuck", "mirror"]
    readings = readings_of(pa.Table.from_pylist(rows), series="t", time="at", values=values)
    found = table(readings, detect(readings, ["energy_balance"])).to_pylist()[10 * 24 :]
    assert sum(row["score"] is None for row in found) == 80
    named = [row["reason"] for row in found if row["probability"] is not None and row["probability"] < 0.003]
    assert len(named) == 160 and set(named) == {"mis-mapped meter"}


def test_what_is_not_known_has_no_score_and_says_why() -> None:
    rows = [
        {"t": "a", "at": MONDAY + timedelta(hours=n), "supplied": s, "taken": t}
        for n, (s, t) in enumerate([(1.0, 0.95), (1.0, None), (0.0, 0.0), (None, 1.0), (2.0, 1.0)])
    ]
    readings = readings_of(pa.Table.from_pylist(rows), series="t", time="at", values=["supplied", "taken"])
    found = table(readings, detect(readings, ["energy_balance"])).to_pylist()
    assert [row["score"] is None for row in found] == [False, True, True, False]
    assert found[1]["fallback"] == found[2]["fallback"] == "nothing supplied, or too few customers' readings"
    assert found[3]["score"] == pytest.approx(50) and found[3]["reason"] == "theft"
    assert found[3]["fallback"] == "fewer than 24 readings: the meters' accuracy as the spread"
    one = readings_of(pa.Table.from_pylist(rows), series="t", time="at", values=["supplied"])
    with pytest.raises(ValueError, match="energy_balance takes two values or more"):
        detect(one, ["energy_balance"])
