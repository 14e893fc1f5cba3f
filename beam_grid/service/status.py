"""How a lake is: what its follower tells, and what the newest commit and the newest version set say.

    LAKE/status/*.json ────┐
    newest commit of a feed┼─► status ─► Status ─► `beam-grid status`, table or JSON
    newest version set ────┤
    alerts.db ─────────────┘

Reads one commit per feed and one version set, however many there are. Kept free of heavy imports: a person waits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from beam_grid import progress
from beam_grid.commit import Commit
from beam_grid.errors import GridError
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.progress import SetProgress
from beam_grid.service.told import MOST_UNPUBLISHED, Follower, tellings
from beam_grid.service.vitals import Breaker, FeedVitals, Role, State

if TYPE_CHECKING:
    from beam_grid.alerts.figures import AlertFigures

MOST_UNTAKEN_S = 300.0
"""How long a message of an alert may wait for its sink where all is called well."""


class FeedStatus(Struct, kw_only=True):
    """How a feed is. Ages and delays are in seconds, of the time it was asked; None where it is not known."""

    feed: str
    state: State | None = None
    """What its follower is at; None where nobody follows it."""
    lag: int | None = None
    """Records not read yet, all partitions together, when the follower last looked."""
    records_per_s: float | None = None
    """Read, over about the last minute."""
    newest_row_age_s: float | None = None
    """Now less the greatest event time that landed: of the follower's commits, else of the newest commit."""
    watermark_delay_s: float | None = None
    """Now less the watermark."""
    freshness_s: float | None = None
    """From arrival to being in the tables, of the last publish."""
    commit: int = 0
    """The newest."""
    commit_age_s: float | None = None
    waiting: int = 0
    """Commits that the tables do not hold."""
    waits_for: str | None = None
    """What brings them in: publish (of a follower), or refine."""
    breaker: Breaker | None = None
    failures: int = 0
    retry_in_s: float | None = None
    quarantined: int = 0
    left_out: list[str] = []
    """What the follower's last look left out, and why: files that changed or went, offsets that are gone; the first of them."""
    left_out_count: int = 0
    """All of them."""
    fates: dict[str, int] = {}
    """Of the follower's process, since it started."""
    last_error: str | None = None
    last_error_age_s: float | None = None


class FollowerStatus(Struct, kw_only=True):
    """A process that follows the lake, or did and ended without a word."""

    pid: int
    host: str
    role: Role
    is_alive: bool
    up_s: float
    """Since it started, to now or to its last beat."""
    beat_age_s: float
    """Since its loop last went round."""
    publishes: bool
    """Whether it brings up tables too."""
    why: str | None = None
    """What is wrong with it."""
    refined_age_s: float | None = None
    refine_error: str | None = None


class ReflectionStatus(Struct, kw_only=True):
    """How a reflection is."""

    reflection: str
    table: str
    """Whose questions it answers."""
    is_current: bool
    """Whether it holds the table as the newest version set has it; else the table is read."""
    age_s: float
    """Since it was last brought up."""
    refresh_s: float
    """How long that took."""


class Status(Struct, kw_only=True):
    """How a lake is."""

    lake: str
    at: int
    """Microseconds since the epoch."""
    followers: list[FollowerStatus]
    feeds: list[FeedStatus]
    wrong: list[str]
    """What is wrong, a sentence each; empty where all is well."""
    reflections: list[ReflectionStatus] = []
    alerts: AlertFigures | None = None
    """Open alerts, and what waits for sinks; None where nobody looks for alerts."""
    newest_commits: SetProgress | None = None
    """What was done for the newest commits that are published, and how long it took; what was made beside landing since
    then counts too."""


def status(lake: Lake) -> Status:
    """As it is now. Raises GridError where the newest commit or version set cannot be read."""
    now = time.time_ns() // 1000
    told = tellings(lake.path)
    leader = next((f for f in told if f.is_alive and f.telling.vitals.role == "leader"), None)
    vitals = leader.telling.vitals.feeds if leader else {}
    known = newest(lake)
    published = known.commits if known else {}
    feeds = []
    for name in sorted({*lake.feeds, *vitals}):
        its = leader.telling if leader is not None and name in vitals else None
        found = _from_log(lake, name, published.get(name, 0), its is not None and its.publishes, now)
        if its is not None:
            _add_told(found, vitals[name], its.rates.get(name), now)
        feeds.append(found)
    followers = [_follower(f, now) for f in told]
    alerts, wrong_alerts = _alerts(lake)
    return Status(
        lake=str(lake.path), at=now, followers=followers, feeds=feeds,
        wrong=[*_wrong(followers), *_wrong_feeds(feeds), *wrong_alerts], reflections=_reflections(known, now), alerts=alerts,
        newest_commits=progress.newest(lake),
    )  # fmt: skip


def _alerts(lake: Lake) -> tuple[AlertFigures | None, list[str]]:
    """The figures, and what is wrong with the sinks."""
    if not (lake.path / "alerts").is_dir():
        return None, []
    from beam_grid.alerts.figures import figures  # not what most lakes have

    try:
        found = figures(lake)
    except GridError as cause:
        return None, [f"alerts: {cause}"]
    waiting = [one for one in found.sinks if (one.oldest_waiting_s or 0) > MOST_UNTAKEN_S] if found else []
    return found, [
        f"alerts: sink {one.sink} has not taken {one.waiting:,} message{'s' * (one.waiting != 1)}, the oldest for "
        f"{one.oldest_waiting_s:,.0f} s{': ' + one.error if one.error else ''}"
        for one in waiting
    ]


def _reflections(known: TableSet | None, now: int) -> list[ReflectionStatus]:
    found = []
    for name, table in sorted(known.tables.items()) if known else []:
        if table.reflection is None or known is None:
            continue
        its, source = table.reflection, known.tables.get(table.reflection.declared.table)
        found.append(
            ReflectionStatus(
                reflection=name,
                table=its.declared.table,
                is_current=source is not None and table.read_at.get(its.declared.table) == source.at,
                age_s=round(now / 1e6 - its.refreshed_at.timestamp(), 1),
                refresh_s=its.seconds,
            )
        )
    return found


def _from_log(lake: Lake, name: str, published: int, publishes: bool, now: int) -> FeedStatus:
    log = lake.feed(name)
    found = FeedStatus(feed=name, commit=log.last)
    if not found.commit:
        return found
    commit = log.read(found.commit)
    contract = log.outline(commit.contract)
    found.commit_age_s = now / 1e6 - commit.created_at.timestamp()
    found.newest_row_age_s = _since(_newest_event(commit, contract.event_time), now)
    found.watermark_delay_s = _since(commit.watermark, now)
    found.waiting = max(0, found.commit - published)
    if found.waiting:  # commits of append feeds are published one by one, the others with the next refine
        found.waits_for = "publish" if publishes and contract.lake.load == "append" else "refine"
    return found


def _newest_event(commit: Commit, event_time: str) -> int | None:
    """The greatest event time among the rows it landed."""
    known = (file.max.get(event_time) for file in commit.listed("rows"))
    return max((bound for bound in known if isinstance(bound, int)), default=None)


def _add_told(found: FeedStatus, told: FeedVitals, rate: float | None, now: int) -> None:
    found.state, found.breaker, found.records_per_s, found.fates = told.state, told.breaker, rate, told.fates
    found.lag = sum(told.lag.values()) if told.lag else None
    found.freshness_s, found.failures, found.quarantined = told.freshness_s, told.failures, told.quarantined
    found.left_out, found.left_out_count = told.left_out, told.left_out_count
    found.last_error, found.last_error_age_s = told.last_error, _since(told.last_error_at, now)
    if told.newest_event is not None:
        found.newest_row_age_s = _since(told.newest_event, now)
    if told.retry_at is not None and told.retry_at > now:
        found.retry_in_s = (told.retry_at - now) / 1e6


def _since(instant: int | None, now: int) -> float | None:
    return None if instant is None else (now - instant) / 1e6


def _follower(found: Follower, now: int) -> FollowerStatus:
    vitals = found.telling.vitals
    return FollowerStatus(
        pid=vitals.pid,
        host=vitals.host,
        role=vitals.role,
        is_alive=found.is_alive,
        up_s=((now if found.is_alive else vitals.beat_at) - vitals.started_at) / 1e6,
        beat_age_s=(now - vitals.beat_at) / 1e6,
        publishes=found.telling.publishes,
        why=found.why,
        refined_age_s=_since(vitals.refined_at, now),
        refine_error=vitals.refine_error,
    )


def _wrong(followers: list[FollowerStatus]) -> list[str]:
    is_led = any(f.is_alive and f.role == "leader" for f in followers)  # then what dead ones left means nothing
    found = [f"follower {f.pid}: {f.why}" for f in followers if f.why and (f.is_alive or not is_led)]
    if not is_led:
        found.append("no follower: nobody lands what is new; start `beam-grid run --follow`")
    found += [f"refine failed: {f.refine_error}" for f in followers if f.is_alive and f.refine_error]
    return found


def _wrong_feeds(feeds: list[FeedStatus]) -> list[str]:
    found = []
    for feed in feeds:
        why = f": {feed.last_error}" if feed.last_error else ""
        if feed.state == "failed":
            found.append(f"{feed.feed} failed{why}")
        elif feed.breaker not in (None, "closed"):
            found.append(f"{feed.feed}: its source does not answer, the breaker is {feed.breaker}{why}")
        elif feed.failures:
            found.append(f"{feed.feed} failed {feed.failures} time{'s' if feed.failures > 1 else ''} in a row{why}")
        if feed.quarantined:
            found.append(f"{feed.feed}: {feed.quarantined:,} records are in quarantine")
        found += [f"{feed.feed}: {problem}" for problem in feed.left_out]
        if feed.left_out_count > len(feed.left_out):
            found.append(f"{feed.feed}: {feed.left_out_count - len(feed.left_out):,} more were left out")
        if feed.waits_for == "publish" and feed.waiting > MOST_UNPUBLISHED:
            found.append(f"{feed.feed}: {feed.waiting:,} commits wait to be published")
    return found
