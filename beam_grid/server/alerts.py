"""/alerts: alerts that are open, as `beam-grid alerts list`, with the rows that speak for them and links into the dashboard."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from beam_grid.alerts.declared import FILE, declared
from beam_grid.alerts.messages import Links, when
from beam_grid.alerts.store import Store, path_of
from beam_grid.errors import GridError
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.server.access import Who
from beam_grid.server.answers import json_response
from beam_grid.server.problems import Problem
from beam_grid.server.reach import may_see
from beam_grid.server.state import State

router = APIRouter(tags=["state"])

MOST = 1000
"""Alerts of an answer, the worst."""

_EXACT = 1 << 53

_EXAMPLE = {
    "set": 12, "is_declared": True, "counts": {"open": 1}, "errors": {},
    "alerts": [{
        "id": "4c0b1e7a9d2f3385", "rule": "overload", "severity": "critical", "state": "open", "key": ["SM-N-00001"],
        "since": "2026-11-26T12:00:00.000Z", "raised_at": "2026-11-26T12:00:00.000Z", "set": 12, "acked_at": None,
        "acked_by": None, "row": {"meter_id": "SM-N-00001", "reading_kwh": 31.5}, "link": "/#/fleet/smart_meter_readings/SM-N-00001",
    }],
}  # fmt: skip


@router.get("/alerts", summary="Alerts that are open", responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}})  # fmt: skip
async def alerts(
    request: Request,
    who: Who,
    rule: Annotated[str | None, Query(description="Only of this rule.", max_length=300)] = None,
) -> Response:
    """Worst first, at most a thousand; those of rules that read tables which the caller may see. `counts` is by state of these
    rules, `errors` says which rules cannot be asked. Whole numbers beyond 2^53 are text."""
    state: State = request.app.state.state
    try:
        return json_response(await asyncio.to_thread(open_alerts, state.settings.lake, who.tables, rule))
    except GridError as cause:
        raise Problem(503, str(cause)) from cause


def open_alerts(lake: Lake, allowed: tuple[str, ...] | None, rule: str | None = None) -> dict[str, Any]:
    """The body of an answer, of all rules or of one. Raises GridError where the state or the rules cannot be read, Problem (404)
    where there is no such rule or the caller may not see it."""
    body: dict[str, Any] = {
        "set": None,
        "is_declared": (lake.path / FILE).exists(),
        "counts": {},
        "errors": {},
        "alerts": [],
    }
    by_name, broken = {}, {}
    try:
        if (known := declared(lake)) is not None:
            by_name = {one.name: one for one in known.alerts}
    except GridError:  # what is open is told all the same
        broken[FILE] = "cannot be used; `beam-grid alerts check` says why"
    if not path_of(lake).exists():
        if rule is not None and (allowed is not None or rule not in by_name):
            raise _no_rule(rule)
        return body
    store = Store(lake, is_read_only=True)
    try:
        told, counted, body["set"] = store.rules(), store.counted(), store.looked()
        reads = {name: tuple(filter(None, read.split(","))) for name, _, _, _, _, read in told}

        def may(name: str) -> bool:
            tables = reads.get(name, ())
            return allowed is None or (bool(tables) and all(may_see(t, allowed) for t in tables))

        seen = {name for name in {*reads, *by_name, *(name for name, _, _ in counted)} if may(name)}
        if rule is not None:
            if rule not in seen:
                raise _no_rule(rule)
            seen = {rule}
        found = store.alerts(most=MOST, rules=seen)
    finally:
        store.close()
    whole = allowed is None  # an error may name what the rule was to read, and a key must not see
    said = "cannot be asked; `beam-grid alerts check` says why"
    errors = {name: error if whole else said for name, _, _, _, error, _ in told if error and name in seen}
    body["errors"] = errors | broken
    links, tables = Links(lake, ""), newest(lake)
    for name, state, count in counted:
        if name in seen:
            body["counts"][state] = body["counts"].get(state, 0) + count
    for alert in found:
        key, row, by = json.loads(alert.key), json.loads(alert.row), by_name.get(alert.rule)
        body["alerts"].append(
            {
                "id": alert.id, "rule": alert.rule, "severity": alert.severity, "state": alert.state,
                "key": list(map(_exact, key)), "since": when(alert.since), "raised_at": when(alert.raised_at),
                "set": alert.raised_set, "acked_at": when(alert.acked_at), "acked_by": alert.acked_by,
                "row": {name: _exact(value) for name, value in row.items()},
                "link": links.of(by, key, row, reads.get(alert.rule, ()), tables) if by else None,
            }
        )  # fmt: skip
    return body


def _no_rule(name: str) -> Problem:
    return Problem(404, f"there is no rule {name} here, or none whose tables you may read; {FILE} declares rules")


def _exact(value: Any) -> Any:
    """As JSON's readers can have it: many of them keep numbers as doubles."""
    return str(value) if isinstance(value, int) and abs(value) > _EXACT else value
