"""OpenLineage events of land, reinject and refine, held to what the published schema requires (spec 2-0-2)."""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from beam_grid import openlineage
from beam_grid.errors import RunFailed
from beam_grid.landing import Lake
from beam_grid.reinject import reinject
from tests.properties.oracle import as_lines, run
from tests.transforms.making import contract, minute

ENDS = {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
REQUIRED = {
    "schema": ["fields"], "version": ["datasetVersion"], "jobType": ["processingType", "integration"],
    "processing_engine": ["version"], "errorMessage": ["message", "programmingLanguage"],
    "inputStatistics": [], "outputStatistics": [],
}  # fmt: skip
"""Facets by name, with the fields their own schemas require, beside `_producer` and `_schemaURL` of every facet."""


def events(lake: Path) -> list[dict[str, Any]]:
    """All that was told, each checked: BaseEvent, RunEvent, Run, Job, Dataset and BaseFacet of OpenLineage.json."""
    path = lake / "lineage" / "openlineage.jsonl"
    told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for event in told:
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
        assert re.fullmatch(r"[a-z]+:\S+", event["producer"]) and event["eventType"] in ENDS
        uuid.UUID(event["run"]["runId"])
        assert event["job"]["namespace"] and event["job"]["name"]
        facets = [event["run"].get("facets", {}), event["job"].get("facets", {})]
        for side in ("input", "output"):
            for dataset in event[f"{side}s"]:
                assert dataset["namespace"] and dataset["name"]
                facets += [dataset.get("facets", {}), dataset.get(f"{side}Facets", {})]
        for name, facet in (item for group in facets for item in group.items()):
            assert re.fullmatch(r"https://openlineage\.io/spec/facets/\d+-\d+-\d+/(\w+)\.json#/\$defs/\1", facet["_schemaURL"])  # fmt: skip
            assert all(field in facet for field in [*REQUIRED[name], "_producer"]), (name, facet)
    return told


def rows(dataset: dict[str, Any], side: str) -> int:
    return dataset[f"{side}Facets"][f"{side}Statistics"]["rowCount"]


def test_a_land_tells_what_it_read_and_landed_and_nothing_of_this_machine(tmp_path: Path) -> None:
    feed, lake, source = contract(), tmp_path / "lake", tmp_path / "in"
    source.mkdir()
    late = {"id": "b", "at": minute(0).isoformat(), "kwh": 1}
    (source / "1.json").write_text(as_lines([{"id": "a", "at": minute(99).isoformat(), "kwh": 1}, late, "{"]))
    run(lake, feed, source, slice_rows=2)
    run(lake, feed, source)
    start, complete = events(lake)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE"), (
        "a run that finds nothing tells nothing"
    )
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["job"]["name"] == "land.readings" and start["job"]["namespace"] == f"beam-grid/{Lake.open(lake).id}"
    (read,), (landed,) = complete["inputs"], complete["outputs"]
    assert (read["namespace"], read["name"], rows(read, "input")) == ("file", "in", 3)
    assert (landed["name"], rows(landed, "output")) == ("landing.readings", 1)
    fields = {f["name"]: f["type"] for f in landed["facets"]["schema"]["fields"]}
    assert fields["kwh"] == "double" and fields["_position"] == "int64"
    with Lake.open(lake).lock("land"):
        reinject(Lake.open(lake), "readings")
    again = events(lake)[-1]
    assert again["job"]["name"] == "reinject.readings" and again["eventType"] == "COMPLETE"
    assert (rows(again["inputs"][0], "input"), rows(again["outputs"][0], "output")) == (1, 1)
    assert str(tmp_path) not in (lake / "lineage" / "openlineage.jsonl").read_text()


def test_a_run_that_fails_says_so_without_paths_or_passwords(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    for cause in (
        RunFailed(f"{tmp_path}/x.json: no such file, nor http://user:word@host/y\nmore"),
        KeyboardInterrupt(),
    ):
        with pytest.raises(type(cause)), openlineage.run(lake, "refine", "pyspark") as told:
            told.start([], [])
            told.start([], [])
            raise cause
    with pytest.raises(ValueError), openlineage.run(lake, "refine", "pyspark"):
        raise ValueError("before there was anything to do")
    found = events(lake.path)
    assert [event["eventType"] for event in found] == ["START", "FAIL", "START", "ABORT"]
    assert found[1]["run"]["facets"]["errorMessage"]["message"] == "x.json: no such file, nor http://host/y"


def test_a_topic_is_named_by_its_servers() -> None:
    assert openlineage.source("kafka://h:9092/energy.readings", rows=7) | {"inputFacets": None} == {
        "namespace": "kafka://h:9092", "name": "energy.readings", "inputFacets": None,
    }  # fmt: skip


def test_the_file_is_put_aside_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(tmp_path / "lake")
    monkeypatch.setattr(openlineage, "LARGEST", 1)
    for _ in range(2):
        with openlineage.run(lake, "refine", "pyspark") as told:
            told.start([], [])
    assert len(events(lake.path)) == 1
    assert json.loads((lake.path / "lineage" / "openlineage.1.jsonl").read_text())["eventType"] == "START"
