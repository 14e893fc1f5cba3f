"""A lake's status for people: who follows it, a line per feed, what is wrong; once, or each second until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from beam_grid.service.status import FeedStatus, FollowerStatus, ReflectionStatus, Status
from data_sources.typed_json import encode

if TYPE_CHECKING:
    from beam_grid.alerts.figures import AlertFigures
    from beam_grid.progress import SetProgress

_EVERY_S = 1.0

_MOST_RULES = 5
"""Rules with open alerts that are named."""


def show(found: Status, form: str) -> None:
    """On stdout, as a table or as one JSON object on one line."""
    if form == "json":
        sys.stdout.write(encode(found).decode() + "\n")
        sys.stdout.flush()
        return
    _console().print(drawn(found), soft_wrap=not sys.stdout.isatty())


def watch(ask: Callable[[], Status], form: str) -> None:
    """Each second, until interrupted; in place on a terminal, one after another elsewhere."""
    if form == "json" or not sys.stdout.isatty():
        while True:
            show(ask(), form)
            time.sleep(_EVERY_S)
    from rich.live import Live

    with Live(drawn(ask()), console=_console(), auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(_EVERY_S)
            live.update(drawn(ask()), refresh=True)


def drawn(found: Status) -> RenderableType:
    """Followers, feeds, what is wrong."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("feed", "state"):
        grid.add_column(title, overflow="fold")
    for title in ("lag", "records/s", "newest row", "watermark", "fresh in", "commit", "made", "waits", "breaker"):
        grid.add_column(title, justify="right")
    for feed in found.feeds:
        grid.add_row(*map(_text, _cells(feed)))
    people = [_text(_line(follower)) for follower in found.followers] or [Text("no follower")]
    notes = [_text(f"{feed.feed}: {_error(feed)}") for feed in found.feeds if feed.last_error]
    notes += [_text(_took(found.newest_commits, found.at))] if found.newest_commits is not None else []
    notes += [_text(_kept(one)) for one in found.reflections]
    notes += [_text(line) for line in (_alerts(found.alerts) if found.alerts is not None else ())]
    wrong = [_text(f"wrong: {line}", "bold red") for line in found.wrong] or [Text("all is well", style="green")]
    return Group(_text(f"lake {found.lake}"), *people, grid, *notes, *wrong)


def _took(one: SetProgress, at: int) -> str:
    """The newest commits, a step after the other."""
    known = {"land": one.land_s, "publish": one.publish_s, "analyses": one.analyses_s, "alerts": one.alerts_s}
    steps = ", ".join(f"{name} {took:.2f} s" for name, took in known.items() if took is not None)
    commits = ", ".join(f"{feed} {last}" for feed, (_, last) in one.commits.items())
    when = f"set {one.set}, published {age(at / 1e6 - one.created_at.timestamp())} ago"
    return f"{commits}: {when}{': ' if steps else ''}{steps}"


def _kept(one: ReflectionStatus) -> str:
    state = "current" if one.is_current else f"behind {one.table}, which is read instead"
    return f"{one.reflection}: {state}, brought up {age(one.age_s)} ago in {age(one.refresh_s)}"


def _alerts(found: AlertFigures) -> Iterator[str]:
    count = sum(one.count for one in found.open)
    rules = ", ".join(f"{one.rule} ({one.severity}) {one.count:,}" for one in found.open[:_MOST_RULES])
    more = f", and {len(found.open) - _MOST_RULES} rules more" if len(found.open) > _MOST_RULES else ""
    yield f"alerts: {count:,} open{': ' if rules else ''}{rules}{more}"
    for sink in found.sinks:
        if sink.waiting or sink.refused:
            oldest = f", the oldest for {age(sink.oldest_waiting_s)}" if sink.waiting else ""
            error = f"; last error: {sink.error}" if sink.error else ""
            yield f"alerts to {sink.sink}: {sink.waiting:,} wait{oldest}; {sink.refused:,} refused{error}"


def _text(text: str, style: str = "") -> Text:
    """As it is, but for characters that would steer the terminal or cannot be written: errors quote what was sent."""
    return Text("".join(c if c.isprintable() else repr(c)[1:-1] for c in text), style=style)


def _cells(feed: FeedStatus) -> list[str]:
    waits = f"{feed.waiting:,} for {feed.waits_for}" if feed.waiting else "·"
    return [
        feed.feed,
        feed.state or "not followed",
        _count(feed.lag),
        _count(None if feed.records_per_s is None else round(feed.records_per_s)),
        age(feed.newest_row_age_s),
        age(feed.watermark_delay_s),
        age(feed.freshness_s),
        f"{feed.commit:,}",
        age(feed.commit_age_s),
        waits,
        feed.breaker or "·",
    ]


def _line(follower: FollowerStatus) -> str:
    who = f"{follower.role} {follower.pid} on {follower.host}"
    if not follower.is_alive:
        return f"{who}: gone, last heard of {age(follower.beat_age_s)} ago"
    refined = f", refined {age(follower.refined_age_s)} ago" if follower.refined_age_s is not None else ""
    return f"{who}: up {age(follower.up_s)}, went round {age(follower.beat_age_s)} ago{refined}"


def _error(feed: FeedStatus) -> str:
    again = f"; tried again in {age(feed.retry_in_s)}" if feed.retry_in_s is not None else ""
    return f"last error {age(feed.last_error_age_s)} ago: {feed.last_error}{again}"


def _count(value: int | None) -> str:
    return "·" if value is None else f"{value:,}"


def age(seconds: float | None) -> str:
    """A span of time in its two largest units: 0.4 s, 12 s, 5 min, 3 h 20 min, 4 d 2 h; a dot for none."""
    if seconds is None:
        return "·"
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds < 10:
        return f"{sign}{seconds:.1f} s"
    if seconds < 120:
        return f"{sign}{seconds:.0f} s"
    minutes, hours, days = round(seconds / 60), round(seconds / 3600), round(seconds / 86400)
    if minutes < 60:
        return f"{sign}{minutes} min"
    if minutes < 48 * 60:
        return f"{sign}{minutes // 60} h {minutes % 60} min"
    return f"{sign}{hours // 24} d {hours % 24} h" if days < 100 else f"{sign}{days:,} d"


def _console() -> Console:
    terminal = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if terminal else 400, no_color=not terminal, highlight=False)
