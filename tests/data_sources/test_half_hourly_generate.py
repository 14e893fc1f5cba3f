"""S1's sources: what the generator promises, that a run counts it, both days the clock is changed, and a raw oracle."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from beam_grid.errors import GridError
from beam_grid.feeds import BUILT_IN, built_in, chosen
from beam_grid.generate import generate as generate_sources
from beam_grid.landing import Lake
from beam_grid.ledger import ledger
from data_sources.generators import truth
from data_sources.half_hourly_readings.generate import TABLES, generate
from tests.landed_truth import NOW, landed_truth, truth_of
from tests.properties.oracle import run
from tests.s1_oracle import FEEDS, feed_rows, five_tables

FEED = "half_hourly_readings"
CLOCK = datetime.fromtimestamp(NOW / 1_000_000, UTC)
LONDON = ZoneInfo("Europe/London")
SPRING, AUTUMN = date(2021, 3, 28), date(2021, 10, 31)


def files_of(lake: Path, feed: str, kind: str) -> list[dict[str, Any]]:
    log = Lake.open(lake).feed(feed)
    entries = [file for commit in log.commits() for file in commit.listed(kind)]
    return [row for file in entries for row in pq.read_table(log.path / file.path).to_pylist()]


def rows_of(lake: Path, feed: str) -> list[dict[str, Any]]:
    """The landed rows that no later one has replaced."""
    identity = ("_commit", "_source", "_position")
    gone = {tuple(row[name] for name in identity) for row in files_of(lake, feed, "superseded")}
    rows = [row for row in files_of(lake, feed, "rows") if tuple(row[name] for name in identity) not in gone]
    return [{name: row[name] for name in FEEDS[feed]} for row in rows]


def conflicts(lake: Path, feed: str) -> int:
    (row,) = (r for r in ledger(Lake.open(lake)).to_pylist() if r["feed"] == feed)
    assert row["balanced"]
    return int(row["conflicts"])


def lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def reading(start: str, kwh: float = 0.25, recorded_at: str | None = None, meterpoint: str = "1210000000000") -> dict[str, Any]:  # fmt: skip
    return {"interval_start": start, "meterpoint_id": meterpoint, "consumption_delta": kwh, "recorded_at": recorded_at}


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Messy data and a lake with all four feeds; each must be counted as promised."""
    out, lake = tmp_path_factory.mktemp("messy"), tmp_path_factory.mktemp("lake")
    generate(out, seed=7, scale=0.5, messy=True)
    assert [c.name for c in chosen((), (), str(out))] == sorted([FEED, *TABLES])
    for feed in FEEDS:
        promised = truth_of(out, feed)
        assert landed_truth(out, feed, lake, slice_rows=1_500 if feed == FEED else 15) == promised
        assert promised["late"] == 0
        assert all(promised[count] > 0 for count in truth.COUNTS if count != "late"), (feed, promised)
        assert promised["rejected_by_cause"]["undecodable"] > 0 < promised["rejected_by_cause"]["from_the_future"]
    return out, lake


@pytest.mark.pipeline
@pytest.mark.parametrize("feed", FEEDS)
def test_what_lands_is_what_the_raw_files_say(messy: tuple[Path, Path], feed: str) -> None:
    out, lake = messy
    wanted = feed_rows(out, feed, CLOCK)
    assert len(wanted) == truth_of(out, feed)["landed - superseded"]

    def order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: [str(row[name]) for name in FEEDS[feed]])

    assert order(rows_of(lake, feed)) == order(wanted)


@pytest.mark.pipeline
def test_rejects_of_a_table_are_named_by_table_and_rowid_with_their_bytes(messy: tuple[Path, Path]) -> None:
    out, lake = messy
    database = sqlite3.connect(out / "data" / "case_study.db")
    nameless = database.execute("SELECT rowid FROM agreements WHERE agreement_id IS NULL").fetchall()
    database.close()
    rejected = files_of(lake, "agreements", "rejected")
    assert {row["_source"] for row in rejected} == {"data/case_study.db:agreements"}
    (found,) = [row for row in rejected if row["rule"] == "null:agreement_id"]
    assert [(found["_position"],)] == nameless
    assert json.loads(found["raw"])["agreement_id"] is None
    assert any(b"\xff\xfe" in row["raw"] for row in rejected if row["rule"] == "utf-8")


def test_the_seeds_layout(tmp_path: Path) -> None:
    counts = generate(tmp_path, seed=3)
    files = sorted((tmp_path / "data" / "readings").iterdir())
    assert len(files) == 40 and counts["read"] == counts["landed - superseded"] == 40 * 144
    assert sorted(p.name for p in tmp_path.iterdir()) == [".beamgridignore", "data", "truth.json"]
    for path in files:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert [set(r) for r in records] == [set(FEEDS[FEED])] * 144
        assert {r["meterpoint_id"] for r in records} == {path.stem}
        starts = [datetime.fromisoformat(r["interval_start"]) for r in records]
        assert starts == [datetime(2021, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * i) for i in range(144)]
        assert all(0 <= r["consumption_delta"] < 20 for r in records)
    tables = five_tables(tmp_path, date(2021, 1, 1), CLOCK)
    assert {name: len(rows) for name, rows in tables.items()} == {
        "active_agreements": 40 - 2 * 3,  # of twenty one has none, one's has ended and one's begins later
        "total_consumption_half_hour": 144,
        "consumption_per_product_per_day": 5 * 3,
        "gold_aggregate_per_half_hour": 144,
        "gold_avg_half_hour_by_product": 5 * 144,
    }
    assert all(row["display_name"] and row["region"] for row in tables["active_agreements"])
    assert {row["meterpoint_id"] for row in feed_rows(tmp_path, "meterpoints", CLOCK)} == {path.stem for path in files}
    assert {row["meterpoint_count"] for row in tables["total_consumption_half_hour"]} == {40}
    per_day = Counter(dict.fromkeys((1, 2, 3), 0))
    for row in tables["consumption_per_product_per_day"]:
        per_day[row["day"].day] += row["meterpoint_count"]
    assert per_day == {1: 34, 2: 34 + 4 - 2, 3: 36}  # two of twenty change their product on the second, one at midnight


def test_the_same_arguments_give_the_same_bytes_and_other_feeds_keep_their_truth(tmp_path: Path) -> None:
    written = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / name).mkdir()
        truth.record(tmp_path / name, "other", dict.fromkeys(truth.COUNTS, 1))
        generate(tmp_path / name, seed=seed, scale=0.1, messy=True)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        written.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
        assert set(truth.read(tmp_path / name)) == {"other", FEED, *TABLES}
    assert written[0] == written[1] and written[0].keys() == written[2].keys()
    assert all(written[0][name] != written[2][name] for name in written[0] if name.startswith("data/"))


def test_a_table_has_no_generator_of_its_own_and_its_notes_say_whose_it_is(tmp_path: Path) -> None:
    for table in TABLES:
        with pytest.raises(GridError, match=f"data_sources/{table}/NOTES.md says which one writes it"):
            generate_sources((table,), tmp_path)
        assert "generate half_hourly_readings" in (BUILT_IN / table / "NOTES.md").read_text()


@pytest.mark.pipeline
def test_a_smaller_run_leaves_no_file_of_a_greater_one(tmp_path: Path) -> None:
    generate(tmp_path, scale=0.2)
    counts = generate(tmp_path, scale=0.1, days=2)
    assert counts["read"] == 4 * 192
    assert landed_truth(tmp_path, FEED, tmp_path / "lake")["read"] == 4 * 192


@pytest.mark.pipeline
def test_fifty_and_forty_six_half_hours_on_the_days_the_clock_is_changed(tmp_path: Path) -> None:
    """305 days as they are written; then what is written of both days, and of those before and after, is landed."""
    generate(tmp_path / "grid", scale=0.01, days=303)
    (path,) = (tmp_path / "grid" / "data" / "readings").iterdir()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    starts = [datetime(2021, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(305 * 48)]
    assert [r["interval_start"] for r in records] == [t.astimezone(LONDON).isoformat() for t in starts]

    def day(text: str) -> date:
        return datetime.fromisoformat(text).date()

    wanted = {d + timedelta(days=n): 48 for d in (SPRING, AUTUMN) for n in (-1, 0, 1)} | {SPRING: 46, AUTUMN: 50}
    chosen_days = [r for r in records if day(r["interval_start"]) in wanted]
    lines(tmp_path / "in" / "readings" / path.name, *chosen_days)
    found = landed_truth(tmp_path / "in", FEED, tmp_path / "lake")
    assert found["read"] == found["landed - superseded"] == 6 * 48
    landed = rows_of(tmp_path / "lake", FEED)
    assert Counter(row["interval_start"].astimezone(LONDON).date() for row in landed) == wanted
    kwh = Counter()
    for row in landed:
        kwh[row["interval_start"].astimezone(LONDON).date()] += row["consumption_delta"]
    for d, total in kwh.items():
        assert total == pytest.approx(sum(r["consumption_delta"] for r in records if day(r["interval_start"]) == d))


@pytest.mark.pipeline
def test_without_an_offset_the_hour_shown_twice_is_refused_not_guessed(tmp_path: Path) -> None:
    """50 half hours as London's clock shows them: four of them can be two each."""
    midnight = datetime(2021, 10, 30, 23, tzinfo=UTC)
    shown = [(midnight + timedelta(minutes=30 * i)).astimezone(LONDON).replace(tzinfo=None) for i in range(50)]
    assert len(set(shown)) == 48
    spring = ["2021-03-28T00:30:00", "2021-03-28T01:00:00", "2021-03-28T01:30:00", "2021-03-28T02:00:00"]
    lines(tmp_path / "in" / "readings" / "a.json", *(reading(t.isoformat()) for t in shown))
    lines(tmp_path / "in" / "readings" / "b.json", *(reading(t) for t in spring))
    found = landed_truth(tmp_path / "in", FEED, tmp_path / "lake")
    assert (found["read"], found["rejected"], found["landed - superseded"]) == (54, 6, 48)
    assert found["rejected_by_cause"]["undecodable"] == 6 and found["conflicts"] == 0


def test_of_two_values_for_a_half_hour_the_later_recorded_counts_in_any_order(tmp_path: Path) -> None:
    """The same half hour in four notations, over two runs; one value has no time of recording."""
    versions = [
        reading("2021-07-01T10:30:00+01:00", 1.0, "2021-07-02T03:00:00Z"),
        reading("2021-07-01T09:30:00Z", 2.0, "2021-07-05T12:00:00Z"),
        reading("2021-07-01T10:30:00", 9.0, None),
        reading("2021-07-01 11:30:00+02:00", 3.0, "2021-07-03T03:00:00Z"),
    ]
    for order in ((0, 1, 2, 3), (1, 3, 2, 0)):
        source, lake = tmp_path / f"in{order[0]}", tmp_path / f"lake{order[0]}"
        for n, at in enumerate(order):
            lines(source / "readings" / f"{n}.json", versions[at])
            if n % 2:
                run(lake, built_in()[FEED], source, now=NOW, own_globs=True)
        (row,) = rows_of(lake, FEED)
        assert (row["consumption_delta"], row["interval_start"]) == (2.0, datetime(2021, 7, 1, 9, 30, tzinfo=UTC))
        assert conflicts(lake, FEED) == 1


def case_study(path: Path, valid_to: str | None, updated_at: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE agreements (agreement_id, account_id, meterpoint_id, product_id, valid_from, valid_to, updated_at)")  # fmt: skip
    agreement = ("A-1", "ACC-1", "1210000000000", "P", "2021-06-01 00:00:00", valid_to, updated_at)
    database.execute(f"INSERT INTO agreements VALUES ({', '.join('?' * 7)})", agreement)
    database.commit()
    database.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_an_agreement_closed_in_a_newer_file_is_closed_and_can_be_opened_again(tmp_path: Path, order: tuple[int, ...]) -> None:  # fmt: skip
    states = [(None, "2021-06-01T09:00:00Z"), ("2021-09-01 00:00:00", "2021-08-20T09:00:00Z"), (None, "2021-08-25T09:00:00Z")]  # fmt: skip
    for n, at in enumerate(order):
        case_study(tmp_path / "in" / f"case_study_{n}.db", *states[at])
        run(tmp_path / "lake", built_in()["agreements"], tmp_path / "in", now=NOW, own_globs=True)
    (row,) = rows_of(tmp_path / "lake", "agreements")
    assert row["valid_from"] == datetime(2021, 5, 31, 23, tzinfo=UTC)  # midnight in London, in summer
    assert (row["valid_to"], row["updated_at"]) == (None, datetime(2021, 8, 25, 9, tzinfo=UTC))


def test_a_broken_database_is_named_and_the_rest_lands(tmp_path: Path) -> None:
    case_study(tmp_path / "in" / "case_study_1.db", None, "2021-06-01T09:00:00Z")
    (tmp_path / "in" / "case_study_0.db").write_bytes((tmp_path / "in" / "case_study_1.db").read_bytes()[:5000])
    (tmp_path / "in" / "case_study_2.db").write_text("SQL dump\n")
    done = run(tmp_path / "lake", built_in()["agreements"], tmp_path / "in", now=NOW, own_globs=True)
    assert [p.split(":")[0] for p in done.problems] == ["case_study_0.db", "case_study_2.db"]
    assert done.fates.landed == 1
    done = run(tmp_path / "lake", built_in()["products"], tmp_path / "in", now=NOW, own_globs=True)
    assert "case_study_1.db: left out: has no table 'products'; its tables: 'agreements'" in done.problems
    assert done.commits == 0


def test_the_oracle_itself_on_a_case_worked_by_hand(tmp_path: Path) -> None:
    """One switch at noon, one overlap, one agreement of no known product, one reading of nobody's."""
    a, b, c, d = "1210000000000", "1210000000001", "1210000000002", "1210000000003"
    lines(
        tmp_path / "data" / "readings" / "x.json",
        reading("2021-07-01T11:30:00+01:00", 1.0, "2021-07-02T00:00:00Z", a),
        reading("2021-07-01T10:30:00Z", 1.5, "2021-07-03T00:00:00Z", a),  # the same half hour, corrected
        reading("2021-07-01T12:00:00+01:00", 2.0, None, a),
        reading("2021-07-01T12:00:00+01:00", 4.0, None, b),
        reading("2021-07-01T00:00:00+01:00", 8.0, None, c),  # the day before in UTC
        reading("2021-07-01T12:00:00+01:00", 16.0, None, d),
        reading("2021-07-01T12:00:00+01:00", -1.0, None, c),
    )
    database = sqlite3.connect(tmp_path / "data" / "case_study.db")
    noted = "2021-01-01T00:00:00Z"
    for table, names in list(FEEDS.items())[1:]:
        database.execute(f"CREATE TABLE {table} ({', '.join(names)})")
    database.executemany("INSERT INTO products VALUES (?, ?, ?, ?)", [("V", "Variable", 1, noted), ("F", "Fixed", 0, noted)])  # fmt: skip
    database.executemany("INSERT INTO meterpoints VALUES (?, ?, ?)", [(a, "Eastern", noted), (b, None, noted)])
    agreements = [
        ("1", "acc", a, "V", "2021-01-01 00:00:00", "2021-07-01 12:00:00", noted),
        ("2", "acc", a, "F", "2021-07-01 12:00:00", None, noted),
        ("3", "acc", b, "F", "2021-01-01 00:00:00", None, noted),
        ("4", "acc", b, "V", "2021-06-01 00:00:00", None, noted),
        ("5", "acc", c, "GONE", "2021-07-01 00:00:00", None, noted),
    ]
    database.executemany(f"INSERT INTO agreements VALUES ({', '.join('?' * 7)})", agreements)
    database.commit()
    database.close()
    found = {name: [tuple(row.values()) for row in rows] for name, rows in five_tables(tmp_path, date(2021, 7, 1), CLOCK).items()}  # fmt: skip
    day, noon, half_past = date(2021, 7, 1), datetime(2021, 7, 1, 11, tzinfo=UTC), datetime(2021, 7, 1, 10, 30, tzinfo=UTC)  # fmt: skip
    midnight = datetime(2021, 6, 30, 23, tzinfo=UTC)
    assert [row[0] for row in found["active_agreements"]] == ["1", "3", "4", "5"]
    assert found["active_agreements"][0][3:7] == ("Eastern", "V", "Variable", True)
    assert found["active_agreements"][3][3:7] == (None, "GONE", None, None)
    per_half_hour = [(midnight, 8.0, 1), (half_past, 1.5, 1), (noon, 22.0, 3)]
    assert found["total_consumption_half_hour"] == found["gold_aggregate_per_half_hour"] == per_half_hour
    assert found["consumption_per_product_per_day"] == [
        ("F", "Fixed", day, 2.0, 1), ("GONE", None, day, 8.0, 1), ("V", "Variable", day, 5.5, 2)]  # fmt: skip
    assert found["gold_avg_half_hour_by_product"] == [
        ("F", "Fixed", noon, 2.0), ("GONE", None, midnight, 8.0), ("V", "Variable", half_past, 1.5), ("V", "Variable", noon, 4.0)]  # fmt: skip
