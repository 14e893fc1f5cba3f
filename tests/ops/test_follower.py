"""A follower as an operator meets it: health, readiness, metrics that count, status, JSON logs, and how it ends."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.beam_grid.service.small import ran
from tests.ops.follower import Follower, following
from tests.waiting import PATIENCE_S


def value(text: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    raise AssertionError(f"no {name} with {labels} in\n{text}")


def status(follower: Follower) -> tuple[int, dict]:
    done = ran("status", "--lake", str(follower.lake), "--format", "json")
    return done.returncode, json.loads(done.stdout)


def comes_about(holds: Callable[[], bool], follower: Follower) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, follower.said
        time.sleep(0.1)


def test_a_follower_tells_how_it_is_and_ends_in_order(tmp_path: Path) -> None:
    with following(tmp_path) as follower:
        follower.until("readyz", "ok\n")
        text = follower.until(
            "metrics", 'beam_grid_published_commit{feed="meters",lake="' + str(follower.lake) + '"} 1.0'
        )
        assert follower.asked("healthz") == (200, "ok\n")
        assert value(text, "beam_grid_records_total", fate="landed") == 20
        assert value(text, "beam_grid_rejects_total", feed="meters") == 2
        assert value(text, "beam_grid_state_files", part="locks") >= 1
        assert value(text, "beam_grid_step_seconds_total", step="land") > 0
        follower.write("1.csv")
        follower.until(
            "metrics", 'beam_grid_records_total{fate="read",feed="meters",lake="' + str(follower.lake) + '"} 32.0'
        )
        code, found = status(follower)
        (feed,) = found["feeds"]
        assert (code, found["wrong"], feed["commit"]) == (0, [], 2)
        assert feed["state"] in ("idle", "landing", "publishing") and 0 <= feed["newest_row_age_s"] < PATIENCE_S
        assert found["followers"][0]["pid"] == follower.process.pid
        (follower.folder / "in" / "README.md").write_text("x")
        follower.write("0.csv")  # as copytruncate does
        changed = (
            "0.csv: left out: has changed since it was read, not only grown (land what it holds now under a new name)"
        )
        comes_about(lambda: status(follower)[1]["wrong"] == [f"meters: {changed}"], follower)
        follower.until("metrics", f'beam_grid_left_out{{feed="meters",lake="{follower.lake}"}} 1.0')
        (follower.folder / "in" / "0.csv").unlink()
        follower.until("metrics", f'beam_grid_left_out{{feed="meters",lake="{follower.lake}"}} 0.0')
        unread = "not read: README.md: no feed's format or `files` takes it"
        comes_about(lambda: unread in follower.said, follower)
        assert follower.end(signal.SIGTERM) == 0, follower.said
        assert follower.said.count("not read: ") == 1
        code, found = status(follower)
        assert (code, found["followers"]) == (1, []) and "no follower" in found["wrong"][0]
    lines = [json.loads(line) for line in follower.said.splitlines()]
    assert [(line["feed"], line["commit"]) for line in lines if line["message"] == "committed"] == [
        ("meters", 1), ("meters", 2),
    ]  # fmt: skip
    assert [line["commit"] for line in lines if line["message"] == "published"][-1] == 2
    assert all("feed" in line and "commit" in line for line in lines if line["message"].startswith("meters: "))


def test_a_follower_that_was_killed_is_said_to_be_gone_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with following(tmp_path) as follower:
        follower.until("readyz", "ok\n")
        follower.end(signal.SIGKILL)
        code, found = status(follower)
        assert code == 1 and not found["followers"][0]["is_alive"]
        assert f"process {follower.process.pid} is gone" in found["wrong"][0]
    with following(tmp_path) as follower:
        follower.until("readyz", "ok\n")
        assert "ended without a word" in follower.said
        assert [f["pid"] for f in status(follower)[1]["followers"]] == [follower.process.pid]
