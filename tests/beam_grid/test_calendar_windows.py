"""Windows of local days, weeks, months and years through `land`, `refine`, `query`, `lineage` and the report.

The oracle is DuckDB over the rows that must be current: its own time zones say which local day a row belongs to.
"""

from __future__ import annotations

import random
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner

from beam_grid.cli import cli
from beam_grid.lakehouse import open_windows
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.trace import trace
from beam_grid.landing import Lake
from beam_grid.refine import Engine, refine
from beam_grid.reinject import reinject
from beam_grid.report.gather import gather
from data_sources.contract import Contract, parse_contract
from tests.beam_grid.test_refine import Landing, same_rows
from tests.properties.oracle import as_lines, run

CASE = Path(__file__).resolve().parents[1] / "cases" / "local-day-windows"
BERLIN = "Europe/Berlin"
MEASURES = {"n": "count()", "kwh": "sum(kwh)", "top": "max(kwh)", "mean": "avg(kwh)", "spread": "stddev(kwh)", "closed": "last(kwh)"}  # fmt: skip
WINDOWS = {
    "berlin_day": ("day", BERLIN, ["meter"]),
    "berlin_week": ("week", BERLIN, []),
    "berlin_month": ("month", BERLIN, ["meter"]),
    "berlin_year": ("year", BERLIN, ["meter"]),
    "sao_paulo_day": ("day", "America/Sao_Paulo", ["meter"]),
    "beirut_day": ("day", "Asia/Beirut", []),
}


def feed(windows: dict[str, tuple[str, str, list[str]]] = WINDOWS, time: str = "timestamp", **other: Any) -> Contract:
    made = [{"name": name, "calendar": calendar, "time_zone": zone, "by": by, "measures": MEASURES} for name, (calendar, zone, by) in windows.items()]  # fmt: skip
    return parse_contract(
        {
            "name": "feeder", "format": "json", "event_time": "at", "out_of_orderness": "2d", "allowed_lateness": "12d",
            "file_order": "name", "dedup": {"key": ["id"], "keep": "latest", "order_by": ["version"]}, "windows": made,
            "fields": [
                {"name": "id", "type": "string"}, {"name": "at", "type": time}, {"name": "meter", "type": "string"},
                {"name": "kwh", "type": "float64"}, {"name": "version", "type": "int64"},
            ],
            **other,
        },
        "tests",
    )  # fmt: skip


def check(lake: Lake, of: Contract, current: list[dict[str, Any]]) -> None:
    """Every window table is what DuckDB makes of the rows, window starts and ends are local midnights, `final` is right."""
    watermark = list(lake.feed(of.name).commits())[-1].watermark
    table = pa.Table.from_pylist(current, schema=pa.schema([f.with_nullable(True) for f in of.schema]))
    for window in of.windows:
        seen = query(lake, f"SELECT * FROM gold.{window.name}")
        assert seen.num_rows
        zone, calendar = str(window.time_zone), str(window.calendar)
        by = ", ".join(["day", *window.by])
        local = f'date_trunc(\'{calendar}\', timezone(\'{zone}\', "at"))' if table["at"].type != pa.date32() else f"date_trunc('{calendar}', \"at\")"  # fmt: skip
        with duckdb.connect() as engine:
            engine.execute("SET TimeZone = 'UTC'")
            engine.register("rows", table)
            wanted = engine.sql(
                f"SELECT CAST({local} AS DATE) AS day, {''.join(f'{name}, ' for name in window.by)}count(*) AS n, "
                "sum(kwh) AS kwh, max(kwh) AS top, avg(kwh) AS mean, stddev_samp(kwh) AS spread, "
                f'arg_max(kwh, ("at", id)) FILTER (WHERE kwh IS NOT NULL) AS closed FROM rows GROUP BY {by}'
            ).to_arrow_table()
        clock = ZoneInfo(zone)
        days, ends = [], []
        for row in seen.to_pylist():
            start, end = row["window_start"], row["window_end"]
            days.append(start.astimezone(clock).date())
            ends.append(end.astimezone(clock).date())
            for edge, day in ((start, days[-1]), (end, ends[-1])):  # the first instant of its day
                assert (edge - timedelta(microseconds=1)).astimezone(clock).date() < day
            assert ends[-1] == _next(days[-1], calendar)
            passed = watermark is None or (end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + 12 * 86_400_000_000 <= watermark  # fmt: skip
            assert row["final"] == passed, row
        kept = seen.drop_columns(["window_start", "window_end", "final", "revision"])
        same_rows(kept.append_column("day", pa.array(days, pa.date32())), wanted, ["day", *window.by])


def _next(day: date, calendar: str) -> date:
    if calendar in ("day", "week"):
        return day + timedelta(days=1 if calendar == "day" else 7)
    return date(day.year + (calendar == "year" or day.month == 12), 1 if calendar == "year" else day.month % 12 + 1, 1)


class Story:
    """Files that arrive one after the other, and what must be current after each."""

    def __init__(self, home: Path, of: Contract):
        self.home, self.of, self.lake = home, of, Lake.open(home / "lake")
        self.rows: dict[str, dict[str, Any]] = {}
        self.files = 0

    def arrive(self, *records: dict[str, Any]) -> None:
        self.files += 1
        (self.home / "in").mkdir(exist_ok=True)
        lines = as_lines({**r, "at": r["at"].isoformat()} for r in records)
        (self.home / "in" / f"{self.files:03}.json").write_text(lines)
        done = run(self.lake.path, self.of, self.home / "in")
        assert done.fates.read == len(records) and not done.fates.late and not done.fates.rejected
        for record in records:
            if record["id"] not in self.rows or self.rows[record["id"]]["version"] < record["version"]:
                self.rows[record["id"]] = record

    def check(self) -> None:
        check(self.lake, self.of, list(self.rows.values()))


def quarters(start: datetime, count: int, seed: int, every: timedelta = timedelta(minutes=15)) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {"id": f"{seed}-{n}", "at": start + n * every, "meter": rng.choice(["a", "b", None]), "kwh": rng.choice([None, n / 8, 3.25]), "version": 1}
        for n in range(count)
    ]  # fmt: skip


AUTUMN = quarters(datetime(2018, 10, 26, 20, tzinfo=UTC), 420, 1)
"""Over Berlin's 28 October, of 25 hours."""

BRAZIL = quarters(datetime(2018, 10, 30, 21, 7, tzinfo=UTC), 150, 2, timedelta(hours=1))
"""Over 4 November, which began at 01:00 in Brazil."""

WINTER = quarters(datetime(2018, 11, 20, tzinfo=UTC), 150, 3, timedelta(hours=9))
"""Over the years' end: with it the windows of autumn become final."""


def corrections(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that move over a midnight, to another day of 25 hours, to another group, or stay and change."""
    to: dict[str, dict[str, Any]] = {
        "1-105": {"kwh": 99.0},
        "1-60": {"at": datetime(2018, 11, 4, 2, 59, 59, tzinfo=UTC), "meter": "b"},
        "1-61": {"at": datetime(2018, 11, 4, 3, tzinfo=UTC), "meter": None},
        "1-150": {"at": datetime(2018, 10, 27, 22, tzinfo=UTC)},
        "1-151": {"at": datetime(2018, 10, 28, 22, 59, 59, 999_999, tzinfo=UTC)},
        "1-152": {"at": datetime(2018, 10, 28, 23, tzinfo=UTC)},
    }
    return [{**rows[id], "version": 2, **said} for id, said in to.items()]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The whole story, its tables brought up to date and checked after each file."""
    story = Story(tmp_path_factory.mktemp("autumn"), feed())
    for records in (AUTUMN, BRAZIL, None, WINTER):
        story.arrive(*(corrections(story.rows) if records is None else records))
        refine(story.lake, engine="embedded")
        story.check()
    return story


def test_of_one_refine_the_tables_are_the_same(told: Story, tmp_path: Path) -> None:
    copy = Lake.open(shutil.copytree(told.lake.path, tmp_path / "copy"))
    shutil.rmtree(copy.path / "tables")
    refine(copy, engine="embedded")
    check(copy, told.of, list(told.rows.values()))
    open_and_final = query(copy, "SELECT final, count(*) AS n FROM gold.berlin_day GROUP BY 1").to_pylist()
    assert {row["final"] for row in open_and_final} == {True, False}


def test_a_new_window_is_filled_from_what_landed(told: Story, tmp_path: Path) -> None:
    copy = Lake.open(shutil.copytree(told.lake.path, tmp_path / "copy"))
    more = feed({**WINDOWS, "new_york_month": ("month", "America/New_York", ["meter"])})
    extra = {"id": "4-0", "at": datetime(2019, 1, 13, 4, 59, tzinfo=UTC), "meter": "a", "kwh": 1.0, "version": 1}
    shutil.copytree(told.home / "in", tmp_path / "in")
    (tmp_path / "in" / "900.json").write_text(as_lines([{**extra, "at": extra["at"].isoformat()}]))
    assert run(copy.path, more, tmp_path / "in").fates.landed == 1
    refine(copy, engine="embedded")
    check(copy, more, [*told.rows.values(), extra])


@pytest.mark.spark
def test_on_spark_step_by_step_and_at_once(tmp_path: Path) -> None:
    of = feed({name: WINDOWS[name] for name in ("berlin_day", "berlin_month")})
    landing = Landing(Lake.open(tmp_path / "lake"), of)
    steps: list[tuple[list[dict[str, Any]] | None, Engine]] = [
        (AUTUMN, "embedded"),
        (BRAZIL, "spark"),
        (None, "spark"),
        (WINTER, "embedded"),
    ]
    for records, engine in steps:
        said = corrections({row["id"]: row for row in landing.current}) if records is None else records
        landing.land(said, watermark=max(row["at"] for row in [*landing.current, *said]) - timedelta(days=2))
        refine(landing.lake, engine=engine)
        check(landing.lake, of, landing.current)
    shutil.rmtree(landing.lake.path / "tables")
    refine(landing.lake, engine="spark")
    check(landing.lake, of, landing.current)


def test_late_rows_of_the_long_day_land_after_all(tmp_path: Path) -> None:
    story = Story(tmp_path, feed({"berlin_day": WINDOWS["berlin_day"]}, out_of_orderness="1h", allowed_lateness="0s"))
    story.arrive(*quarters(datetime(2018, 10, 27, 22, tzinfo=UTC), 106, 1))
    (tmp_path / "in" / "late.json").write_text(
        as_lines(
            {"id": f"late-{hour}", "at": f"2018-10-28T{hour}:30:00Z", "meter": "a", "kwh": 1.0, "version": 1}
            for hour in (21, 22)
        )
    )
    assert run(story.lake.path, story.of, tmp_path / "in").fates.late == 2
    refine(story.lake, engine="embedded")
    day = "SELECT n, final, revision FROM gold.berlin_day WHERE meter = 'a' AND window_start = TIMESTAMP '2018-10-27T22:00:00Z'"
    (before,) = query(story.lake, day).to_pylist()
    assert before["final"]
    with story.lake.lock("land"):
        assert reinject(story.lake, "feeder").fates.landed == 2
    refine(story.lake, engine="embedded")
    assert query(story.lake, day).to_pylist() == [{"n": before["n"] + 2, "final": True, "revision": 2}]


def test_a_day_that_is_being_filled_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every three hours through the day of 25 hours, each commit published alone, its tiles merged with those that are kept."""
    monkeypatch.setattr(open_windows, "MANY_FILES", 2)
    used: list[bool] = []
    known = open_windows.known

    def asked(*arguments: Any) -> open_windows.Open | None:
        used.append((found := known(*arguments)) is not None)
        return found

    monkeypatch.setattr(open_windows, "known", asked)
    of = feed({name: WINDOWS[name] for name in ("berlin_day", "berlin_month")}, out_of_orderness="1h")
    landing = Landing(Lake.open(tmp_path / "lake"), of)
    for n in range(10):
        start = datetime(2018, 10, 27, 20, tzinfo=UTC) + timedelta(hours=3 * n)
        landing.land(quarters(start, 12, n), watermark=start - timedelta(hours=12))
        if n > 2:
            refine(landing.lake, engine="embedded")
    assert sum(used) > 8
    check(landing.lake, of, landing.current)
    (long,) = query(
        landing.lake, "SELECT sum(n) AS n FROM gold.berlin_day WHERE window_start = TIMESTAMP '2018-10-27T22:00:00Z'"
    ).to_pylist()
    assert long["n"] == 100


def test_a_window_leads_back_to_its_rows(told: Story) -> None:
    found = trace(told.lake, "gold.berlin_day", "meter = 'a' AND window_start = TIMESTAMP '2018-10-27T22:00:00Z'")
    held = [r for r in told.rows.values() if r["meter"] == "a" and r["at"].astimezone(ZoneInfo(BERLIN)).date() == date(2018, 10, 28)]  # fmt: skip
    assert sum(found["rows"].to_pylist()) == len(held) > 10


def test_dates_belong_to_the_day_they_name_wherever_that_is(tmp_path: Path) -> None:
    windows = {f"{name}_{c}": (c, zone, ["meter"]) for c in ("day", "month") for name, zone in (("ny", "America/New_York"), ("nz", "Pacific/Auckland"))}  # fmt: skip
    story = Story(tmp_path, feed(windows, "date", out_of_orderness="40d"))
    for seed, start in ((1, date(2025, 10, 20)), (2, date(2025, 11, 1))):
        story.arrive(*({"id": f"{seed}-{n}", "at": start + timedelta(days=n % 20), "meter": "ab"[n % 2], "kwh": n / 4, "version": 1} for n in range(40)))  # fmt: skip
        refine(story.lake, engine="embedded")
        story.check()
    story.arrive({**story.rows["1-11"], "at": date(2025, 10, 31), "version": 2}, {**story.rows["2-1"], "version": 2, "kwh": 7.0})  # fmt: skip
    refine(story.lake, engine="embedded")
    story.check()
    for name, start in (("ny_month", "2025-11-01T04:00:00Z"), ("nz_month", "2025-10-31T11:00:00Z")):
        found = trace(story.lake, f"gold.{name}", f"meter = 'a' AND window_start = TIMESTAMP '{start}'")
        held = [r for r in story.rows.values() if r["meter"] == "a" and r["at"].month == 11]
        assert sum(found["rows"].to_pylist()) == len(held) > 10


def test_the_case_of_the_autumn_day(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    command = ["run", "--contract", str(CASE / "contract.toml"), "--source", str(CASE / "given"), "--lake", lake, "--now", "2025-10-29T00:00:00Z"]  # fmt: skip
    said = CliRunner().invoke(cli, command)
    assert said.exit_code == 0, said.output
    rows = query(Lake.open(lake), "SELECT window_start, n FROM gold.feeder_daily").to_pylist()
    days = {row["window_start"].astimezone(ZoneInfo(BERLIN)).date().isoformat(): row["n"] for row in rows}
    assert days == {"2025-10-25": 96, "2025-10-26": 100, "2025-10-27": 96}


def test_the_report_names_days_as_they_are_called_there(told: Story) -> None:
    (shown,) = [f for f in gather(told.lake).feeds if f.name == "feeder"]
    assert not shown.notes, shown.notes
    assert shown.load is not None and shown.load.step == 86400
    panels = {p.table.name: p for p in shown.panels}
    assert set(panels) == {f"gold.{name}" for name in WINDOWS}
    month = panels["gold.berlin_month"]
    assert [at.isoformat() for at in month.starts] == [f"2018-{m}+00:00" for m in ("09-30T22:00:00", "10-31T23:00:00", "11-30T23:00:00")] + ["2018-12-31T23:00:00+00:00"]  # fmt: skip
    count = next(p for p in month.panels if p.measure.name == "n")
    assert count.total == len(told.rows)
    assert count.greatest is not None and count.greatest.at == "2018-10"
