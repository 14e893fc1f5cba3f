"""A partition in pieces is judged as it is in one: M is carried from block to block, and everything else is equal."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given
from hypothesis import strategies as st

from data_sources.contract import Contract, parse_contract
from data_sources.formats import lines
from data_sources.sources.files import Files
from data_sources.splits import FileEnd, KafkaSplit, PartitionPlan
from data_sources.typed_json import encode
from tests.transforms.making import contract, minute
from transforms import pieces
from transforms.blocks import Slice
from transforms.judge import NO_TIME
from transforms.land import MANIFEST, LandSlice
from transforms.manifest import Manifest, PartitionRead, read_manifest

NOW = int(minute(10_000).timestamp() * 1e6)


def readings(count: int, seed: int) -> str:
    """Disorder within and beyond lateness, copies, conflicts, rejects, blank lines."""
    rng, made = random.Random(seed), []
    for n in range(count):
        behind = rng.choice([0, 0, 0, 1, 4, 30, 300])
        line = {
            "id": f"k{n - rng.choice([0, 0, 0, 40])}",
            "at": minute(n / 10 - behind).isoformat(),
            "kwh": float(n % 9),
        }
        line["kwh"] = rng.choice([line["kwh"]] * 20 + [-1.0])
        made.append(rng.choice([json.dumps({**line, "meter": f"m{n % 5}"})] * 30 + ['{"cut', ""]))
    return "".join(f"{line}\n" for line in made)


def landed(folder: Path, of: Contract, cut_at: int | None) -> tuple[dict[str, PartitionRead], dict[str, Any]]:
    """What was read by partition, and what each kind of file holds, landed in one piece or in pieces of so many rows."""
    listing = Files(str(folder / "in")).plan(of, {}, 10_000)
    plans = [PartitionPlan(key=key, splits=tuple(splits)) for key, splits in Files("").partitions(listing, of)]
    parts: Any = plans if cut_at is None else pieces.cut(plans, of, cut_at)
    attempt = f"attempt{cut_at}"
    slice = Slice(of, str(folder), attempt, 1, NOW, 3)
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as p:
        elements = [encode(part).decode() for part in parts]
        p | beam.Create(elements) | LandSlice(slice, None, in_pieces=cut_at is not None)
    manifest = read_manifest((folder / "data" / attempt / MANIFEST).read_bytes())
    rows: dict[str, list[Any]] = {}
    for file in manifest.files:
        held = pq.read_table(folder / file.path)
        rows.setdefault(f"{file.kind} {file.window}", []).extend(map(str, held.to_pylist()))
    assert (cut_at is None) or len(parts) > len(plans), "it was cut"
    return {p.key: p for p in manifest.partitions}, {kind: sorted(held) for kind, held in rows.items()}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 700)


@pytest.mark.parametrize("order", ["name", "none"])
@pytest.mark.parametrize("cut_at", [1, 60])
def test_equal_to_one_worker_in_all_that_a_commit_says(tmp_path: Path, order: str, cut_at: int) -> None:
    of = contract(file_order=order)
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}.json").write_text(readings(150 + 60 * n, n) + '{"id": "waits', encoding="utf-8")
    whole, rows = landed(tmp_path, of, None)
    cut, cut_rows = landed(tmp_path, of, cut_at)
    assert cut_rows == rows
    assert set(whole) == set(cut) and len(whole) == (1 if order == "name" else 3)
    if order == "name":
        assert whole["files"].late > 5 and whole["files"].rejected > 5
    for key, read in whole.items():
        for name in PartitionRead.__struct_fields__:
            if name != "ends":
                assert getattr(cut[key], name) == getattr(read, name), name
        for end, of_pieces in zip(sorted(read.ends, key=lambda end: end.key), cut[key].ends, strict=True):
            assert isinstance(end, FileEnd) and isinstance(of_pieces, FileEnd)
            assert (of_pieces.offset, of_pieces.line, of_pieces.done, of_pieces.size) == (end.offset, end.line, end.done, end.size)  # fmt: skip
            assert [s.start for s in of_pieces.segments] == [0, *(s.end for s in of_pieces.segments[:-1])]
            assert of_pieces.segments[-1].end == end.segments[-1].end


def test_the_next_slice_goes_on_where_pieces_stopped(tmp_path: Path) -> None:
    """What a file's pieces read is told apart from what was changed in it, and what has come is read."""
    of = contract()
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "a.json"
    file.write_text(readings(200, 1))
    ends = {end.key: end for read in landed(tmp_path, of, 50)[0].values() for end in read.ends}
    assert Files(str(file)).plan(of, ends, 1000).splits == []
    file.write_text(file.read_text() + readings(3, 2))
    (split,) = Files(str(file)).plan(of, ends, 1000).splits
    assert split.rows <= 3 and isinstance(split.start, int)  # type: ignore[union-attr]
    file.write_text(file.read_text().replace("k1", "k2", 1))
    assert "has changed" in Files(str(file)).plan(of, ends, 1000).problems[0]


@given(st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=6), st.none() | st.integers(0, 50))
def test_m_before_each_row(blocks: list[list[int]], before: int | None) -> None:
    """Blocks judged by themselves, put together, are the blocks judged in a row."""
    times = [np.asarray(block, np.int64) for block in blocks]
    within, most = zip(*map(pieces.behind_within, times), strict=True)
    said = [
        pieces.Summary(number=n, partition="p", max_event_time=before, ordered=True, greatest=(greatest,))
        for n, greatest in enumerate(most)
    ]
    known = pieces.starts(reversed(said))
    m, wanted = NO_TIME if before is None else before, []
    for time in np.concatenate(times).tolist():
        wanted.append(0 if m == NO_TIME else max(m - time, 0))
        m = max(m, time)
    numbers = np.concatenate([np.full(len(t), n << pieces.BLOCK_BITS) for n, t in enumerate(times)])
    found, _ = pieces.behind(np.concatenate(within), np.concatenate(times), numbers, known)
    assert found.tolist() == wanted


def test_offsets_are_cut_without_a_gap() -> None:
    split = KafkaSplit(topic="t", bootstrap="", partition=0, start=5, end=105)
    found = pieces.cut([PartitionPlan(key="t/0", splits=(split,))], contract(), 30)
    assert [(p.splits[0].start, p.splits[0].end, p.place) for p in found] == [(5, 35, 0), (35, 65, 1), (65, 95, 2), (95, 105, 3)]  # type: ignore[union-attr]  # fmt: skip
    assert pieces.joined(Manifest()) == Manifest()


def test_masters_keep_what_each_piece_of_a_snapshot_holds(tmp_path: Path) -> None:
    of = parse_contract(
        {
            "name": "masters", "format": "json", "event_time": "since",
            "lake": {
                "load": "scd2", "key": ["id"], "effective_from": "since", "snapshot_files": ["*full*"],
                "delta_files": ["*delta*"], "as_of": "column:since",
            },
            "fields": [{"name": "id", "type": "string"}, {"name": "since", "type": "date"}, {"name": "v", "type": "int64"}],
        },
        "tests",
    )  # fmt: skip
    (tmp_path / "in").mkdir()
    for name in ("a_full", "b_delta"):
        made = [{"id": f"k{n % 60}", "since": f"2025-06-{1 + n % 20:02}", "v": n % 7} for n in range(100)]
        (tmp_path / "in" / f"{name}.json").write_text("".join(json.dumps(line) + "\n" for line in made))
    whole, rows = landed(tmp_path, of, None)
    cut, cut_rows = landed(tmp_path, of, 30)
    assert {"rows None", "snapshot None", "changes None"} <= set(rows)
    assert {kind: len(held) for kind, held in cut_rows.items()} == {kind: len(held) for kind, held in rows.items()}
    assert cut_rows["rows None"] == rows["rows None"] and cut_rows["changes None"] == rows["changes None"]
    assert [whole[key].delays for key in sorted(whole)] == [cut[key].delays for key in sorted(whole)]
