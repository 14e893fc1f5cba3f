"""A commit as text: golden files, written by hand, that no run of this test writes; and what is told of a damaged one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from beam_grid.commit import FORMAT, Commit, Fates, PartitionStatistics, from_json, to_json, total
from beam_grid.errors import GridError
from beam_grid.format_pages import page
from beam_grid.landing import Lake
from data_sources.splits import (
    FileEnd,
    FileSplit,
    KafkaEnd,
    KafkaSplit,
    LateSplit,
    PartitionPlan,
    Segment,
)
from tests.committed import commit, file, file_end, partition
from transforms.manifest import LandedFile

HERE = Path(__file__).parent
GOLDEN, OLD = HERE / "golden" / "commit.json", HERE / "golden" / "commit-format-1.json"
PAGE = HERE.parents[1] / "docs" / "commit-log.md"

ATTEMPT = "20261126T101500-1f2e3d4c"
A, B, C = "/data/in/ßtrom/a.csv", "/data/in/ßtrom/b.parquet", "/data/in/ßtrom/c.db"
FIRST = Segment(0, 372, "d8931448f2260176")
SECOND = Segment(372, 800, "a5a5a5a5a5a5a5a5")
LATE = "data/20261125T222333-731652f6/late-347d67c9df7d.parquet"


def written(kind: Any, name: str, rows: int, size: int, **said: Any) -> LandedFile:
    return LandedFile(kind=kind, path=f"data/{ATTEMPT}/{name}.parquet", rows=rows, bytes=size, **said)


WANTED = Commit(
    format=2,
    feed="readings",
    number=7,
    attempt=ATTEMPT,
    created_at=datetime(2026, 11, 26, 10, 15, 4, 250_000, tzinfo=UTC),
    now=1795688100000000,
    contract="4b7f1c4252ea2818",
    source="in/ßtrom",
    runner="direct",
    command="beam-grid land readings --source in/ßtrom --lake lake",
    shards=4,
    plan=(
        PartitionPlan(
            key="files",
            max_event_time=1750000000000000,
            splits=(
                FileSplit(path=A, name="a.csv", start=372, line=6, rows=5, size=800, mtime=1795645412540012272,
                          segments=(FIRST,), open_line=True, returns=True, header=("id", "at"), role="delta"),
                FileSplit(path=B, name="b.parquet", start=0, line=1, rows=3, groups=1, size=4000,
                          mtime=1795645412540012273, digest="00000000ffffffff", number=1),
                FileSplit(path=C, name="c.db", source="c.db:readings", start=12, line=12, rows=2, size=8192,
                          mtime=1795645412540012274, digest="0123456789abcdef", role="snapshot", number=2),
            ),
        ),
        PartitionPlan(
            key="meters/3",
            splits=(KafkaSplit(topic="meters", bootstrap="broker:9092", partition=3, start=100, end=104, number=3),),
        ),
        PartitionPlan(key="late", splits=(LateSplit(path=LATE, commit=1, rows=1, number=4),)),
    ),
    partitions=(
        PartitionStatistics(
            key="files", read=10, late=2, rejected=1, extra=1, rejected_by={"rule_broken/R-1": 1}, warned_by={"R-2": 3},
            delays=(6, 0, 1, 2), max_event_time=1750003600000000, landed=5, duplicates=2,
            ends=(
                FileEnd(path=A, name="a.csv", offset=800, line=11, size=800, mtime=1795645412540012272,
                        segments=(FIRST, SECOND), done=True, open_line=True, role="delta"),
                FileEnd(path=B, name="b.parquet", offset=1, line=4, size=4000, mtime=1795645412540012273,
                        digest="00000000ffffffff", done=True),
                FileEnd(path=C, name="c.db", source="c.db:readings", offset=14, line=14, size=8192,
                        mtime=1795645412540012274, digest="0123456789abcdef", role="snapshot"),
            ),
        ),
        PartitionStatistics(
            key="meters/3", read=4, late=0, rejected=0, delays=(4, 0, 0, 0), max_event_time=1750003500000000,
            newest_arrival=1750003501000000, landed=4, duplicates=0,
            ends=(KafkaEnd(topic="meters", partition=3, offset=104),),
        ),
        PartitionStatistics(key="late", read=0, late=-1, rejected=0, delays=(0, 0, 0, 0), landed=0, duplicates=1),
    ),
    fates=Fates(read=14, landed=9, duplicates=3, late=1, rejected=1, superseded=1, conflicts=1),
    rejected_by={"rule_broken/R-1": 1},
    warned_by={"R-2": 3},
    extra=1,
    delay_bounds_s=(0, 60, 3600),
    delays=(10, 0, 1, 2),
    watermark=1750002900000000,
    files=(
        written("rows", "rows-1-89a0fd8cc11a", 9, 2170, shard=1, keys="rows-1-89a0fd8cc11a.keys",
                min={"id": "a", "at": 1749988800000000, "kwh": -1.5, "known": False, "day": None},
                max={"id": "z", "at": 1750003600000000, "kwh": 2.0, "known": True, "day": None}),
        written("tiles", "tiles-quarters-cf9688e35480", 4, 3479, window="quarters",
                min={"_cell": 1749988800000000}, max={"_cell": 1750003200000000}),
        written("late", "late-0a1b2c3d4e5f", 2, 2371, min={"at": 1749980000000000}, max={"at": 1749990000000000}),
        written("rejected", "rejected-ef332d6be266", 1, 2016),
        written("superseded", "superseded-778899aabbcc", 1, 2000),
        written("conflicts", "conflicts-8e881b1a4332", 1, 2729),
        written("snapshot", "snapshot-112233445566", 2, 1500),
        written("changes", "changes-665544332211", 5, 1600),
    ),
    problems=("d.csv: has changed since it was read",),
)  # fmt: skip


def test_the_golden_commit_is_read_as_what_it_says() -> None:
    assert from_json(GOLDEN.read_bytes()) == WANTED


def test_and_written_as_it_was_byte_for_byte() -> None:
    assert to_json(WANTED) == GOLDEN.read_bytes()
    assert to_json(from_json(GOLDEN.read_bytes())) == GOLDEN.read_bytes()


def test_what_the_golden_commit_adds_up_to() -> None:
    assert WANTED.fates.balanced and WANTED.fates.unaccounted == 0
    assert WANTED.filed == {"landed": 9, "late": 1, "rejected": 1, "superseded": 1} and WANTED.matches_files
    assert [split.commit for split in WANTED.taken_again] == [1]
    assert [f.kind for f in WANTED.listed("changes", "rows")] == ["changes", "rows"]
    assert sum(p.landed for p in WANTED.partitions) == WANTED.fates.landed


def test_a_commit_of_format_1_is_read_in_todays_words() -> None:
    """With a file name that is no UTF-8 and a bound that is no JSON, as Python wrote them."""
    old = from_json(OLD.read_bytes())
    assert (old.format, old.feed, old.number, old.contract) == (1, "readings", 1, "4b7f1c4252ea2818")
    assert old.created_at == datetime(2026, 11, 25, 22, 23, 35, 76_903, tzinfo=UTC)
    read, topic, late = old.plan
    assert read.splits == (
        FileSplit(path="/data/m\udce4rz.json", name=r"m\xe4rz.json", start=0, line=1, rows=5, size=372, mtime=1795645412540012272),
    )  # fmt: skip
    assert topic.splits == (
        KafkaSplit(topic="meters", bootstrap="broker:9092", partition=3, start=100, end=104, number=1),
    )
    assert late.splits == (LateSplit(path=LATE, commit=1, rows=1, number=2),) == tuple(old.taken_again)
    assert old.partitions[0].ends == (
        FileEnd(path="/data/m\udce4rz.json", name=r"m\xe4rz.json", offset=372, line=6, size=372,
                mtime=1795645412540012272, segments=(FIRST,), done=True),
    )  # fmt: skip
    assert old.partitions[1].ends == (KafkaEnd(topic="meters", partition=3, offset=104),)
    assert old.partitions[0].max_event_time == 1749996000000000 and old.partitions[1].newest_arrival == 1750003501000000
    assert old.fates == Fates(read=9, landed=7, duplicates=1, rejected=1, conflicts=1)
    assert old.fates.balanced and old.matches_files
    assert len(old.delays) == len(old.delay_bounds_s) + 1 and old.delay_bounds_s[:3] == (0, 1, 5)
    assert old.listed("rows")[0].max["kwh"] == float("inf") and old.files[-1].window == "quarters"


def test_a_commit_that_python_alone_can_write_comes_back(tmp_path: Path) -> None:
    odd = commit(1, files=(file("rows", "data/x"),), partitions=(partition("/\udcff", ends=(file_end("/\udcff"),)),))
    log = Lake.open(tmp_path / "lake").feed("f")
    log.append(odd)
    assert log.read(1) == odd


def test_a_bound_that_is_no_number_is_not_known(tmp_path: Path) -> None:
    odd = commit(1, files=(file("rows", "data/x", min={"v": 1.0}, max={"v": float("inf")}),))
    (found,) = from_json(to_json(odd)).files
    assert found.max == {"v": None} and found.may_hold({"v": (5.0, 6.0)})


def damaged(change: Any) -> bytes:
    said = json.loads(GOLDEN.read_bytes())
    change(said)
    return json.dumps(said).encode()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"", "0000000001.json"),
        (b'{"format": 2, "feed', "JSON|Expecting|truncated|Unterminated"),
        (b"[]", "object"),
        (b'{"format": "two"}', r"`int`, got `str` - at `\$.format`"),
        (b'{"format": 1, "plan": 3}', "format 1"),
        (b'{"format": 1, "plan": [3]}', "format 1"),
        (damaged(lambda said: said.pop("fates")), "missing required field `fates`"),
        (damaged(lambda said: said["fates"].update(read="9")), r"`int`, got `str` - at `\$.fates.read`"),
        (damaged(lambda said: said["files"][1].update(kind="tile")), r"Invalid enum value 'tile' - at `\$.files\[1\].kind`"),
        (damaged(lambda said: said["plan"][0]["parts"][0].update(kind="s3")), r"'s3' - at `\$.plan\[0\].parts\[0\].kind`"),
        (b'{"format": 2}\xff', "0000000001.json"),
    ],
)  # fmt: skip
def test_a_commit_that_cannot_be_read_is_named_with_what_was_seen_and_the_way_out(
    tmp_path: Path, text: bytes, seen: str
) -> None:
    log = Lake.open(tmp_path / "lake").feed("f")
    (log.path / "commits").mkdir(parents=True)
    (log.path / "commits" / "0000000001.json").write_bytes(text)
    with pytest.raises(GridError, match=seen) as caught:
        list(log.commits())
    told = str(caught.value)
    assert "commit 1 of f cannot be read" in told and "commits/0000000001.json: " in told
    assert "put the file back as it was, from a copy of the lake" in told and "\n" not in told


def test_a_newer_commit_says_which_version_it_needs(tmp_path: Path) -> None:
    log = Lake.open(tmp_path / "lake").feed("f")
    log.append(replace(commit(1), format=FORMAT + 1))
    with pytest.raises(GridError, match=f"commit 1 of f was written by a newer version .format {FORMAT + 1}.*update"):
        log.read(1)


def test_the_equation() -> None:
    assert Fates(read=9, landed=4, duplicates=3, late=1, rejected=1, superseded=7, conflicts=7).balanced
    lacking = Fates(read=9, landed=4, duplicates=3, late=1)
    assert not lacking.balanced and lacking.unaccounted == 1
    assert total([lacking, Fates(rejected=1, superseded=2)]) == Fates(read=9, landed=4, duplicates=3, late=1, rejected=1, superseded=2)  # fmt: skip
    assert total([]) == Fates()


def test_files_that_hold_other_than_the_fates_say_are_seen() -> None:
    fates = Fates(read=2, landed=2)
    assert commit(1, fates=fates, files=(file("rows", "a", 2),)).matches_files
    assert not commit(1, fates=fates, files=(file("rows", "a", 1),)).matches_files
    assert not commit(1, fates=fates, files=(file("rows", "a", 2), file("late", "b", 1))).matches_files


def test_the_page_is_what_the_types_say() -> None:
    """If not: python -m beam_grid.format_pages commit-log > docs/commit-log.md"""
    assert PAGE.read_text(encoding="utf-8") == page("commit-log")


def test_the_page_has_each_word_of_the_golden_commit() -> None:
    def words(value: Any) -> set[str]:
        if isinstance(value, dict):
            free = value.keys() & {"id", "at"} or any("/" in key or key.startswith("R-") for key in value)
            return (set() if free else set(value)).union(*map(words, value.values()))
        return set().union(*map(words, value)) if isinstance(value, list) else set()

    told = PAGE.read_text(encoding="utf-8")
    assert {word for word in words(json.loads(GOLDEN.read_bytes())) if f"| `{word}` |" not in told} == {"_cell"}
