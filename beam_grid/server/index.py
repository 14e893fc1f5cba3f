"""The page at /api/v1: the endpoints, out of the same description that /api/v1/openapi.json has. No script, no CDN."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 0.9em ui-monospace, monospace }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid #8886; border-radius: 4px }
section { border-top: 1px solid #8886; padding: 0.5rem 0 }
h2 { font-size: 1.1rem; margin: 0.5rem 0 } dt { font-weight: 600 } dd { margin: 0 0 0.4rem 1rem }
"""

_START = """curl http://HOST/api/v1/tables
curl 'http://HOST/api/v1/tables/gold.energy_hourly?order=-kwh&limit=10'
curl -H 'Content-Type: application/json' -d '{"sql": "SELECT count(*) FROM gold.energy_hourly"}' http://HOST/api/v1/sql
curl -N http://HOST/api/v1/events"""


@router.get("/api/v1")
async def index(request: Request) -> Response:
    return HTMLResponse(page(request.app.openapi()))


@router.get("/api/v1/index.css")
async def style() -> Response:
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def page(openapi: dict[str, Any]) -> str:
    """An HTML page of an OpenAPI description."""
    sections = [
        _section(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Beam Grid API</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/api/v1/index.css"></head><body>'
        f"<h1>Beam Grid API</h1><p>{escape(openapi['info']['description'])}</p>"
        '<p>For programs: <a href="/api/v1/openapi.json">openapi.json</a> (OpenAPI).</p>'
        f"<pre>{escape(_START)}</pre>{''.join(sections)}</body></html>"
    )


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    told = "".join(
        f"<dt><code>{escape(p['name'])}</code></dt><dd>{escape(p.get('description') or p['in'])}</dd>"
        for p in operation.get("parameters", [])
        if p["in"] != "header" or p["name"] == "Last-Event-ID"
    )
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}. "
        f"{escape(operation.get('description', ''))}</p>{f'<dl>{told}</dl>' if told else ''}</section>"
    )
