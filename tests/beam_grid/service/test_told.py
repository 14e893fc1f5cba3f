"""What a run that follows tells others: the file is whole, comes within a second, and does not outlive a clean end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from beam_grid.service.told import PATIENCE_S, Told, tellings
from tests import waiting
from tests.beam_grid.service.telling import feed_vitals, now_us, telling, vitals


def _until(holds: Callable[[], object], seconds: float = waiting.PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_the_last_beat_is_written_even_where_no_other_follows(tmp_path: Path) -> None:
    with Told(tmp_path, every_s=3600) as told:
        for commit in range(50):
            told.beat(vitals(tmp_path, feed_vitals(commit=commit)))
        _until(lambda: [f.telling.vitals.feeds["readings"].commit for f in tellings(tmp_path)] == [49])
        assert tellings(tmp_path)[0].is_alive and tellings(tmp_path)[0].why is None
    assert list((tmp_path / "status").iterdir()) == []


def test_a_beat_is_what_was_told_then(tmp_path: Path) -> None:
    feed = feed_vitals(commit=1)
    with Told(tmp_path) as told:
        told.beat(vitals(tmp_path, feed))
        feed.commit = 2
        assert told.newest()[0].vitals.feeds["readings"].commit == 1


def test_the_rate_is_of_records_read_a_second(tmp_path: Path) -> None:
    feed, rates = feed_vitals(fates={"read": 0}), {}
    with Told(tmp_path) as told:
        began = time.monotonic()
        while not rates:
            feed.fates = {"read": int(1000 * (time.monotonic() - began))}
            told.beat(vitals(tmp_path, feed))
            rates = told.newest()[0].rates
            time.sleep(0.05)
    assert 800 < rates["readings"] < 1200


def test_a_process_that_was_killed_is_known_as_gone_and_forgotten_by_the_next(tmp_path: Path) -> None:
    script = f"""
        import os, signal, time
        from pathlib import Path
        from beam_grid.service.told import Told
        from tests.beam_grid.service.telling import feed_vitals, vitals
        lake = Path({str(tmp_path)!r})
        with Told(lake) as told:
            told.beat(vitals(lake, feed_vitals()))
            while not list((lake / "status").glob("*.json")):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode == -9
    (gone,) = tellings(tmp_path)
    assert not gone.is_alive and "gone" in str(gone.why)
    with Told(tmp_path):
        assert tellings(tmp_path) == []


def _left(lake: Path, name: str, **more: Any) -> None:
    """What another process has told."""
    (lake / "status").mkdir(exist_ok=True)
    (lake / "status" / f"{name}.json").write_bytes(msgspec.json.encode(telling(lake, feed_vitals(), **more)))


def _hosts(lake: Path) -> list[tuple[str, str]]:
    return sorted((f.telling.vitals.role, f.telling.vitals.host) for f in tellings(lake))


def test_who_takes_the_lead_forgets_who_led_and_who_is_gone_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container that led was replaced: of another host it cannot be told at once whether its process lives."""
    monkeypatch.setattr("beam_grid.service.told._WRITE_EVERY_S", 0.01)
    monkeypatch.setattr("beam_grid.service.told._FORGET_EVERY_S", 0.01)
    mine, old = socket.gethostname(), now_us() - int((PATIENCE_S + 5) * 1e6)
    for role in ("leader", "standby"):
        _left(tmp_path, f"{role}-1", role=role, host=f"pod-{role}", pid=1)
    with Told(tmp_path) as told:
        assert _hosts(tmp_path) == [("leader", "pod-leader"), ("standby", "pod-standby")]
        told.beat(vitals(tmp_path, feed_vitals(), role="standby"))
        _until(lambda: ("standby", mine) in _hosts(tmp_path))
        assert ("leader", "pod-leader") in _hosts(tmp_path), "who stands by forgets nobody that may live"
        told.beat(vitals(tmp_path, feed_vitals()))
        _until(lambda: _hosts(tmp_path) == [("leader", mine), ("standby", "pod-standby")])
        _left(tmp_path, "standby-2", role="standby", host="pod-2", pid=1, beat_at=old)
        _until(lambda: told.beat(vitals(tmp_path, feed_vitals())) or ("standby", "pod-2") not in _hosts(tmp_path))
        assert _hosts(tmp_path) == [("leader", mine), ("standby", "pod-standby")]


def test_two_processes_of_one_number_tell_of_both(tmp_path: Path) -> None:
    """In containers that is usual."""
    with Told(tmp_path) as leader:
        leader.beat(vitals(tmp_path, feed_vitals()))
        with Told(tmp_path) as standby:
            standby.beat(vitals(tmp_path, role="standby"))
            _until(lambda: [f.telling.vitals.role for f in tellings(tmp_path)] == ["leader", "standby"])
        _until(lambda: [f.telling.vitals.role for f in tellings(tmp_path)] == ["leader"])


def test_a_loop_that_hangs_or_another_machines_old_beat_is_said(tmp_path: Path) -> None:
    old = now_us() - int((PATIENCE_S + 5) * 1e6)
    (tmp_path / "status").mkdir()
    for name, more in {"1": {}, "2": {"host": "elsewhere"}}.items():
        told = telling(tmp_path, feed_vitals(), beat_at=old, **more)
        (tmp_path / "status" / f"{name}.json").write_bytes(msgspec.json.encode(told))
    here, elsewhere = tellings(tmp_path)
    assert here.is_alive and "not gone round for 65 s" in str(here.why)
    assert not elsewhere.is_alive and "on elsewhere" in str(elsewhere.why)


def test_a_torn_or_foreign_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "status").mkdir()
    (tmp_path / "status" / "1.json").write_text('{"vitals": {"pid": 1')
    (tmp_path / "status" / "2.json").write_text(json.dumps({"other": 1}))
    assert tellings(tmp_path) == []


def test_a_folder_that_cannot_be_written_does_not_fail_the_loop(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("in the way")
    with Told(tmp_path) as told:
        told.beat(vitals(tmp_path, feed_vitals()))
        time.sleep(0.2)
        told.beat(vitals(tmp_path, feed_vitals()))
        assert len(told.newest()) == 1


def test_names_that_are_not_utf8_do_not_fail_the_loop(tmp_path: Path) -> None:
    with Told(tmp_path) as told:
        told.beat(vitals(tmp_path, feed_vitals(last_error="no file \udcff.csv")))
        _until(
            lambda: (
                [f.telling.vitals.feeds["readings"].last_error for f in tellings(tmp_path)] == ["no file \udcff.csv"]
            )
        )
