"""Spans of event time, from the minima and maxima of manifests and logs: which files and which part of a table matter.

Instants are whole microseconds since the epoch. A manifest that lacks a minimum or maximum excludes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beam_grid.lakehouse.live import LiveFile
    from data_sources.contract import Contract
    from transforms.manifest import LandedFile

Span = tuple[int, int]
"""First and last instant, both inside."""

_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def file_span(file: LandedFile, contract: Contract) -> Span | None:
    """First and last event time (tiles: start of cell) in a file; None where the manifest does not say."""
    name = "_cell" if file.kind == "tiles" else contract.event_time
    least, most = file.min.get(name), file.max.get(name)
    if least is None or most is None:
        return None
    width = _DAY if name != "_cell" and contract.field(name).type == "date" else 1
    return int(least) * width, int(most) * width


def event_span(files: Iterable[LandedFile], contract: Contract) -> Span | None:
    """The span that covers all the files; None where one does not say, or there are none."""
    spans = [file_span(file, contract) for file in files]
    known = [span for span in spans if span is not None]
    if not known or len(known) < len(spans):
        return None
    return min(s[0] for s in known), max(s[1] for s in known)


def may_meet(file: LandedFile, contract: Contract, span: Span | None) -> bool:
    """Whether the file may hold something within the span."""
    own = file_span(file, contract)
    return span is None or own is None or (own[0] <= span[1] and span[0] <= own[1])


def window_span(file: LiveFile) -> Span:
    """First and last start of the windows in a file of a window table; all time, where nobody says."""
    low, high = file.least.get("window_start"), file.greatest.get("window_start")
    if low is None or high is None:
        return -(1 << 62), 1 << 62
    return instant_of(low), instant_of(high)


def instant_of(bound: str) -> int:
    """The instant that a bound in a Delta log stands for: a timestamp or a date."""
    moment = datetime.fromisoformat(bound)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return since.days * _DAY + since.seconds * 1_000_000 + since.microseconds


def timestamp_sql(instant: int) -> str:
    """A Spark literal: a function of a number would not let Delta skip files. Ends where Spark's timestamps end."""
    first, last = -62_135_596_800_000_000, 253_402_300_799_999_999
    moment = _EPOCH + timedelta(microseconds=min(max(instant, first), last))
    return f"TIMESTAMP '{moment.replace(tzinfo=None).isoformat(sep=' ', timespec='microseconds')}Z'"


def spark_instant(instant: int, contract: Contract) -> str:
    """The literal to compare the event time with, which may be a date."""
    if contract.field(contract.event_time).type == "date":
        return f"DATE '{(_EPOCH + timedelta(microseconds=instant)).date().isoformat()}'"
    return timestamp_sql(instant)
