"""Scores of a stream of readings: as of the whole table, wherever batches and groups are cut."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_sources.contract.detections import COLUMNS
from data_sources.errors import UserError
from tests.transforms.detect.making import table
from transforms.detect import DETECTORS, detect, readings_of, scored, scores

HOW: dict[str, Any] = {"series": "series", "time": "time", "values": ["v0"], "detectors": ["median_mad", "fused"]}


def several() -> pa.Table:
    """Sorted by series and time; the third is longer than the groups, the last has no name."""
    draw = np.random.default_rng(4)
    parts = [
        table(draw.gamma(3, 1, rows), every=timedelta(hours=1), series=name)
        for name, rows in (("a", 40), ("b", 1), ("c", 700), ("d", 300), ("e", 2))
    ]
    nameless = table(draw.gamma(3, 1, 30)).set_column(0, "series", pa.nulls(30, pa.string()))
    return pa.concat_tables([*parts, nameless])


def of(rows: pa.Table, step: int) -> pa.Table:
    return pa.Table.from_batches(scored(rows.to_batches(max_chunksize=step), **HOW)).sort_by(
        [("detector", "ascending"), ("series", "ascending"), ("time", "ascending")]
    )


@pytest.mark.parametrize(("group", "step"), [(1, 1), (1, 7), (64, 33), (400, 1000), (1 << 20, 64)])
def test_wherever_batches_and_groups_are_cut(group: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = several()
    whole = of(rows, 10_000)
    monkeypatch.setattr("transforms.whole_series.GROUP", group)
    found = of(rows, step)
    assert found.schema == whole.schema and found.equals(whole)
    readings = readings_of(rows, series="series", time="time", values=["v0"])
    for name, one in detect(readings, HOW["detectors"]).items():
        ours = found.filter(pc.equal(found["detector"], name))
        assert ours.num_rows == rows.num_rows
        said = one.table(readings)
        assert ours["score"].to_pylist()[: len(readings)] == said["score"].to_pylist()
        assert ours["fallback"].to_pylist()[len(readings) :] == ["no series"] * 30
        assert {*ours["model_version"].to_pylist()} == {f"{name}/{scores.VERSION}"}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_rows_without_a_series_alone_keep_their_rows(zone: str) -> None:
    """As a part of Spark's holds them: no reading is left then."""
    rows = several().slice(several().num_rows - 30)
    found = pa.Table.from_batches(scored(rows.to_batches(), **{**HOW, "detectors": [*DETECTORS], "time_zone": zone}))
    assert found["fallback"].to_pylist() == ["no series"] * 30 * len(DETECTORS)


def test_what_is_no_number_keeps_its_row_and_says_so() -> None:
    values = np.random.default_rng(1).gamma(3, 1, 200)
    values[[3, 50]], values[60] = np.nan, np.inf
    rows = table(values, every=timedelta(hours=1))
    rows = rows.set_column(1, "time", pa.array([None, *rows["time"].to_pylist()[1:]], rows["time"].type))
    found = pa.Table.from_batches(scored(rows.to_batches(), **{**HOW, "detectors": ["fused"]}))
    assert found.column_names == ["series", "time", *COLUMNS] and found.num_rows == 200
    lost = [row for row in found.to_pylist() if row["fallback"] in ("no number", "no time")]
    assert [row["fallback"] for row in lost] == ["no time", "no number", "no number", "no number"]
    assert all(row["score"] is row["is_anomaly"] is row["value"] is None and row["detector"] == "fused" for row in lost)


def test_only_rows_that_are_none_and_no_rows() -> None:
    rows = table([np.nan, np.nan])
    found = pa.Table.from_batches(scored(rows.to_batches(), **HOW)).to_pylist()
    assert [(row["detector"], row["fallback"]) for row in found] == [
        ("median_mad", "no number"), ("median_mad", "no number"), ("fused", "no number"), ("fused", "no number"),
    ]  # fmt: skip
    assert list(scored([], **HOW)) == [] == list(scored(rows.slice(0, 0).to_batches(), **HOW))


def test_the_threshold_and_the_composites_own() -> None:
    values = np.random.default_rng(2).gamma(3, 1, 600)
    values[500] = 60
    rows = table(values, every=timedelta(hours=1))
    how = {**HOW, "detectors": ["median_mad", "composite"], "threshold": 0.2}
    for row in pa.Table.from_batches(scored(rows.to_batches(), **how)).to_pylist():
        rare = row["probability"] is not None and row["probability"] < 0.2
        high = row["detector"] == "composite" and row["score"] is not None and row["score"] > 0.5
        assert bool(row["is_anomaly"]) == (rare or high), row
        assert row["value"] != 60 or row["is_anomaly"]


def test_a_column_called_as_one_of_the_answers_is_refused() -> None:
    rows = table([1.0, 2.0]).append_column("Reason", pa.array(["x", "y"]))
    with pytest.raises(UserError, match=r"detectors: the answer has a column 'Reason' of its own"):
        list(scored(rows.to_batches(), **HOW))
