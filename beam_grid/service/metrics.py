"""Prometheus metrics of lakes that are followed, made from what their followers tell when they are asked for.

    Told.newest ─► Telling ─► Lakes.collect ─► /metrics

All metrics are declared in METRICS, from which docs/operations.md has its table. Counters are of the follower's process
and begin at 0 with it, as Prometheus expects. Labels are bounded: partitions and rules beyond so many are summed up under
"(others)". Nothing here reads a disk but the sizes, which `sizes` knows from a walk of its own, and the figures of alerts,
which are read now and then.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from beam_grid.alerts.figures import AlertFigures, Seen
from beam_grid.landing import Lake
from beam_grid.service.sizes import Sizes
from beam_grid.service.told import Telling
from beam_grid.service.vitals import Breaker, FeedVitals, State

MOST_PARTITIONS, MOST_RULES = 256, 50
"""Label values of a feed at most; the rest is summed up under OTHERS."""

OTHERS = "(others)"


@dataclass(frozen=True)
class _Declared:
    """A metric: its name without the prefix, its labels beside `lake`, what it says."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str

    @property
    def full_name(self) -> str:
        """As a query writes it."""
        return f"beam_grid_{self.name}" + ("_total" if self.kind == "counter" else "")

    def family(self) -> Metric:
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return kind(f"beam_grid_{self.name}", self.help, labels=("lake", *self.labels))


_OF_PROCESS = (
    _Declared("followed", "gauge", (), "1 where a process follows the lake, 0 where it should and none does."),
    _Declared("start_time_seconds", "gauge", (), "When the follower started, since the epoch."),
    _Declared("last_beat_seconds", "gauge", (), "When its loop last went round, since the epoch."),
    _Declared("leader", "gauge", (), "1 where it lands, 0 where it stands by."),
    _Declared("refined_time_seconds", "gauge", (), "When refine last ended well, since the epoch."),
    _Declared("refine_failing", "gauge", (), "1 where the last refine failed."),
    _Declared(
        "beside_seconds",
        "counter",
        ("part",),
        "Time spent beside landing by part: derive (after each publish), refine.",
    ),
    _Declared("resident_bytes", "gauge", (), "Resident memory of the follower's process, where it is on this host."),
    _Declared("state_files", "gauge", ("part",), "Files of the lake by part: data, commits, tables, versions, ..."),
    _Declared(
        "state_bytes", "gauge", ("part",), "Their bytes; a file of the landing zone and of a table counts in the first."
    ),
    _Declared("disk_free_bytes", "gauge", (), "Free on the lake's file system, to this user."),
    _Declared("disk_size_bytes", "gauge", (), "Size of the lake's file system."),
)

_OF_ALERTS = (
    _Declared("alerts_open", "gauge", ("rule", "severity"), "Alerts that are open, acknowledged ones too."),
    _Declared("alert_messages", "gauge", ("sink", "state"), "Messages that a sink has not taken: waiting, or refused."),
    _Declared(
        "alert_oldest_waiting_seconds", "gauge", ("sink",), "Age of the oldest message that waits; 0 where none does."
    ),
)

_OF_FEED = (
    _Declared("records", "counter", ("feed", "fate"), "Records by fate; read = landed + duplicates + late + rejected."),
    _Declared("rejects", "counter", ("feed", "rule"), "Rejects by CAUSE/RULE."),
    _Declared("commits", "counter", ("feed",), "Commits made."),
    _Declared("step_seconds", "counter", ("feed", "step"), "Time spent by step: plan, land, publish."),
    _Declared(
        "quarantined_records", "counter", ("feed",), "Records put aside: no slice that holds them can be landed."
    ),
    _Declared(
        "left_out", "gauge", ("feed",), "Files that changed or went, and gaps of offsets, when it was last looked."
    ),
    _Declared("lag_records", "gauge", ("feed", "partition"), "Records not read yet, when it was last looked."),
    _Declared("commit", "gauge", ("feed",), "Number of the newest commit."),
    _Declared("published_commit", "gauge", ("feed",), "Number of the newest commit that the tables hold."),
    _Declared("commit_time_seconds", "gauge", ("feed",), "When the newest commit was made, since the epoch."),
    _Declared("publish_time_seconds", "gauge", ("feed",), "When the newest publish ended, since the epoch."),
    _Declared("watermark_delay_seconds", "gauge", ("feed",), "Now less the watermark."),
    _Declared("newest_event_age_seconds", "gauge", ("feed",), "Now less the greatest event time that landed."),
    _Declared("freshness_seconds", "gauge", ("feed",), "From arrival to being in the tables, of the last publish."),
    _Declared("failures", "gauge", ("feed",), "Failures one after another; 0 after a commit."),
    _Declared("feed_state", "gauge", ("feed", "state"), f"1 for what it is at: {', '.join(get_args(State))}."),
    _Declared(
        "breaker_state", "gauge", ("feed", "state"), f"1 for how its breaker is: {', '.join(get_args(Breaker))}."
    ),
)

METRICS = (*_OF_PROCESS, *_OF_ALERTS, *_OF_FEED)


def registry(
    tellings: Callable[[], Iterable[Telling]], missing: Callable[[], Iterable[str]] = tuple
) -> CollectorRegistry:
    """Of this process, of the lakes whose followers tell, and of those that lack one, asked anew with each scrape."""
    made = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=made)
    made.register(Lakes(tellings, missing))
    return made


class Lakes(Collector):
    """Every metric of METRICS, of all lakes."""

    def __init__(self, tellings: Callable[[], Iterable[Telling]], missing: Callable[[], Iterable[str]]) -> None:
        self._tellings, self._missing = tellings, missing
        self._sizes: dict[str, Sizes] = {}
        self._alerts: dict[str, Seen] = {}

    def describe(self) -> list[Metric]:
        return [declared.family() for declared in METRICS]

    def collect(self) -> Iterator[Metric]:
        families = {declared.name: declared.family() for declared in METRICS}
        for lake in self._missing():
            families["followed"].add_metric([_label(lake)], 0)  # type: ignore[attr-defined]
        for telling in self._tellings():
            lake = telling.vitals.lake
            samples = [*_of_process(telling, self._sizes.setdefault(lake, Sizes(Path(lake))))]
            samples += _of_alerts(self._alerts.setdefault(lake, Seen(Lake(Path(lake)))).newest())
            for feed in telling.vitals.feeds.values():
                samples += [(name, (feed.feed, *labels), value) for name, labels, value in _of_feed(feed)]
            for name, labels, value in samples:
                families[name].add_metric([_label(label) for label in (lake, *labels)], value)  # type: ignore[attr-defined]
        yield from families.values()


def _label(text: str) -> str:
    """As UTF-8 can hold it: the name of a folder may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


_Sample = tuple[str, tuple[str, ...], float]


def _of_process(telling: Telling, sizes: Sizes) -> Iterator[_Sample]:
    vitals = telling.vitals
    yield "followed", (), 1
    yield "start_time_seconds", (), vitals.started_at / 1e6
    yield "last_beat_seconds", (), vitals.beat_at / 1e6
    yield "leader", (), float(vitals.role == "leader")
    if vitals.refined_at is not None:
        yield "refined_time_seconds", (), vitals.refined_at / 1e6
    yield "refine_failing", (), float(vitals.refine_error is not None)
    for part, seconds in vitals.beside_s.items():
        yield "beside_seconds", (part,), seconds
    if vitals.host == socket.gethostname():
        with suppress(psutil.Error):
            yield "resident_bytes", (), psutil.Process(vitals.pid).memory_info().rss
    for part, size in sizes.newest().items():
        yield "state_files", (part,), size.files
        yield "state_bytes", (part,), size.bytes
    try:
        disk = shutil.disk_usage(vitals.lake)
    except OSError:  # the lake is gone, which others say
        return
    yield "disk_free_bytes", (), disk.free
    yield "disk_size_bytes", (), disk.total


def _of_alerts(found: AlertFigures | None) -> Iterator[_Sample]:
    if found is None:
        return
    rules = Counter[str]()
    for one in found.open:
        rules[one.rule] += one.count
    known = bounded(rules, MOST_RULES)
    by_rule = Counter[tuple[str, str]]()
    for one in found.open:
        by_rule[one.rule if one.rule in known else OTHERS, one.severity] += one.count
    for labels, count in by_rule.items():
        yield "alerts_open", labels, count
    for sink in found.sinks:
        yield "alert_messages", (sink.sink, "waiting"), sink.waiting
        yield "alert_messages", (sink.sink, "refused"), sink.refused
        yield "alert_oldest_waiting_seconds", (sink.sink,), sink.oldest_waiting_s or 0.0


def _of_feed(feed: FeedVitals) -> Iterator[_Sample]:
    now = time.time()
    for fate, count in feed.fates.items():
        yield "records", (fate,), count
    for rule, count in bounded(feed.rejected_by, MOST_RULES).items():
        yield "rejects", (rule,), count
    for partition, count in bounded(feed.lag, MOST_PARTITIONS).items():
        yield "lag_records", (partition,), count
    for step, seconds in feed.seconds.items():
        yield "step_seconds", (step,), seconds
    yield "commits", (), feed.commits
    yield "quarantined_records", (), feed.quarantined
    yield "left_out", (), feed.left_out_count
    yield "commit", (), feed.commit
    yield "published_commit", (), feed.published
    yield "failures", (), feed.failures
    for name, instant in (("commit_time_seconds", feed.committed_at), ("publish_time_seconds", feed.published_at)):
        if instant is not None:
            yield name, (), instant / 1e6
    for name, instant in (("watermark_delay_seconds", feed.watermark), ("newest_event_age_seconds", feed.newest_event)):
        if instant is not None:
            yield name, (), now - instant / 1e6
    if feed.freshness_s is not None:
        yield "freshness_seconds", (), feed.freshness_s
    for state in get_args(State):
        yield "feed_state", (state,), float(feed.state == state)
    for state in get_args(Breaker):
        yield "breaker_state", (state,), float(feed.breaker == state)


def bounded(counts: dict[str, int], most: int) -> dict[str, int]:
    """The counts under at most so many names, the greatest by their own, the rest under OTHERS; the sum stays.

    Not guaranteed: that a name stays among the greatest; a counter that leaves them seems to have been set back.
    """
    if len(counts) <= most:
        return counts
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {**dict(ranked[: most - 1]), OTHERS: sum(count for _, count in ranked[most - 1 :])}
