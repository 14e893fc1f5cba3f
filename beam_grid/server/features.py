"""/features/NAME: the newest features of some series by key, for a model that is asked now; no SQL and no worker."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Header, Path, Query, Request, Response

from beam_grid.errors import GridError
from beam_grid.lakehouse.query_log import Asked
from beam_grid.server.access import Who
from beam_grid.server.answers import ARROW, columns, json_response, records, wanted
from beam_grid.server.problems import Problem
from beam_grid.server.reach import may_see
from beam_grid.server.state import State

router = APIRouter(tags=["features"])

MOST_KEYS = 1_000

_PAGE = {
    "features": "gold.sensor_features",
    "columns": [{"name": "sensor_id", "type": "string"}, {"name": "temp_ma", "type": "double"}],
    "rows": [{"sensor_id": "GS-000001", "temp_ma": 41.7}, {"sensor_id": "GS-999999", "temp_ma": None}],
    "missing": ["GS-999999"],
    "set": 12,
}


@router.get(
    "/features/{name}",
    summary="The newest features of some series",
    responses={200: {"content": {"application/json": {"example": _PAGE}, "text/csv": {}, ARROW: {}}}},
)
async def features(
    request: Request,
    who: Who,
    name: Annotated[str, Path(examples=["sensor_features"], max_length=300)],
    key: Annotated[list[str], Query(description="A series; as often as wanted.", examples=[["GS-000001"]], max_length=MOST_KEYS)],
    accept: Annotated[str, Header()] = "",
) -> Response:  # fmt: skip
    """A row for each key in the order asked; one that the table does not have is null but for its key, and in `missing`."""
    state: State = request.app.state.state
    form, started, begin = wanted(accept), datetime.now(UTC), time.monotonic()
    short = name.removeprefix("gold.")
    if not may_see(f"gold.{short}", who.tables):
        raise Problem(403, f"this key does not reach gold.{short}")
    try:
        of, held = await state.online.held(short, number := state.catalog.number)
    except GridError as cause:
        state.figures.answered("features", "not_there", time.monotonic() - begin)
        raise Problem(404, str(cause)) from cause
    try:
        found = held.find(key)
    except GridError as cause:
        state.figures.answered("features", "refused", time.monotonic() - begin)
        raise Problem(422, str(cause)) from cause
    took = time.monotonic() - begin
    state.figures.answered("features", "ok", took)
    state.queries.add(
        Asked(
            started_at=started, kind="features", statement=f"{of.table}, {len(key)} keys", tables=(of.table,),
            set_number=number, caller=who.name, execution_time_ms=took * 1e3, answer_rows=found.num_rows,
            answer_bytes=found.nbytes,
        )
    )  # fmt: skip
    headers = {"Beam-Grid-Set": str(number)}
    if form != "json":
        return state.unsent.streamed(_stream(found), form, short, headers)
    rows = records(found)
    missing = [row[of.spec.series] for row in rows if row[of.time] is None]
    body = {"features": of.table, "columns": columns(found), "rows": rows, "missing": missing, "set": number}
    return json_response(body, headers)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    return sink.getvalue().to_pybytes()
