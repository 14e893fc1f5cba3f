"""Windows merged part by part: the same windows, and never many tiles at once."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.lakehouse import gold, open_windows, parts
from beam_grid.lakehouse.query import query
from beam_grid.landing import FeedLog, Lake
from beam_grid.refine import refine
from data_sources.contract import parse_contract
from tests.beam_grid.lakehouse.test_by_group import followed
from tests.beam_grid.test_refine import CONTRACT, START, Landing, check, readings, superseding
from transforms.cells import cells_of
from transforms.tiles import tile_rows

METERS = [f"m{n}" for n in range(40)]


@pytest.fixture(params=[4_000, 40_000])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[list[parts.Part]]:
    """The parts of each merge; of so small ones that there are many, also in one cell."""
    found: list[list[parts.Part]] = []

    def parts_of(*asked: Any) -> list[parts.Part]:
        found.append(parts.parts_of(*asked))
        return found[-1]

    monkeypatch.setattr(parts, "PART_BYTES", request.param)
    monkeypatch.setattr(gold, "parts_of", parts_of)
    monkeypatch.setattr(open_windows, "parts_of", parts_of)
    monkeypatch.setattr(open_windows, "MANY_FILES", 2)
    return found


def rows_of(seed: int, count: int = 200) -> list[dict[str, Any]]:
    """Rows of forty meters, in three days."""
    draw = random.Random(seed)
    return [
        {**row, "meter": draw.choice(METERS), "at": row["at"] + timedelta(days=draw.randrange(3))}
        for row in readings(count, seed)
    ]


def recent(seed: int) -> list[dict[str, Any]]:
    """Rows of forty meters within an hour: of windows that are still open; so few that a sketch of them all is exact."""
    draw = random.Random(seed)
    hour = START + timedelta(hours=3)
    return [{**row, "at": hour + timedelta(seconds=draw.randrange(3600))} for row in rows_of(seed, 20)]


def test_the_windows_are_those_of_all_rows(made: list[list[parts.Part]], tmp_path: Path) -> None:
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract(CONTRACT, "test"))
    landing.land(rows_of(1))
    landing.land(rows_of(2))
    refine(landing.lake)
    check(landing)
    assert max(map(len, made)) > 2
    landing.land(rows_of(3))
    refine(landing.lake)
    check(landing)
    landing.land(superseding(landing, 15))
    refine(landing.lake)
    check(landing)
    landing.land(rows_of(4, 5))
    refine(landing.lake)
    check(landing)


@pytest.mark.parametrize("few", [0, 30, 10_000])
def test_windows_that_are_gone_on_with_are_those_of_all_rows(
    made: list[list[parts.Part]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(open_windows, "_FEW_ROWS", few)
    contract = parse_contract({**CONTRACT, "windows": CONTRACT["windows"][::2]}, "test")
    landing = Landing(Lake.open(tmp_path / "lake"), contract)
    for seed in range(8):
        landing.land(recent(seed), watermark=START)
        followed(landing)
        check(landing)
    assert parts.PART_BYTES > 4_000 or max(map(len, made[-4:])) > 1
    own = [kept for table, kept in open_windows._OPEN.items() if table.is_relative_to(landing.lake.path)]
    assert own
    for kept in own:
        keys = [name for name in ("meter", "_cell") if name in kept.tiles.column_names]
        merged = kept.tiles.slice(0, kept.merged).select(keys)
        assert merged.num_rows == merged.group_by(keys).aggregate([]).num_rows > 0, "one tile a window"
        assert kept.tiles.num_rows - kept.merged <= few, "others only until they are so many"


def test_open_windows_are_gone_on_with_under_a_contract_that_has_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone_on, read = [], []
    go_on, contract_of = gold._gone_on, FeedLog.contract
    monkeypatch.setattr(open_windows, "MANY_FILES", 2)
    monkeypatch.setattr(open_windows, "_FEW_ROWS", 100)
    monkeypatch.setattr(gold, "_gone_on", lambda *asked: (gone_on.append(asked[2].target), go_on(*asked))[1])
    monkeypatch.setattr(
        FeedLog, "contract", lambda self, digest=None: (read.append(digest), contract_of(self, digest))[1]
    )
    declared = {**CONTRACT, "windows": CONTRACT["windows"][:1]}
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract(declared, "test"))
    for seed in range(5):
        landing.land(recent(seed), watermark=START)
    before = landing.contract.hash
    landing.contract = parse_contract({**declared, "description": "the same windows", "allowed_lateness": "2h"}, "test")
    for seed in range(5, 14):
        landing.land(recent(seed), watermark=START)
        followed(landing)
        check(landing)
    assert gone_on == list(range(8, 15)), "each publish of this process but the first two"
    assert read.count(before) == 1
    other = {**declared, "windows": [{**declared["windows"][0], "size": "30m"}]}
    landing.contract = parse_contract(
        {**other, "windows": [*other["windows"], {**declared["windows"][0], "name": "later"}]}, "test"
    )
    landing.land(recent(20), watermark=START)
    followed(landing)
    followed(landing)
    assert gone_on == list(range(8, 15)), "tiles of other windows are none of these"


@pytest.mark.parametrize("other", ["without", "another size"])
@pytest.mark.parametrize("published", ["at once", "each", "by another process"])
def test_rows_that_landed_under_a_contract_with_other_windows_are_not_passed_over(
    other: str, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_windows, "MANY_FILES", 2)
    declared = {**CONTRACT, "windows": [CONTRACT["windows"][0]]}
    changed = {"name": "else"} if other == "without" else {"size": "30m"}
    one, two = (
        parse_contract({**declared, "windows": [{**declared["windows"][0], **more}]}, "test") for more in ({}, changed)
    )
    landing = Landing(Lake.open(tmp_path / "lake"), one)
    for seed in range(5):
        landing.land(recent(seed), watermark=START)
        followed(landing)
    check(landing)
    kept = dict(open_windows._OPEN)
    landing.contract = two
    landing.land(recent(6), watermark=START)
    if published == "each":
        followed(landing)
    landing.contract = one
    landing.land(recent(7), watermark=START)
    followed(landing)
    check(landing)
    if published == "by another process":
        open_windows._OPEN.clear()
        open_windows._OPEN.update(kept)
    landing.land(recent(8), watermark=START)
    followed(landing)
    check(landing)


def test_a_field_of_another_type_under_the_same_windows_does_not_stop_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_windows, "MANY_FILES", 2)
    window = {"name": "mean", "size": "15m", "by": ["meter"], "measures": {"mean": "avg(order)"}}
    fields = [{**f, "type": "float64"} if f["name"] == "order" else f for f in CONTRACT["fields"]]
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract({**CONTRACT, "windows": [window]}, "test"))
    for seed in range(5):
        landing.land(recent(seed), watermark=START)
        followed(landing)
    landing.contract = parse_contract({**CONTRACT, "windows": [window], "fields": fields}, "test")
    for seed in range(5, 8):
        landing.land(recent(seed), watermark=START)
        followed(landing)
    found = query(landing.lake, "SELECT window_start, meter, mean FROM gold.mean").to_pylist()
    wanted: dict[tuple[Any, str], list[float]] = {}
    for row in landing.current:
        start = row["at"].replace(minute=row["at"].minute // 15 * 15, second=0, microsecond=0)
        wanted.setdefault((start, row["meter"]), []).append(row["order"])
    assert {(row["window_start"], row["meter"]): row["mean"] for row in found} == {
        key: pytest.approx(sum(values) / len(values)) for key, values in wanted.items()
    }


@pytest.mark.parametrize("part_bytes", [2_000, 10_000, 1 << 30])
@pytest.mark.parametrize("name", ["fixed", "sliding", "whole", "long", "local", "dates"])
def test_each_window_is_of_one_part_which_has_all_its_tiles(
    name: str, part_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(parts, "PART_BYTES", part_bytes)
    others = [
        {"name": "long", "size": "6h", "every": "1h", "offset": "20m", "by": ["meter"], "measures": {"n": "count()"}},
        {
            "name": "local",
            "calendar": "day",
            "time_zone": "Europe/Berlin",
            "by": ["zone"],
            "measures": {"n": "count()"},
        },
        {
            "name": "dates",
            "calendar": "day",
            "time_zone": "Asia/Kolkata",
            "by": ["meter"],
            "measures": {"n": "count()"},
        },
    ]
    of_dates = (
        {"fields": [*CONTRACT["fields"], {"name": "day", "type": "date"}], "event_time": "day"}
        if name == "dates"
        else {}
    )
    contract = parse_contract({**CONTRACT, **of_dates, "windows": [*CONTRACT["windows"], *others]}, "test")
    window = next(one for one in contract.windows if one.name == name)
    cells = cells_of(contract, window)
    files = []
    schema = pa.schema([f.with_nullable(True) for f in contract.landed_schema])
    for seed in range(4):
        rows = [{**row, "day": row["at"].date()} for row in rows_of(seed)]
        tiles = tile_rows(pa.Table.from_pylist(rows, schema=schema), contract, window)
        files.append(str(tmp_path / f"{seed}.parquet"))
        pq.write_table(tiles, files[-1], row_group_size=50)
    found = parts.parts_of(files, cells, window.by)
    reach, _ = cells.touching
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute(f"CREATE TABLE tiles AS FROM read_parquet({files})")
        windows = f"(SELECT *, make_timestamptz({cells.starts_sql}) AS window_start FROM tiles)"
        total = engine.execute(f"SELECT count(*) FROM {windows}").fetchall()[0][0]
        counts, ends = [], []
        for part in found:
            of_part = f"(SELECT *, make_timestamptz({cells.starts_sql}) AS window_start FROM tiles WHERE {part.cells(reach, window.by)})"
            asked = f"SELECT count(*), min(window_start), max(window_start) FROM {{}} WHERE {part.starts(window.by)}"
            its, least, most = engine.execute(asked.format(of_part)).fetchall()[0]
            assert its == engine.execute(asked.format(windows)).fetchall()[0][0], (
                "a tile of a window of the part is not in it"
            )
            assert its <= 8 * part_bytes / 60 or not window.by, "a part is about as large as it is to be"
            counts.append(its)
            ends += [least, most] if its else []
        assert sum(counts) == total
        assert ends == sorted(ends), "parts one after the other are in order of time"
        assert len(found) > 1 or part_bytes > 2_000
