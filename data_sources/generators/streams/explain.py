"""One line for one mistake in a spec: where it is, what was seen, what to write."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from data_sources.generators.streams.column import ColumnSpec
from data_sources.generators.streams.spec import StreamSpec


def explain(path: Path, raw: dict[str, Any], error: Any) -> str:
    """One line for one mistake: `spec s.toml, column 'x', weights: ...`."""
    spot, place = error["loc"], ""
    if len(spot) >= 2 and spot[0] in ("columns", "anomalies") and isinstance(spot[1], int):
        item = raw[spot[0]][spot[1]]
        label = item.get("name") if isinstance(item, dict) else None
        kind = "column" if spot[0] == "columns" else "anomaly"
        place, spot = f", {kind} {label!r}" if label else f", {kind} number {spot[1] + 1}", spot[2:]
    place += f", {'.'.join(str(s) for s in spot)}" if spot else ""
    if error["type"] == "missing":
        return f"spec {path}{place}: is missing; add it"
    if error["type"] == "extra_forbidden":
        known = list(ColumnSpec.model_fields if "column" in place else StreamSpec.model_fields)
        return f"spec {path}{place}: unknown word{meant(str(error['loc'][-1]), known)}"
    text = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"])
    if not error["type"].startswith("value_error"):
        text = f"{error['input']!r}: {text}"
    return f"spec {path}{place}: {text}"


def meant(seen: str, known: list[str]) -> str:
    close = difflib.get_close_matches(seen, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"
