"""`beam-grid reflections` and `query --explain`: what they show, as tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.reflections import declared
from beam_grid.reflections.plan import AnswerPlan, size_of

if TYPE_CHECKING:
    import pyarrow as pa


def run(lake: Lake, what: str) -> tuple[pa.Table, bool]:
    """What `beam-grid reflections WHAT` shows, and whether all is well. Raises GridError for a file that is none."""
    if what == "check":
        return checked(lake)
    if what == "suggest":
        from beam_grid.reflections.suggest import suggested

        return suggested(lake), True
    return listed(lake), True


def checked(lake: Lake) -> tuple[pa.Table, bool]:
    """A line for each question: `reflection`, `outcome`, `rows`, `with_s`, `without_s`, `why`, `sql`; and whether no two
    answers differ."""
    import pyarrow as pa

    from beam_grid.reflections.check import check

    lines = check(lake)
    schema = pa.schema(
        [("reflection", pa.string()), ("outcome", pa.string()), ("rows", pa.int64()), ("with_s", pa.float64()),
         ("without_s", pa.float64()), ("why", pa.string()), ("sql", pa.string())]
    )  # fmt: skip
    answer = pa.Table.from_pylist([line._asdict() for line in lines], schema=schema)
    return answer, not any(line.outcome == "differs" for line in lines)


def explained(plan: AnswerPlan) -> pa.Table:
    """A line for the table and for each reflection that was considered: `candidate`, `outcome`, `why`, `rows`, `bytes`."""
    import pyarrow as pa

    lines = [
        {"candidate": one.name, "outcome": one.outcome, "why": one.why, "rows": one.rows, "bytes": one.bytes}
        for one in plan.considered
    ]
    own = {"candidate": plan.table or "(as it was asked)", "outcome": "left" if plan.answered_by else "read"}
    own_why = plan.why if plan.answered_by is None else _saved(plan)
    schema = pa.schema(
        [("candidate", pa.string()), ("outcome", pa.string()), ("why", pa.string()), ("rows", pa.int64()), ("bytes", pa.int64())]
    )  # fmt: skip
    return pa.Table.from_pylist(
        [{**own, "why": own_why, "rows": plan.rows, "bytes": plan.bytes}, *lines], schema=schema
    )


def _saved(plan: AnswerPlan) -> str:
    if plan.saved is None:
        return f"{plan.answered_by} answers"
    rows, size = plan.saved
    return f"{plan.answered_by} answers: {rows:,} rows and {size:,} bytes fewer to look at"


def listed(lake: Lake) -> pa.Table:
    """A line for each reflection that is declared or kept: `reflection`, `of`, `state` (current, behind, missing,
    undeclared), `age_s`, `refresh_s` (how long the last refresh took), `rows`, `bytes`."""
    import pyarrow as pa

    found, now = newest(lake), datetime.now(UTC)
    wanted = declared.declared(lake)
    kept = (
        {} if found is None else {name: table for name, table in found.tables.items() if table.reflection is not None}
    )
    lines = []
    for name in sorted({*wanted, *kept}):
        table = kept.get(name)
        line: dict[str, object] = {
            "reflection": name,
            "of": wanted[name].table if name in wanted else None,
            "state": "missing",
        }
        if table is not None and table.reflection is not None and found is not None:
            its = table.reflection
            source = found.tables.get(its.declared.table)
            is_current = source is not None and table.read_at.get(its.declared.table) == source.at
            rows, size = size_of(lake, table)
            line |= {
                "of": its.declared.table, "state": "current" if is_current else "behind", "rows": rows, "bytes": size,
                "age_s": round((now - its.refreshed_at).total_seconds(), 1), "refresh_s": its.seconds,
            }  # fmt: skip
            if name not in wanted:
                line["state"] = "undeclared"
        lines.append(line)
    schema = pa.schema(
        [("reflection", pa.string()), ("of", pa.string()), ("state", pa.string()), ("age_s", pa.float64()),
         ("refresh_s", pa.float64()), ("rows", pa.int64()), ("bytes", pa.int64())]
    )  # fmt: skip
    return pa.Table.from_pylist(lines, schema=schema)
