"""`beam-grid plan FEED`: the graph as the contract has it, what the runner can do, and what a slice would read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from beam_grid.cli import cli
from beam_grid.feed_plan import feed_plan, steps
from beam_grid.feeds import built_in
from beam_grid.landing import Lake
from runners import capabilities
from tests.beam_grid.test_land import readings, toml_of, write
from tests.properties.oracle import run
from tests.transforms.making import contract, plain_contract


def planned(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["plan", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_every_built_in_feed_has_a_graph_that_hangs_together() -> None:
    for feed in built_in().values():
        for able in capabilities.ALL.values():
            seen: set[str] = set()
            for step in steps(feed, able, 4):
                assert set(step.after) <= seen, f"{feed.name}: {step.name} takes from a step that is not before it"
                assert step.name not in seen
                seen.add(step.name)
            assert {f"gold.{window.name}" for window in feed.windows} <= seen


def test_drawn_for_people() -> None:
    text = planned("smart_meter_readings")
    for words in (
        "└─ judge", "late behind M - 70m", "copies by event_id, timestamp", "tiles meter_15min",
        "OPTIMIZE by meter_id, timestamp", "cannot unbounded", "a copy on time is at most 70m behind M",
    ):  # fmt: skip
        assert words in text, text
    assert "broadcast" in planned("smart_meter_readings", "--runner", "spark")


def test_sized_by_what_landed_and_told_what_is_new(tmp_path: Path) -> None:
    source = write(tmp_path / "in" / "a.json", readings(600)).parent
    lake, feed = Lake.open(tmp_path / "lake"), contract()
    run(tmp_path / "lake", feed, source, slice_rows=200)
    landed = lake.feed(feed.name).last
    (tmp_path / "in" / "b.json").write_text(json.dumps({"id": "z", "at": "2025-06-15T12:40:00Z", "kwh": 1.0}) + "\n")
    file = tmp_path / "c.toml"
    file.write_text(toml_of(plain_contract()))
    told = json.loads(
        planned(
            "readings", "--lake", str(lake.path), "--source", str(source), "--contract", str(file), "--format", "json"
        )
    )
    assert told["landed"] > 500 and told["next"] == [{"partition": "files", "splits": 1, "rows": 1}]
    assert 0.3 < told["rows_per_s"] < 0.4, "a reading each 3 seconds"
    sizes = {kept["name"]: kept["rows"] for kept in told["state"]}
    assert sizes["keys on disk"] == told["landed"] and sizes["open windows quarters"] > 5
    assert lake.feed(feed.name).last == landed, "nothing was landed"


def test_a_slice_beyond_memory_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for command in (["plan"], ["land", "--source", str(tmp_path), "--lake", str(tmp_path / "lake")]):
        done = CliRunner().invoke(cli, [*command, "smart_meter_readings", "--slice-rows", "900000000"])
        assert isinstance(done.exception, capabilities.RunnerCannot)
        assert "--runner spark" in str(done.exception)


def test_no_beam_is_loaded() -> None:
    asked = "import sys; from beam_grid.cli import cli; cli(['plan', 'transformers'], standalone_mode=False); print('apache_beam' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.stdout.endswith("False\n"), done.stdout + done.stderr


def test_the_plan_of_a_feed_without_a_lake_says_how_long_keys_are_kept() -> None:
    found = {kept.name: kept for kept in feed_plan(built_in()["smart_meter_readings"], capabilities.DIRECT).state}
    assert found["keys looked at"].seconds == 70 * 60 and found["keys looked at"].rows is None
