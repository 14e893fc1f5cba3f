"""The application: routes, what surrounds them, and what lives as long as the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from beam_grid.server import alerts, events, features, health, index, lake, overview, problems, sql, tables
from beam_grid.server.access import Access
from beam_grid.server.catalog import Catalog
from beam_grid.server.jobs import Job
from beam_grid.server.logging_queries import QueryLog
from beam_grid.server.made import Making
from beam_grid.server.metrics import Figures
from beam_grid.server.online import Online
from beam_grid.server.pages import Kept
from beam_grid.server.pool import Pool
from beam_grid.server.results import Results
from beam_grid.server.security import Security
from beam_grid.server.settings import Settings
from beam_grid.server.state import State

DASHBOARD = Path(__file__).parent / "dashboard"

_DESCRIPTION = (
    "Tables, state and news of one lake. Reading only. Each answer is of one version set, which JSON names as `set`; "
    "a failure is application/problem+json."
)


def make(settings: Settings) -> FastAPI:
    """The application for a lake. Its workers start with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        catalog = Catalog(settings.lake)
        figures = Figures(settings.lake.path)
        results = Results()
        queries = QueryLog(settings.lake, settings.log_days, settings.log_rows, results.forget_of_the_log)
        async with Pool(settings.lake, settings.workers, settings.limits) as pool:
            making, online = Making(pool), Online(settings.lake, pool.scratch / "online")

            async def prepare(number: int) -> None:
                await asyncio.gather(making.make(number), online.prepare(number))

            catalog.prepare, catalog.rest_s = prepare, making.rest_s
            state = State(settings, Access(settings), catalog, pool, making, online, Kept(), results, queries, figures)
            app.state.state, app.state.access = state, state.access
            figures.watch("busy_workers", "Workers that are at a statement.", lambda: pool.busy)
            figures.watch("waiting", "Statements that wait for a worker.", lambda: pool.waiting)
            figures.watch("killed_workers", "Workers that were ended for what they were at.", lambda: pool.killed)
            figures.watch("kept_answers", "Statements answered without a worker.", lambda: state.results.hits)
            figures.watch("streams", "Clients that listen to events.", lambda: state.streams)
            figures.watch("unsent_bytes", "Of answers that clients have not read yet.", lambda: state.unsent.bytes)
            figures.watch("set", "Number of the newest version set.", lambda: catalog.number)
            tasks = [asyncio.create_task(catalog.watch()), asyncio.create_task(queries.run())]
            await asyncio.gather(*(pool.ask(Job(kind="warm"), 30.0) for _ in range(settings.workers)))
            yield
            state.ending.set()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await queries.flush()

    app = FastAPI(
        title="Beam Grid", description=_DESCRIPTION, version=_version(), lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        responses={
            code: {"model": problems.ProblemBody, "description": problems.TITLES[code]}
            for code in (400, 401, 403, 404, 408, 410, 413, 422, 429, 503)
        },
    )  # fmt: skip
    app.add_middleware(Security, settings=settings)
    problems.install(app)
    for routes in (tables, sql, features, lake, overview, alerts, events):
        app.include_router(routes.router, prefix="/api/v1")
    app.include_router(health.router)
    app.include_router(index.router)
    if (DASHBOARD / "index.html").exists():
        app.mount("/", StaticFiles(directory=DASHBOARD, html=True))
    else:

        @app.get("/", include_in_schema=False)
        async def root() -> RedirectResponse:
            return RedirectResponse("/api/v1")

    return app


def _version() -> str:
    try:
        return version("beam-grid")
    except PackageNotFoundError:
        return "0"
