"""A set of table versions as text: golden files that no run of this test writes; what is told of a damaged one."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from beam_grid.commit import FORMAT
from beam_grid.errors import GridError, RunFailed
from beam_grid.format_pages import page
from beam_grid.lakehouse.table_set import (
    LeftOut,
    PublishedTable,
    Recipe,
    TableSet,
    TableVersion,
    View,
    from_json,
    to_json,
)
from beam_grid.lakehouse.tables import State, Table
from beam_grid.lakehouse.versions import Content, content_of, newest, publish, published
from beam_grid.landing import Lake

GOLDEN = Path(__file__).parents[1] / "golden" / "table-set.json"
OF_DICTS = GOLDEN.with_name("table-set-of-dicts.json")
PAGE = Path(__file__).parents[3] / "docs" / "table-set.md"

SILVER = PublishedTable(
    path="tables/silver/readings", version=15, id="d2984eba-53e3-400e-9426-b2ed404d4f77",
    feeds={"96d212aa9a6d98a2/readings/silver.readings": 14},
)  # fmt: skip
LATE = PublishedTable(
    path="tables/bronze/late", version=13, id="53b3232d-ecd0-4e2b-91c6-1fd7569a55b1",
    feeds={"96d212aa9a6d98a2/readings/bronze.late": 14},
)  # fmt: skip
ANOMALIES = PublishedTable(
    path="tables/gold/anomalies", version=3, id="7a953183-7e26-49ad-a73e-2b913a3da595",
    definition="96d2c4ef0a6d98a2", inputs={"silver.readings": "bb56473d40bc50c1"}, parameters={"as_of": "2025-06-15"},
    read_at={"silver.readings": TableVersion("d2984eba-53e3-400e-9426-b2ed404d4f77", 15)},
)  # fmt: skip
QUALITY = PublishedTable(
    path="tables/gold/quality", version=1, id="05c2e395-f2a3-4871-a9d0-6f6ad26b8abc",
    inputs={"silver.readings/positive": ("Expectation(id='positive')", "bb56473d40bc50c1")},
)  # fmt: skip
WANTED = TableSet(
    format=2,
    number=14,
    created_at=datetime(2026, 11, 25, 23, 1, 14, 446_767, tzinfo=UTC),
    commits={"readings": 14},
    tables={"silver.readings": SILVER, "bronze.late": LATE, "gold.anomalies": ANOMALIES, "gold.quality": QUALITY},
    views={
        "gold.latest": View(
            sql="SELECT max(at) AS at FROM silver.readings",
            reads=("silver.readings",),
            description="The newest reading.",
        )
    },
    left_out={
        "gold.bays": LeftOut(
            definition="11aa22bb33cc44dd",
            inputs={"silver.readings": "bb56473d40bc50c1"},
            parameters={},
            reason="no column bay",
        )
    },
    seconds={"land readings": 0.213, "silver.readings": 0.031},
)


def test_the_golden_set_is_read_as_what_it_says_and_written_byte_for_byte() -> None:
    assert from_json(GOLDEN.read_bytes()) == WANTED
    assert to_json(WANTED) == GOLDEN.read_bytes()


def test_a_set_that_was_written_from_dicts_says_the_same() -> None:
    without = replace(WANTED, seconds={})  # which nobody told then
    assert from_json(OF_DICTS.read_bytes()) == without
    said = json.loads(OF_DICTS.read_bytes())
    assert from_json(json.dumps({**said, "format": 1}).encode()) == replace(without, format=1)


def test_what_identifies_rows_is_as_before_so_that_nothing_is_made_anew() -> None:
    """The signatures that the code of 25 Nov 2026 gave the golden tables."""
    assert [table.signature for table in (SILVER, LATE, ANOMALIES, QUALITY)] == [
        "bb56473d40bc50c1", "b68f09939384ac62", "1fe69b822881448e", "a6764e4b4b6f95bf",
    ]  # fmt: skip
    assert replace(SILVER, version=16).signature == SILVER.signature != replace(SILVER, id="another").signature
    assert replace(ANOMALIES, parameters={}).signature != ANOMALIES.signature


def test_what_is_derived_says_so_even_where_it_reads_nothing() -> None:
    assert [t.is_derived for t in (SILVER, ANOMALIES, QUALITY, replace(QUALITY, inputs={}))] == [
        False,
        True,
        True,
        True,
    ]
    assert from_json(to_json(replace(WANTED, tables={"a": replace(QUALITY, inputs={})}))).tables["a"].is_derived


def test_a_recipe_is_known_by_all_it_says() -> None:
    assert ANOMALIES.definition is not None
    recipe = Recipe(
        definition=ANOMALIES.definition,
        inputs={"silver.readings": "bb56473d40bc50c1"},
        parameters={"as_of": "2025-06-15"},
    )
    left_out = LeftOut(**{name: getattr(recipe, name) for name in recipe.__struct_fields__}, reason="no such column")
    assert ANOMALIES.is_of(recipe) and ANOMALIES.is_by(recipe) and left_out.is_of(recipe)
    for other in (replace(recipe, definition="x"), replace(recipe, parameters={"as_of": "2025-06-16"})):
        assert not (ANOMALIES.is_of(other) or ANOMALIES.is_by(other) or left_out.is_of(other))
    moved = replace(recipe, inputs={"silver.readings": "another"})
    assert ANOMALIES.is_by(moved) and not (ANOMALIES.is_of(moved) or left_out.is_of(moved))


def test_publishing_the_same_is_no_new_set_and_what_comes_back_stays(tmp_path: Path) -> None:
    lake, content = Lake.open(tmp_path / "lake"), content_of(WANTED)
    first = publish(lake, content)
    content.commits["readings"] = 15
    assert first == newest(lake) and first.commits == {"readings": 14} and first.number == 1
    again = content_of(newest(lake))
    assert publish(lake, again) == first
    del again.tables["gold.quality"]
    assert publish(lake, again).number == 2 and content_of(newest(lake)) == again


def test_publishers_bring_each_their_own_and_the_later_version_of_a_table(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    base = content_of(publish(lake, content_of(WANTED)))
    theirs, ours = base.copy(), base.copy()
    theirs.tables["silver.readings"] = replace(SILVER, version=17, feeds={"a": 15, "b": 2})
    theirs.commits["readings"] = 15
    publish(lake, theirs, base)
    ours.tables["silver.readings"] = replace(SILVER, version=16, feeds={"a": 14, "c": 1})
    ours.tables["gold.new"] = ANOMALIES
    del ours.tables["gold.quality"], ours.left_out["gold.bays"]
    done = publish(lake, ours, base)
    assert done.tables["silver.readings"] == replace(SILVER, version=17, feeds={"a": 15, "b": 2, "c": 1})
    assert done.commits == {"readings": 15} and done.views == WANTED.views and not done.left_out
    assert set(done.tables) == {"silver.readings", "bronze.late", "gold.anomalies", "gold.new"}


def test_a_table_that_went_while_it_was_written_is_no_entry(tmp_path: Path) -> None:
    table = Table(Lake.open(tmp_path / "lake"), "silver.readings")
    with pytest.raises(RunFailed, match=r"table silver.readings: .* went while it was written; run refine"):
        published(table, State())


def damaged(change: Any) -> bytes:
    said = json.loads(GOLDEN.read_bytes())
    change(said)
    return json.dumps(said).encode()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"", "0000000014.json"),
        (b'{"format": 2, "set', "JSON|Expecting|truncated|Unterminated"),
        (b"[]", "object"),
        (b'{"format": 2}\xff', "0000000014.json"),
        (damaged(lambda said: said.pop("format")), "missing required field `format`"),
        (damaged(lambda said: said.pop("tables")), "missing required field `tables`"),
        (damaged(lambda said: said["commits"].update(readings=None)), r"`int`, got `null` - at `\$.commits"),
        (damaged(lambda said: said["tables"]["bronze.late"].pop("id")), r"missing required field `id` - at `\$.tables"),
        (damaged(lambda said: said["tables"]["bronze.late"].update(version="1")), r"`int`, got `str` - at `\$.tables"),
        (damaged(lambda said: said["tables"]["gold.anomalies"]["read_at"].update(x=[1])), r"at `\$.tables"),
        (damaged(lambda said: said["views"]["gold.latest"].pop("sql")), r"missing required field `sql` - at `\$.views"),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_read_is_named_with_what_was_seen_and_the_way_out(
    tmp_path: Path, text: bytes, seen: str
) -> None:
    lake = Lake.open(tmp_path / "lake")
    publish(lake, Content({"readings": 14}))
    (lake.path / "versions" / "0000000014.json").write_bytes(text)
    with pytest.raises(GridError, match=seen) as caught:
        newest(lake)
    told = str(caught.value)
    assert "version set 0000000014.json cannot be read (" in told and told.endswith("remove it and run refine")
    assert "\n" not in told
    (lake.path / "versions" / "0000000014.json").unlink()
    assert content_of(newest(lake)) == Content({"readings": 14})


def test_a_newer_set_says_what_to_do(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    (lake.path / "versions").mkdir()
    text = json.dumps({"format": FORMAT + 1, "other": "words"})
    (lake.path / "versions" / "0000000003.json").write_text(text)
    with pytest.raises(GridError, match=rf"version set 0000000003.json was written by a newer .*{FORMAT + 1}.*update"):
        newest(lake)


def test_the_page_is_what_the_types_say() -> None:
    """If not: python -m beam_grid.format_pages table-set > docs/table-set.md"""
    assert PAGE.read_text(encoding="utf-8") == page("table-set")


def test_reading_a_set_needs_nothing_heavy() -> None:
    """`query` pays for it at each start."""
    code = "import beam_grid.lakehouse.versions, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pyarrow", "deltalake", "duckdb", "pyspark", "apache_beam", "sqlglot", "pydantic"} & set(loaded)
