"""What went wrong, as `application/problem+json` (RFC 9457): status, title, and a detail that says what to do."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from beam_grid.errors import GridError
from beam_grid.server.jobs import Status
from beam_grid.server.pool import Busy

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "The request cannot be answered",
    401: "A key is needed",
    403: "The key does not reach this",
    404: "There is no such thing here",
    405: "The method does not fit",
    406: "No such form of answer",
    408: "It took too long",
    410: "It is no longer there",
    413: "Too much at once",
    415: "The body is of the wrong kind",
    421: "This name is not served here",
    422: "A parameter does not fit",
    429: "Too many requests",
    499: "The client went",
    500: "A fault of the server",
    503: "Busy; ask again in a moment",
}

STATUS: dict[Status, int] = {
    "refused": 400, "not_there": 404, "forbidden": 403, "gone": 410, "too_much": 413, "failed": 500, "timeout": 408,
    "cancelled": 499,
}  # fmt: skip
"""Of a job that did not go well."""


class Problem(Exception):
    """Ends a request."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class ProblemBody(BaseModel):
    """The body of each answer that is not 200."""

    type: str = "about:blank"
    title: str = Field(examples=[TITLES[404]])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no table gold.metre_15min; did you mean gold.meter_15min?"])


def response(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": TITLES.get(status, "It did not go well"),
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have every failure of a route answered so."""

    @app.exception_handler(Problem)
    async def problem(request: Request, cause: Problem) -> JSONResponse:
        return response(cause.status, cause.detail, cause.headers)

    @app.exception_handler(Busy)
    async def busy(request: Request, cause: Busy) -> JSONResponse:
        return response(503, str(cause), {"Retry-After": "1"})

    @app.exception_handler(GridError)
    async def grid(request: Request, cause: GridError) -> JSONResponse:
        return response(503, str(cause))

    @app.exception_handler(RequestValidationError)
    async def unfit(request: Request, cause: RequestValidationError) -> JSONResponse:
        told = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in cause.errors()]
        return response(422, "; ".join(told)[:1000])

    @app.exception_handler(HTTPException)
    async def plain(request: Request, cause: HTTPException) -> JSONResponse:
        detail = (
            f"there is nothing at {request.url.path}; GET /api/v1 lists what is"
            if cause.status_code == 404
            else str(cause.detail)
        )
        return response(cause.status_code, detail, dict(cause.headers or {}))

    @app.exception_handler(Exception)
    async def fault(request: Request, cause: Exception) -> JSONResponse:
        return response(500, f"{type(cause).__name__}; the server's log says more")
