"""Metrics and health, asked over HTTP."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from beam_grid.errors import GridError
from beam_grid.service.health import Address, served
from beam_grid.service.metrics import METRICS, MOST_PARTITIONS, OTHERS, bounded
from beam_grid.service.sizes import sizes
from beam_grid.service.told import MOST_UNPUBLISHED, PATIENCE_S, Telling
from tests.beam_grid.service.telling import feed_vitals, now_us, telling


def asked(page: str, *tellings: Telling) -> tuple[int, str]:
    with served(Address(0), lambda: list(tellings)) as port:
        try:
            with urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            return refused.code, refused.read().decode()


def samples(text: str) -> dict[tuple[str, str], float]:
    """By name and the label that is not lake or feed."""
    return {
        (s.name, next((v for k, v in s.labels.items() if k not in ("lake", "feed")), "")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_metrics_say_what_was_told(tmp_path: Path) -> None:
    code, text = asked("metrics", telling(tmp_path, feed_vitals(breaker="open", failures=3, quarantined=2)))
    found = samples(text)
    assert code == 200
    assert found["beam_grid_records_total", "landed"] == 90
    assert found["beam_grid_rejects_total", "rule/negative"] == 3
    assert (found["beam_grid_lag_records", "t/0"], found["beam_grid_lag_records", "t/1"]) == (4, 6)
    assert found["beam_grid_watermark_delay_seconds", ""] == pytest.approx(90, abs=2)
    assert found["beam_grid_newest_event_age_seconds", ""] == pytest.approx(60, abs=2)
    assert found["beam_grid_breaker_state", "open"] == 1 and found["beam_grid_breaker_state", "closed"] == 0
    assert found["beam_grid_feed_state", "idle"] == 1
    assert found["beam_grid_step_seconds_total", "publish"] == 0.5
    assert found["beam_grid_failures", ""] == 3 and found["beam_grid_quarantined_records_total", ""] == 2
    assert found["beam_grid_disk_free_bytes", ""] > 0 and found["process_resident_memory_bytes", ""] > 10e6
    assert {m.full_name for m in METRICS} - {name for name, _ in found} == {
        "beam_grid_refined_time_seconds", "beam_grid_beside_seconds_total", "beam_grid_state_files", "beam_grid_state_bytes",
        "beam_grid_alerts_open", "beam_grid_alert_messages", "beam_grid_alert_oldest_waiting_seconds",
    }, "of a lake that holds nothing, was not refined, and looks for no alerts"  # fmt: skip


def test_labels_are_bounded_and_their_sum_stays() -> None:
    many = {f"t/{n}": n for n in range(1000)}
    few = bounded(many, MOST_PARTITIONS)
    assert len(few) == MOST_PARTITIONS and sum(few.values()) == sum(many.values()) and OTHERS in few


def test_sizes_are_by_part_and_count_a_link_once(tmp_path: Path) -> None:
    data, table = tmp_path / "landing" / "f" / "data" / "attempt", tmp_path / "tables" / "silver" / "f"
    for folder in (data, table, tmp_path / "landing" / "f" / "commits"):
        folder.mkdir(parents=True)
    (data / "rows.parquet").write_bytes(b"x" * 1000)
    os.link(data / "rows.parquet", table / "rows.parquet")
    (table / "own.parquet").write_bytes(b"x" * 10)
    (tmp_path / "landing" / "f" / "commits" / "1.json").write_bytes(b"{}")
    found = {part: (size.files, size.bytes) for part, size in sizes(tmp_path).items()}
    assert found == {"data": (1, 1000), "commits": (1, 2), "tables": (1, 10)}


def test_healthy_is_a_loop_that_goes_round(tmp_path: Path) -> None:
    assert asked("healthz", telling(tmp_path, feed_vitals(state="failed"))) == (200, "ok\n")
    code, why = asked("healthz", telling(tmp_path, feed_vitals(), beat_at=now_us() - int((PATIENCE_S + 9) * 1e6)))
    assert code == 503 and "has not gone round for 69 s" in why
    assert asked("healthz") == (200, "ok\n"), "starting"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"state": "failed", "last_error": "no such topic"}, "readings: failed: no such topic"),
        ({"breaker": "open", "last_error": "no broker"}, "the breaker is open: no broker"),
        ({"commit": 7 + MOST_UNPUBLISHED + 1}, f"{MOST_UNPUBLISHED + 1} commits wait"),
    ],
)
def test_what_keeps_a_lake_from_being_ready_is_said(tmp_path: Path, more: dict[str, object], why: str) -> None:
    code, text = asked("readyz", telling(tmp_path, feed_vitals(**more)))
    assert code == 503 and why in text
    assert asked("readyz", telling(tmp_path, feed_vitals())) == (200, "ok\n")


def test_who_stands_by_is_not_ready_and_commits_may_wait_where_tables_are_not_made_one_by_one(tmp_path: Path) -> None:
    assert asked("readyz", telling(tmp_path, role="standby"))[0] == 503
    assert asked("readyz", telling(tmp_path, feed_vitals(published=0, commit=99), publishes=False))[0] == 200
    assert asked("readyz", telling(tmp_path, feed_vitals(published=0, commit=99, is_refined=True)))[0] == 200
    assert asked("readyz")[0] == 503


def test_other_pages_are_not_there_and_a_port_in_use_is_said(tmp_path: Path) -> None:
    assert asked("etc/passwd")[0] == 404
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(GridError, match="--metrics-port"), served(Address(taken.getsockname()[1]), list):
            pass


def test_names_that_are_not_utf8_are_told_too(tmp_path: Path) -> None:
    odd = feed_vitals("odd", lag={"\udcff.csv": 3}, state="failed", last_error="no \udcff.csv")
    code, text = asked("metrics", telling(tmp_path, odd))
    assert code == 200 and samples(text)["beam_grid_lag_records", "\\udcff.csv"] == 3
    code, text = asked("readyz", telling(tmp_path, odd))
    assert code == 503 and "no \\udcff.csv" in text


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_it_listens_on_loopback_of_either_kind(tmp_path: Path) -> None:
    with (
        served(Address(0, "::1"), lambda: [telling(tmp_path)]) as port,
        urlopen(f"http://[::1]:{port}/healthz") as answer,
    ):
        assert answer.status == 200
