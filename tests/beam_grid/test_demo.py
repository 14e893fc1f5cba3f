"""The demo, small: it accounts for every record and says which of the planted anomalies it found; and its data's options."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from beam_grid.cli import cli


def grid(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_the_demo_finds_what_was_planted(tmp_path: Path) -> None:
    done = grid("demo", "--out", tmp_path, "--days", 23)
    assert done.exit_code == 0, done.output
    assert "Every record is accounted for" in done.output
    found = re.search(
        r"Anomalies: (\d+) of 30 planted anomalies found \(.*\)\. Of [\d,]+ ordinary readings", done.output
    )
    assert found is not None
    planted = json.loads((tmp_path / "data" / "planted.json").read_text())["smart_meter_readings"]
    assert len(planted) == 30
    assert 20 <= int(found[1]) <= 30
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{found[1]} of 30 planted anomalies found" in page


def test_generate_plants_as_asked(tmp_path: Path) -> None:
    words = ("smart_meter_readings", "--interval", "1h", "--meters", 10, "--days", 23, "--anomalies", 6)
    done = grid("generate", *words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "the 6 anomalies in planted.json" in done.output
    assert (
        len((tmp_path / "smart_meter_kafka" / "smart_meter_readings_2025-06-15.json").read_text().splitlines()) == 240
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--meters", 3), "--meters is not for billing_transactions; name the source it is for: smart_meter_readings"),
        (("customers", "--interval", "1h"), "--interval is not for customers"),
        (("smart_meter_readings", "--interval", "7h"), "interval is 7h: give one that divides a day"),
        (("smart_meter_readings", "--interval", "1h", "--scale", 2), "give one of them"),
        (("smart_meter_readings", "--meters", 2000), "give 1 to 1,000"),
        (("smart_meter_readings", "--anomalies", 3), "anomalies need at least 23"),
        (("iot_events", "--rate", 10, "--meters", 3), "--meters is not for a stream"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, words: tuple[str | int, ...], message: str) -> None:
    done = grid("generate", *map(str, words), "--out", tmp_path / "out")
    assert done.exit_code != 0
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()
