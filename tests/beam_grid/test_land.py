"""`land`: killed anywhere, out of room, with a contract or a file that changed, a rerun mends it and nothing is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_grid import crash
from beam_grid.errors import GridError, RunFailed
from beam_grid.graph import _graph_errors
from beam_grid.landing import Lake, create_once
from data_sources.contract import Contract
from tests.command_line import grid
from tests.properties.oracle import NEVER, as_lines, assert_equal, landed, oracle, run
from tests.small_disk import SmallDisk
from tests.transforms.making import LATEST, contract, minute, plain_contract
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
FEED = contract()
POINTS = ["land:planned", "land:written", "land:before-commit", "land:committed"]


def readings(count: int, seed: int = 1, step: float = 0.05) -> list[dict[str, Any] | str]:
    """In order of time, with copies near and far, conflicts, late, broken and rule-breaking records."""
    rng = random.Random(seed)
    made: list[dict[str, Any] | str] = []
    good: list[dict[str, Any]] = []
    for n in range(count):
        row = {"id": f"k{n:06d}", "at": minute(n * step).isoformat(), "kwh": rng.randint(0, 900) / 100, "meter": f"m{n % 7}", "version": 1}  # fmt: skip
        made.append(row)
        good.append(row)
        fate, earlier = rng.random(), good[rng.randrange(len(good))]
        if fate < 0.05:
            made.append(dict(earlier))
        elif fate < 0.08:
            made.append({**earlier, "kwh": 7.77, "version": 2, "meter": "m0"})
        elif fate < 0.10:
            made.append({**row, "id": f"l{n}", "at": minute(n * step - 100).isoformat()})
        elif fate < 0.12:
            made.append('{"id": "cut off')
        elif fate < 0.14:
            made.append({**row, "id": f"r{n}", "kwh": -1.0, "at": minute(n * step + 500).isoformat()})
    return made


def write(path: Path, records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_lines(records))
    return path


def toml_of(feed: dict[str, Any]) -> str:
    """The small feed as a contract file: JSON values are TOML values for what it holds."""
    lists = ("windows", "rules", "fields")
    text = "".join(f"{k} = {json.dumps(v)}\n" for k, v in feed.items() if k not in lists and not isinstance(v, dict))
    text += "".join(f"[{k}]\n" + _pairs(v) for k, v in feed.items() if isinstance(v, dict))
    return text + "".join(f"[[{k}]]\n{_pairs(item)}" for k in lists for item in feed.get(k, []))


def _pairs(table: dict[str, Any]) -> str:
    def value(v: Any) -> str:
        return "{" + ", ".join(f"{k} = {json.dumps(x)}" for k, x in v.items()) + "}" if isinstance(v, dict) else json.dumps(v)  # fmt: skip

    return "".join(f"{k} = {value(v)}\n" for k, v in table.items())


def words(source: Path, lake: Path, *more: str, **changes: Any) -> list[str]:
    """`land` of the small feed, as it is typed."""
    file = lake.parent / "contract.toml"
    file.write_text(toml_of(plain_contract(**changes)))
    return ["land", "readings", "--contract", str(file), "--source", str(source), "--lake", str(lake), *more]


def command(source: Path, lake: Path, *more: str, env: dict[str, str] | None = None, **changes: Any) -> Any:
    """The same in a process of its own, which may be killed or find no room."""
    return subprocess.run(
        [sys.executable, "-m", "beam_grid", *words(source, lake, *more, **changes)],
        capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, env={**os.environ, **(env or {})},
    )  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "in" / "a.json", readings(600)).parent


class TestKilled:
    @pytest.mark.parametrize("point", POINTS)
    def test_a_rerun_gives_equal_tables(self, tmp_path: Path, source: Path, point: str) -> None:
        feed, wanted = contract(dedup=LATEST), oracle([source / "a.json"], contract(dedup=LATEST))
        lake = tmp_path / "lake"
        killed = command(source, lake, "--slice-rows", "250", "--now", "2100-01-01T00:00:00Z", env={crash.VARIABLE: point}, dedup=LATEST)  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        left = Lake.open(lake).feed("readings").last
        assert left == (1 if point == "land:committed" else 0)
        assert run(lake, feed, source, slice_rows=250, now=None).commits == 3 - left
        assert_equal(landed(Lake.open(lake), feed), wanted)
        assert run(lake, feed, source).commits == 0

    @pytest.mark.parametrize("point", POINTS[:3])
    def test_the_clock_of_the_run_that_was_cut_short_is_used_again(self, tmp_path: Path, source: Path, point: str) -> None:  # fmt: skip
        """--now an hour before noon makes most of the file the future: a rerun by the real clock would not."""
        lake = tmp_path / "lake"
        command(source, lake, "--now", "2025-06-15T11:40:00Z", env={crash.VARIABLE: point})
        again = run(lake, FEED, source, now=None)
        assert again.rejected_by["from_the_future/max_future"] > 400
        assert Lake.open(lake).feed("readings").read(1).now == int(minute(-20).timestamp() * 1e6)
        assert not (lake / "landing" / "readings" / "plan.json").exists()

    def test_what_came_since_is_not_from_the_future_by_the_clock_of_a_run_that_was_cut_short(self, tmp_path: Path, source: Path) -> None:  # fmt: skip
        lake = tmp_path / "lake"
        command(source, lake, "--now", "2025-06-15T11:40:00Z", env={crash.VARIABLE: "land:written"})
        write(source / "b.json", [{"id": "z", "at": minute(40).isoformat(), "kwh": 1.0}])
        again = run(lake, FEED, source, now=None)
        assert again.fates.read > 400 and "from_the_future/max_future" not in again.rejected_by

    def test_a_finished_runs_clock_is_not_used_again(self, tmp_path: Path, source: Path) -> None:
        lake = tmp_path / "lake"
        command(source, lake, "--now", "2025-06-15T11:40:00Z", env={crash.VARIABLE: "land:committed"})
        write(source / "b.json", [{"id": "z", "at": minute(40).isoformat(), "kwh": 1.0}])
        assert run(lake, FEED, source, now=None).fates.landed == 1

    def test_killed_after_every_commit_it_still_arrives(self, tmp_path: Path, source: Path) -> None:
        lake = tmp_path / "lake"
        ends = [
            command(
                source,
                lake,
                "--slice-rows",
                "230",
                "--now",
                "2100-01-01T00:00:00Z",
                env={crash.VARIABLE: "land:committed"},
            ).returncode
            for _ in range(4)
        ]
        assert ends == [-signal.SIGKILL] * 3 + [0]
        assert_equal(landed(Lake.open(lake), FEED), oracle([source / "a.json"], FEED))

    def test_a_damaged_plan_is_made_anew(self, tmp_path: Path, source: Path) -> None:
        lake = Lake.open(tmp_path / "lake")
        lake.feed("readings").path.mkdir(parents=True)
        for text in ("", "{", "[]", "{}", '{"commit": 1, "now": null}'):
            lake.feed("readings").plan_file.write_text(text)
            run(lake.path, FEED, source, now=None)
            shutil.rmtree(lake.path / "landing")
            lake.feed("readings").path.mkdir(parents=True)

    def test_a_commit_that_was_made_keeps_its_files_whatever_follows(self, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
        """The link is there, then the folder's sync fails: the commit stands, so its files must."""

        def fails_after(path: Path, content: bytes) -> None:
            create_once(path, content)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("beam_grid.landing.create_once", fails_after)
        with pytest.raises(GridError):
            run(tmp_path / "lake", FEED, source)
        monkeypatch.undo()
        run(tmp_path / "lake", FEED, source)
        assert_equal(landed(Lake.open(tmp_path / "lake"), FEED), oracle([source / "a.json"], FEED))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", megabytes=1, files=30) as disk:
        yield disk


class TestFullDisk:
    def test_nothing_is_committed_and_a_rerun_with_room_succeeds(self, tmp_path: Path, small_disk: SmallDisk) -> None:
        rng = random.Random(5)
        records = [{"id": rng.randbytes(24).hex(), "at": minute(n / 100).isoformat(), "kwh": rng.random(), "meter": rng.randbytes(8).hex()} for n in range(40_000)]  # fmt: skip
        source = write(tmp_path / "in" / "a.json", records).parent
        lake = small_disk.path / "lake"
        full = command(source, tmp_path / "unused", "--lake", str(lake), "--slice-rows", "4000")
        assert full.returncode == 1, full.stderr
        assert "No space left on device" in full.stderr and "make room and run again" in full.stderr
        assert "Traceback" not in full.stderr
        log = Lake.open(lake).feed("readings")
        before = log.last
        assert 0 < before < 10, "earlier slices stay, the one that found no room is not there"
        listed = {log.read(n).attempt for n in range(1, before + 1)}
        assert {p.name for p in (log.path / "data").iterdir()} == listed, "the abandoned slice takes no room"
        landed(Lake.open(lake), FEED)
        small_disk.grow()
        assert run(lake, FEED, source, slice_rows=4000).commits == 10 - before
        assert landed(Lake.open(lake), FEED)["counts"]["landed - superseded"] == 40_000

    def test_no_room_at_all_is_said_too(self, tmp_path: Path, small_disk: SmallDisk, source: Path) -> None:
        lake = small_disk.path / "lake"
        run(lake, FEED, source)
        write(source / "b.json", readings(50, seed=9))
        small_disk.fill()
        full = command(source, tmp_path / "unused", "--lake", str(lake))
        assert full.returncode == 1 and "No space left on device" in full.stderr, full.stderr
        assert "run again" in full.stderr and "--debug" not in full.stderr, full.stderr
        small_disk.grow()
        run(lake, FEED, source)
        assert_equal(landed(Lake.open(lake), FEED), oracle(sorted(source.glob("*.json")), FEED))

    def test_a_file_size_limit_does_the_same(self, tmp_path: Path) -> None:
        rng = random.Random(5)
        records = [{"id": rng.randbytes(24).hex(), "at": minute(n / 100).isoformat(), "kwh": rng.random()} for n in range(20_000)]  # fmt: skip
        source, lake = write(tmp_path / "in" / "a.json", records).parent, tmp_path / "lake"
        file = tmp_path / "contract.toml"
        file.write_text(toml_of(plain_contract()))
        limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); from beam_grid.cli import main; main()"  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", limited, "land", "readings", "--contract", str(file), "--source", str(source), "--lake", str(lake)],
            capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 1 and "cannot be written (File too large)" in done.stderr, done.stderr
        assert Lake.open(lake).feeds == []
        assert run(lake, FEED, source).fates.landed == 20_000


CHANGES: dict[str, tuple[dict[str, Any], str | None]] = {
    "another key": ({"dedup": {"key": ["id"]}}, "dedup"),
    "keep": ({"dedup": LATEST}, "dedup"),
    "a horizon": ({"dedup": {"key": ["id", "at"], "horizon": "1h"}}, "dedup"),
    "event time": ({"event_time": "other"}, "event_time"),
    "a type": ({"kwh": "int64"}, "'kwh' was a float64"),
    "a field gone": ({"without": "version"}, "'version' is gone"),
    "a field without since": ({"new": {"name": "new", "type": "string"}}, "since"),
    "a window declared otherwise": (
        {"windows": [{"name": "quarters", "size": "1h", "measures": {"n": "count()"}}]},
        "window",
    ),
    "a field with since": ({"new": {"name": "new", "type": "string", "since": "2"}}, None),
    "a rule that warns": (
        {"rules": [{"id": "R-1", "check": "kwh >= 0"}, {"id": "W", "check": "kwh < 5", "on_fail": "warn"}]},
        None,
    ),
    "another window": ({"more": {"name": "hours", "size": "1h", "measures": {"n": "count()"}}}, None),
    "patience": ({"allowed_lateness": "2h"}, None),
    "words for people": ({"description": "other words"}, None),
}


def changed(name: str) -> Contract:
    plain = plain_contract()
    plain["fields"].append({"name": "other", "type": "timestamp"})
    if name == "nothing":
        return contract(**plain)
    change = dict(CHANGES[name][0])
    if kind := change.pop("kwh", None):
        plain["fields"][2]["type"] = kind
    if gone := change.pop("without", None):
        plain["fields"] = [f for f in plain["fields"] if f["name"] != gone]
    if new := change.pop("new", None):
        plain["fields"].append(new)
    if more := change.pop("more", None):
        plain["windows"].append(more)
    return contract(**{**plain, **change})


@pytest.mark.parametrize("name", CHANGES)
def test_a_contract_may_grow_and_not_turn_into_another(tmp_path: Path, source: Path, name: str) -> None:
    run(tmp_path / "lake", changed("nothing"), source)
    write(source / "b.json", readings(20, seed=4, step=0.0))
    refused = CHANGES[name][1]
    if refused is None:
        assert run(tmp_path / "lake", changed(name), source).commits == 1
        return
    with pytest.raises(GridError, match="under a new feed name") as caught:
        run(tmp_path / "lake", changed(name), source)
    assert refused in str(caught.value) and caught.value.exit_code == 2
    assert Lake.open(tmp_path / "lake").feed("readings").last == 1


class TestShards:
    def test_a_lake_keeps_its_shards(self, tmp_path: Path, source: Path) -> None:
        run(tmp_path / "lake", FEED, source, shards=3)
        write(source / "b.json", readings(20, seed=4))
        with pytest.raises(GridError, match="--shards 5: feed readings has 3 shards") as caught:
            run(tmp_path / "lake", FEED, source, shards=5)
        assert caught.value.exit_code == 2
        run(tmp_path / "lake", FEED, source)
        commits = list(Lake.open(tmp_path / "lake").feed("readings").commits())
        assert [c.shards for c in commits] == [3, 3]
        assert {e.shard for c in commits for e in c.listed("rows")} <= {0, 1, 2}

    def test_what_says_so_may_be_lost_but_not_damaged(self, tmp_path: Path, source: Path) -> None:
        run(tmp_path / "lake", FEED, source, shards=3)
        write(source / "b.json", readings(20, seed=4))
        said = Lake.open(tmp_path / "lake").feed("readings").path / "feed.json"
        assert json.loads(said.read_bytes())["shards"] == 3
        for damaged in (b"", b"[]", b'{"shards": "3", "hash": "xxh64"}'):
            said.write_bytes(damaged)
            with pytest.raises(
                GridError, match=r"feed.json cannot be read \(.*remove it: the commits of readings know"
            ):
                run(tmp_path / "lake", FEED, source)
        said.unlink()
        with pytest.raises(GridError, match="--shards 5: feed readings has 3 shards"):
            run(tmp_path / "lake", FEED, source, shards=5)
        assert run(tmp_path / "lake", FEED, source).commits == 1
        assert [c.shards for c in Lake.open(tmp_path / "lake").feed("readings").commits()] == [3, 3]
        assert json.loads(said.read_bytes())["shards"] == 3

    def test_a_run_that_never_committed_settles_nothing(self, tmp_path: Path, source: Path) -> None:
        command(source, tmp_path / "lake", "--shards", "3", env={crash.VARIABLE: "land:before-commit"})
        assert run(tmp_path / "lake", FEED, source, shards=2).commits == 1


class TestSources:
    def test_a_changed_file_is_named_and_the_rest_lands(self, tmp_path: Path, source: Path) -> None:
        assert grid(*words(source, tmp_path / "lake", "--now", "2100-01-01T00:00:00Z")).returncode == 0
        write(source / "a.json", readings(600, seed=8))
        write(source / "b.json", [{"id": "new", "at": minute(28).isoformat(), "kwh": 1.0}])
        done = grid(*words(source, tmp_path / "lake", "--now", "2100-01-01T00:00:00Z"))
        assert done.returncode == 1 and "a.json" in done.stderr and "changed" in done.stderr
        assert Lake.open(tmp_path / "lake").feed("readings").read(2).fates.landed == 1

    def test_a_file_that_grew_is_read_on(self, tmp_path: Path, source: Path) -> None:
        run(tmp_path / "lake", FEED, source)
        with (source / "a.json").open("a") as file:
            file.write(as_lines(readings(30, seed=3)) + '{"id": "unfini')
        assert run(tmp_path / "lake", FEED, source).commits == 1
        assert run(tmp_path / "lake", FEED, source).commits == 0, "the unfinished line waits"
        with (source / "a.json").open("a") as file:
            file.write('shed", "at": "2025-06-15T12:29:00Z"}\n')
        assert run(tmp_path / "lake", FEED, source).fates.landed == 1
        assert_equal(landed(Lake.open(tmp_path / "lake"), FEED), oracle([source / "a.json"], FEED))

    def test_a_missing_source_is_a_matter_of_usage(self, tmp_path: Path) -> None:
        done = grid(*words(tmp_path / "nowhere", tmp_path / "lake"))
        assert done.returncode == 2 and "no such file or folder" in done.stderr

    def test_a_file_that_vanishes_while_it_is_read_is_not_a_full_lake(self, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
        monkeypatch.setattr(
            crash, "point", lambda name: (source / "a.json").unlink() if name == "land:planned" else None
        )
        with pytest.raises(GridError) as caught:
            run(tmp_path / "lake", FEED, source)
        assert caught.value.exit_code == 1 and "cannot be written" not in str(caught.value)

    def test_an_empty_folder_and_empty_files_commit_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "empty.json").write_text("")
        assert run(tmp_path / "lake", FEED, tmp_path / "in").commits == 0

    def test_the_same_content_under_two_names_lands_once(self, tmp_path: Path, source: Path) -> None:
        shutil.copy(source / "a.json", source / "b.json")
        whole = contract(file_order="none")
        run(tmp_path / "lake", whole, source)
        assert_equal(landed(Lake.open(tmp_path / "lake"), whole), oracle([source / "a.json", source / "b.json"], whole))


def test_what_a_worker_failed_of_is_said_in_a_line() -> None:
    """A runner of another process tells its workers' errors as text, with a traceback in the middle."""
    told = (
        "Pipeline A failed in state FAILED: java.lang.RuntimeException: Error received: Traceback (most recent call last):\n"
        '  File "a.py", line 3, in f\n    raise ValueError\nValueError: first\n\n'
        'Traceback (most recent call last):\n  File "b.py", line 4, in g\n'
        "RuntimeError: FileNotFoundError: 'index.json' [while running 'Land']\n\n\tat org.apache.beam.Foo(Foo.java:1)\n"
    )
    with pytest.raises(RunFailed, match=r"committed: RuntimeError: Pipeline A .*: RuntimeError: FileNotFoundError: 'index"), _graph_errors():  # fmt: skip
        raise RuntimeError(told)
    with pytest.raises(RunFailed, match=r"committed: ValueError: one$"), _graph_errors():
        raise ValueError("one\ntwo")


def test_fifty_slices_of_a_time_ordered_input_stay_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened for committed keys does not grow with the number of commits."""
    opened: list[str] = []
    plain = pq.ParquetFile

    def spy(path: Any, *args: Any, **named: Any) -> Any:
        opened.append(str(path))
        return plain(path, *args, **named)

    monkeypatch.setattr("transforms.seen.pq.ParquetFile", spy)
    records = [r for r in readings(2000, step=0.2) if isinstance(r, dict)][:2000]
    source = write(tmp_path / "in" / "a.json", records).parent
    per_slice: list[int] = []

    def progress(*_: Any) -> None:
        per_slice.append(len(opened))
        opened.clear()

    from beam_grid.land import Options, land

    lake = Lake.open(tmp_path / "lake")
    land(lake, FEED, Options(str(source), slice_rows=40, shards=1, now=NEVER), progress)
    assert len(per_slice) == 50 and sum(per_slice) > 0
    assert sum(per_slice[-10:]) <= 1.5 * max(sum(per_slice[5:15]), 10), per_slice
    assert_equal(landed(lake, FEED), oracle([source / "a.json"], FEED))


def test_the_next_slice_is_read_ahead_and_a_changed_source_is_planned_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that grow, come and go between two slices: what was made ahead of them is not used."""
    from beam_grid.land import Options, land
    from transforms.read_ahead import ReadAhead

    taken: list[bool] = []
    runs: list[ReadAhead] = []
    plain = ReadAhead.take

    def spy(run: ReadAhead, key: str) -> Any:
        found = plain(run, key)
        taken.append(found is not None)
        runs.append(run)
        return found

    monkeypatch.setattr(ReadAhead, "take", spy)
    records = [r for r in readings(300, step=0.2) if isinstance(r, dict)]
    source = write(tmp_path / "in" / "b.json", records[:200]).parent
    lake = Lake.open(tmp_path / "lake")

    def progress(done: Any, plan: Any) -> None:
        if done.commits == 2:
            with (source / "b.json").open("a") as out:
                out.write(as_lines(records[200:250]))
        if done.commits == 3:
            write(source / "c.json", records[250:])

    land(lake, FEED, Options(str(source), slice_rows=40, shards=1, now=NEVER), progress)
    assert taken[0] and taken[1] and len(taken) >= 7
    assert_equal(landed(lake, FEED), oracle([source / "b.json", source / "c.json"], FEED))
    assert not any(run._begun for run in runs)


def test_meter_ordered_slices_open_only_files_that_hold_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random ids at all times in every slice: bounds prune nothing, hashes all that holds no copy."""
    import random

    from beam_grid.land import Options, land

    opened: list[str] = []
    plain = pq.ParquetFile

    def spy(path: Any, *args: Any, **named: Any) -> Any:
        opened.append(str(path))
        return plain(path, *args, **named)

    monkeypatch.setattr("transforms.seen.pq.ParquetFile", spy)
    records = [r for r in readings(400) if isinstance(r, dict)]
    unique = list({r["id"]: r for r in records}.values())
    random.Random(4).shuffle(unique)
    whole = contract(file_order="none")
    source = write(tmp_path / "in" / "a.json", [*unique, unique[3], unique[-3]]).parent
    lake = Lake.open(tmp_path / "lake")
    land(lake, whole, Options(str(source), slice_rows=-(-len(unique) // 10), shards=2, now=NEVER))
    assert 1 <= len(set(opened)) <= 2
    assert_equal(landed(lake, whole), oracle([source / "a.json"], whole))


def test_a_lake_of_format_1_is_read_on(tmp_path: Path, source: Path) -> None:
    """As the first version wrote it: splits and ends without their kinds, delays without their bounds, no default left out."""
    run(tmp_path / "lake", FEED, source, slice_rows=250)
    log = Lake.open(tmp_path / "lake").feed("readings")
    for path in log.path.glob("commits/*.json"):
        said = json.loads(path.read_text()) | {"format": 1}
        del said["delay_bounds_s"]
        for split in (split for planned in said["plan"] for split in planned["parts"]):
            del split["kind"]
            split |= {"digest": None, "open_line": False, "segments": [], "part": 0} | split
        for partition in said["partitions"]:
            partition["kind"] = "partition"
            for end in partition["ends"]:
                del end["kind"]
        path.write_text(json.dumps(said, indent=1))
    assert log.last == 3 and run(tmp_path / "lake", FEED, source).commits == 0, "nothing is read again"
    with (source / "a.json").open("a") as more:
        more.write(as_lines(readings(100, seed=9)))
    assert run(tmp_path / "lake", FEED, source).commits == 1
    assert [commit.format for commit in log.commits()] == [1, 1, 1, 2]
    assert_equal(landed(Lake.open(tmp_path / "lake"), FEED), oracle([source / "a.json"], FEED))
