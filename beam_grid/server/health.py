"""/healthz, /readyz and /metrics of the server: the first two are open to all and say no names."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from beam_grid.server.access import Who
from beam_grid.server.jobs import Job
from beam_grid.server.pool import Busy
from beam_grid.server.state import State

router = APIRouter(tags=["health"])

_HANGS_AFTER_S = 10.0


@router.get("/healthz", summary="200 while the server works, else 503: start it anew")
async def healthz(request: Request) -> Response:
    state: State = request.app.state.state
    hangs = time.monotonic() - state.catalog.looked_at > _HANGS_AFTER_S
    return _text("the lake is no longer looked at" if hangs else None)


@router.get("/readyz", summary="200 where statements are answered, else 503: send nobody here")
async def readyz(request: Request) -> Response:
    """A worker must open the newest version set."""
    state: State = request.app.state.state
    if state.ending.is_set():
        return _text("the server ends")
    try:
        answer = await state.pool.ask(Job(kind="warm"), 5.0)
    except Busy:
        return _text("all workers are busy")
    return _text(None if answer.told.status == "ok" else "there is no version set to read")


@router.get("/metrics", summary="Figures for Prometheus, of the server and of the lake's followers")
async def metrics(request: Request, who: Who) -> Response:
    state: State = request.app.state.state
    return Response(await asyncio.to_thread(state.figures.text), media_type=CONTENT_TYPE_LATEST)


def _text(wrong: str | None) -> Response:
    return Response(f"{wrong or 'ok'}\n", 503 if wrong else 200, media_type="text/plain")
