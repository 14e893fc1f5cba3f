"""evaluate --nab, on a small checkout: the files its scorer wants, scored by nothing that stands below a row."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from beam_grid.evaluate import nab
from tests.command_line import grid

FILES = ("realKnownCause/one.csv", "artificialNoAnomaly/two.csv")
START = datetime(2014, 7, 1)  # noqa: DTZ001 the benchmark's clocks name no zone
SPIKE = 700


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    windows: dict[str, list[list[str]]] = {name: [] for name in FILES}
    for name in FILES:
        values = np.random.default_rng(len(name)).normal(50, 2, 900)
        times = [START + n * timedelta(minutes=5) for n in range(900)]
        if name == FILES[0]:
            values[SPIKE : SPIKE + 4] = 90
            windows[name] = [[f"{times[SPIKE - 20]}.000000", f"{times[SPIKE + 20]}.000000"]]
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        lines = [f"{time},{value:.3f}\n" for time, value in zip(times, values, strict=True)]
        path.write_text("timestamp,value\n" + "".join(lines))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    return tmp_path


def written(checkout: Path, name: str) -> list[dict[str, str]]:
    category, file = name.split("/")
    with (checkout / "results" / "beamgrid" / category / f"beamgrid_{file}").open() as found:
        return list(csv.DictReader(found))


def test_each_file_has_its_scores(checkout: Path) -> None:
    done = grid("evaluate", "--nab", str(checkout))
    assert done.returncode == 0, done.stderr
    rows = written(checkout, FILES[0])
    assert list(rows[0]) == ["timestamp", "value", "anomaly_score", "label"]
    given = (checkout / "data" / FILES[0]).read_text().splitlines()[1:]
    assert [f"{row['timestamp']},{row['value']}" for row in rows] == given
    scores = np.array([float(row["anomaly_score"]) for row in rows])
    assert ((scores >= 0) & (scores < 1)).all()
    assert np.argmax(scores) in range(SPIKE, SPIKE + 4)
    assert (scores[SPIKE + 30 : SPIKE + 150] == 0).all()  # reported once
    assert [n for n, row in enumerate(rows) if row["label"] == "1"] == list(range(SPIKE - 20, SPIKE + 21))
    assert {row["label"] for row in written(checkout, FILES[1])} == {"0"}


def test_a_row_is_scored_by_what_stands_above_it_also_when_its_clock_goes_back() -> None:
    rng = np.random.default_rng(1)
    times = (np.arange(600) * 300_000_000).astype(np.int64)
    times[400:] -= 3_600_000_000  # an autumn's hour, twice
    values = rng.normal(0, 1, 600)
    whole = nab.scores(times, values)
    assert (whole > 0).sum() > 8
    for rows in (401, 405, 412, 500):
        np.testing.assert_allclose(nab.scores(times[:rows], values[:rows]), whole[:rows], rtol=1e-9)


def test_what_is_no_checkout_is_named(tmp_path: Path, checkout: Path) -> None:
    done = grid("evaluate", "--nab", str(tmp_path / "nothing"))
    assert done.returncode == 2 and "a checkout of github.com/numenta/NAB" in done.stderr
    done = grid("evaluate", "--nab", str(checkout), "--threshold", "0.01")
    assert done.returncode == 2 and "leave out" in done.stderr
    (checkout / "data" / FILES[0]).write_text("timestamp,value\n2014-07-01 00:00:00,many\n")
    done = grid("evaluate", "--nab", str(checkout))
    assert done.returncode == 2 and "one.csv cannot be read" in done.stderr
    (checkout / "labels" / "combined_windows.json").write_text('{"../../secret.csv": []}')
    done = grid("evaluate", "--nab", str(checkout))
    assert done.returncode == 2 and "not in its data folder" in done.stderr
