"""/ledger, /lineage and /status: what became of records, where rows came from, how the lake is."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response

from beam_grid.errors import GridError
from beam_grid.server.access import Who
from beam_grid.server.answers import json_response, records, table_of, wanted
from beam_grid.server.jobs import Job
from beam_grid.server.problems import Problem
from beam_grid.server.reach import may_see
from beam_grid.server.state import State
from beam_grid.service.status import status as ask_status

router = APIRouter(tags=["state"])

_LEDGER = {"feeds": [{"feed": "meters", "read": 10, "landed": 8, "duplicates": 1, "late": 0, "rejected": 1, "superseded": 0, "conflicts": 0, "balanced": True}], "balanced": True}  # fmt: skip
_LINEAGE = {"lineage": [{"feed": "meters", "commit": 3, "source": "day1.csv", "partition": None, "positions": "2-11, 14", "rows": 11, "path": "/data/day1.csv"}]}  # fmt: skip


@router.get("/ledger", summary="What became of every record, per feed", responses={200: {"content": {"application/json": {"example": _LEDGER}}}})  # fmt: skip
async def ledger(request: Request, who: Who, accept: Annotated[str, Header()] = "") -> Response:
    """read = landed + duplicates + late + rejected, and whether it balances with what the files hold."""
    state: State = request.app.state.state
    form = wanted(accept)
    answer = await state.ask(request, who, Job(kind="ledger"), "ledger")
    if form != "json":
        return state.unsent.streamed(answer.rows, form, "ledger", {})
    feeds = records(table_of(answer.rows))
    return json_response({"feeds": feeds, "balanced": all(feed["balanced"] for feed in feeds)})


@router.get("/lineage", summary="Where rows came from", responses={200: {"content": {"application/json": {"example": _LINEAGE}}}})  # fmt: skip
async def lineage(
    request: Request,
    who: Who,
    table: Annotated[str, Query(description="A table, as silver.F or gold.WINDOW; without it, what commits read.", examples=["gold.energy_hourly"], max_length=300)] = "",
    where: Annotated[str, Query(description="Of which rows, in SQL.", examples=["region = 'North'"], max_length=10_000)] = "",
    feed: Annotated[str, Query(description="Without a table: only this feed.", max_length=300)] = "",
    accept: Annotated[str, Header()] = "",
) -> Response:  # fmt: skip
    """Files, lines and offsets behind a table's rows, a line for each commit and source."""
    if (table and feed) or (where and not table):
        raise Problem(400, "where goes with table, and table names the feed by itself")
    state: State = request.app.state.state
    form = wanted(accept)
    job = Job(kind="lineage", table=table, where=where, feed=feed)
    answer = await state.ask(request, who, job, f"lineage?table={table}&where={where}&feed={feed}")
    if form != "json":
        return state.unsent.streamed(answer.rows, form, "lineage", {})
    return json_response({"lineage": records(table_of(answer.rows))})


@router.get("/status", summary="How the lake and its followers are")
async def status(request: Request, who: Who) -> Response:
    """As `beam-grid status --format json`: lag, rates, ages, what waits, errors."""
    state: State = request.app.state.state
    try:
        found = await asyncio.to_thread(ask_status, state.settings.lake)
    except GridError as cause:
        raise Problem(503, str(cause)) from cause
    body = msgspec.to_builtins(found) | {"set": state.catalog.number}
    body["lake"] = state.settings.lake.path.name
    if who.tables is not None:
        seen = {f.feed for f in found.feeds if may_see(f"silver.{f.feed}", who.tables)}
        body["alerts"] = body["newest_commits"] = None  # /alerts and /events tell those that the caller may see
        body["feeds"] = [feed for feed in body["feeds"] if feed["feed"] in seen]
        body["wrong"] = [line for line in body["wrong"] if line.partition(" ")[0].rstrip(":") in seen]
    return json_response(body)
