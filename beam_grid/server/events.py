"""News of the lake as server-sent events: one for each version set, which is published with each commit.

    id: 13
    event: published
    data: {"set": 13, "created_at": "...", "commits": {"meters": [41, 42]}, "tables": ["silver.meters", ...],
           "seconds": {"land meters": 0.21, "silver.meters": 0.03, ...}}

`commits` has for each feed the last commit before and now, `tables` those that are at another version, `seconds` what
was done for the set and how long it took. A client that
comes back sends the id of the last event it has (Last-Event-ID), and gets those since. Where sets in between are no
longer kept it gets one `event: missed` first: read anew what you show.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from beam_grid.lakehouse.table_set import TableSet
from beam_grid.progress import LAND
from beam_grid.server.access import Caller, Who
from beam_grid.server.answers import json_bytes
from beam_grid.server.problems import Problem
from beam_grid.server.reach import may_see
from beam_grid.server.state import State

router = APIRouter(tags=["state"])

_SILENT_S = 10.0
"""So often something is sent, so that proxies and both ends know that the other is there."""

_LOOKS_S = 1.0
"""So often it is seen whether the key still opens the lake, and whether the server ends."""

_EXAMPLE = 'id: 13\nevent: published\ndata: {"set":13,"created_at":"2026-11-26T09:00:00Z","commits":{"meters":[41,42]},"tables":["silver.meters"],"seconds":{"land meters":0.21,"silver.meters":0.03}}\n\n'


@router.get(
    "/events",
    summary="News as they are published (server-sent events)",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"example": _EXAMPLE}}}},
)
async def events(
    request: Request, who: Who, last_event_id: str = Header("", alias="Last-Event-ID")
) -> StreamingResponse:
    """Stays open. One event per version set; `Last-Event-ID` takes up where a connection broke."""
    state: State = request.app.state.state
    if state.streams >= state.settings.max_streams:
        raise Problem(503, f"{state.streams} clients listen already", {"Retry-After": "5"})
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise Problem(400, "Last-Event-ID: is not the id of an event of this server")
    since = int(last_event_id) if last_event_id else state.catalog.number
    return StreamingResponse(_told(state, who, since), media_type="text/event-stream")


async def _told(state: State, who: Caller, since: int) -> AsyncIterator[bytes]:
    state.streams += 1
    try:
        yield b"retry: 2000\n\n"
        silent = 0.0
        while not state.ending.is_set() and state.access.still(who):
            number = await state.catalog.newer_than(since, _LOOKS_S)
            if number == since:
                silent += _LOOKS_S
                if silent >= _SILENT_S:
                    silent = 0.0
                    yield b": nothing new\n\n"
                continue
            silent = 0.0
            if number < since:  # the lake was made anew
                yield _event(number, "missed", {"set": number})
                since = number
                continue
            before = await state.catalog.read(since)
            for new in range(since + 1, number + 1):
                now = await state.catalog.read(new)
                if now is None:
                    before = None
                    continue
                if before is None and new > 1:
                    yield _event(new - 1, "missed", {"set": new - 1})
                else:
                    yield _event(new, "published", _change(before, now, who))
                before = now
            since = number
    finally:
        state.streams -= 1


def _change(before: TableSet | None, now: TableSet, who: Caller) -> dict[str, object]:
    def may(name: str) -> bool:
        return may_see(name, who.tables)

    commits, tables = (before.commits, before.tables) if before else ({}, {})
    return {
        "set": now.number,
        "created_at": now.created_at.isoformat().replace("+00:00", "Z"),
        "commits": {f: [commits.get(f, 0), n] for f, n in now.commits.items() if n != commits.get(f, 0) and may(f"silver.{f}")},
        "tables": [name for name, table in now.tables.items() if (name not in tables or tables[name].at != table.at) and may(name)],
        "seconds": {name: took for name, took in now.seconds.items() if may(_table(name))},
    }  # fmt: skip


def _table(step: str) -> str:
    """Whose table it is: landing is known to whom the feed is."""
    return f"silver.{step.removeprefix(LAND)}" if step.startswith(LAND) else step


def _event(number: int, kind: str, data: dict[str, object]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), json_bytes(data))
