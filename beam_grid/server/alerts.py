"""/alerts: alerts that are open, as `beam-grid alerts list`, with the rows that speak for them and links into the dashboard."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from fastapi import APIRouter, Request, Response

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

_EXAMPLE = {
    "set": 12, "is_declared": True, "counts": {"open": 1}, "errors": {},
    "alerts": [{
        "id": "4c0b1e7a9d2f3385", "rule": "overload", "severity": "critical", "state": "open", "key": ["SM-N-00001"],
        "since": "2026-11-26T12:00:00.000Z", "raised_at": "2026-11-26T12:00:00.000Z", "set": 12, "acked_at": None,
        "acked_by": None, "row": {"meter_id": "SM-N-00001", "reading_kwh": 31.5}, "link": "/#/fleet/smart_meter_readings/SM-N-00001",
    }],
}  # fmt: skip


@router.get("/alerts", summary="Alerts that are open", responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}})  # fmt: skip
async def alerts(request: Request, who: Who) -> Response:
    """Worst first, at most a thousand; those of rules that read tables which the caller may see. `counts` is by state of these
    rules, `errors` says which rules cannot be asked."""
    state: State = request.app.state.state
    try:
        return json_response(await asyncio.to_thread(open_alerts, state.settings.lake, who.tables))
    except GridError as cause:
        raise Problem(503, str(cause)) from cause


def open_alerts(lake: Lake, allowed: tuple[str, ...] | None) -> dict[str, Any]:
    """The body of an answer. Raises GridError where the state or the rules cannot be read."""
    body: dict[str, Any] = {
        "set": None,
        "is_declared": (lake.path / FILE).exists(),
        "counts": {},
        "errors": {},
        "alerts": [],
    }
    if not path_of(lake).exists():
        return body
    store = Store(lake, is_read_only=True)
    try:
        found, rules, counted, body["set"] = store.alerts(), store.rules(), store.counted(), store.looked()
    finally:
        store.close()
    reads = {name: tuple(filter(None, read.split(","))) for name, _, _, _, _, read in rules}

    def may(rule: str) -> bool:
        tables = reads.get(rule, ())
        return allowed is None or (bool(tables) and all(may_see(t, allowed) for t in tables))

    whole = allowed is None  # an error may name what the rule was to read, and a key must not see
    said = "cannot be asked; `beam-grid alerts check` says why"
    body["errors"] = {name: error if whole else said for name, _, _, _, error, _ in rules if error and may(name)}
    by_name = {}
    try:
        if (known := declared(lake)) is not None:
            by_name = {rule.name: rule for rule in known.alerts}
    except GridError:  # what is open is told all the same
        body["errors"][FILE] = "cannot be used; `beam-grid alerts check` says why"
    links, tables = Links(lake, ""), newest(lake)
    for name, state, count in counted:
        if may(name):
            body["counts"][state] = body["counts"].get(state, 0) + count
    for alert in itertools.islice((one for one in found if may(one.rule)), MOST):
        key, row, rule = json.loads(alert.key), json.loads(alert.row), by_name.get(alert.rule)
        body["alerts"].append(
            {
                "id": alert.id, "rule": alert.rule, "severity": alert.severity, "state": alert.state, "key": key,
                "since": when(alert.since), "raised_at": when(alert.raised_at), "set": alert.raised_set,
                "acked_at": when(alert.acked_at), "acked_by": alert.acked_by, "row": row,
                "link": links.of(rule, key, row, reads.get(alert.rule, ()), tables) if rule else None,
            }
        )  # fmt: skip
    return body
