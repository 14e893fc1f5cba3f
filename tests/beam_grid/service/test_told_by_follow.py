"""What `follow` tells of feeds of two kinds: one whose tables come with each commit, one whose tables wait for a refine."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from beam_grid.follow import Pace, Tables, follow
from beam_grid.land import Lander, Options
from beam_grid.landing import Lake
from beam_grid.service.vitals import FeedVitals, Vitals
from tests.beam_grid.three_kinds import FEEDS


def test_a_feed_of_changes_is_not_called_published_before_a_refine(tmp_path: Path) -> None:
    lines = {
        "readings": {"id": "a", "at": "2026-03-01T00:00:00Z", "version": 1, "meter": "m", "kwh": 1.0},
        "bills_transactions": {"op": 2, "lsn": "1", "id": "a", "amount": "1.00", "at": "2026-03-01T00:00:00Z"},
    }
    feeds = []
    for name, line in lines.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text(json.dumps(line) + "\n")
        feeds.append((FEEDS[name], Options(str(tmp_path / name))))
    told: list[dict[str, FeedVitals]] = []
    rounds = 0

    def beat(vitals: Vitals) -> None:
        told.append(msgspec.json.decode(msgspec.json.encode(vitals), type=Vitals).feeds)

    def at(lander: Lander) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2 * len(feeds):
            raise StopIteration

    lake = Lake.open(tmp_path / "lake")
    with lake.lock("land"):
        follow(lake, feeds, Pace(0, 3600), Tables(lake), lambda line: None, at, beat)
    readings, bills = (told[-1][name] for name in lines)
    assert (readings.commit, readings.published, readings.is_refined) == (1, 1, False)
    assert (bills.commit, bills.published, bills.is_refined) == (1, 0, True)
    states = [feeds["readings"].state for feeds in told]
    assert [s for n, s in enumerate(states) if n == 0 or s != states[n - 1]][:4] == [
        "landing", "publishing", "idle", "landing",
    ]  # fmt: skip
    assert readings.fates["landed"] == 1 and readings.seconds.keys() == {"land", "publish"}
