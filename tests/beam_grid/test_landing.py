"""The landing zone: commits are all or nothing, one writer at a time, nothing a newer version wrote is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from beam_grid.commit import FORMAT
from beam_grid.errors import GridError, RunFailed
from beam_grid.landing import Lake, create_once, write_atomically
from beam_grid.refine import refine
from beam_grid.segments import collect
from tests import committed
from tests.committed import commit
from tests.transforms.making import contract

ROOT = Path(__file__).resolve().parents[2]


class TestCreateOnce:
    def test_the_second_one_fails_and_changes_nothing(self, tmp_path: Path) -> None:
        create_once(tmp_path / "1.json", {"n": 1})
        with pytest.raises(FileExistsError):
            create_once(tmp_path / "1.json", {"n": 2})
        assert json.loads((tmp_path / "1.json").read_text()) == {"n": 1}
        assert os.listdir(tmp_path) == ["1.json"], "no draft stays behind"

    def test_of_many_at_once_one_wins(self, tmp_path: Path) -> None:
        won: list[int] = []
        ready = threading.Barrier(8)

        def writer(n: int) -> None:
            ready.wait()
            try:
                create_once(tmp_path / "1.json", {"n": n})
                won.append(n)
            except FileExistsError:
                pass

        threads = [threading.Thread(target=writer, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1 and json.loads((tmp_path / "1.json").read_text()) == {"n": won[0]}

    def test_file_and_folder_are_synced_before_it_returns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
        synced: list[str] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1])
        create_once(tmp_path / "1.json", {})
        assert len(synced) == 2 and synced[1] == str(tmp_path)

    def test_what_cannot_be_written_leaves_nothing(self, tmp_path: Path) -> None:
        class Unfit:
            def __str__(self) -> str:
                raise OSError("disk full")

        with pytest.raises(OSError):
            create_once(tmp_path / "1.json", {"n": Unfit()})
        write_atomically(tmp_path / "2.json", {"n": 1})
        with pytest.raises(OSError):
            write_atomically(tmp_path / "2.json", {"n": Unfit()})
        assert os.listdir(tmp_path) == ["2.json"] and json.loads((tmp_path / "2.json").read_text()) == {"n": 1}


class TestOpen:
    def test_a_missing_folder_is_made_and_keeps_its_id(self, tmp_path: Path) -> None:
        lake = Lake.open(tmp_path / "a" / "b")
        assert Lake.open(tmp_path / "a" / "b").id == lake.id and lake.feeds == []

    def test_readers_make_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(GridError, match="there is no lake here"):
            Lake.open(tmp_path / "none", create=False)
        assert not (tmp_path / "none").exists()

    def test_a_newer_lake_is_left_alone(self, tmp_path: Path) -> None:
        Lake.open(tmp_path / "lake")
        mark = tmp_path / "lake" / "lake.json"
        mark.write_text(json.dumps({"format": FORMAT + 1, "id": "x"}))
        with pytest.raises(GridError, match=f"newer version .format {FORMAT + 1}.*update beam-grid") as caught:
            Lake.open(tmp_path / "lake")
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "one"}', "{}"])
    def test_a_damaged_mark_is_said(self, tmp_path: Path, text: str) -> None:
        Lake.open(tmp_path / "lake")
        (tmp_path / "lake" / "lake.json").write_text(text)
        with pytest.raises(GridError, match="lake"):
            Lake.open(tmp_path / "lake")

    def test_a_file_and_somebody_elses_folder_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(GridError, match="is a file"):
            Lake.open(tmp_path / "file")
        with pytest.raises(GridError, match="holds other things"):
            Lake.open(tmp_path)

    def test_a_run_killed_while_it_made_the_lake_is_forgotten(self, tmp_path: Path) -> None:
        """kill -9 between the draft of lake.json and its rename leaves the draft alone."""
        (tmp_path / ".lake.json.0a1b2c3d").write_text('{"format"')
        assert Lake.open(tmp_path).id


class TestCommits:
    def test_a_commit_of_a_newer_version_is_not_read(self, tmp_path: Path) -> None:
        feed = Lake.open(tmp_path / "lake").feed("f")
        feed.append(commit(1, format=FORMAT + 1))
        with pytest.raises(GridError, match="newer version"):
            list(feed.commits())

    def test_a_number_is_taken_once(self, tmp_path: Path) -> None:
        feed = Lake.open(tmp_path / "lake").feed("f")
        feed.append(commit(1))
        with pytest.raises(GridError, match="exists already"):
            feed.append(commit(1))

    def test_drafts_are_no_commits(self, tmp_path: Path) -> None:
        feed = Lake.open(tmp_path / "lake").feed("f")
        feed.append(commit(1))
        (feed.path / "commits" / ".0000000002.json.0a1b2c3d").write_text("{")
        assert feed.last == 1 and [c.number for c in feed.commits()] == [1]
        assert feed.lake.feeds == ["f"]

    @pytest.mark.parametrize("damage", ["missing", "cut"])
    def test_a_damaged_log_is_said_and_never_skipped(self, tmp_path: Path, damage: str) -> None:
        feed = Lake.open(tmp_path / "lake").feed("f")
        for n in (1, 2, 3):
            feed.append(commit(n))
        second = feed.path / "commits" / "0000000002.json"
        second.unlink() if damage == "missing" else second.write_text('{"comm')
        with pytest.raises(GridError, match="commit 2 of f cannot be read"):
            list(feed.commits())

    def test_a_contract_is_remembered_as_it_was(self, tmp_path: Path) -> None:
        feed = Lake.open(tmp_path / "lake").feed("readings")
        one, other = contract(), contract(allowed_lateness="2h")
        for kept in (one, other, one):
            feed.remember(kept)
        assert feed.contract(one.hash) == one and feed.contract(other.hash) == other


HOLD = "import sys, time\nfrom beam_grid.landing import Lake\nwith Lake.open(sys.argv[1]).lock('land'):\n    print('held', flush=True)\n    time.sleep(60)\n"


class TestLock:
    def test_a_second_run_is_refused_and_a_crash_leaves_no_lock(self, tmp_path: Path) -> None:
        lake = Lake.open(tmp_path / "lake")
        holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lake.path)], stdout=subprocess.PIPE, cwd=ROOT)
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            with pytest.raises(GridError, match="another land or run is at work on it"), lake.lock("land"):
                pass
            with lake.lock("tables"):
                pass
        finally:
            holder.kill()
            holder.wait()
        with lake.lock("land"):
            pass

    def test_the_command_line_says_so(self, tmp_path: Path) -> None:
        lake = Lake.open(tmp_path / "lake")
        (tmp_path / "smart_meter_readings.json").write_text("{}\n")
        with lake.lock("land"):
            done = subprocess.run(
                [sys.executable, "-c", "from beam_grid.cli import main; main()", "land", "smart_meter_readings",
                 "--source", str(tmp_path), "--lake", str(lake.path)],
                capture_output=True, text=True, cwd=ROOT,
            )  # fmt: skip
        assert done.returncode == 2 and "another land or run is at work on it" in done.stderr
        assert "Traceback" not in done.stderr and lake.feeds == []

    def test_it_is_held_once_inside_a_process_too(self, tmp_path: Path) -> None:
        lake = Lake.open(tmp_path / "lake")
        with lake.lock("land"), pytest.raises(GridError), lake.lock("land"):
            pass

    @pytest.mark.parametrize("in_the_way", ["locks/tables.lock/x", "locks"])
    def test_a_lake_that_cannot_be_written_is_told_as_such(self, tmp_path: Path, in_the_way: str) -> None:
        lake = Lake.open(tmp_path / "lake")
        (lake.path / in_the_way).parent.mkdir(parents=True, exist_ok=True)
        (lake.path / in_the_way).touch()
        with pytest.raises(RunFailed, match=f"lake {lake.path}: cannot be written \\(.*make room and run again"):
            refine(lake)


def test_garbage_is_what_is_old_and_in_no_commit(tmp_path: Path) -> None:
    feed = Lake.open(tmp_path / "lake").feed("f")
    feed.append(commit(1, files=(committed.file("rows", "data/kept/rows.parquet", 1),)))
    for name, age in (("kept", 9e6), ("old", 9e6), ("young", 60)):
        (feed.path / "data" / name).mkdir(parents=True)
        (feed.path / "data" / name / "rows.parquet").write_text("x")
        os.utime(feed.path / "data" / name, (time.time() - age,) * 2)
    assert collect(feed, 0) == 1
    assert sorted(os.listdir(feed.path / "data")) == ["kept", "young"]
    assert collect(Lake.open(tmp_path / "lake").feed("none"), 0) == 0
