"""Faces of a contract: the same declaration as Spark DDL, as Markdown, as an Arrow schema in words."""

from __future__ import annotations

import pyarrow as pa

from data_sources.contract import Contract, WindowSpec
from data_sources.durations import format_duration


def spark_type(kind: pa.DataType) -> str:
    """Spark SQL's name of an Arrow type."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP"
    names = {
        "string": "STRING",
        "int64": "BIGINT",
        "int32": "INT",
        "double": "DOUBLE",
        "bool": "BOOLEAN",
        "date32[day]": "DATE",
        "binary": "BINARY",
    }
    return names[str(kind)]


def ddl(contract: Contract) -> str:
    """CREATE TABLE of the landed rows, as Spark with Delta takes it."""
    columns = ",\n".join(
        f"  `{f.name}` {spark_type(f.type)}{'' if f.nullable else ' NOT NULL'}" for f in contract.landed_schema
    )
    cluster = ", ".join(f"`{c}`" for c in contract.lake.cluster_by)
    return f"CREATE TABLE silver.`{contract.name}` (\n{columns}\n) USING DELTA" + (
        f"\nCLUSTER BY ({cluster})" if cluster else ""
    )


def arrow(contract: Contract) -> str:
    """The Arrow schema of the landed rows, a line a column."""
    return str(contract.landed_schema.remove_metadata())


def markdown(contract: Contract) -> str:
    """The contract as a page for people."""
    lines = [f"# {contract.name}", "", contract.description, ""]
    facts = {
        "format": contract.format,
        "topic": contract.topic,
        "files": ", ".join(f"`{g}`" for g in contract.files),
        "event time": f"`{contract.event_time}`",
        "out of orderness": format_duration(contract.out_of_orderness),
        "allowed lateness": format_duration(contract.allowed_lateness),
        "max future": format_duration(contract.max_future) if contract.max_future else None,
        "file order": contract.file_order,
        "dedup": f"{', '.join(f'`{k}`' for k in contract.dedup.key)}, keep {contract.dedup.keep}",
        "clustered by": ", ".join(f"`{c}`" for c in contract.lake.cluster_by),
    }
    lines += ["| what | value |", "|---|---|", *(f"| {k} | {_cell(v)} |" for k, v in facts.items() if v), ""]
    lines += ["## Fields", "", "| field | type | null | unit | since | description |", "|---|---|---|---|---|---|"]
    for f in contract.fields:
        null = "no" if f.name in contract.required else "yes"
        lines.append(f"| `{f.name}` | {f.type} | {null} | {f.unit or ''} | {f.since or ''} | {_cell(f.description)} |")
    if contract.windows:
        lines += ["", "## Windows", "", "| table | size | every | by | measures |", "|---|---|---|---|---|"]
        for w in contract.windows:
            measures = "<br>".join(f"`{n} = {m}`" for n, m in w.measures.items())
            lines.append(
                f"| gold.{w.name} | {_length(w)} | {format_duration(w.step) if w.calendar is None else w.calendar} | {', '.join(w.by)} | {_cell(measures)} |"
            )
    if contract.rules:
        lines += ["", "## Rules", "", "| id | check | on fail | description |", "|---|---|---|---|"]
        lines += [f"| {r.id} | `{_cell(r.check)}` | {r.on_fail} | {_cell(r.description)} |" for r in contract.rules]
    if contract.expectations:
        lines += ["", "## Expectations", "", "| id | expect | on fail | description |", "|---|---|---|---|"]
        lines += [
            f"| {e.id} | `{_cell(e.expect)}` | {e.on_fail} | {_cell(e.description)} |" for e in contract.expectations
        ]
    return "\n".join(lines)


def _length(window: WindowSpec) -> str:
    if window.calendar is not None:
        return f"{window.calendar} in {window.time_zone}"
    return format_duration(window.length)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
