"""JSON logs: every line about a slice says of which feed and commit it is."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from beam_grid.about import _FIELDS, about
from tests.beam_grid.service.small import contract, ran, write


def test_every_line_about_a_slice_names_feed_and_commit(tmp_path: Path) -> None:
    write(tmp_path / "in", "a.csv", rows=25, bad=2)
    known = ("--contract", str(contract(tmp_path)), "--source", str(tmp_path / "in"), "--lake", str(tmp_path / "lake"))
    done = ran("--log-format", "json", "land", *known, "--slice-rows", "10")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    committed = [line for line in lines if line["message"] == "committed"]
    assert [line["commit"] for line in committed] == list(range(1, len(committed) + 1)) and len(committed) >= 2
    assert sum(line["landed"] for line in committed) == 25 and sum(line["rejected"] for line in committed) == 2
    assert {line["feed"] for line in lines} == {"meters"}, "of all lines"
    assert lines[-1]["commit"] == len(committed), "the summary is as of the last"


def test_fields_hold_while_they_hold_and_for_their_thread() -> None:
    seen: list[dict[str, str | int]] = []
    with about(feed="a"):
        with about(commit=1):
            assert _FIELDS.get({}) == {"feed": "a", "commit": 1}
            thread = threading.Thread(target=lambda: seen.append(_FIELDS.get({})))
            thread.start()
            thread.join()
        assert _FIELDS.get({}) == {"feed": "a"}
    assert _FIELDS.get({}) == {} and seen == [{}]
