"""What a running server has: its lake, pool, news, keys, log, figures; and the one way a question goes through them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fastapi import Request

from beam_grid.lakehouse.query_log import Asked
from beam_grid.server.access import Access, Caller
from beam_grid.server.answers import Unsent
from beam_grid.server.catalog import Catalog
from beam_grid.server.jobs import Job
from beam_grid.server.logging_queries import QueryLog
from beam_grid.server.made import Making
from beam_grid.server.metrics import Figures
from beam_grid.server.online import Online
from beam_grid.server.pages import Kept
from beam_grid.server.pool import Answer, Busy, Pool
from beam_grid.server.problems import STATUS, Problem
from beam_grid.server.results import Results
from beam_grid.server.settings import Settings


@dataclass
class State:
    """Of one server, from its start to its end."""

    settings: Settings
    access: Access
    catalog: Catalog
    pool: Pool
    making: Making
    online: Online
    kept: Kept
    results: Results
    queries: QueryLog
    figures: Figures
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    unsent: Unsent = field(default_factory=Unsent)
    streams: int = 0
    """Clients that listen to events."""

    async def ask(self, request: Request, who: Caller, job: Job, statement: str) -> Answer:
        """The answer of a job that went well, logged; raises Problem for one that did not, Busy.

        statement: what the log has of it.
        """
        job.allowed, job.max_rows, job.max_bytes = (
            who.tables,
            self.settings.max_rows,
            self.settings.max_answer_mib << 20,
        )
        if is_of_the_newest := job.set_number is None and self.catalog.number > 0:
            job.set_number = self.catalog.number  # what is announced; a newer one may still be made ready
        started = datetime.now(UTC)
        gone = asyncio.ensure_future(_left(request))
        try:
            answer = await self._answer(job, gone)
            if answer.told.status == "gone" and is_of_the_newest:  # pruned just now, or the lake was made anew
                job.set_number = None
                answer = await self._answer(job, gone)
        except Busy:
            self.figures.busy()
            raise
        finally:
            gone.cancel()
        told = answer.told
        self.making.asked(told.tables)
        self.figures.answered(job.kind, told.status, answer.took_s)
        self.queries.add(
            Asked(
                started_at=started, kind=job.kind, statement=statement[:4000], tables=told.tables,
                set_number=told.set_number, caller=who.name, status=told.status, waited_ms=answer.waited_s * 1e3,
                execution_time_ms=answer.took_s * 1e3, answer_rows=told.rows if told.status == "ok" else None,
                answer_bytes=len(answer.rows) if told.status == "ok" else None, answered_by=told.answered_by,
            )
        )  # fmt: skip
        if told.status != "ok":
            raise Problem(STATUS[told.status], told.message)
        return answer

    async def _answer(self, job: Job, gone: asyncio.Future[None]) -> Answer:
        return await self.results.ask(
            job, self.catalog.number, gone, lambda: self.pool.ask(job, self.settings.timeout_s, gone)
        )


async def _left(request: Request) -> None:
    """Ends when the client does; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
