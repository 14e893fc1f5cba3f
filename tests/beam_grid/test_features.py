"""Tables of features that a contract declares, beside SQL over the raw lines: however these came, and never of later ones."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from beam_grid.analyses.features import tables
from beam_grid.lakehouse import touched
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.tables import Table
from beam_grid.refine import refine, versions
from data_sources.contract import Contract, ContractError, parse_contract
from tests.beam_grid.growing import Feed, Row, assert_equal_rows, in_parts
from transforms.features import since
from transforms.features.frames import Frames

START = datetime(2025, 3, 24, 5, tzinfo=UTC)
"""Six days before Berlin's clocks go forward."""

COLUMNS = {
    "ma": "avg(kwh) over 4 rows",
    "sd": "stddev(kwh) over 6 rows",
    "least": "min(kwh) over 3 rows",
    "most": "max(kwh) over 3h",
    "total": "sum(kwh) over 90m",
    "noon": "count(kwh) over 6h at 11:00-14:00",
    "readings": "count() over 1h",
    "roc": "change(kwh, 2)",
    "mean": "avg(kwh) over history",
    "spread": "stddev(kwh) over history",
    "p95": "quantile(kwh, 0.95) over history",
    "day": "avg(kwh) over history at 06:00-19:00",
    "night": "avg(kwh) over history at 19:00-06:00",
    "failures": "count_if(state = 'FAILED') over history",
    "days_since_failure": "days_since(state = 'FAILED')",
    "off": "(ma - mean) / nullif(spread, 0)",
    "risk": "CASE WHEN failures > 5 AND roc > 1 THEN 0.9 WHEN sd > 2 * spread THEN 0.7 WHEN abs(off) > 1 THEN 0.6 ELSE 0.1 END",
    "place": "place",
}


def contract(columns: dict[str, str] = COLUMNS, **features: Any) -> Contract:
    one = {"name": "told", "version": "7", "series": "meter", "history": "5d", "recent": "8h", "columns": columns}
    one |= {"time_zone": "Europe/Berlin", **features}
    kinds = {"id": "string", "at": "timestamp", "meter": "string", "kwh": "float64", "state": "string", "place": "string"}  # fmt: skip
    return parse_contract(
        {
            "name": "readings", "format": "json", "event_time": "at", "dedup": {"key": ["id"]}, "lake": {"cluster_by": ["meter", "at"]},
            "features": [one], "fields": [{"name": name, "type": kind} for name, kind in kinds.items()],
        },
        "the test",
    )  # fmt: skip


def lines(draw: random.Random) -> list[Row]:
    """Meters that read hourly, one that is constant but for a while, one that reads once, one away for days, one without
    numbers here and there, two readings of one time, and rows of no meter."""
    rows: list[Row] = []

    def add(meter: str | None, at: datetime, kwh: float | None) -> None:
        state = draw.choice(["OK", "OK", "OK", "FAILED", None])
        rows.append({"id": f"r{len(rows):05d}", "at": at.isoformat(), "meter": meter, "kwh": kwh, "state": state, "place": draw.choice("NS")})  # fmt: skip

    for n in range(8 * 24):
        at = START + timedelta(hours=n)
        usual = 1 + (at.hour > 16) + draw.gammavariate(3, 0.1)
        add("usual", at, usual)
        if n % 2 == 0:
            add("constant", at, 3.0 if n == 20 else 0.1 + 0.2)
            add("away", at + timedelta(days=40 * (n > 100), minutes=draw.randrange(30)), usual * 1e6)
        if n % 5 == 0:
            add("mute", at, None if draw.random() < 0.5 else 3.0)
            add("twice", at, usual)
            add("twice", at, usual + 1)
        if n % 60 == 0:
            add(None, at, usual)
    add("once", START, 2.0)
    return rows


_TODAY = "CAST(timezone('Europe/Berlin', {0}.at) AS DATE)"
_MINUTE = "(hour(timezone('Europe/Berlin', q.at)) * 60 + minute(timezone('Europe/Berlin', q.at)))"
_DAYS = f"{_TODAY.format('q')} < {_TODAY.format('r')} AND {_TODAY.format('q')} >= {_TODAY.format('r')} - 5"
_RECENT = "q.n <= r.n AND q.at >= r.at - INTERVAL 8 HOURS"


def by_hand(rows: list[Row]) -> list[Row]:
    """The same from the raw lines, each reading joined with those of its series that it may know."""
    raw = pa.Table.from_pylist(rows)
    assert raw.num_rows == len(rows)
    frames = {
        "avg(q.kwh)": ("ma", f"{_RECENT} AND q.n > r.n - 4"),
        "stddev_samp(q.kwh)": ("sd", f"{_RECENT} AND q.n > r.n - 6"),
        "min(q.kwh)": ("least", f"{_RECENT} AND q.n > r.n - 3"),
        "max(q.kwh)": ("most", "q.at <= r.at AND q.at >= r.at - INTERVAL 3 HOURS"),
        "sum(q.kwh)": ("total", "q.at <= r.at AND q.at >= r.at - INTERVAL 90 MINUTES"),
        "count(q.kwh)": ("noon", f"q.at <= r.at AND q.at >= r.at - INTERVAL 6 HOURS AND {_MINUTE} >= 660 AND {_MINUTE} < 840"),
        "count(*)": ("readings", "q.at <= r.at AND q.at >= r.at - INTERVAL 1 HOURS"),
        "r.kwh - max(q.kwh)": ("roc", f"{_RECENT} AND q.n = r.n - 2"),
        "avg( q.kwh)": ("mean", _DAYS),
        "stddev_samp( q.kwh)": ("spread", _DAYS),
        "quantile_cont(q.kwh, 0.95)": ("p95", _DAYS),
        "avg(  q.kwh)": ("day", f"{_DAYS} AND {_MINUTE} >= 360 AND {_MINUTE} < 1140"),
        "avg(   q.kwh)": ("night", f"{_DAYS} AND ({_MINUTE} >= 1140 OR {_MINUTE} < 360)"),
        "count( *)": ("failures", f"{_DAYS} AND q.state = 'FAILED'"),
        "date_diff('microsecond', max(q.at), r.at) / 86400e6": ("days_since_failure", f"q.at <= r.at AND q.state = 'FAILED' AND {_TODAY.format('q')} >= {_TODAY.format('r')} - 5"),
    }  # fmt: skip
    said = ", ".join(
        f"(SELECT {what} FROM rows q WHERE q.meter = r.meter AND {where}) AS {name}"
        for what, (name, where) in frames.items()
    )
    sql = f"""
    WITH rows AS (SELECT * REPLACE (CAST("at" AS TIMESTAMPTZ) AS "at"), row_number() OVER (PARTITION BY meter ORDER BY CAST("at" AS TIMESTAMPTZ), id) AS n
                  FROM raw WHERE meter IS NOT NULL),
    told AS (SELECT meter, "at", id, place, {said} FROM rows r),
    off AS (SELECT *, CASE WHEN spread > 0 THEN (ma - mean) / spread END AS off FROM told)
    SELECT meter, "at", id, {", ".join(name for name in COLUMNS if name not in ("place", "risk"))},
           CASE WHEN failures > 5 AND roc > 1 THEN 0.9 WHEN sd > 2 * spread THEN 0.7 WHEN abs(off) > 1 THEN 0.6 ELSE 0.1 END::DOUBLE AS risk,
           place, '7' AS feature_version
    FROM off ORDER BY id"""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    return engine.sql(sql).to_arrow_table().to_pylist()


class Told(Feed):
    def told(self, table: str = "gold.told", where: str = "true") -> list[Row]:
        return self.rows(table, where, "id")


def newest(rows: list[Row]) -> list[Row]:
    best: dict[str, Row] = {}
    for row in rows:
        if row["meter"] not in best or (row["at"], row["id"]) > (best[row["meter"]]["at"], best[row["meter"]]["id"]):
            best[row["meter"]] = row
    return sorted(best.values(), key=lambda row: row["id"])


def assert_same(found: list[Row], wanted: list[Row]) -> None:
    assert [row["id"] for row in found] == [row["id"] for row in wanted]
    assert_equal_rows(found, wanted)


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_and_slicing_of_the_commits_gives_what_sql_says_of_the_raw_lines(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    rows = lines(draw)
    feed = Told(tmp_path, contract())
    for part in in_parts(draw, rows, 4):
        feed.add(part, draw.choice([300, 100_000]))
    wanted = by_hand(rows)
    assert list(feed.told()[0]) == list(wanted[0])
    assert_same(feed.told(), wanted)
    assert_same(feed.told("gold.told_latest"), newest(wanted))
    assert {row["risk"] for row in wanted} >= {0.1, 0.6} and {row["failures"] for row in wanted} >= {0, 6}
    still = [row for row in wanted if row["meter"] == "constant" and row["spread"] == 0]
    assert still and {row["ma"] for row in still if row["sd"] == 0} == {0.1 + 0.2}


def rows_of(lines: list[Row], feed: Contract) -> dict[str, Row]:
    """By id, made of the raw lines at once."""
    (made, _) = tables([feed])
    raw = pa.Table.from_pylist(lines)  # noqa: F841
    names = ", ".join(f'"{name}"' for name in dict.fromkeys(["meter", "id", "kwh", "state", "place"]))
    rows = duckdb.sql(f'SELECT {names}, "at"::TIMESTAMPTZ AS "at" FROM raw ORDER BY meter, "at", id').to_arrow_table()
    assert made.by_series is not None
    return {
        row["id"]: row for one in made.by_series.function(rows.to_batches(max_chunksize=37)) for row in one.to_pylist()
    }


def assert_knows_nothing_later(lines: list[Row]) -> None:
    """What comes later changes no row."""
    feed = contract()
    whole = rows_of(lines, feed)
    for hours in (20, 77, 130):
        cut = START + timedelta(hours=hours)
        known = rows_of([line for line in lines if datetime.fromisoformat(line["at"]) <= cut], feed)
        assert len(known) > hours
        assert_equal_rows(list(known.values()), [whole[name] for name in known])


def test_a_row_knows_nothing_of_later_readings() -> None:
    assert_knows_nothing_later(lines(random.Random(3)))


def _end_of_series(frames: Frames) -> np.ndarray:
    return np.searchsorted(frames.code, frames.code, side="right")


def _end_of_day(frames: Frames) -> np.ndarray:
    return np.searchsorted(frames.days, frames.days, side="right") - 1


@pytest.mark.parametrize(("frame", "peeks"), [("behind", _end_of_series), ("today", _end_of_day)])
def test_a_window_that_peeks_ahead_is_found_out(
    frame: str, peeks: Callable[[Frames], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Frames, frame, property(peeks))
    with pytest.raises(AssertionError):
        assert_knows_nothing_later(lines(random.Random(3)))


def test_a_late_row_and_a_correction_move_their_series_alone(tmp_path: Path) -> None:
    raw = contract().to_dict()
    newest_of = {"key": ["id"], "keep": "latest", "order_by": ["revision"]}
    fields = [*raw["fields"], {"name": "revision", "type": "int64"}]
    feed = Told(tmp_path, parse_contract({**raw, "dedup": newest_of, "fields": fields}, "the test"))
    rows = [{**row, "revision": 1} for row in lines(random.Random(9))]
    late = next(row for row in rows if row["meter"] == "away")
    feed.add(row for row in rows if row is not late)
    before = {row["id"]: row for row in feed.told()}
    wrong = [row for row in rows if row["meter"] == "usual"][50]
    corrected = {**wrong, "kwh": 90.0, "revision": 2}
    feed.add([late, corrected])
    wanted = by_hand([corrected if row is wrong else row for row in rows])
    assert_same(feed.told(), wanted)
    assert_same(feed.told("gold.told_latest"), newest(wanted))
    assert {row["meter"] for row in feed.told() if before.get(row["id"]) != row} == {"away", "usual"}


def test_a_row_that_moves_to_another_series_leaves_the_one_it_was_in(tmp_path: Path) -> None:
    raw = contract().to_dict()
    newest_of = {"key": ["id"], "keep": "latest", "order_by": ["revision"]}
    fields = [*raw["fields"], {"name": "revision", "type": "int64"}]
    feed = Told(tmp_path, parse_contract({**raw, "dedup": newest_of, "fields": fields}, "the test"))
    rows = [{**row, "revision": 1} for row in lines(random.Random(9)) if row["meter"] in ("usual", "once", "mute")]
    feed.add(rows)
    moved = {next(row["id"] for row in rows if row["meter"] == "once"), [r["id"] for r in rows if r["meter"] == "mute"][-1]}  # fmt: skip
    after = [{**row, "meter": "usual", "revision": 2} if row["id"] in moved else row for row in rows]
    feed.add(row for row in after if row["id"] in moved)
    wanted = by_hand(after)
    assert_same(feed.told(), wanted)
    assert_same(feed.told("gold.told_latest"), newest(wanted))
    assert {row["meter"] for row in feed.told()} == {"usual", "mute"}


def test_another_definition_makes_the_table_anew_and_its_version_is_in_the_rows(tmp_path: Path) -> None:
    rows = lines(random.Random(9))
    feed = Told(tmp_path, contract())
    feed.add(rows[:-2])
    feed.feed = contract({"ma": "avg(kwh) over 2 rows"}, version=8)
    feed.add(rows[-2:-1])
    found = feed.told()
    assert list(found[0]) == ["meter", "at", "id", "ma", "feature_version"] and {
        r["feature_version"] for r in found
    } == {"8"}
    assert feed.told("gold.told_latest") and list(feed.told("gold.told_latest")[0]) == list(found[0])
    feed.feed = feed.feed.model_copy(update={"features": []})
    feed.add(rows[-1:])
    known = versions(feed.lake)
    assert known is not None and not {"gold.told", "gold.told_latest"} & {*known.tables}


def test_what_fails_to_compute_for_a_row_is_not_true_of_it_and_decimals_are_as_they_are(tmp_path: Path) -> None:
    columns = {
        "even": "count_if(i % j = 0) over 1h", "since": "days_since(i % j = 0)", "rest": "i % j", "odd": "rest + 1",
        "least": "min(price) over 4 rows",
    }  # fmt: skip
    raw = contract().to_dict()
    kinds = {"i": "int64", "j": "int64", "price": "decimal(10,3)"}
    window = {"name": "hourly", "size": "1h", "by": ["meter"], "measures": {"even": "count_if(i % j = 0)"}}
    raw |= {"fields": [*raw["fields"], *({"name": n, "type": kind} for n, kind in kinds.items())], "windows": [window]}
    raw["features"] = [{**raw["features"][0], "columns": columns}]
    feed = Told(tmp_path, parse_contract(raw, "the test"))
    rows = [
        {"id": str(n), "at": START.isoformat(), "meter": "m", "i": i, "j": j, "price": price}
        for n, (i, j, price) in enumerate([(3, 0, 0.7), (4, 2, 0.9), (5, 2, 0.8)])
    ]
    feed.add(rows)
    found = feed.told()
    assert {name: [row[name] for row in found] for name in columns} == {
        "even": [1, 1, 1], "since": [0, 0, 0], "rest": [None, 0, 1], "odd": [None, 1, 2], "least": [0.7, 0.7, 0.7],
    }  # fmt: skip
    assert [row["even"] for row in feed.rows("gold.hourly", "true", "meter")] == [1]


@pytest.mark.spark
def test_spark_makes_the_same_table_and_brings_it_up(tmp_path: Path) -> None:
    rows = [row for row in lines(random.Random(5)) if row["meter"] in ("usual", "twice", "once", None)]
    feed = Told(tmp_path, contract())
    feed.add(rows)
    ours, schema = feed.told(), query(feed.lake, "SELECT * FROM gold.told").schema
    for name in ("gold.told", "gold.told_latest"):
        shutil.rmtree(Table(feed.lake, name).path)
    refine(feed.lake, engine="spark")
    assert_same(feed.told(), ours)
    assert query(feed.lake, "SELECT * FROM gold.told").schema == schema
    at = (START + timedelta(days=3, minutes=30)).isoformat()
    late = {"id": "late", "at": at, "meter": "usual", "kwh": 9.0, "state": "OK", "place": "N"}
    feed.add([late], engine="spark")
    assert_same(feed.told(), by_hand([*rows, late]))
    assert_same(feed.told("gold.told_latest"), newest(by_hand([*rows, late])))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"columns": {"x": "avg(kw) over 3 rows"}}, "feature 'told', columns.x: there is no field 'kw' (did you mean 'kwh'?)"),
        ({"columns": {"x": "avg(place) over 3 rows"}}, "feature 'told', columns.x: avg needs a number, 'place' is a string"),
        ({"columns": {"x": "mean(kwh) over 3 rows"}}, "columns.x: mean() over ... is not one of count(), count_if()"),
        ({"columns": {"x": "avg(kwh)"}}, "columns.x: 'avg(kwh)' does not say over what; write \"over 11 rows\""),
        ({"columns": {"x": "avg(kwh) over 3 lines"}}, "columns.x: over '3 lines'; write \"over 11 rows\""),
        ({"columns": {"x": "avg(kwh) over 9h"}}, 'columns.x: looks back further than recent = "8h"; make recent longer'),
        ({"columns": {"x": "quantile(kwh, 0.9) over 3 rows"}}, "columns.x: a quantile is of the history"),
        ({"columns": {"x": "quantile(kwh, 2) over history"}}, "columns.x: quantile() needs a field and a rank from 0 to 1"),
        ({"columns": {"x": "avg(kwh) over history at 19-5"}}, "columns.x: at '19-5'; write two times of the day"),
        ({"columns": {"x": "avg(kwh) over 3 rows at 19:00-05:00"}}, 'columns.x: "at" goes with a time or the history'),
        ({"columns": {"x": "change(kwh)"}}, "columns.x: change() needs a field and how many readings before"),
        ({"columns": {"x": "count_if(state = ) over 1h"}}, "feature 'told', columns.x: 'state =' is not a condition"),
        ({"columns": {"x": "days_since(kwh)"}}, "feature 'told', columns.x: 'kwh' yields DOUBLE, not true or false"),
        ({"columns": {"x": "random()"}}, "feature 'told', columns.x: 'random()': random() is not allowed"),
        ({"columns": {"x": "y + 1", "y": "kwh"}}, "feature 'told', columns.x: 'y + 1': there is no field 'y'"),
        ({"columns": {"x": "[kwh]"}}, "columns.x: "),
        ({"columns": {"at": "kwh"}}, "columns.at: gold.told has a column of this name already; choose another"),
        ({"columns": {"state": "kwh"}}, "columns.state: is called like a field and is not it; choose another name"),
        ({"columns": {"kwh": "avg(kwh) over 3 rows"}}, "columns.kwh: is called like a field and is not it"),
        ({"columns": {"X": "kwh"}}, "columns.X: cannot name a column"),
        ({"columns": {}}, "feature 'told', columns: "),
        ({"series": "metre"}, "feature 'told', series: there is no field 'metre' (did you mean 'meter'?)"),
        ({"series": "kwh"}, "feature 'told', series: 'kwh' is a float64, which names nothing"),
        ({"history": "36h"}, "feature 'told', history: must be whole days, 1d to 400d"),
        ({"recent": "60d"}, "feature 'told', recent: must be longer than 0s and at most 31d"),
        ({"time_zone": "Berlin"}, "feature 'told', time_zone: unknown time zone 'Berlin'"),
        ({"colums": {}}, "feature 'told', colums: unknown word (did you mean 'columns'?)"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_named_with_file_field_and_remedy(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError) as told:
        contract(**given)
    assert str(told.value).startswith("contract the test") and said in str(told.value)


def test_two_of_one_name_and_a_table_that_is_made_already_are_refused() -> None:
    raw = contract().to_dict()
    with pytest.raises(ContractError, match=r"contract the test: feature 'told' is declared twice"):
        parse_contract({**raw, "features": raw["features"] * 2}, "the test")
    window = {"name": "told_latest", "size": "1h", "measures": {"n": "count()"}}
    with pytest.raises(ContractError, match=r"feature 'told': gold\.told_latest is made already; rename one of them"):
        parse_contract({**raw, "windows": [window]}, "the test")


def test_commits_in_order_go_on_from_the_newest_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at the history, but for each series' first of a day; the newest rows without a look at the others."""
    carried, narrowed = [], []
    since_of, narrow = since.since_of, touched._narrowed

    def seen_since(*given: Any) -> Any:
        found = since_of(*given)
        carried.append(float(found[0].is_carried.mean()))
        return found

    def seen_narrow(*given: Any) -> Any:
        narrowed.append(narrow(*given))
        return narrowed[-1]

    monkeypatch.setattr(since, "since_of", seen_since)
    monkeypatch.setattr(touched, "_narrowed", seen_narrow)
    rows = sorted((row for row in lines(random.Random(7)) if row["meter"] != "away"), key=lambda row: row["at"])
    feed = Told(tmp_path, contract())
    at = len(rows) - 60
    feed.add(rows[:at])
    for start in range(at, len(rows), 15):
        feed.add(rows[start : start + 15])
    wanted = by_hand(rows)
    assert_same(feed.told(), wanted)
    assert_same(feed.told("gold.told_latest"), newest(wanted))
    assert len(carried) == len(narrowed) == 4 and all(carried) and all(narrowed)
