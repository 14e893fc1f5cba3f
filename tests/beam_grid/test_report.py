"""The report: one file that needs nothing beside it, escapes what it shows, and says what the commits say."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from msgspec.structs import replace

from beam_grid.commit import total
from beam_grid.errors import GridError
from beam_grid.lakehouse.bronze import SCHEMAS
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import PublishedTable
from beam_grid.lakehouse.versions import Content, newest, publish
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.report import write_report
from beam_grid.report.charts.delays import _late_parts
from beam_grid.report.gather import gather
from beam_grid.report.load import MOST_STEPS
from beam_grid.report.words import excerpt, number, printable, share, without_secrets
from data_sources.contract import Contract, load_contract, parse_contract

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 1, tzinfo=UTC)
HOSTILE = "<script>$x$</script>&\"'"
METERS = load_contract(ROOT / "data_sources/smart_meter_readings/contract.toml")


class Page(HTMLParser):
    """Tags with their attributes, and the text beside tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def reading(n: int, **other: Any) -> dict[str, Any]:
    """The n-th reading, one a quarter of an hour; every tenth a theft, every tenth but three a spike."""
    return {
        "event_id": f"e{n}", "meter_id": HOSTILE, "customer_id": "c", "timestamp": (START + n * timedelta(minutes=15)).isoformat(),
        "reading_kwh": 0.01 if n % 10 == 0 else 99.5 if n % 10 == 3 else 2.0, "voltage_v": 230.0, "current_a": 1.0,
        "power_factor": 0.9, "frequency_hz": 50.0, "meter_status": f"<b>{HOSTILE}", "region": ["NORTH", HOSTILE][n % 2],
        "state": "s", "grid_zone": "z", "is_anomaly_flag": False, **other,
    }  # fmt: skip


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """60 readings, a copy of one, a conflict with one, a late one, and four rejects, of which one is hostile HTML."""
    home = tmp_path_factory.mktemp("report")
    lines = [json.dumps(reading(n)).encode() for n in range(60)]
    lines += [
        lines[-1],
        json.dumps(reading(58, reading_kwh=3.25)).encode(),
        json.dumps(reading(200, timestamp=START.isoformat())).encode(),
    ]
    lines += [
        b"<img src=http://evil.example/x.png onerror=alert(2)> $y$",
        b'{"event_id": "\xff\x00"}',
        b"{]",
        json.dumps(reading(7, reading_kwh=-1)).encode(),
    ]
    (home / "in").mkdir()
    (home / "in" / "<i>$z$.json").write_bytes(b"\n".join(lines) + b"\n")
    lake = Lake.open(home / "lake")
    now = int((START + timedelta(days=2)).timestamp() * 1e6)
    land(
        lake,
        METERS,
        Options(str(home / "in"), now=now, slice_rows=40, command="land --kafka-config k sasl.password=hunter2"),
    )
    assert sum(c.fates.read for c in lake.feed(METERS.name).commits()) == 67
    return lake


@pytest.fixture(scope="module")
def refined(landed: Lake) -> Lake:
    """Tables as refine makes them, by delta-rs and DuckDB, without Spark."""
    log = landed.feed(METERS.name)
    paths = [str(log.path / f.path) for c in log.commits() for f in c.listed("rows")]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    rows = connection.sql(f"SELECT * FROM read_parquet({paths})").to_arrow_table()
    connection.register("silver", rows)
    gold = {
        w.name: connection.sql(
            f'SELECT to_timestamp(epoch_us("timestamp") // {s} * {s} / 1e6) AS window_start, window_start + INTERVAL {s // 1_000_000} SECONDS AS window_end, '
            f"{', '.join(w.by)}, count(*) AS readings, sum(reading_kwh) AS kwh, window_start < TIMESTAMPTZ '2026-03-01T13:00Z' AS final, 1::BIGINT AS revision "
            "FROM silver GROUP BY ALL"
        ).to_arrow_table()
        for w, s in ((w, int(w.size.total_seconds() * 1e6)) for w in METERS.windows)
    }
    aside = {
        kind: pa.Table.from_pylist(
            [{"feed": METERS.name}] * sum(getattr(c.fates, kind) for c in log.commits()), schema=SCHEMAS[kind]
        )
        for kind in ("rejected", "late")
    }
    tables = {
        f"silver.{METERS.name}": rows,
        **{f"gold.{n}": t for n, t in gold.items()},
        **{f"bronze.{k}": t for k, t in aside.items()},
    }
    publish(
        landed, Content({METERS.name: log.last}, {name: written(landed, name, table) for name, table in tables.items()})
    )
    return landed


def written(lake: Lake, name: str, rows: pa.Table) -> PublishedTable:
    path = f"tables/{name.replace('.', '/')}"
    (lake.path / path).parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(str(lake.path / path), rows)
    return PublishedTable(path=path, version=0, id=str(DeltaTable(str(lake.path / path)).metadata().id))


def report(lake: Lake, out: Path, command: str = "") -> Page:
    write_report(lake, out, command=command)
    return Page(out)


def test_needs_nothing_beside_it(refined: Lake, tmp_path: Path) -> None:
    page = report(refined, tmp_path / "new" / "report.html", "beam-grid report")
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "link", "iframe", "object", "embed", "base", "image", "foreignobject")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
                assert (value or "").startswith("#") and (value or "")[1:] in page.ids, (tag, name, value)
    assert "@import" not in page.source and "url(http" not in page.source
    assert all(ref in page.ids for ref in re.findall(r"url\(#([^)]*)\)", page.source))
    assert len(page.ids) == len(set(page.ids))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report.html"]
    assert len(page.source) < 2_000_000


def test_shows_hostile_text_as_text(refined: Lake, tmp_path: Path) -> None:
    page = report(refined, tmp_path / "report.html", f"beam-grid report {HOSTILE}")
    assert (
        "<script" not in page.source
        and "<img" not in page.source
        and "<i>" not in page.source
        and "<b><script" not in page.source
    )
    assert page.text.count(HOSTILE) > 3
    assert "<img src=http://evil.example/x.png onerror=alert(2)> $y$" in page.text
    assert r'{"event_id": "\xff\x00"}' in page.text and "<i>$z$.json:65" in page.text
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", page.source)
    assert any("&lt;script&gt;" in label and "$x$" in label for label in labels)  # a region's name in the chart


def test_numbers_are_those_of_the_commits(refined: Lake, tmp_path: Path) -> None:
    commits = list(refined.feed(METERS.name).commits())
    totals = total(c.fates for c in commits)
    assert (totals.rejected, totals.late, totals.duplicates, totals.conflicts) == (4, 1, 2, 1)
    found = gather(refined)
    feed = found.feeds[0]
    assert found.balanced and feed.fates == totals == found.totals
    assert sum(rule.count for rule in feed.rejected) == totals.rejected and all(rule.example for rule in feed.rejected)
    assert sum(feed.delays.counts) == totals.read - totals.rejected
    assert feed.delays.late == 1 and feed.delays.limit == 70 * 60
    assert (feed.first, feed.last) == (START, START + 59 * timedelta(minutes=15))
    assert feed.load is not None and feed.load.table == "gold.energy_hourly" and feed.load.by == "region"
    silver = query(refined, f"SELECT sum(reading_kwh) AS kwh, count(*) AS n FROM silver.{METERS.name}").to_pylist()[0]
    assert (
        feed.load.total == pytest.approx(silver["kwh"]) and sum(g.count or 0 for g in feed.load.groups) == silver["n"]
    )
    assert [sum(feed.load.provisional), len(feed.load.provisional)] == [2, 15]
    page = report(refined, tmp_path / "report.html")
    assert f"{totals.read} records read, every one accounted for." in page.text
    assert f"silver.{METERS.name} holds {silver['n']} rows: landed − superseded" in page.text
    assert "reading_kwh2.03.25" in re.sub(r"\s", "", page.text)  # the conflict: the field, what stays, what came


def test_suspects_stand_among_their_neighbours(refined: Lake) -> None:
    theft, spike = gather(refined).feeds[0].suspects
    assert (theft.kind.name, theft.readings, theft.meters) == ("theft", 6, 1)
    assert (spike.kind.name, spike.readings, spike.all_readings) == ("spike", 6, 60)
    meter = spike.top[0]
    assert meter.suspects == 6 and meter.readings[meter.example].kwh == 99.5
    assert meter.before is not None and meter.after is not None and (meter.before.kwh, meter.after.kwh) == (2.0, 2.0)
    assert meter.statuses == [(printable(f"<b>{HOSTILE}", 30), 6)]
    assert [r.at for r in meter.readings] == sorted(r.at for r in meter.readings)


def test_keeps_secrets(refined: Lake, tmp_path: Path) -> None:
    page = report(
        refined, tmp_path / "report.html", "report --lake s3://user:hunter2@host/x --password hunter2 --token=hunter2"
    )
    assert "hunter2" not in page.source and "sasl.password=" in page.text


def test_tables_that_say_something_else_are_named(refined: Lake, tmp_path: Path) -> None:
    known = newest(refined)
    assert known is not None
    try:
        short = query(refined, f"SELECT * FROM silver.{METERS.name} LIMIT 3")
        wrong = {**known.tables, f"silver.{METERS.name}": written(refined, "silver.short", short)}
        publish(refined, Content(known.commits, wrong))
        page = report(refined, tmp_path / "report.html")
        assert "the accounts do not balance" in page.text and "holds 3 rows, landed − superseded is 60" in page.text
        gone = {name: table for name, table in known.tables.items() if not name.startswith("gold.")}
        publish(
            refined,
            Content(
                known.commits,
                {**gone, "gold.meter_15min": replace(known.tables["gold.meter_15min"], path="tables/nowhere")},
            ),
        )
        page = report(refined, tmp_path / "report.html")
        assert "Left out: window tables" in page.text and "every one accounted for" in page.text
        publish(refined, Content({METERS.name: 1}, known.tables))
        assert "The tables hold 1 of 2 commits" in report(refined, tmp_path / "report.html").text
    finally:
        publish(refined, Content(known.commits, known.tables))


def test_without_refine_shows_what_landed(landed: Lake, tmp_path: Path) -> None:
    bare = Lake(tmp_path / "bare")
    bare.path.mkdir()
    for name in ("lake.json", "landing"):
        (bare.path / name).symlink_to(landed.path / name)
    page = report(bare, tmp_path / "report.html")
    assert "beam-grid refine was not run yet" in page.text and "67 records read, every one accounted for." in page.text
    assert (
        "evil.example" in page.text
        and "Window tables" not in page.text
        and "suspects" not in page.text.split("refine", 1)[1].split("Commits")[1]
    )


def test_empty_lake(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    assert "Nothing has landed in this lake yet." in report(lake, tmp_path / "report.html").text


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(GridError, match="is a folder"):
        write_report(lake, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(GridError, match="cannot be written"):
        write_report(lake, tmp_path / "file" / "report.html")


OWN: dict[str, Any] = {
    "name": "pumps", "format": "csv", "event_time": "day", "dedup": {"key": ["pump", "day"]},
    "windows": [
        {"name": "sliding", "size": "2d", "every": "1d", "by": ["pump"], "measures": {"n": "count()", "flow": "sum(flow)"}},
        {"name": "daily", "size": "1d", "by": ["pump"], "measures": {"runs": "count()", "top": "max(flow)"}},
    ],
    "fields": [{"name": "pump", "type": "string"}, {"name": "day", "type": "date"}, {"name": "flow", "type": "decimal(10,2)", "unit": "m³"}],
}  # fmt: skip


def own_feed(tmp_path: Path, contract: Contract, days: int) -> Lake:
    """A feed of whole files, a pump a day, with window tables of so many days made by hand."""
    (tmp_path / "in").mkdir()
    lines = [f"{'ab'[n % 2]},{(START + timedelta(days=9 - n)):%Y-%m-%d},{n}.25" for n in range(10)]
    (tmp_path / "in" / "pumps.csv").write_text("pump,day,flow\n" + "\n".join(lines) + "\n")
    lake = Lake.open(tmp_path / "lake")
    land(lake, contract, Options(str(tmp_path / "in"), now=int((START + timedelta(days=60)).timestamp() * 1e6)))
    tables = {}
    for window in contract.windows:
        rows = [
            {"window_start": START + timedelta(days=n), "window_end": START + timedelta(days=n) + window.size, "pump": pump,
             **{m.name: n if m.function == "count" else n + 0.5 for m in window.parsed}, "final": True, "revision": 1}
            for n in range(days) for pump in (None, "b")
        ]  # fmt: skip
        tables[f"gold.{window.name}"] = written(lake, f"gold.{window.name}", pa.Table.from_pylist(rows))
    publish(lake, Content({contract.name: 1}, tables))
    return lake


def test_any_feed(tmp_path: Path) -> None:
    """A date for its event time, decimals, a null group, windows that overlap, files whole in themselves, no meters."""
    lake = own_feed(tmp_path, parse_contract(OWN, "own"), days=10)
    feed = gather(lake).feeds[0]
    assert (feed.first, feed.last) == (START, START + timedelta(days=9))
    assert feed.load is not None and (feed.load.table, feed.load.measure, feed.load.overlapping) == (
        "gold.sliding",
        "flow",
        True,
    )
    assert set(feed.load.series) == {"(none)", "b"} and feed.load.unit == "m³"
    assert feed.delays.limit is None and feed.delays.whole_files and not feed.suspects
    page = report(lake, tmp_path / "report.html")
    assert (
        "whole in themselves" in page.text
        and "overlap, so their values do not add up" in page.text
        and "Theft" not in page.text
    )


def test_long_histories_are_summed_up(tmp_path: Path) -> None:
    spec = {**OWN, "windows": [OWN["windows"][1]]}
    days = 3000
    feed = gather(own_feed(tmp_path, parse_contract(spec, "own"), days)).feeds[0]
    assert feed.load is not None and feed.load.measure == "runs" and feed.load.step == 28 * 86400
    assert len(feed.load.starts) <= MOST_STEPS and feed.load.total == 2 * sum(range(days))
    sliding = {**OWN, "windows": [OWN["windows"][0]]}
    (tmp_path / "b").mkdir()
    feed = gather(own_feed(tmp_path / "b", parse_contract(sliding, "own"), days)).feeds[0]
    assert feed.load is not None and len(feed.load.starts) <= MOST_STEPS + 2
    width = timedelta(seconds=feed.load.step)
    assert feed.load.starts[0] < START + width and feed.load.starts[-1] > START + timedelta(days=days - 1) - width
    for n, start in enumerate(feed.load.starts):  # each a window of the table, not several put together
        assert feed.load.series["b"][n] == (start - START).days + 0.5


def test_a_feed_without_windows(tmp_path: Path) -> None:
    lake = own_feed(tmp_path, parse_contract({**OWN, "windows": []}, "own"), days=1)
    assert "declares no windows" in report(lake, tmp_path / "report.html").text


def test_late_records_are_laid_into_their_bins() -> None:
    assert _late_parts([5, 4, 3], 1, 5) == [0, 2, 3]  # all beyond the cut bin, the rest of the five in it
    assert _late_parts([5, 4, 3], None, 0) == [0, 0, 0]
    assert _late_parts([5], 3, 0) == [0]


def test_words() -> None:
    assert [share(0, 9), share(1, 99999), share(99999, 100000), share(1, 8), share(1, 0)] == [
        "0 %",
        "<0.1 %",
        ">99.9 %",
        "12.5 %",
        "–",
    ]
    assert [number(v) for v in (0, 1234567.8, 119.96, 0.001, None, float("nan"))] == [
        "0",
        "1,234,568",
        "120",
        "0.001",
        "–",
        "nan",
    ]
    assert printable("a\u202eb\x00\n") == r"a\u202eb\x00\n"
    assert printable(b"x" * 1000).endswith("… (1,000 bytes)") and len(printable("y" * 1000, 24)) == 24
    assert r"\xff" in excerpt(b"a" * 500 + b"\xff" + b"b" * 500) and "from byte 401" not in excerpt(b"\xff")
    assert without_secrets("land --kafka-config f.json --lake x") == "land --kafka-config f.json --lake x"
