"""Edits by hand of validated intervals: each a commit of the feed `vee_edits`, with author and reason.

    beam-grid edit ─► LAKE/edits/ID.json ─► landed as any record is ─► silver.vee_edits ─► gold.NAME, at the next refine

The newest edit of an interval counts; one without a value takes those before it back. What was read is not touched.
"""

from __future__ import annotations

import json
import math
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from beam_grid.analyses.validations import EDITS
from beam_grid.errors import GridError
from beam_grid.lakehouse.duck import literal
from beam_grid.lakehouse.query import query
from beam_grid.landing import write_atomically
from data_sources.contract import Contract, parse_contract
from data_sources.contract.vee import ALONE
from data_sources.durations import format_duration
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    from beam_grid.landing import Lake
    from data_sources.contract.vee import VeeSpec

LONGEST = 1_000
"""Characters of an author or a reason."""


def contract() -> Contract:
    """That of the feed of edits."""
    texts = [
        {"name": name, "type": "string", "nullable": False}
        for name in ("id", "table_name", "series", "author", "reason")
    ]
    times = [{"name": name, "type": "timestamp", "nullable": False} for name in ("interval_start", "edited_at")]
    return parse_contract(
        {
            "name": EDITS, "description": "Edits by hand of validated intervals.", "format": "json", "event_time": "edited_at",
            "dedup": {"key": ["id"]}, "fields": [*texts, *times, {"name": "value", "type": "float64"}],
        },
        EDITS,
    )  # fmt: skip


def edit(
    lake: Lake,
    table: str,
    series: str | None,
    interval: int,
    value: float | None,
    author: str,
    reason: str,
    command: str = "",
) -> int:
    """Land an edit; the number of its commit. interval: its start, microseconds since the epoch; value: None takes earlier
    edits of it back. The caller holds the landing lock.

    Raises GridError for a table that is not of a [[vee]], an interval that it does not have, a text that is empty or
    longer than LONGEST, and a value that is not finite.
    """
    from beam_grid.land import Options, land
    from beam_grid.refine import contracts_of

    for name, text in (("author", author), ("reason", reason)):
        if not text.strip() or len(text) > LONGEST:
            raise GridError(f"edit: {name} has {len(text)} characters; say it in 1 to {LONGEST}")
    if value is not None and not math.isfinite(value):
        raise GridError(f"edit: {value} is no value of an interval; give a finite one")
    of = {f"gold.{spec.name}": (feed, spec) for feed in contracts_of(lake, lake.feeds).values() for spec in feed.vee}
    if table not in of:
        made = ", ".join(of) or "none; add [[vee]] to a feed's contract and land it"
        raise GridError(f"edit: {table!r} is no table of validated intervals (there are: {made})")
    feed, spec = of[table]
    named = _series(spec, feed, series)
    start = datetime.fromtimestamp(interval / 1e6, UTC)
    _check(lake, table, spec, named, start)
    name, now = secrets.token_hex(16), datetime.now(UTC).isoformat()
    one = {
        "id": name, "table_name": table, "series": named, "interval_start": start.isoformat(), "value": value,
        "author": author, "reason": reason, "edited_at": now,
    }  # fmt: skip
    folder = lake.path / "edits"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{now.replace(':', '')}-{name}.json", (json.dumps(one) + "\n").encode())
    land(lake, contract(), Options(source=str(folder), command=command))
    return lake.feed(EDITS).last


def _series(spec: VeeSpec, feed: Contract, given: str | None) -> str:
    """The series as its column has it; raises GridError where it cannot be."""
    if spec.series is None:
        if given is not None:
            raise GridError(f"edit: gold.{spec.name} is one series; leave --series out")
        return feed.name
    if given is None:
        raise GridError(f"edit: name the {spec.series} with --series")
    kind = feed.field(spec.series).type
    if kind not in ("string", "int64"):
        raise GridError(f"edit: {spec.series} is a {kind}; only series named by text or whole numbers can be edited")
    if kind == "int64" and not given.removeprefix("-").isdecimal():
        raise GridError(f"edit: {spec.series} is a whole number, which {given!r} is not")
    return given


def _check(lake: Lake, table: str, spec: VeeSpec, series: str, start: datetime) -> None:
    """Raise GridError for an interval that the table does not have, saying which it has."""
    named = f"CAST({double_quoted(spec.series or ALONE)} AS VARCHAR) = {literal(series)}"
    at = f"interval_start = TIMESTAMP {literal(start.isoformat())}"
    sql = (
        f"SELECT count(*) AS n, min(interval_start) AS low, max(interval_start) AS high, count(*) FILTER (WHERE {at}) AS there "
        f"FROM gold.{double_quoted(spec.name)} WHERE {named}"
    )
    try:
        (found,) = query(lake, sql).to_pylist()
    except GridError as cause:
        raise GridError(
            f"edit: {table} cannot be read ({cause}); `beam-grid refine --lake {lake.path}` makes it"
        ) from cause
    if not found["n"]:
        raise GridError(f"edit: {table} has no series {series!r}")
    if not found["there"]:
        raise GridError(
            f"edit: {table} has no interval of {series!r} that begins at {start:%Y-%m-%dT%H:%M:%SZ}; it has every "
            f"{format_duration(spec.interval)} from {found['low']:%Y-%m-%dT%H:%M:%SZ} to {found['high']:%Y-%m-%dT%H:%M:%SZ}"
        )
