"""What the report says of anomalies: suspects beside what was planted, and plain words where nothing can be scored."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_grid.lakehouse.versions import Content, newest, publish
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.report.prose import prose
from beam_grid.report.scores import Scores, planted_beside, scores
from data_sources.generators import truth
from tests.beam_grid.test_report import METERS, Page, reading, report, written

NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)
EVIL = "<script>$x$</script>"
SCHEMA = pa.schema(
    [
        ("meter_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC")), ("event_id", pa.string()), ("reading_kwh", pa.float64()),
        ("hour_of_week", pa.int32()), ("history_readings", pa.int64()), ("history_mean_kwh", pa.float64()),
        ("history_stddev_kwh", pa.float64()), ("deviation_kwh", pa.float64()), ("z_score", pa.float64()), ("status", pa.string()),
    ]
)  # fmt: skip


def row(event: str, at: datetime, kwh: float = 2.0, z: float | None = None, history: int = 9) -> dict[str, Any]:
    status = None if z is None else "CRITICAL" if abs(z) > 3 else "WARNING" if abs(z) > 2 else "NORMAL"
    return {
        "meter_id": EVIL, "timestamp": at, "event_id": event, "reading_kwh": kwh, "hour_of_week": 12, "history_readings": history,
        "history_mean_kwh": 2.0, "history_stddev_kwh": 0.3, "deviation_kwh": kwh - 2.0, "z_score": z, "status": status,
    }  # fmt: skip


def lake_of(home: Path, rows: list[dict[str, Any]], planted: Any = None) -> Lake:
    """A lake in which a reading has landed from a folder with what was planted, and its scores as given."""
    (home / "in").mkdir()
    (home / "in" / "a.json").write_text(json.dumps(reading(0)) + "\n")
    if planted is not None:
        truth.record_planted(home / "in", METERS.name, planted)
    lake = Lake.open(home / "lake")
    land(lake, METERS, Options(str(home / "in"), now=int(NOON.timestamp() * 1e6)))
    table = written(lake, "gold.anomalies", pa.Table.from_pylist(rows, schema=SCHEMA))
    publish(lake, Content({METERS.name: lake.feed(METERS.name).last}, {"gold.anomalies": table}))
    return lake


def found(lake: Lake) -> Scores:
    result = scores(lake, newest(lake), planted_beside(lake.feed(METERS.name)))
    assert result is not None
    return result


def planted(event: str, kind: str) -> dict[str, str]:
    return {"event_id": event, "meter_id": EVIL, "timestamp": NOON.isoformat(), "kind": kind}


ROWS = [
    row("long ago", NOON - timedelta(days=30), z=99.0),
    row("usual", NOON, z=0.1),
    row("high", NOON, kwh=90, z=88.0),
    row("odd", NOON - timedelta(hours=1), kwh=2.7, z=2.4),
    row("low", NOON, kwh=0.01, z=-5.5),
    row("unseen", NOON, kwh=60, z=1.5),
    row("new", NOON, history=1),
]
PLANTED = [planted(e, k) for e, k in (("high", "spike"), ("low", EVIL), ("unseen", "spike"), ("never landed", "spike"))]


def test_suspects_stand_beside_the_truth(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, ROWS, PLANTED)
    result = found(lake)
    assert (result.counts.all, result.counts.critical, result.recent.all, result.recent.critical) == (7, 3, 6, 2)
    assert [one.kwh for one in result.high] == [90, 2.7]
    assert [one.kwh for one in result.low] == [0.01]
    assert [(one.kind, one.found, one.scored is None) for one in result.planted] == [
        ("spike", True, False),
        ("spike", False, False),
        ("spike", False, True),
        (EVIL, True, False),
    ]
    assert result.ordinary is not None
    assert (result.ordinary.critical, result.ordinary.warning, result.ordinary.normal, result.ordinary.unscored) == (0, 1, 1, 1)  # fmt: skip
    assert result.summary.startswith("2 of 4 planted anomalies found (1 of 3 spikes, 1 of 1 ")
    assert result.summary.endswith("Of 3 ordinary readings since 2026-03-06: 0 flagged CRITICAL and 1 WARNING too.")
    page = report(lake, tmp_path / "r.html")
    assert "<script>" not in page.source
    for text in (result.summary, "2 of 4 planted found", "z-score +1.5", "did not land", "0.01", "−5.5", "+88"):
        assert text in page.text, text


def test_without_truth_the_suspects_alone(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, ROWS)
    result = found(lake)
    assert result.planted == [] and result.ordinary is None
    assert result.summary == "Of 6 readings since 2026-03-06: 2 flagged CRITICAL and 1 WARNING."
    page = report(lake, tmp_path / "r.html")
    assert result.summary in page.text
    assert "lanted" not in page.text
    assert "2 CRITICAL since 2026-03-06" in page.text
    link = next(a["href"] for tag, a in page.tags if tag == "a" and str(a.get("href")).endswith("-scores"))
    assert link is not None and link.removeprefix("#") in page.ids


@pytest.mark.parametrize(
    ("days", "needed"), [(2, "2 more weeks of data are needed"), (9, "1 more week of data is needed"), (14, "1 more")]
)
def test_no_history_is_said_in_words_not_in_a_table_of_nulls(tmp_path: Path, days: int, needed: str) -> None:
    lake = lake_of(tmp_path, [row(str(n), NOON - timedelta(days=n), history=n // 7) for n in range(days)])
    result = found(lake)
    assert needed in result.nothing_scored
    page = report(lake, tmp_path / "r.html")
    assert "no meter has two earlier readings in the same hour of the week" in page.text
    section = page.source[page.source.index('id="f1-scores"') :].split("</section>")[0]
    assert "<table" not in section
    assert 'id="f1-analyses"' not in page.source


def test_equal_readings_are_another_reason(tmp_path: Path) -> None:
    result = found(lake_of(tmp_path, [row("a", NOON, history=5)]))
    assert "are equal" in result.nothing_scored


@pytest.mark.parametrize("listed", [{"a": 1}, ["a"], [planted(str(n), "spike") for n in range(2001)]])
def test_a_list_that_cannot_be_used_leaves_a_sentence(tmp_path: Path, listed: Any) -> None:
    page: Page = report(lake_of(tmp_path, ROWS, listed), tmp_path / "r.html")
    assert "Left out: what was planted" in page.text
    assert "Of 6 readings since 2026-03-06: 2 flagged CRITICAL" in page.text


def test_code_in_prose_is_code_and_all_else_is_text() -> None:
    assert prose("`z < 1` is *not* <b>") == "<code>z &lt; 1</code> is *not* &lt;b&gt;"
    assert prose("[x](javascript:1) <img src=x> ` &amp;") == "[x](javascript:1) &lt;img src=x&gt; ` &amp;amp;"
    assert prose(f"`{EVIL}`") == "<code>&lt;script&gt;$x$&lt;/script&gt;</code>"
