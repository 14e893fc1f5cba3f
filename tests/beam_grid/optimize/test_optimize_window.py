"""`beam-grid optimize-window`, beside DuckDB over the raw lines, and beside a lake that landed with what was proposed."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from beam_grid.landing import Lake
from beam_grid.reinject import reinject
from beam_grid.reinject_rejected import reinject_rejected
from data_sources.contract import Contract
from tests.beam_grid.test_land import write
from tests.command_line import grid
from tests.properties.oracle import run
from tests.transforms.making import contract, minute

FEED = contract(allowed_lateness="20m", max_future=None)
REACH = timedelta(minutes=30)
COUNT = 3000


def reading(n: int, minutes: float, **said: Any) -> dict[str, Any]:
    return {"id": f"k{n}", "at": minute(minutes).isoformat(), "kwh": 1.0, "meter": f"m{n % 7}", **said}


def delayed(count: int) -> list[Any]:
    """In the order of arrival: a reading each three seconds, a tenth of them minutes to hours on its way; copies, rejects."""
    rng = random.Random(7)
    due: list[tuple[float, Any]] = []
    for n in range(count):
        at = n / 20
        came = at + (rng.expovariate(1 / 25) if rng.random() < 0.1 else rng.random() / 10)
        due.append((came, reading(n, at)))
        if rng.random() < 0.03:
            due.append((came + 3, reading(n, at)))
        if rng.random() < 0.02:
            due.append((came, reading(n, at + 900, id=f"r{n}", kwh=-1.0)))  # a reject moves nothing
        if rng.random() < 0.01:
            due.append((came, '{"id": "cut'))
    return [record for _, record in sorted(due, key=lambda one: one[0])]


def measured(files: list[Path], reach: timedelta = REACH) -> list[tuple[int, datetime]]:
    """(microseconds behind, event time) of each record that lands or is late under the reach, by DuckDB over the lines."""
    with duckdb.connect() as engine:
        lines = [
            (rank, n, text) for rank, file in enumerate(files) for n, text in enumerate(file.read_text().splitlines())
        ]
        engine.register("raw", pa.table(list(map(list, zip(*lines, strict=True))), names=["rank", "n", "line"]))
        return engine.execute(f"""
            WITH parsed AS (SELECT rank, n, CASE WHEN json_valid(line) THEN line END AS doc FROM raw),
            good AS (
                SELECT rank, n, doc ->> 'id' AS id, CAST(doc ->> 'at' AS TIMESTAMPTZ) AS t
                FROM parsed WHERE CAST(doc ->> 'kwh' AS DOUBLE) >= 0
            ), led AS (
                SELECT *, max(t) OVER (ORDER BY rank, n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newest
                FROM good
            ), judged AS (
                SELECT *, greatest(coalesce(epoch_us(newest) - epoch_us(t), 0), 0) AS behind,
                    behind > {reach // timedelta(microseconds=1)} AS late
                FROM led
            ), numbered AS (
                SELECT *, row_number() OVER (PARTITION BY id, t, late ORDER BY rank, n) AS copy FROM judged
            )
            SELECT behind, t FROM numbered WHERE late OR copy = 1
        """).fetchall()


def asked(lake: Path, *options: str) -> dict[str, Any]:
    done = grid("optimize-window", "readings", "--lake", str(lake), *options, "--format", "json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def landed(folder: Path, records: list[Any], feed: Contract = FEED, **options: Any) -> Path:
    run(folder / "lake", feed, write(folder / "in" / "a.json", records).parent, **options)
    return folder / "lake"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of one log, `in`, and a lake of them in eight commits or so."""
    folder = tmp_path_factory.mktemp("optimize")
    records = delayed(COUNT)
    write(folder / "in" / "a.json", records[:2000])
    write(folder / "in" / "b.json", records[2000:])
    run(folder / "lake", FEED, folder / "in", slice_rows=400)
    return folder


@pytest.fixture(scope="module")
def truth(story: Path) -> list[tuple[int, datetime]]:
    return measured([story / "in" / "a.json", story / "in" / "b.json"])


def late_beyond(truth: list[tuple[int, datetime]], allowed_s: float) -> int:
    return sum(behind > (600 + allowed_s) * 1e6 for behind, _ in truth)


def test_losses_are_those_of_the_raw_lines(story: Path, truth: list[tuple[int, datetime]]) -> None:
    answer = asked(story / "lake")
    assert answer["records"] == len(truth)
    assert answer["late"] == late_beyond(truth, 1200) > 20
    assert len({one["allowed_lateness_s"] for one in answer["candidates"]}) == len(answer["candidates"]) >= 5
    for one in answer["candidates"]:
        assert one["late"] == late_beyond(truth, one["allowed_lateness_s"]), one
        assert one["loss"] == pytest.approx(one["late"] / len(truth))
    assert answer["behind_s"][-1] == {"share": 1.0, "seconds": max(truth)[0] / 1e6}
    assert answer["candidates"][-1]["late"] == 0
    assert {1200.0, answer["proposed"]["allowed_lateness_s"]} <= {
        one["allowed_lateness_s"] for one in answer["candidates"]
    }


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.02])
def test_the_proposal_is_the_least_that_loses_no_more(
    story: Path, truth: list[tuple[int, datetime]], loss: float
) -> None:
    proposed = asked(story / "lake", "--loss", f"{loss * 100}%")["proposed"]
    seconds = proposed["allowed_lateness_s"]
    unit = 60 if seconds > 120 else 1
    assert late_beyond(truth, seconds) <= loss * len(truth) < late_beyond(truth, seconds - unit)


def test_a_lake_that_lands_with_the_proposal_counts_what_the_replay_counted(story: Path) -> None:
    answer = asked(story / "lake", "--loss", "0.2%")
    again = contract(allowed_lateness=answer["proposed"]["allowed_lateness_text"], max_future=None)
    assert again.allowed_lateness > FEED.allowed_lateness
    done = run(story / "again", again, story / "in", slice_rows=700)
    assert done.fates.late == answer["replayed"]["late"] == answer["proposed"]["late"] > 0


def test_costs_are_bytes_of_the_lakes_own_files(story: Path, truth: list[tuple[int, datetime]], tmp_path: Path) -> None:
    run(tmp_path / "lake", FEED, story / "in", slice_rows=1500)  # too few commits for a segment: these list all files
    answer = asked(tmp_path / "lake")
    now = next(one for one in answer["candidates"] if one["allowed_lateness_s"] == 1200)
    seconds = sorted(int(at.timestamp()) for _, at in truth)
    assert now["keys"] == max(sum(end - 1800 <= second <= end for second in seconds) for end in set(seconds))
    feed = tmp_path / "lake" / "landing" / "readings"
    commits = [json.loads(path.read_text()) for path in sorted(feed.glob("commits/*.json"))]
    files = [file for commit in commits for file in commit["files"]]
    rows = [file for file in files if file["kind"] == "rows"]
    hashes = sum((feed / file["path"]).with_name(file["keys"]).stat().st_size for file in rows)
    tiles = [file for file in files if file["kind"] == "tiles"]
    sizes = (
        hashes / sum(file["rows"] for file in rows),
        sum(file["bytes"] for file in tiles) / sum(file["rows"] for file in tiles),
    )
    for one in [*answer["candidates"], answer["replayed"]]:
        assert one["bytes"] == round(one["keys"] * sizes[0] + one["window_rows"] * sizes[1])
    with duckdb.connect() as engine:
        names = [str(feed / file["path"]) for file in rows]
        cells = engine.execute(
            'SELECT epoch_us("at") // 900000000 AS cell, count(DISTINCT meter) FROM read_parquet(?) GROUP BY cell',
            [names],
        ).fetchall()
    reach = 1800 + 900
    assert now["window_rows"] == max(
        sum(n for cell, n in cells if (end - cell) * 900 < reach and cell <= end) for end, _ in cells
    )
    costs = [one["bytes"] for one in answer["candidates"]]
    assert costs == sorted(costs) and costs[0] < costs[-1]
    assert 0 < answer["replayed"]["bytes"] <= answer["proposed"]["bytes"]


def test_neither_slices_nor_late_rows_taken_in_again_change_the_answer(story: Path, tmp_path: Path) -> None:
    run(tmp_path / "lake", FEED, story / "in")
    before = asked(tmp_path / "lake")
    sliced = asked(story / "lake")
    for name in ("records", "late", "behind_s"):
        assert before[name] == sliced[name]
    opened = Lake.open(tmp_path / "lake")
    with opened.lock("land"):
        done = reinject(opened, "readings")
    assert done.fates.late == -before["late"]
    after = asked(tmp_path / "lake")
    assert [after[name] for name in ("records", "late", "behind_s")] == [
        before[name] for name in ("records", "late", "behind_s")
    ]
    assert after["replayed"]["late"] == before["replayed"]["late"]


def test_rejects_that_land_after_all_do_not_count(story: Path, tmp_path: Path) -> None:
    """M was not moved by them when they came, and lies far ahead of what came after them now."""
    run(tmp_path / "lake", FEED, story / "in")
    before = asked(tmp_path / "lake")
    opened, mended = Lake.open(tmp_path / "lake"), contract(allowed_lateness="20m", max_future=None, rules=[])
    with opened.lock("land"):
        done = reinject_rejected(opened, "readings", mended=mended, rule="R-1")
    assert done.fates.landed > 20
    after = asked(tmp_path / "lake")
    assert [after[name] for name in ("records", "late", "behind_s")] == [
        before[name] for name in ("records", "late", "behind_s")
    ]


def test_for_people(story: Path) -> None:
    done = grid("optimize-window", "readings", "--lake", str(story / "lake"), "--latency", "30s", "--capacity", "1000")
    assert done.returncode == 0, done.stderr
    for words in (
        "allowed lateness 20 min loses", "<- now", "<- proposed", 'no more than 0.1 %: allowed_lateness = "', "predicted", "came ",
        "by Little's law: a window of 30 s at 1,000 records/s, a buffer of", "note: there is no max_future",
    ):  # fmt: skip
        assert words in done.stdout, done.stdout


def test_one_record_a_year_late_is_not_waited_for(tmp_path: Path) -> None:
    year = 365 * 24 * 60
    records = [*(reading(n, n / 20) for n in range(1999)), reading(9999, 100 - year)]
    answer = asked(landed(tmp_path, records))
    assert (answer["proposed"]["allowed_lateness_s"], answer["proposed"]["late"]) == (0, 1)
    assert answer["replayed"]["late"] == 1
    all_of_them = answer["candidates"][-1]
    assert all_of_them["late"] == 0 and all_of_them["allowed_lateness_text"] == "365d"
    assert all_of_them["keys"] == 2000 > answer["candidates"][0]["keys"]
    assert asked(tmp_path / "lake", "--loss", "0%")["replayed"]["late"] == 0


def test_a_clock_that_is_ahead_is_named(tmp_path: Path) -> None:
    records: list[Any] = [reading(n, n / 20) for n in range(500)]
    records.insert(200, reading(777, 3 * 24 * 60))
    answer = asked(landed(tmp_path, records))
    assert answer["late"] == 300
    (note,) = [note for note in answer["notes"] if "a.json:201" in note]
    assert note.startswith("300 of the 300 records") and "2025-06-18 12:00:00 UTC" in note and "max_future" in note


def test_copies_that_had_moved_the_newest_event_time_are_said(tmp_path: Path) -> None:
    """With a key that lacks the event time a copy can be the newest; it is not kept."""
    timeless = contract(allowed_lateness="20m", max_future=None, dedup={"key": ["id"]})
    records = [reading(1, 0), reading(1, 100), reading(2, 20), reading(3, 101)]
    answer = asked(landed(tmp_path, records, timeless))
    assert (answer["records"], answer["late"], answer["replayed"]["late"]) == (3, 1, 0)
    assert answer["notes"][0].startswith("1 late row") and "copies" in answer["notes"][0]
    assert {one["keys"] for one in answer["candidates"]} == {3}, "such keys are kept for ever"


def test_in_order_nothing_is_late_and_nothing_is_allowed(tmp_path: Path) -> None:
    answer = asked(landed(tmp_path, [reading(n, n / 20) for n in range(300)]))
    assert answer["late"] == answer["replayed"]["late"] == answer["proposed"]["allowed_lateness_s"] == 0
    assert [one["allowed_lateness_s"] for one in answer["candidates"]] == [0, 1200]


@pytest.mark.parametrize(
    ("changes", "records", "words"),
    [
        ({"file_order": "none"}, [reading(1, 0)], 'file_order = "name"'),
        ({}, [reading(1, 0, kwh=-1.0)], "inspect rejected --feed readings"),
    ],
)
def test_where_nothing_can_be_measured_it_says_why(tmp_path: Path, changes: dict[str, Any], records: list[Any], words: str) -> None:  # fmt: skip
    lake = landed(tmp_path, records, contract(**changes))
    done = grid("optimize-window", "readings", "--lake", str(lake))
    assert done.returncode == 2 and words in done.stderr and not done.stdout


def test_bad_questions_name_the_remedy(story: Path, tmp_path: Path) -> None:
    lake = str(story / "lake")
    Lake.open(tmp_path / "empty")
    for given, words in (
        (["readigns", "--lake", lake], "landed: readings"),
        (["readings", "--lake", str(tmp_path / "empty")], "beam-grid land readings --source"),
        (["readings", "--lake", str(tmp_path / "nothing")], "there is no lake here"),
        (["readings", "--lake", lake, "--loss", "little"], "write it as 0.1%"),
        (["readings", "--lake", lake, "--loss", "100%"], "less than all"),
        (["readings", "--lake", lake, "--latency", "30s"], "go together"),
    ):
        done = grid("optimize-window", *given)
        assert done.returncode == 2 and words in done.stderr, (given, done.stderr)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    lake = landed(tmp_path, [reading(n, n / 20) for n in range(20)])
    next(lake.glob("landing/readings/data/*/rows-*.parquet")).unlink()
    done = grid("optimize-window", "readings", "--lake", str(lake))
    assert done.returncode == 2 and "from a copy of the lake" in done.stderr
