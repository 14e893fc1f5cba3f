"""What sets tell of what was done for them, beside what alerts.db tells of their alerts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from beam_grid import progress
from beam_grid.alerts.store import path_of
from beam_grid.lakehouse.table_set import PublishedTable
from beam_grid.lakehouse.versions import Content, content_of, newest, publish
from beam_grid.landing import Lake
from tests.beam_grid.alerts.published import Published

SCORES = PublishedTable(path="tables/gold.scores", version=0, id="x", inputs={"silver.m": "y"})


def test_each_set_tells_what_was_done_for_it_and_the_newest_commits_what_came_of_them(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    assert list(progress.newest_first(lake)) == [] and progress.newest(lake) is None
    publish(lake, Content({"m": 3}, seconds={"land m": 0.5, "silver.m": 0.1, "gold.hourly": 0.2}))
    content = content_of(newest(lake))
    content.tables["gold.scores"], content.seconds = SCORES, {"gold.scores": 0.4}
    publish(lake, content)
    second, first = progress.newest_first(lake)
    assert (first.commits, first.land_s, first.publish_s, first.analyses_s) == ({"m": (1, 3)}, 0.5, 0.3, None)
    assert (second.commits, second.land_s, second.publish_s, second.analyses_s) == ({}, None, None, 0.4)
    both = progress.newest(lake)
    assert both is not None and (both.set, both.commits) == (1, {"m": (1, 3)})
    assert (both.land_s, both.publish_s, both.analyses_s, both.alerts_s) == (0.5, 0.3, 0.4, None)
    assert list(both.seconds) == ["land m", "silver.m", "gold.hourly", "gold.scores"]
    before = content_of(newest(lake))
    assert before.seconds == {} and publish(lake, before).number == 2, "how long it took makes no other set"


def test_alerts_are_told_by_set_also_of_a_state_that_was_written_before(tmp_path: Path) -> None:
    here = Published(tmp_path)
    here.readings(("a", 0, 30.0))
    assert here.check() == 0
    with sqlite3.connect(path_of(here.lake)) as database:
        database.executescript("DROP TABLE looks; PRAGMA user_version = 1;")
    (first,) = progress.newest_first(here.lake)
    assert (first.alerts_s, first.raised) == (None, None)
    here.readings(("b", 0, 30.0), ("c", 0, 30.0))
    assert here.check() == 0
    second, first = progress.newest_first(here.lake)
    assert second.raised == 2 and (second.alerts_s or 0) > 0 and (second.delivered_s or 0) > 0
    assert first.raised is None
    with sqlite3.connect(path_of(here.lake)) as database:
        database.execute("UPDATE outbox SET sent_at = NULL WHERE number = (SELECT max(number) FROM outbox)")
    assert next(progress.newest_first(here.lake)).delivered_s is None, "one waits"
