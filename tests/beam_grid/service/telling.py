"""Vitals as a follower would fill them, for tests of what is made of them."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from beam_grid.service.told import Telling
from beam_grid.service.vitals import FeedVitals, Vitals


def now_us() -> int:
    return time.time_ns() // 1000


def feed_vitals(feed: str = "readings", **more: Any) -> FeedVitals:
    usual: dict[str, Any] = {
        "state": "idle", "commit": 7, "published": 7, "commits": 7,
        "fates": {"read": 100, "landed": 90, "duplicates": 5, "late": 2, "rejected": 3},
        "rejected_by": {"rule/negative": 3}, "lag": {"t/0": 4, "t/1": 6}, "watermark": now_us() - 90_000_000,
        "newest_event": now_us() - 60_000_000, "committed_at": now_us() - 5_000_000, "published_at": now_us() - 4_000_000,
        "freshness_s": 0.4, "seconds": {"land": 1.5, "publish": 0.5},
    }  # fmt: skip
    return FeedVitals(feed=feed, **{**usual, **more})


def vitals(lake: Path, *feeds: FeedVitals, **more: Any) -> Vitals:
    usual: dict[str, Any] = {
        "pid": os.getpid(), "host": socket.gethostname(), "started_at": now_us() - 1_000_000, "beat_at": now_us(),
    }  # fmt: skip
    return Vitals(lake=str(lake), feeds={f.feed: f for f in feeds}, **{**usual, **more})


def telling(lake: Path, *feeds: FeedVitals, publishes: bool = True, **more: Any) -> Telling:
    return Telling(vitals=vitals(lake, *feeds, **more), publishes=publishes)
