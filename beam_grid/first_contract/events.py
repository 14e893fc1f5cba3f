"""Which column, or which two, say when a record's event was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from beam_grid.first_contract.model import Column, Sample
from beam_grid.first_contract.names import slug
from beam_grid.first_contract.times import Time, clock_of, parsed_times
from beam_grid.first_contract.wide import Wide

_BEGIN = r"beginn?|begin_.*|von|from|start|ab|debut|inicio|inizio|interval_start|period_start|start_.*|.*_start|desde"
_WHEN = r"event_?time|date_?time|time_?stamp|ts?|time|zeit|zeitpunkt|zeitstempel|horodate|moment|datum|date|fecha|data|at|.*_at|dato|tid|tijd|settlement_?date|.*read.*|.*mess.*|period|utc.*|.*_ts|.*_time|.*date.*|.*zeit.*"
_AFTER = r".*(end|ende|bis|until|till|fin|hasta|_to|stop)\b.*|.*(creat|updat|modif|ingest|load|process|valid|install|birth|expir|due|publish|insert|export|last_).*"
_EPOCH = re.compile(r"t|.*(time|ts|date|datum|zeit|moment|epoch|stamp|hora|tijd|unix|when|at|start|begin|end).*", re.I)


@dataclass(frozen=True)
class Event:
    """Where an event's time is: one column, or a date and a time of day. times: of each row as the text has it."""

    columns: tuple[str, ...]
    time: Time
    times: tuple[datetime | None, ...]
    why: str


def is_epoch(column: Column, time: Time) -> bool:
    """Whether numbers in an epoch's range are one: the column's name says so, or its order."""
    if time.form is None or not time.form.startswith("epoch"):
        return True
    return column.kinds == {"float"} or _EPOCH.fullmatch(column.name.rsplit(".", 1)[-1]) is not None


def score(slug: str, column: Column, time: Time, rows: int, at: int) -> float:
    """How likely a column of times is the event's."""
    points = {"time": 10.0, "date": 4.0}.get(time.kind, -99.0) - at * 0.1
    points += 3 if re.fullmatch(_BEGIN, slug) else 2 if re.fullmatch(_WHEN, slug) else 0
    points -= 4 if re.fullmatch(_AFTER, slug) and not re.fullmatch(_BEGIN, slug) else 0
    points -= 5 * (1 - column.count / max(rows, 1))
    latest = time.latest
    points -= 6 if latest is not None and latest.year > 2100 else 0
    return points + 2 * len(column.seen) / max(column.count, 1)


def joined(day: Column, day_time: Time, clock: Column) -> Event | None:
    """A date and a time of day, in two columns, as one time; None where the second is no time of day."""
    time = clock_of(clock)
    if time is None or day_time.kind != "date":
        return None
    form = f"{day_time.form or '%Y-%m-%d'} {time.form or '%H:%M'}"
    other = f"{day_time.other} {time.form or '%H:%M'}" if day_time.other else None
    texts = [
        f"{d.strip()} {c.strip()}" if d is not None and c is not None and d.strip() and c.strip() else None
        for d, c in zip(day.values, clock.values, strict=True)
    ]
    both = replace(time, kind="time", form=form, other=other, latest=day_time.latest, why="")
    times = times_of(texts, both)
    if not any(times):
        return None
    return Event((day.name, clock.name), both, tuple(times), f"{day.name} says the day, {clock.name} the time of day")


def times_of(texts: Sequence[str | None], time: Time) -> list[datetime | None]:
    """The rows' times as they are written; hours of 24 and more as they count on."""
    from datetime import timedelta

    plain, more = [], []
    for text in texts:
        text = (text or "").strip()
        if time.pattern and (match := re.search(time.pattern, text)):
            text = match[1]
        hour = re.search(r"(?<![\d:.])(\d{1,2}):\d\d", text) or re.search(r" (\d{1,2})$", text)
        late = hour is not None and int(hour[1]) >= 24
        more.append(int(hour[1]) if late and hour else 0)
        plain.append(f"{text[: hour.start(1)]}00{text[hour.end(1) :]}" if late and hour else text)
    if time.form is not None and time.form.startswith("epoch"):
        per = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}[time.form]
        start = datetime(1970, 1, 1)  # noqa: DTZ001
        return [start + timedelta(seconds=float(t) / per) if re.fullmatch(r"[\d.eE+-]+", t) else None for t in plain]
    parsed = parsed_times(plain, time.form)
    return [p if p is None else p + timedelta(hours=h) for p, h in zip(parsed, more, strict=True)]


def event_of(sample: Sample, columns: list[Column], times: dict[str, Time], wide: Wide | None) -> Event | None:
    """The likeliest event time: a date with a time of day beside it, else the column that looks most like one."""
    rows = sample.rows
    full = [c for c in columns if c.name in times and times[c.name].kind == "time"]
    days = [c for c in columns if c.name in times and times[c.name].kind == "date"]
    if not full and wide is None:
        for day in sorted(days, key=lambda c: -_score(c, times, columns, rows)):
            at = columns.index(day)
            for clock in [*columns[at + 1 :], *columns[:at]]:
                if clock.name not in times or times[clock.name].kind == "clock":
                    found = joined(day, times[day.name], clock)
                    if found is not None and _is_clock(clock, times):
                        return found
    best = max([*full, *days], key=lambda c: _score(c, times, columns, rows), default=None)
    if best is None:
        return None
    time = times[best.name]
    why = f"{best.name}: {best.count:,} of {rows:,} rows have a {'date' if time.kind == 'date' else 'time'} in it"
    others = [c.name for c in [*full, *days] if c is not best]
    if others:
        why += f"; others that could be it: {', '.join(others[:5])}"
    return Event((best.name,), time, tuple(times_of(best.values, time)), why)


def _is_clock(column: Column, times: dict[str, Time]) -> bool:
    """Times of day by their text, or bare hours by their name."""
    return (
        column.name in times
        or re.search(r"hour|hora|stunde|heure|uur|time|zeit|he$|^h$|period", column.name, re.I) is not None
    )


def _score(column: Column, times: dict[str, Time], columns: Sequence[Column], rows: int) -> float:
    return score(slug(column.name), column, times[column.name], rows, list(columns).index(column))
