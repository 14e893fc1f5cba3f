"""Tables of scores that a contract declares: as if made at once from the raw lines, however these came."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from beam_grid.analyses import parse
from beam_grid.errors import GridError
from beam_grid.lakehouse import delta_log, derived
from beam_grid.lakehouse.engines import embedded
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.tables import Table
from beam_grid.refine import refine, versions
from data_sources.contract import Contract, ContractError, parse_contract
from data_sources.contract.detections import COLUMNS
from data_sources.contract.detections import DETECTORS as OF_CONTRACTS
from tests.beam_grid.growing import Feed, assert_equal_rows, in_parts
from transforms.detect import DETECTORS as THERE
from transforms.detect import SCHEMA, scored
from transforms.detect.run import OF_SEVERAL

START = datetime(2025, 3, 1, tzinfo=UTC)
"""Four weeks before Berlin's clocks go forward."""

DETECTORS = ["median_mad", "fused", "composite", "flatline", "gap"]
NAMES = ["meter", "at", "id", "place"]


def contract(**detection: Any) -> Contract:
    one = {"name": "scores", "series": "meter", "values": ["kwh"], "detectors": DETECTORS, "beside": ["place"]}
    one |= {"time_zone": "Europe/Berlin", "resolution": 0.01, **detection}
    kinds = {"id": "string", "at": "timestamp", "meter": "string", "kwh": "float64", "place": "string"}
    return parse_contract(
        {
            "name": "readings", "format": "json", "event_time": "at", "dedup": {"key": ["id"]}, "lake": {"cluster_by": ["meter", "at"]},
            "detections": [one], "fields": [{"name": name, "type": kind} for name, kind in kinds.items()],
        },
        "the test",
    )  # fmt: skip


def lines(draw: random.Random) -> list[dict[str, Any]]:
    """Meters that read hourly, one that is constant, one that reads once, one away for a year, one whose clock jumps, one
    with spikes, one without numbers, and none."""
    rows: list[dict[str, Any]] = []
    hour = timedelta(hours=1)

    def add(meter: str | None, at: datetime, kwh: float | None) -> None:
        rows.append(
            {"id": f"r{len(rows):05d}", "at": at.isoformat(), "meter": meter, "kwh": kwh, "place": draw.choice("NS")}
        )

    for n in range(30 * 24):
        at = START + n * hour
        usual = 1 + (at.hour > 16) + draw.gammavariate(3, 0.1)
        add("usual", at, usual)
        add("spiky", at, 40.0 if n == 700 else usual)
        if n % 3 == 0:
            add("constant", at, 0.1 + 0.2)
            add("away", at if n < 500 else at + timedelta(days=365), usual)
            add("jumps", at - 5 * hour if n % 50 == 0 else at + 9 * hour if n % 77 == 0 else at, usual)
        if n % 40 == 0:
            add("mute", at, None if draw.random() < 0.5 else 3.0)
            add(None, at, usual)
    add("once", START, 2.0)
    return rows


class Scored(Feed):
    def scores(self, where: str = "true") -> list[dict[str, Any]]:
        return self.rows("gold.scores", where, "id, detector")


def by_hand(rows: list[dict[str, Any]], feed: Contract) -> list[dict[str, Any]]:
    """The same from the raw lines, sorted by DuckDB and scored at once."""
    (spec,) = feed.detections
    raw = pa.Table.from_pylist(rows)
    ordered = duckdb.sql(
        'SELECT meter, "at"::TIMESTAMPTZ AS "at", id, place, kwh::DOUBLE AS kwh FROM raw ORDER BY meter, 2, id'
    ).to_arrow_table()
    assert raw.num_rows == ordered.num_rows
    batches = ordered.to_batches(max_chunksize=37)
    settings = {"time_zone": spec.time_zone, "resolution": spec.resolution, "threshold": spec.threshold}
    found = scored(batches, series="meter", time="at", values=["kwh"], detectors=spec.detectors, **settings)  # type: ignore[arg-type]
    return sorted((row for one in found for row in one.to_pylist()), key=lambda row: (row["id"], row["detector"]))


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [(row["id"], row["detector"]) for row in found] == [(row["id"], row["detector"]) for row in wanted]
    assert_equal_rows(found, wanted)


@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(seed=st.integers(0, 1 << 30), pieces=st.integers(1, 4), slice_rows=st.sampled_from([1_500, 100_000]))
def test_any_order_and_slicing_of_the_commits_gives_the_scores_of_the_whole(
    seed: int, pieces: int, slice_rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draw = random.Random(seed)
    rows = lines(draw)
    feed = Scored(tmp_path_factory.mktemp("any"), contract())
    for part in in_parts(draw, rows, pieces):
        feed.add(part, slice_rows)
    assert_same(feed.scores(), by_hand(rows, feed.feed))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    feed = Scored(tmp_path_factory.mktemp("made"), contract())
    feed.add(lines(random.Random(5)))
    return feed


def test_each_reading_has_a_row_and_what_cannot_be_judged_says_why(made: Scored) -> None:
    found = made.scores()
    assert list(found[0]) == [*NAMES, *COLUMNS]
    assert len(found) == len(DETECTORS) * len(lines(random.Random(5)))
    said: dict[tuple[str | None, str], set[str | None]] = {}
    for row in found:
        assert (row["score"] is None) == (row["fallback"] is not None) or row["detector"] in (
            "composite",
            "gap",
            "flatline",
        )
        assert (row["is_anomaly"] is None) == (
            row["score"] is None if row["detector"] == "composite" else row["probability"] is None
        )
        said.setdefault((row["meter"], row["detector"]), set()).add(row["fallback"])
    assert said["once", "median_mad"] == {"fewer than 15 readings in that hour"}
    assert said["once", "fused"] == {"fewer than 20 readings in 30 days"}
    assert said[None, "fused"] == {"no series"}
    assert "no number" in said["mute", "fused"] and said["constant", "fused"] >= {None}
    assert not [row for row in found if row["meter"] == "constant" and row["detector"] == "fused" and row["is_anomaly"]]


def test_a_spike_is_flagged_with_what_speaks_for_it(made: Scored) -> None:
    (spike,) = made.scores("meter = 'spiky' AND detector = 'median_mad' AND value = 40")
    assert spike["is_anomaly"] and spike["probability"] < 1e-4 and spike["reason"] == "above its hour of the day"
    assert 1 < spike["expected"] < 3 and spike["history"] == 15 and spike["model_version"].startswith("median_mad/")


def test_a_late_row_scores_anew_its_series_and_no_other(tmp_path: Path) -> None:
    rows = lines(random.Random(9))
    late = next(row for row in rows if row["meter"] == "away")
    feed = Scored(tmp_path, contract(detectors=["fused"]))
    feed.add(row for row in rows if row is not late)
    before = feed.scores()
    feed.add([late])
    after = feed.scores()
    assert_same(after, by_hand(rows, feed.feed))
    known = {row["id"]: row for row in before}
    moved = {row["meter"] for row in after if known.get(row["id"]) != row}
    assert moved == {"away"}
    table = delta_log.read(Table(feed.lake, "gold.scores").path)
    assert table is not None and table.version > 1


def test_a_corrected_reading_scores_anew_its_series(tmp_path: Path) -> None:
    raw = contract(detectors=["median_mad"]).to_dict()
    newest = {"key": ["id"], "keep": "latest", "order_by": ["version"]}
    fields = [*raw["fields"], {"name": "version", "type": "int64"}]
    feed = Scored(tmp_path, parse_contract({**raw, "dedup": newest, "fields": fields}, "the test"))
    rows = lines(random.Random(3))
    feed.add({**row, "version": 1} for row in rows)
    wrong = [row for row in rows if row["meter"] == "usual"][100:400:7]
    before = {row["id"]: row for row in feed.scores()}
    feed.add({**row, "kwh": row["kwh"] * 50, "version": 2} for row in wrong)
    corrected = {row["id"]: {**row, "kwh": row["kwh"] * 50} for row in wrong}
    assert_same(feed.scores(), by_hand([corrected.get(row["id"], row) for row in rows], feed.feed))
    moved = {row["meter"] for row in feed.scores() if before[row["id"]] != row}
    assert moved == {"usual"}


def test_another_threshold_or_name_makes_the_table_anew(tmp_path: Path) -> None:
    rows = lines(random.Random(9))
    feed = Scored(tmp_path, contract(detectors=["median_mad"]))
    feed.add(rows[:-2])
    first = sum(bool(row["is_anomaly"]) for row in feed.scores())
    feed.feed = contract(detectors=["median_mad"], threshold=0.2)
    feed.add(rows[-2:-1])
    assert_same(feed.scores(), by_hand(rows[:-1], feed.feed))
    assert sum(bool(row["is_anomaly"]) for row in feed.scores()) > first
    feed.feed = feed.feed.model_copy(update={"detections": []})
    feed.add(rows[-1:])
    known = versions(feed.lake)
    assert known is not None and "silver.readings" in known.tables and "gold.scores" not in known.tables


def months(draw: random.Random, days: int = 150) -> list[dict[str, Any]]:
    """A meter that reads hourly; one that says the same for months, and one that stops doing so; one that reads daily, one with
    pauses of weeks, one that is new, rows of none, and one that has been stuck for a month, with a pause two months ago."""
    rows: list[dict[str, Any]] = []

    def add(meter: str | None, at: datetime, kwh: float | None) -> None:
        rows.append({"id": f"m{len(rows):05d}", "at": at.isoformat(), "meter": meter, "kwh": kwh, "place": "N"})

    for n in range(days * 24):
        at = START + timedelta(hours=n, minutes=draw.randrange(3))
        usual = round(1 + (at.hour > 16) + draw.gammavariate(3, 0.1), 2)
        add("usual", at, 40.0 if draw.random() < 0.002 else usual)
        if n % 6 == 0:
            add("vacant", at, 0.0 if n > 900 else usual)
            add("let again", at, 0.0 if 900 < n < (days - 2) * 24 else usual)
        if n % 24 == 0:
            add("daily", at, usual)
            if 40 * 24 <= n < 55 * 24 or n > 93 * 24:
                add("stuck", at, 1.0 if n < 95 * 24 else draw.choice([1.0] * 50 + [2.0]) if n < 122 * 24 else 7.0)
        if n % 3 == 0 and n // 24 % 50 < 9:
            add("pauses", at, float(draw.randrange(2)))
        if n > (days - 9) * 24:
            add("new", at, None if draw.random() < 0.02 else usual)
        if n % 100 == 0:
            add(None, at, usual)
    return rows


@pytest.mark.parametrize("detectors", [["median_mad"], ["flatline"], ["median_mad", "flatline"]], ids="+".join)
def test_scores_brought_up_from_what_detectors_look_back_on_are_those_of_the_whole(
    detectors: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "FILE_ROWS", 2_000)
    draw = random.Random(repr(detectors))
    rows = months(draw)
    day_before = (datetime.fromisoformat(max(row["at"] for row in rows)) - timedelta(days=1)).isoformat()
    old, new = ([row for row in rows if (row["at"] > day_before) == is_new] for is_new in (False, True))
    late = draw.sample([row for row in old if row["meter"] != "usual"], 3) + draw.sample(old, 2)
    first = [row for row in old if row not in late]
    feed = Scored(tmp_path, contract(detectors=detectors))
    third = len(first) // 3  # so that there are old files to be left out
    for part in (first[:third], first[third : 2 * third], first[2 * third :]):
        feed.add(part)
    assert_same(feed.scores(), by_hand(first, feed.feed))

    with hidden_from(feed, before=START + timedelta(days=55)):  # of a series with enough readings since
        before = files(feed)
        feed.add(row for row in new if row["meter"] == "usual")
        assert len(before - files(feed)) <= 1, "files were written again in which nothing is new"
    feed.add(row for row in new if row["meter"] != "usual")
    assert_same(feed.scores(), by_hand(first + new, feed.feed))
    feed.add(late)
    assert_same(feed.scores(), by_hand(rows, feed.feed))


def files(feed: Scored, table: str = "gold.scores") -> set[str]:
    at = delta_log.read(Table(feed.lake, table).path)
    assert at is not None
    return {file.path for file in at.files}


@contextmanager
def hidden_from(feed: Scored, before: datetime) -> Iterator[None]:
    """Without the readings' files that hold only earlier ones: who reads them fails."""
    path = Table(feed.lake, "silver.readings").path
    at = delta_log.read(path)
    assert at is not None
    old = [path / file.path for file in at.files if datetime.fromisoformat(file.greatest["at"]) < before]
    assert old
    for file in old:
        file.rename(file.with_suffix(".hidden"))
    yield
    for file in old:
        file.with_suffix(".hidden").rename(file)


@pytest.mark.spark
def test_spark_makes_the_same_table_and_brings_it_up(tmp_path: Path) -> None:
    rows = lines(random.Random(5))[::5]
    feed = Scored(tmp_path, contract(detectors=["median_mad", "flatline"]))
    feed.add(rows)
    ours = query(feed.lake, "SELECT * FROM gold.scores ORDER BY id, detector")
    shutil.rmtree(Table(feed.lake, "gold.scores").path)
    refine(feed.lake, engine="spark")
    assert_same(feed.scores(), ours.to_pylist())
    assert query(feed.lake, "SELECT * FROM gold.scores ORDER BY id, detector").schema == ours.schema
    at = (START + timedelta(days=3, minutes=30)).isoformat()
    late = [
        {"id": f"late-{n}", "at": at, "meter": meter, "kwh": 9.0, "place": "N"}
        for n, meter in enumerate(("usual", None))
    ]
    feed.add(late, engine="spark")
    assert_same(feed.scores(), by_hand([*rows, *late], feed.feed))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"detectors": ["medianmad"]}, "detection 'scores', detectors: there is no detector 'medianmad' (did you mean 'median_mad'?)"),
        ({"detectors": ["fused", "fused"]}, "detection 'scores', detectors: 'fused' is named twice; once is enough"),
        ({"detectors": []}, "detection 'scores', detectors: "),
        ({"values": ["kw"]}, "detection 'scores', values: there is no field 'kw' (did you mean 'kwh'?)"),
        ({"values": ["place"]}, "detection 'scores', values: 'place' is a string, not a number; name fields that are"),
        ({"series": "metre"}, "detection 'scores', series: there is no field 'metre' (did you mean 'meter'?)"),
        ({"series": "kwh"}, "detection 'scores', series: 'kwh' is a float64, which names nothing"),
        ({"time_zone": "Berlin"}, "detection 'scores', time_zone: unknown time zone 'Berlin'"),
        ({"threshold": 3}, "detection 'scores', threshold: 3: "),
        ({"value": "kwh"}, "detection 'scores', value: unknown word (did you mean 'values'?)"),
        ({"name": "Scores"}, "detection 'Scores', name: "),
    ],
)  # fmt: skip
def test_a_wrong_word_is_named_with_file_field_and_remedy(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError) as told:
        contract(**given)
    assert str(told.value).startswith("contract the test") and said in str(told.value)


def test_two_of_one_name_and_a_field_called_as_a_column_are_refused() -> None:
    raw = contract().to_dict()
    with pytest.raises(ContractError, match=r"contract the test: detection 'scores' is declared twice"):
        parse_contract({**raw, "detections": raw["detections"] * 2}, "the test")
    with pytest.raises(ContractError, match=r"detection 'scores': gold\.scores has a column 'reason' of its own"):
        (one,) = raw["detections"]
        fields = [*raw["fields"], {"name": "reason", "type": "string"}]
        parse_contract({**raw, "fields": fields, "detections": [{**one, "beside": ["reason"]}]}, "the test")
    window = {"name": "scores", "size": "1h", "measures": {"n": "count()"}}
    with pytest.raises(ContractError, match=r"detection 'scores': gold\.scores is made already; rename one of them"):
        parse_contract({**raw, "windows": [window]}, "the test")


def test_the_detectors_of_contracts_are_those_there_are() -> None:
    assert set(OF_CONTRACTS) == {*THERE, *OF_SEVERAL}
    assert {*COLUMNS} == {*SCHEMA.names, "is_anomaly"} - {"row"}


HEAD = "-- X.\n-- key: id\n-- detect: {}\nSELECT id, meter, at, kwh FROM silver.readings WHERE :touched\n"


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("fuse value=kwh time=at by=meter", "detect: detectors: there is no detector 'fuse' (did you mean 'fused'?)"),
        ("fused value=kwh time=at", "detect: by is missing; add by=COLUMN"),
        ("fused value=kwh time=at by=meter zone=Berlin", "detect: time_zone: unknown time zone 'Berlin'"),
        ("fused value=kwh time=at by=meter by=id", "detect: by is said twice; say it once"),
        ("fused values=kwh time=at by=meter", "detect: unknown word 'values' (did you mean 'value'?)"),
        ("energy_balance value=kwh time=at by=meter", 'detect: energy_balance takes values = ["SUPPLIED", "TAKEN"], and'),
        ("fused value=kwh time=at by=meter resolution=much", "detect: resolution: "),
        ("fused value=kwh time=at by=meter\n-- detect: gap value=kwh time=at by=meter", "detect is said twice; name all"),
        ("fused value=kwh time=at by=meter\n-- touched: meter", "touched does not go with detect (by= says it)"),
    ],
)  # fmt: skip
def test_a_head_that_does_not_fit_is_named(head: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"gold.x: {said}")):
        parse("x", HEAD.format(head))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("fused value=kwh time=at by=metre", "no column 'metre'; the table has id, meter, at, kwh"),
        ("fused value=meter time=at by=id", "column 'meter' is string; a number is needed"),
        ("fused value=kwh time=id by=meter", "column 'id' is string; a timestamp is needed"),
    ],
)
def test_a_head_that_does_not_fit_its_select_stops_the_refine(
    head: str, said: str, made: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = parse("x", HEAD.format(head))
    monkeypatch.setattr(derived, "analyses", lambda: (wrong,))
    with pytest.raises(GridError, match=re.escape(f"gold.x, detectors: {said}")):
        refine(made.lake, engine="embedded")


def test_an_analysis_of_sql_is_scored_as_a_contract_is(made: Scored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of hours' sums: what a SELECT can give is what can be scored."""
    same = parse(
        "by_day",
        "-- Days.\n-- key: day\n-- detect: median_mad value=kwh time=day by=meter threshold=0.01\n"
        "SELECT meter, date_trunc('DAY', at) AS day, sum(kwh) AS kwh FROM silver.readings WHERE :touched GROUP BY ALL\n",
    )
    monkeypatch.setattr(derived, "analyses", lambda: (same,))
    refine(made.lake, engine="embedded")
    found = query(made.lake, "SELECT count(*) AS n, count(DISTINCT meter) AS meters FROM gold.by_day").to_pylist()
    days = query(
        made.lake,
        "SELECT count(DISTINCT concat(coalesce(meter, '-'), CAST(date_trunc('day', at) AS TEXT))) AS n FROM silver.readings",
    )
    assert found[0]["n"] == days["n"][0].as_py() and found[0]["meters"] == 7
