"""/sql: one reading statement in DuckDB's SQL, over one version set."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Body, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from beam_grid.server.access import Caller, Who
from beam_grid.server.answers import ARROW, columns, page_bytes, page_response, records, table_of, wanted
from beam_grid.server.guard import MOST_CHARACTERS
from beam_grid.server.jobs import Job
from beam_grid.server.pool import Answer
from beam_grid.server.problems import Problem
from beam_grid.server.state import State
from beam_grid.server.tables import MOST_ROWS

router = APIRouter(tags=["sql"])


class Statement(BaseModel):
    """What is asked. Give `sql`, or `cursor` of the page before."""

    model_config = ConfigDict(extra="forbid")

    sql: str = Field(
        "", max_length=MOST_CHARACTERS, description="One SELECT, WITH, VALUES, FROM, DESCRIBE or SUMMARIZE."
    )
    parameters: list[str | int | FiniteFloat | bool | None] = Field(
        [], max_length=1000, description="Values of its $1, $2 and so on: bound, never part of the text."
    )
    limit: int = Field(1000, ge=1, le=MOST_ROWS, description="Rows of JSON a page.")
    cursor: str = Field("", max_length=500, description="`next` of the page before.")
    explain: bool = Field(False, description="The plan instead of the answer.")
    set: int | None = Field(None, ge=1, description="A version set that is still kept; the newest unless given.")


_EXAMPLES = {
    "by region": {
        "value": {"sql": "SELECT region, sum(kwh) AS kwh FROM gold.energy_hourly GROUP BY region ORDER BY region"}
    },
    "with a value": {
        "value": {"sql": "SELECT * FROM gold.meter_15min WHERE meter_id = $1 LIMIT 96", "parameters": ["SM-N-00001"]}
    },
    "next page": {"value": {"cursor": "q1w2e3r4t5:1000"}},
}
_ANSWER = {
    "columns": [{"name": "region", "type": "string"}, {"name": "kwh", "type": "double"}],
    "rows": [{"region": "North", "kwh": 1204.5}],
    "total": 1,
    "set": 12,
    "answered_by": None,
    "took_ms": 4.2,
    "next": None,
}


@router.post(
    "/sql",
    summary="Answer one reading statement",
    responses={200: {"content": {"application/json": {"example": _ANSWER}, "text/csv": {"example": "region,kwh\r\nNorth,1204.5\r\n"}, ARROW: {}}}},
)  # fmt: skip
async def sql(
    request: Request,
    who: Who,
    asked: Annotated[Statement, Body(openapi_examples=_EXAMPLES)],
    accept: Annotated[str, Header()] = "",
) -> Response:
    """JSON comes by the page, from an answer that is computed once; CSV and Arrow come whole. A statement is ended when it
    takes too long, too much memory, too many rows, or when its asker goes."""
    state: State = request.app.state.state
    form = wanted(accept)
    if asked.cursor:
        if asked.sql or form != "json":
            raise Problem(400, "cursor: goes without sql, and with JSON: CSV and Arrow come whole")
        return await _next_page(state, who, asked.cursor, asked.limit)
    job = Job(
        kind="sql", sql=asked.sql, parameters=tuple(asked.parameters), explain=asked.explain, set_number=asked.set
    )
    answer = await state.ask(request, who, job, asked.sql)
    number, by = answer.told.set_number, answer.told.answered_by
    headers = {"Beam-Grid-Set": str(number), **({"Beam-Grid-Answered-By": by} if by else {})}
    if form != "json":
        return state.unsent.streamed(answer.rows, form, "answer", headers)
    more = {"set": number, "answered_by": by, "took_ms": round(answer.took_s * 1e3, 3)}
    if (page := answer.pages.get(asked.limit)) is None:
        page = await _first_page(state, who, answer, asked.limit)
    return page_response(page, more, headers)


async def _first_page(state: State, who: Caller, answer: Answer, limit: int) -> bytes:
    """Of the answer, which is kept for the next pages where there are some, and keeps its page where there are none."""
    table = table_of(answer.rows)
    if table.num_rows <= limit:
        page = await page_bytes(lambda: _page(table, 0, limit, None), table.num_rows)
        answer.keep(limit, page)
        return page
    token = state.kept.keep(table, who.name, answer.told.set_number)
    if token is None:
        raise Problem(
            413,
            f"the answer has {table.num_rows:,} rows, too large to keep for pages; ask for CSV or Arrow, or for less",
        )
    return await page_bytes(lambda: _page(table, 0, limit, token), limit)


async def _next_page(state: State, who: Caller, cursor: str, limit: int) -> Response:
    token, _, offset = cursor.partition(":")
    if not (offset.isascii() and offset.isdigit() and len(offset) < 12):
        raise Problem(400, "cursor: is not one that this server gave")
    table, number = state.kept.get(token, who.name)
    return page_response(await page_bytes(lambda: _page(table, int(offset), limit, token), limit), {"set": number})


def _page(table: pa.Table, offset: int, limit: int, token: str | None) -> dict[str, Any]:
    after = offset + limit
    return {
        "columns": columns(table),
        "rows": records(table.slice(offset, limit)),
        "total": table.num_rows,
        "next": f"{token}:{after}" if token and after < table.num_rows else None,
    }
