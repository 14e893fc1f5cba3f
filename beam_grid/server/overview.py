"""/overview: what the tables mean, by the contracts of their feeds, so that a page can ask for them without knowing them.

contract ─► subject (the meter, the sensor), event time, values with units, windows with measures, [now]
version set ─► which tables there are
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from beam_grid.errors import GridError
from beam_grid.lakehouse import query_log
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.server.access import Who
from beam_grid.server.answers import json_response
from beam_grid.server.problems import Problem
from beam_grid.server.reach import may_see
from beam_grid.server.state import State
from beam_grid.server.subjects import subject

if TYPE_CHECKING:
    from data_sources.contract import Contract, WindowSpec

router = APIRouter(tags=["state"])

_NUMBERS = ("float64", "int64", "decimal")

_EXAMPLE = {
    "lake": "lake", "set": 12, "created_at": "2026-11-26T09:00:00Z", "limited": False, "tables": ["gold.hourly", "silver.meters"],
    "feeds": [{
        "feed": "meters", "description": "", "event_time": "read_at", "subject": "meter", "subject_type": "string", "table": "silver.meters", "now": None,
        "values": [{"name": "kwh", "unit": "kWh", "description": ""}], "beside": ["region"],
        "windows": [{"table": "gold.hourly", "size_s": 3600, "overlaps": False, "by": ["meter"], "measures": [
            {"name": "kwh", "function": "sum", "argument": "kwh", "unit": "kWh", "type": "float64", "nullable": True}]}],
    }],
}  # fmt: skip


@router.get("/overview", summary="Feeds, and what their tables mean", responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}})  # fmt: skip
async def overview(request: Request, who: Who) -> Response:
    """Only tables that the caller may see, and feeds of which it may see one; `limited` where its key does not reach all. `set` is
    null before the first tables."""
    state: State = request.app.state.state
    try:
        return json_response(await asyncio.to_thread(described, state.settings.lake, who.tables))
    except GridError as cause:
        raise Problem(503, str(cause)) from cause


def described(lake: Lake, allowed: tuple[str, ...] | None) -> dict[str, Any]:
    """The body of an answer. Raises GridError where a contract or the version set cannot be read."""

    def may(name: str) -> bool:
        return may_see(name, allowed)

    found = newest(lake)
    return {
        "lake": lake.path.resolve().name,
        "set": found.number if found else None,
        "limited": allowed is not None,
        "created_at": found.created_at.isoformat().replace("+00:00", "Z") if found else None,
        "tables": [name for name in _names(found) if may(name)],
        "feeds": [feed for name in lake.feeds if (feed := _feed(lake, name, may)) is not None],
    }


def _feed(lake: Lake, name: str, may: Callable[[str], bool]) -> dict[str, Any] | None:
    """What its tables that may be seen mean; None where there is none. Fields that none of them shows are not told."""
    is_seen = may(f"silver.{name}")
    try:
        contract = lake.feed(name).contract()
    except GridError:
        if is_seen:
            raise
        return None
    now = contract.now if contract.now and may(f"gold.{contract.now.name}") else None
    windows = [window for window in contract.windows if may(f"gold.{window.name}")]
    if not (is_seen or now or windows):
        return None
    known, about = {field.name: field for field in contract.fields}, subject(contract)
    if not (is_seen or now or any(about in window.by for window in windows)):
        about = None
    shown = now.values if now else [f.name for f in contract.fields if f.type.startswith(_NUMBERS)] if is_seen else []
    texts = [f.name for f in contract.fields if f.type == "string" and f.name not in (about, *contract.dedup.key)]
    return {
        "feed": contract.name,
        "description": contract.description if is_seen else "",
        "event_time": contract.event_time,
        "subject": about,
        "subject_type": known[about].type if about else None,
        "table": f"silver.{contract.name}",
        "values": [
            {"name": name, "unit": known[name].unit, "description": known[name].description}
            for name in shown
            if name != about
        ],
        "beside": list(now.beside) if now else texts if is_seen else [],
        "now": f"gold.{now.name}" if now else None,
        "windows": [_window(contract, window) for window in windows],
        "late_after_s": (contract.out_of_orderness + contract.allowed_lateness).total_seconds(),
    }


def _window(contract: Contract, window: WindowSpec) -> dict[str, Any]:
    known = {field.name: field for field in contract.fields}

    def unit(function: str, argument: str | None) -> str | None:
        alike = function in ("sum", "avg", "min", "max", "stddev", "first", "last", "quantile")
        return known[argument].unit if alike and argument in known else None

    return {
        "table": f"gold.{window.name}",
        "size_s": window.length.total_seconds(),
        "calendar": window.calendar,
        "overlaps": window.overlap,
        "by": list(window.by),
        "measures": [
            {
                "name": m.name,
                "function": m.function,
                "argument": m.argument,
                "unit": unit(m.function, m.argument),
                "type": known[m.argument].type if m.argument in known else None,
                "nullable": m.argument in known and m.argument not in contract.required,
            }
            for m in window.parsed
        ],
    }


def _names(found: TableSet | None) -> list[str]:
    return sorted({*found.tables, *found.views, query_log.TABLE, *query_log.VIEWS}) if found else []
