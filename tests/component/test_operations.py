"""What an operator sees of a topic: lag by partition that shrinks at the rate allowed, and a broker that is away."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.request import urlopen

import pytest

from beam_grid.landing import Lake
from beam_grid.service.status import Status
from beam_grid.service.status import status as status_of
from tests.component.broker import free_ports
from tests.component.test_follow import Place, place

__all__ = ["place"]
pytestmark = [pytest.mark.component]


def status(here: Place) -> tuple[int, dict[str, Any], list[str]]:
    """Exit code, the one feed, what is wrong."""
    done = here.grid("status", "--format", "json")
    found = json.loads(done.stdout)
    return done.returncode, found["feeds"][0], found["wrong"]


def seen(here: Place) -> Status:
    return status_of(Lake.open(here.lake, create=False))


def test_lag_shrinks_at_the_rate_allowed_and_a_broker_that_is_away_is_said(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAM_GRID_LOG_FORMAT", "json")
    here: Place = place("readings")
    here.send("readings", 2000)
    (port,) = free_ports(1)

    def lags() -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {p: float(n) for p, n in re.findall(r'beam_grid_lag_records\{.*partition="([^"]+)"\} (\S+)', text)}

    try:
        with here.following("--max-rows-per-s", "100", "--metrics-port", str(port)) as running:
            here.until(lambda: f":{port}/metrics" in here.log, running)
            here.until(lambda: sum(lags().values()) > 0, running)
            assert len(lags()) == 2, "partitions"
            before = sum(lags().values())
            here.until(lambda: seen(here).feeds[0].lag is not None, running)  # told on disk up to a second after
            code, feed, wrong = status(here)
            assert (code, wrong) == (0, []) and 0 < feed["lag"] <= before < 2000
            here.until(lambda: sum(lags().values()) < before, running)
            here.until(lambda: 20 < (seen(here).feeds[0].records_per_s or 0) <= 110, running)
            here.broker.pause()
            here.until(lambda: seen(here).wrong, running)
            code, feed, wrong = status(here)
            assert code == 1 and feed["failures"] >= 1 and re.search("in a row|breaker", wrong[0]), wrong
    finally:
        here.broker.resume()
    lines = [json.loads(line) for line in here.log.splitlines()]
    at = next(n for n, line in enumerate(lines) if "tried again" in line["message"])
    committed = [line["commit"] for line in lines[:at] if line["message"] == "committed"]
    assert (lines[at]["feed"], lines[at]["commit"]) == ("readings", committed[-1] + 1), "the slice that failed"
