"""/tables and /tables/NAME: what there is to read, and a table's rows by the page, without SQL."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from beam_grid.server.access import Who
from beam_grid.server.answers import ARROW, columns, json_response, page_bytes, page_response, records, table_of, wanted
from beam_grid.server.jobs import Job
from beam_grid.server.pages import TableCursor, digest, table_cursor
from beam_grid.server.problems import Problem
from beam_grid.server.state import State

router = APIRouter(tags=["tables"])

MOST_ROWS = 10_000
"""Of a page of JSON."""

_LIST = {"set": 12, "tables": [{"table": "gold.meter_15min", "kind": "table", "version": 7, "rows": 96000, "bytes": 1048576, "description": None}]}  # fmt: skip
_PAGE = {
    "columns": [{"name": "meter_id", "type": "string"}, {"name": "kwh", "type": "double"}],
    "rows": [{"meter_id": "SM-N-00001", "kwh": 0.42}],
    "set": 12,
    "next": "WzEyLDEsImFiYyJd",
}


@router.get("/tables", summary="Tables and views of the newest version set", responses={200: {"content": {"application/json": {"example": _LIST}}}})  # fmt: skip
async def tables(request: Request, who: Who) -> Response:
    """By name. rows and bytes are a table's; of a view they are null."""
    state: State = request.app.state.state
    answer = await state.ask(request, who, Job(kind="tables"), "tables")
    return json_response({"set": answer.told.set_number, "tables": records(table_of(answer.rows))})


@router.get(
    "/tables/{name}",
    summary="Rows of a table",
    responses={
        200: {"content": {"application/json": {"example": _PAGE}, "text/csv": {"example": "meter_id,kwh\r\nSM-N-00001,0.42\r\n"}, ARROW: {}}}
    },
)  # fmt: skip
async def rows(
    request: Request,
    who: Who,
    name: Annotated[str, Path(examples=["gold.meter_15min"], max_length=300)],
    where: Annotated[str, Query(description="A condition in DuckDB's SQL.", examples=["kwh > 2 AND meter_id LIKE 'SM-N-%'"], max_length=10_000)] = "",
    order: Annotated[str, Query(description="Columns, a - before one for descending.", examples=["-kwh,meter_id"], max_length=2_000)] = "",
    limit: Annotated[int, Query(ge=1, description=f"Rows; of JSON at most {MOST_ROWS:,}.")] = 100,
    cursor: Annotated[str, Query(description="`next` of the page before.", max_length=500)] = "",
    accept: Annotated[str, Header()] = "",
) -> Response:  # fmt: skip
    """JSON comes by the page: `next` is the cursor of the next one, null after the last. All pages are of the version set
    of the first, whatever is published meanwhile. CSV and Arrow hold `limit` rows at once."""
    state: State = request.app.state.state
    form = wanted(accept)
    if form == "json" and limit > MOST_ROWS:
        raise Problem(422, f"limit: at most {MOST_ROWS:,} rows of JSON a page; CSV and Arrow take more")
    asked = digest(name, where, order)
    at = table_cursor(cursor, asked) if cursor else None
    job = Job(
        kind="table", table=name, where=where, order=tuple(filter(None, (word.strip() for word in order.split(",")))),
        limit=limit + (form == "json"), offset=at.offset if at else 0, set_number=at.set_number if at else None,
    )  # fmt: skip
    statement = f"{name}?where={where}&order={order}&limit={limit}&offset={job.offset}"
    answer = await state.ask(request, who, job, statement)
    number = answer.told.set_number
    headers = {"Beam-Grid-Set": str(number)}
    if form != "json":
        return state.unsent.streamed(answer.rows, form, name.replace(".", "_"), headers)
    table = table_of(answer.rows)
    more = table.num_rows > limit and number is not None
    after = TableCursor(number or 0, job.offset + limit, asked).text() if more else None

    def page() -> dict[str, Any]:
        return {"columns": columns(table), "rows": records(table.slice(0, limit))}

    return page_response(await page_bytes(page, table.num_rows), {"set": number, "next": after}, headers)
