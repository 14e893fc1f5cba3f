"""A lake of many feeds: an overview, a page a feed, links both ways, and charts of each feed's own windows."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pytest

from beam_grid.commit import total
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.versions import Content, newest, publish
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.report import page_names, write_report
from beam_grid.report.gather import gather
from beam_grid.report.load import WindowTable
from beam_grid.report.panels import MOST_STEPS, TOP, Panels
from beam_grid.report.steps import steps_of
from beam_grid.report.words import number, share
from data_sources.contract import Contract, parse_contract

from .test_report import Page, written

START = datetime(2026, 3, 1, tzinfo=UTC)
HOSTILE = "</script><img src=x onerror=alert(1)>'\"&$y$"
BANNED = {"script", "img", "link", "iframe", "object", "embed", "base", "image", "foreignobject"}


def contract(name: str, time: str, windows: list[dict[str, Any]], **fields: str) -> Contract:
    """A JSON feed keyed by `id`; a field is `type` or `type unit`."""
    specs = [
        dict(zip(("name", "type", "unit"), (field, *kind.split()), strict=False)) for field, kind in fields.items()
    ]
    key = {"key": ["id", time]}
    return parse_contract(
        {"name": name, "format": "json", "event_time": time, "dedup": key, "windows": windows, "fields": specs}, name
    )


BOXES = contract(
    "boxes",
    "at",
    [
        {"name": "box_5min", "size": "5m", "by": ["box", "side"],
         "measures": {"n": "count()", "heat": "avg(heat)", "top": "max(heat)", "kwh": "sum(kwh)", "named": "min(side)"}},
        {"name": "side_hour", "size": "1h", "by": ["side"], "measures": {"n": "count()", "kwh": "sum(kwh)", "low": "min(heat)"}},
        {"name": "side_5min", "size": "5m", "by": ["side"], "measures": {"seen": "count(heat)", "n": "count()", "heat": "avg(heat)"}},
        {"name": "side_sliding", "size": "30m", "every": "5m", "by": ["side"], "measures": {"kwh": "sum(kwh)"}},
    ],
    id="int64", at="timestamp", box="string", side="string", heat="float64 °C", kwh="decimal(10,2) kWh",
)  # fmt: skip
VISITS = contract(
    "visits",
    "day",
    [{"name": "visits_weekly", "size": "7d", "offset": "4d", "by": ["kind"], "measures": {"n": "count()", "hours": "sum(hours)"}}],
    id="int64", day="date", kind="string", hours="float64 h",
)  # fmt: skip
NOTES = contract("notes", "at", [], id="int64", at="timestamp", text="string")
MORE = [contract(name, "at", [], id="int64", at="timestamp") for name in ("x1", "x2")]


def rows(feed: Contract) -> list[Any]:
    """Records of a feed, of each the last a reject, of boxes some with a field that the contract lacks."""
    if feed is BOXES:
        found: list[Any] = []
        for n in range(24 * 12 * 3):
            box = None if n % 50 == 7 else HOSTILE if n % 20 == 3 else f"box{n % 20}"
            heat = None if n % 31 == 0 else 20 + n % 20 + (n % 7) / 10
            at = (START + n * timedelta(minutes=2)).isoformat()
            more = {"colour": "red"} if n % 4 == 0 else {}
            found.append(
                {"id": n, "at": at, "box": box, "side": "ab"[n % 2], "heat": heat, "kwh": n % 9 + 0.25, **more}
            )
        return [*found, HOSTILE]
    if feed is VISITS:
        kinds = ("check", HOSTILE)
        return [
            *(
                {"id": n, "day": f"{START - timedelta(days=n):%Y-%m-%d}", "kind": kinds[n % 2], "hours": n / 4}
                for n in range(90)
            ),
            7,
        ]
    return [*({"id": n, "at": START.isoformat(), "text": HOSTILE} for n in range(8)), {"id": 1}]  # fmt: skip


def lake_of(home: Path, feeds: list[Contract]) -> Lake:
    """The feeds landed, with tables made of their landed rows by DuckDB."""
    lake = Lake.open(home / "lake")
    tables: dict[str, Any] = {}
    for feed in feeds:
        (home / feed.name).mkdir()
        lines = [r if isinstance(r, str) else json.dumps(r) for r in rows(feed)]
        (home / feed.name / "rows.json").write_text("\n".join(lines) + "\n")
        land(lake, feed, Options(str(home / feed.name), now=int((START + timedelta(days=9)).timestamp() * 1e6)))
        for name, table in made(lake, feed).items():
            tables[name] = written(lake, name, table)
    publish(lake, Content({feed.name: 1 for feed in feeds}, tables))
    return lake


def made(lake: Lake, feed: Contract) -> dict[str, pa.Table]:
    log = lake.feed(feed.name)
    paths = [str(log.path / f.path) for c in log.commits() for f in c.listed("rows")]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    silver = connection.sql(f"SELECT * FROM read_parquet({paths})").to_arrow_table()
    connection.register("silver", silver)
    tables = {f"silver.{feed.name}": silver}
    for window in feed.windows:
        size, step, offset = (int(d.total_seconds()) for d in (window.size, window.step, window.offset))
        by = "".join(f"{name}, " for name in window.by)
        measures = ", ".join(f"{text} AS {name}" for name, text in window.measures.items())
        at = f'epoch(CAST("{feed.event_time}" AS TIMESTAMP))::BIGINT'
        tables[f"gold.{window.name}"] = connection.sql(
            f"SELECT to_timestamp(start) AS window_start, to_timestamp(start + {size}) AS window_end, {by}{measures}, "
            "true AS final, 1::BIGINT AS revision FROM (SELECT *, "
            f"unnest(range((({at} - {offset}) // {step} + 1) * {step} + {offset} - {size}, {at} + 1, {step})) AS start "
            f"FROM silver) GROUP BY ALL"
        ).to_arrow_table()
    return tables


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return lake_of(tmp_path_factory.mktemp("many"), [BOXES, VISITS, NOTES, *MORE])


def pages(lake: Lake, folder: Path, name: str = "report.html") -> dict[str, Page]:
    files = write_report(lake, folder / name)
    assert files[-1] == folder / name and sorted(files) == sorted(folder.iterdir())
    return {path.name: Page(path) for path in folder.iterdir()}


def check(page: Page, folder: Path) -> set[str]:
    """Nothing from elsewhere, nothing that runs; the pages linked to, each of them there."""
    linked = set()
    assert len(page.ids) == len(set(page.ids))
    for tag, attributes in page.tags:
        assert tag not in BANNED
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
                assert value is not None
                if value.startswith("./"):
                    assert (folder / unquote(value[2:])).is_file(), value
                    linked.add(unquote(value[2:]))
                else:
                    assert value.startswith("#") and value[1:] in page.ids, (tag, value)
    assert "@import" not in page.source and "url(http" not in page.source and "<img" not in page.source
    return linked


def test_two_feeds_are_one_file(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [VISITS, NOTES])
    (tmp_path / "out").mkdir()
    found = pages(lake, tmp_path / "out")
    assert list(found) == ["report.html"]
    page = found["report.html"]
    assert check(page, tmp_path / "out") == set()
    overview = page.text[page.text.index("The feeds") : page.text.index("How this was made")]
    for name in ("visits", "notes"):
        read = sum(commit.fates.read for commit in lake.feed(name).commits())
        assert re.search(rf"{name}\s+landed [\d.]+ %, rejected [\d.]+ %\s*{read}\s*1\s*final at once", overview)
        assert {"href": f"#{name}"} in [attributes for tag, attributes in page.tags if tag == "a"]
    assert "gold.visits_weekly" in page.text and "Rows in silver.notes" in page.text


def test_many_feeds_have_a_page_each(many: Lake, tmp_path: Path) -> None:
    found = pages(many, tmp_path)
    names = {"boxes", "visits", "notes", "x1", "x2"}
    each = {f"report-{name}.html" for name in names}
    assert set(found) == {"report.html", *each}
    assert check(found["report.html"], tmp_path) == each
    for name in names:
        page = found[f"report-{name}.html"]
        assert check(page, tmp_path) == {"report.html", *each} - {f"report-{name}.html"}
        assert "Rejected records, by cause and rule" in page.text
    assert "Rejected records, by cause and rule" not in found["report.html"].text
    assert all(len(page.source) < 1_000_000 for page in found.values())
    totals = total(c.fates for n in names for c in many.feed(n).commits())
    assert f"{totals.read:,} records read, every one accounted for." in found["report.html"].text


def test_links_hold_for_any_file_name(many: Lake, tmp_path: Path) -> None:
    name = "a: b#1?%20.htm"
    found = pages(many, tmp_path, name)
    assert len(found) == 6 and name in found and "a: b#1?%20-boxes.htm" in found
    assert name in check(found["a: b#1?%20-boxes.htm"], tmp_path) and len(check(found[name], tmp_path)) == 5


def test_page_names_are_safe_and_distinct() -> None:
    names = page_names(["../x", "//x", "a", "A", "a/b", "\0", "b" * 300], "r.html")
    assert len({n.lower() for n in names.values()}) == 7
    assert all(re.fullmatch(r"r-[\w-]{1,110}\.html", n) for n in names.values())
    assert page_names(["a"], "plain") == {"a": "plain-a.html"}


def test_shows_hostile_values_as_text(many: Lake, tmp_path: Path) -> None:
    found = pages(many, tmp_path)
    assert found["report-notes.html"].text.count(HOSTILE[:30]) >= 6  # cells of rows
    assert HOSTILE in found["report-boxes.html"].text  # a raw reject
    assert HOSTILE[:30] in found["report-visits.html"].text  # a group, in the legend
    for page in found.values():
        assert "<img" not in page.source and "</script" not in page.source and "<script" not in page.source


def test_says_which_fields_the_contract_lacks(many: Lake, tmp_path: Path) -> None:
    found = pages(many, tmp_path)
    n = sum(1 for r in rows(BOXES) if "colour" in r and isinstance(r, dict))
    hint = f"beam-grid contracts suggest boxes --lake {many.path}"
    assert f"{n} rows landed with fields that are not in the contract" in found["report-boxes.html"].text
    assert hint in found["report-boxes.html"].text and hint in found["report.html"].text
    assert "contracts suggest" not in found["report-notes.html"].text


def panels_of(lake: Lake, window: str) -> Panels:
    return next(p for feed in gather(lake).feeds for p in feed.panels if p.table.name == f"gold.{window}")


def test_few_groups_are_a_line_each(many: Lake) -> None:
    shown = panels_of(many, "side_hour")
    assert shown.few and shown.by == "side" and [p.measure.name for p in shown.panels] == ["n", "kwh", "low"]
    count, _, low = shown.panels
    table = query(many, "SELECT window_start, side, n, low FROM gold.side_hour ORDER BY 1, 2").to_pylist()
    assert {line.name for line in count.lines} == {"a", "b"} and low.unit == "°C" and count.unit is None
    for panel, column in ((count, "n"), (low, "low")):
        for line in panel.lines:
            assert line.values == [row[column] for row in table if row["side"] == line.name]
    assert count.total == sum(row["n"] for row in table) == len(rows(BOXES)) - 1
    least = min(row["low"] for row in table)
    assert low.least is not None and low.least.value == least and f"from {number(least)} °C (" in low.said
    name, part = count.leader or ("", 0)
    assert part == sum(row["n"] for row in table if row["side"] == name)
    assert f"most by {name}: {number(part)} ({share(part, count.total)})" in count.said


def test_of_many_groups_those_that_stand_out(many: Lake) -> None:
    shown = panels_of(many, "box_5min")
    assert shown.groups == 21 and not shown.few and shown.left_out == ["named"]
    by_name = {panel.measure.name: panel for panel in shown.panels}
    assert all(len(panel.lines) == TOP + 1 and panel.lines[-1].rest for panel in shown.panels)
    silver = query(many, "SELECT at, box, heat, CAST(kwh AS DOUBLE) AS kwh FROM silver.boxes").to_pylist()
    hottest = sorted(
        {r["box"] for r in silver if r["box"]}, key=lambda b: -max(r["heat"] or 0 for r in silver if r["box"] == b)
    )
    assert [line.name for line in by_name["top"].lines[:TOP]] == hottest[:TOP]
    assert by_name["kwh"].total == pytest.approx(sum(r["kwh"] for r in silver))
    width = timedelta(seconds=shown.step)
    assert shown.widened > 1 and len(shown.starts) <= MOST_STEPS
    crowd = by_name["top"].lines[-1].values
    for n, start in enumerate(shown.starts):
        held: dict[Any, float] = {}
        for r in silver:
            if start <= r["at"] < start + width and r["box"] not in hottest[:TOP] and r["heat"] is not None:
                held[r["box"]] = max(held.get(r["box"], 0), r["heat"])
        assert crowd[n] == (pytest.approx(sum(held.values()) / len(held)) if held else None)


def test_means_of_wider_steps_are_weighted(many: Lake) -> None:
    shown = panels_of(many, "side_5min")
    heat, width = shown.panels[-1], timedelta(seconds=shown.step)
    silver = query(many, "SELECT at, side, heat FROM silver.boxes WHERE heat IS NOT NULL").to_pylist()
    uneven = 0
    for line in heat.lines:
        for start, value in zip(shown.starts, line.values, strict=True):
            held = [r for r in silver if start <= r["at"] < start + width and r["side"] == line.name]
            assert value == (pytest.approx(sum(r["heat"] for r in held) / len(held)) if held else None)
            uneven += len({r["at"].minute // 5 for r in held}) < len(held)
    assert uneven > 50  # steps in which windows differ in weight


def test_windows_that_overlap_are_never_put_together(many: Lake) -> None:
    shown = panels_of(many, "side_sliding")
    panel = shown.panels[0]
    assert shown.overlapping and panel.total is None and shown.widened > 1
    values = {
        (r["window_start"], r["side"]): float(r["kwh"])
        for r in query(many, "SELECT * FROM gold.side_sliding").to_pylist()
    }
    for line in panel.lines:
        assert line.values == [values.get((start, line.name)) for start in shown.starts]


def test_weeks_begin_where_the_offset_says(many: Lake) -> None:
    feed = next(f for f in gather(many).feeds if f.name == "visits")
    assert feed.days and feed.load is not None and feed.load.step == 7 * 86400
    assert feed.load.measure == "hours" and [p.measure.name for p in feed.panels[0].panels] == ["n"]  # hours is large
    assert all(start.weekday() == 0 for start in feed.load.starts)  # the epoch, a Thursday, and four days
    window = VISITS.windows[0]
    long = WindowTable("gold.visits_weekly", window, 1, 0, START, START + timedelta(days=7000))
    assert "1970-01-05T00:00:00Z" in steps_of(long, 50).at


def test_a_broken_window_table_leaves_the_others(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [BOXES])
    known = newest(lake)
    assert known is not None
    bare = query(lake, "SELECT window_start, window_end, side, n, final FROM gold.side_hour")
    tables = {**known.tables, "gold.side_hour": written(lake, "gold.bare", bare)}
    publish(lake, Content(known.commits, tables))
    feed = gather(lake).feeds[0]
    assert [p.table.name for p in feed.panels] == ["gold.box_5min", "gold.side_5min", "gold.side_sliding"]
    assert any(note.startswith("Left out: charts of gold.side_hour") for note in feed.notes)
    assert feed.balanced


def test_master_data_shows_rows_of_its_history(tmp_path: Path) -> None:
    """A table of another length than what landed is no fault of the accounts; lineage columns are not shown."""
    spec = NOTES.model_dump(mode="json", exclude_unset=True, exclude={"dedup"})
    things = parse_contract({**spec, "lake": {"load": "scd2", "key": ["id"], "effective_from": "at"}}, "things")
    lake = lake_of(tmp_path, [things])
    known = newest(lake)
    assert known is not None
    history = query(lake, "SELECT id, at, text, true AS is_current, _commit FROM silver.notes WHERE id < 3")
    publish(lake, Content(known.commits, {"silver.notes": written(lake, "silver.history", history)}))
    feed = gather(lake).feeds[0]
    assert feed.balanced and not any("silver" in check.text for check in feed.checks)
    assert feed.sample is not None and feed.sample.count == 3 and feed.fates.landed == 8
    assert feed.sample.columns == ["id", "at", "text", "is_current"]
    assert [row[0] for row in feed.sample.rows] == ["0", "1", "2"]
    (tmp_path / "out").mkdir()
    page = pages(lake, tmp_path / "out")["report.html"]
    assert "8 records landed; the table holds 3 rows. All of them:" in page.text and "never late" in page.text
    publish(lake, Content(known.commits, {}))
    page = pages(lake, tmp_path / "out")["report.html"]
    assert "8 records landed; there is no table silver.notes to show rows of." in page.text
