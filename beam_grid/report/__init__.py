"""`beam-grid report`: one HTML file that says what was read, what became of it, and what it shows.

Guarantees: the file needs no network and nothing beside it; everything that came from outside (ids, raw records,
reasons, file names) is escaped; it is written whole or not at all. It works before refine has run, with what landed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from importlib import resources
from pathlib import Path
from typing import Any

from beam_grid.errors import GridError
from beam_grid.landing import Lake


def write_report(lake: Lake, out: Path, *, command: str = "") -> None:
    """Write the report of a lake to the file `out`; its folder is made where it is missing.

    command: the command line that asked for it. Raises GridError where `out` cannot be written or the lake not read.
    """
    from beam_grid.report.gather import gather

    page = render(gather(lake, command))
    out = Path(out)
    if out.is_dir():
        raise GridError(f"report {out}: is a folder; give a file, such as {out / 'report.html'}")
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8", errors="backslashreplace")
        os.replace(draft, out)
    except OSError as cause:
        raise GridError(
            f"report {out}: cannot be written ({cause.strerror or cause}); give a file you may write to"
        ) from cause
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def render(report: Any) -> str:
    """A gathered `LakeReport` as HTML."""
    import jinja2
    from markupsafe import Markup

    from beam_grid.report import charts, words
    from beam_grid.report.suspects import KINDS

    files = resources.files(__name__)
    engine = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for name in ("count", "plural", "share", "number", "moment", "duration", "step"):
        engine.filters[name] = getattr(words, name)
    template = engine.from_string((files / "report.html.j2").read_text(encoding="utf-8"))
    style = (files / "style.css").read_text(encoding="utf-8")
    return template.render(report=report, style=Markup(style), charts=charts, kinds=KINDS)
