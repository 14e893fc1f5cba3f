"""From a publish to a message: once, within that publish, by `check` and beside a run that follows, across kills."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.beam_grid.alerts.published import RULE, TO_FILE, Published
from tests.beam_grid.alerts.receiver import SECRET, Receiver, receiving, webhook
from tests.beam_grid.service.small import contract, grid, write
from tests.waiting import PATIENCE_S


def test_a_reading_is_told_once_with_its_row_its_set_and_a_link(tmp_path: Path) -> None:
    here = Published(tmp_path, 'dashboard = "http://grid.example/"\n' + RULE + TO_FILE)
    here.readings(("M-1", 0, 3.0), ("<b>", 0, 3.5))
    assert here.check() == 0 and here.told() == []
    number = here.readings(("<b>", 15, 30.5))
    assert here.check() == 0 and here.check() == 0
    (message,) = here.told()
    assert (message["kind"], message["rule"], message["set"], message["severity"]) == (
        "raised",
        "high",
        number,
        "warning",
    )
    (alert,) = message["alerts"]
    assert alert["row"] == {"meter": "<b>", "at": "2026-03-01T00:15:00Z", "kwh": 30.5}
    assert (alert["key"], alert["set"]) == ({"meter": "<b>"}, number)
    assert message["link"] == "http://grid.example/#/alerts?rule=high", "no feed of it has landed"
    here.readings(("<b>", 30, 1.0))
    here.check()
    assert here.kinds() == [("raised", ["<b>"]), ("cleared", ["<b>"])] and here.states() == {}
    here.readings(("<b>", 45, 99.0))
    here.check()
    assert [kind for kind, _ in here.kinds()] == ["raised", "cleared", "raised"], "another episode"
    assert len({one["alerts"][0]["id"] for one in here.told()}) == 2


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Receiver:
    monkeypatch.setenv("BEAM_GRID_TEST_HOOK", SECRET)
    with receiving() as found:
        yield found


def test_a_follower_that_is_killed_tells_each_alert_once(tmp_path: Path, receiver: Receiver) -> None:
    """`kill -9` while the webhook hangs with the first message; the second life sends it, with the same id, and goes on."""
    source, lake = tmp_path / "in", tmp_path / "lake"
    write(source, "0.csv", rows=10)
    lake.mkdir()
    rule = RULE.replace("silver.readings", "silver.meters").replace("kwh > 20", "meter >= 9")
    (lake / "alerts.toml").write_text(rule + TO_FILE + webhook(receiver, timeout="60s"))
    receiver.how = ["hang"]
    command = grid("run", "--follow", "--contract", str(contract(tmp_path)), "--source", str(source), "--lake", str(lake),
                   "--every", "1s", "--refine-every", "1h")  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, stderr=log)
        try:
            _until(lambda: receiver.tries == 1, first, tmp_path)
            assert receiver.taken == []
            first.kill()
            first.wait()
            second = subprocess.Popen(command, stderr=log)
            try:
                receiver.until(1)
                write(source, "1.csv", rows=11)
                receiver.until(2)
                second.send_signal(signal.SIGTERM)
                assert second.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
            finally:
                second.kill()
        finally:
            first.kill()
    assert [one["alerts"][0]["key"]["meter"] for one in receiver.taken] == [9, 10]
    assert set(receiver.deliveries.values()) == {1}
    lines = [json.loads(line) for line in (lake / "alerts" / "out.jsonl").read_text().splitlines()]
    assert [one["id"] for one in lines] == [one["id"] for one in receiver.taken], "each sink has each once"
    assert SECRET not in (tmp_path / "log").read_text()


def _until(holds: object, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():  # type: ignore[operator]
        assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
