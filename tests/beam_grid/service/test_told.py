"""What a run that follows tells others: the file is whole, comes within a second, and does not outlive a clean end."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from beam_grid.service.told import PATIENCE_S, Told, tellings
from tests.beam_grid.service.telling import feed_vitals, now_us, telling, vitals


def _until(holds: Callable[[], object], seconds: float = 5.0) -> None:
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
