"""A record because of which a decoder breaks, in files: it alone is put aside, through `land` and through `follow`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.commit import total
from beam_grid.errors import RunFailed
from beam_grid.follow import Pace, follow
from beam_grid.land import Landed, Lander, Options, land
from beam_grid.landing import Lake
from beam_grid.reinject_rejected import reinject_rejected
from beam_grid.service import poison
from data_sources.contract import Contract
from data_sources.formats import json_lines
from data_sources.records import Records
from tests.properties.oracle import as_lines
from tests.transforms.making import contract, minute

READINGS = contract(dedup={"key": ["id", "at"]})


def reading(n: int, id: str | None = None) -> dict[str, Any]:
    return {"id": id or f"r{n}", "at": minute(n / 100).isoformat(), "kwh": 1.0, "meter": "m", "version": 1}


class Decoder:
    """The product's decoder, but for one word in a record, at which it breaks. broke: how often."""

    def __init__(self, word: bytes) -> None:
        self.word, self.broke, self._decode = word, 0, json_lines.decode_json

    def __call__(self, records: Records, *more: Any) -> Any:
        if any(self.word in records.raw(i) for i in range(len(records))):
            self.broke += 1
            raise KeyError("a kernel that does not know this value")
        return self._decode(records, *more)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    found = Decoder(b"poison")
    monkeypatch.setattr(json_lines, "decode_json", found)
    yield found


def landed(lake: Lake, source: Path, **options: Any) -> Landed:
    with lake.lock("land"):
        return land(lake, READINGS, Options(str(source), **options))


def kept(lake: Lake, kind: str) -> pa.Table:
    log = lake.feed("readings")
    files = [log.path / file.path for commit in log.commits() for file in commit.listed(kind)]  # type: ignore[arg-type]
    return pa.concat_tables([pq.read_table(file) for file in files])


def assert_alone(lake: Lake, bad: list[int], count: int) -> None:
    """Every record but the bad ones landed, these are rejects with place and bytes, and each commit balances."""
    commits = list(lake.feed("readings").commits())
    assert all(c.fates.balanced and c.matches_files for c in commits)
    fates = total(c.fates for c in commits)
    assert (fates.read, fates.landed, fates.rejected) == (count, count - len(bad), len(bad))
    assert sorted(kept(lake, "rows")["id"].to_pylist()) == sorted(f"r{n}" for n in range(count) if n not in bad)
    rejected = kept(lake, "rejected").sort_by("_position")
    assert rejected["_position"].to_pylist() == [n + 1 for n in bad]
    assert set(rejected["cause"].to_pylist()) == {"poison"} and set(rejected["rule"].to_pylist()) == {"KeyError"}
    assert all(json.loads(raw)["id"].startswith("poison") for raw in rejected["raw"].to_pylist())
    assert {"a kernel that does not know this value"} == {r.strip("'") for r in rejected["reason"].to_pylist()}


@pytest.mark.parametrize("bad", [[0], [3, 4, 150]])
def test_through_land_one_record_costs_one_reject(tmp_path: Path, decoder: Decoder, bad: list[int]) -> None:
    records = [reading(n, f"poison-{n}" if n in bad else None) for n in range(200)]
    (tmp_path / "a.json").write_text(as_lines(records))
    lake = Lake.open(tmp_path / "lake")
    done = landed(lake, tmp_path / "a.json", slice_rows=100)
    assert decoder.broke > 0
    assert_alone(lake, bad, 200)
    assert done.rejected_by == {"poison/KeyError": len(bad)}
    assert [p.split(":")[0] for p in done.problems] == ["a.json"] * len(bad), (
        "each is named, which makes the exit code 1"
    )
    assert landed(lake, tmp_path / "a.json").commits == 0, "it is not read again"


def test_once_it_can_be_decoded_it_is_taken_in_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(tmp_path / "lake")
    (tmp_path / "a.json").write_text(
        as_lines([reading(0), reading(1, "poison"), reading(2), {**reading(3), "kwh": "x"}])
    )
    with monkeypatch.context() as broken, lake.lock("land"):
        broken.setattr(json_lines, "decode_json", Decoder(b"poison"))
        land(lake, READINGS, Options(str(tmp_path / "a.json"), slice_rows=3))
        with pytest.raises(RunFailed, match="a kernel that does not know"):
            reinject_rejected(lake, "readings", rule="poison")
        mended = contract(dedup={"key": ["id", "at"]}, rules=[])
        others = reinject_rejected(lake, "readings", mended=mended)
        assert others.judged == 1, "rejects that a contract may mend are judged without it"
    with lake.lock("land"):
        done = reinject_rejected(lake, "readings", rule="poison")
        assert (done.judged, done.fates.landed, done.fates.rejected) == (1, 1, -1)
    assert sorted(kept(lake, "rows")["id"].to_pylist()) == ["poison", "r0", "r2"]
    assert total(c.fates for c in lake.feed("readings").commits()).balanced


def test_through_follow_the_other_feeds_go_on(tmp_path: Path, decoder: Decoder) -> None:
    other: Contract = contract(name="others", dedup={"key": ["id", "at"]}, windows=[])
    (tmp_path / "a.json").write_text(as_lines([reading(n, "poison" if n == 33 else None) for n in range(64)]))
    (tmp_path / "b.json").write_text(as_lines([reading(0)]))
    lake, said, turns = Lake.open(tmp_path / "lake"), list[str](), 0

    def at(lander: Lander) -> None:
        nonlocal turns
        turns += 1
        if lander.contract.name == "others" and turns < 20:
            with (tmp_path / "b.json").open("a") as out:
                out.write(as_lines([reading(turns)]))
        if turns > 60:
            raise StopIteration

    feeds = [(READINGS, Options(str(tmp_path / "a.json"))), (other, Options(str(tmp_path / "b.json")))]
    with lake.lock("land"):
        code = follow(lake, feeds, Pace(0.1, 3600), None, said.append, at)
    assert decoder.broke > 0 and code == 1
    assert_alone(lake, [33], 64)
    assert lake.feed("others").last >= 3, "it landed while the other feed was narrowed down"
    assert [line for line in said if "a.json:34" in line and "put aside" in line], said


def test_what_fails_with_every_record_puts_few_aside_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours, not of a record: the run ends, and no more than a handful is put aside."""
    (tmp_path / "a.json").write_text(as_lines([reading(n) for n in range(100)]))
    monkeypatch.setattr(json_lines, "decode_json", Decoder(b"r"))
    monkeypatch.setattr(poison, "_MOST_IN_A_ROW", 2)
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(RunFailed, match="the records are hardly to blame"):
        landed(lake, tmp_path / "a.json")
    commits = list(lake.feed("readings").commits())
    assert total(c.fates for c in commits).rejected == 2
    assert all(c.fates.balanced for c in commits)


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_file_of_the_lake_puts_no_record_aside(tmp_path: Path, how: str) -> None:
    """Dedup fails with every record whose key the file might hold: it is the lake that is to be mended."""
    lake = Lake.open(tmp_path / "lake")
    (tmp_path / "a.json").write_text(as_lines([reading(n) for n in range(50)]))
    landed(lake, tmp_path / "a.json")
    for file in lake.path.glob("landing/readings/data/*/rows*.parquet"):
        whole = file.read_bytes()
        file.unlink() if how == "gone" else file.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.json").write_text(as_lines([reading(n) for n in range(25, 75)]))
    with pytest.raises(RunFailed):
        landed(lake, tmp_path / "b.json")
    assert lake.feed("readings").last == 1
