"""What the event time's texts are of: the clock's two hours in autumn, the beginning or the end of an interval."""

from __future__ import annotations

import re

from beam_grid.first_contract.clocks import step_of, twice
from beam_grid.first_contract.events import Event
from beam_grid.first_contract.keys import subject_rank
from beam_grid.first_contract.model import Column, Draft, FieldDraft
from beam_grid.first_contract.names import slug
from beam_grid.first_contract.wide import wide_of


def tell_clock(at: FieldDraft, event: Event, columns: list[Column], draft: Draft, zone: str | None) -> None:
    """Whether its autumn hour comes twice, and whether its labels are the ends of intervals."""
    time = event.time
    wide = "into" in draft.unpivot
    if wide:
        found = wide_of(draft.sample.columns)
        if found is not None and found.ends and found.form is not None:
            at.words["shift"] = f"-{found.minutes}m" if found.minutes % 60 else f"-{found.minutes // 60}h"
            at.comments.append(
                "Names begin above 0 and end with the day: labels of an interval's end; shift makes it the beginning"
            )
        return
    if not time.has_offset and time.kind == "time" and not time.is_elapsed:
        subjects = list(zip(*(c.values for c in columns if subject_rank(slug(c.name)) is not None), strict=True))
        pairs = twice(event.times, subjects or [()] * len(event.times), zone)
        if pairs is not None and draft.sample.format != "sqlite":
            for field in draft.fields:  # the ends of intervals come twice where their beginnings do
                if field.type == "timestamp" and "time_zone" in field.words and "on_dst" not in field.words:
                    field.words["on_dst"] = "in_order"
            at.comments.append(
                f"{pairs.times} local times come twice, the first {pairs.first:%Y-%m-%d %H:%M}, as where the clock goes back "
                f"in {pairs.where}: the second in the file is the later"
            )
        elif "on_dst" not in at.words and (zone is None or zone != "UTC"):
            at.comments.append(
                'No autumn hour is in the sample twice: on_dst = "in_order", if such files hold it twice; without the word its '
                "times are rejected"
            )
    step = step_of(event.times)
    if step is None and all(t.minute == 0 for t in event.times if t is not None):
        step = "1h"
    midnight = 0 in time.hours
    if (
        time.hours
        and max(time.hours) >= 24
        and not (midnight and time.has_24 and _has_zero(event))
        and step is not None
    ):
        at.words["shift"] = f"-{step}"
        at.comments.append(
            f"24:00 is there and 00:00 is not: labels of an interval's end, {step} long; shift makes them its beginning"
        )
    elif re.search(r"(?:^|_)(end|ende|bis|until|to|fin|hasta)(?:_|$)", slug(event.columns[-1])):
        at.comments.append(
            f'Its name speaks of an end: shift = "-{step or "15m"}" would make it the interval\'s beginning'
        )


def _has_zero(event: Event) -> bool:
    return any(t is not None and t.hour == 0 and t.minute == 0 for t in event.times) and 0 in event.time.hours
