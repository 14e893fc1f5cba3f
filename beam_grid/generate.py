"""`beam-grid generate`: sample data of the built-in sources, with the truth a run should count."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

from beam_grid.errors import GridError
from beam_grid.feeds import BUILT_IN


def sources() -> list[str]:
    """Sources that can be generated: folders of data_sources with a generate.py."""
    return sorted(p.parent.name for p in BUILT_IN.glob("*/generate.py"))


def generate(names: tuple[str, ...], out: Path, **given: Any) -> dict[str, dict[str, int]]:
    """Write the named sources' data (all without names) below `out`; returns the counts of truth.json by feed."""
    known = sources()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise GridError(
                f"source {name!r}: is not known"
                + (f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}")
            )
    try:
        return {
            name: importlib.import_module(f"data_sources.{name}.generate").generate(out, **given)
            for name in names or known
        }
    except ValueError as cause:
        raise GridError(f"generate: {cause}") from cause
    except OSError as cause:
        raise GridError(f"generate: {out} cannot be written ({cause.strerror or cause})") from cause
