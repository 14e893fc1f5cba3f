"""`beam-grid report`: HTML that says what was read, what became of it, and what it shows.

Up to three feeds are one file. Of more, the file is the overview, with a short section a feed, and beside it each feed
has a page of its own, FILE-FEED.html, linked both ways by relative links.

Guarantees: no page needs the network or, but for those links, anything beside it; everything that came from outside
(ids, raw records, reasons, file names) is escaped; each file is written whole or not at all, the overview last. It
works before refine has run, with what landed. Not guaranteed: that pages of feeds of an earlier report are gone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import secrets
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from beam_grid.errors import GridError
from beam_grid.landing import Lake

if TYPE_CHECKING:
    from beam_grid.report.gather import LakeReport

ONE_FILE = 3
"""Feeds that are shown in one file; of more, each has a page of its own."""


def write_report(lake: Lake, out: Path, *, command: str = "") -> list[Path]:
    """Write the report of a lake to the file `out`, and pages beside it; its folder is made where it is missing.

    command: the command line that asked for it. Returns the files written, `out` last. Raises GridError where `out` cannot be written or the lake not read.
    """
    from beam_grid.report.gather import gather

    # Matplotlib takes as long to import as the tables to ask; the engine that answers leaves Python free meanwhile.
    threading.Thread(target=importlib.import_module, args=(f"{__name__}.charts",)).start()
    out = Path(out)
    if out.is_dir():
        raise GridError(f"report {out}: is a folder; give a file, such as {out / 'report.html'}")
    pages = {out.with_name(name): page for name, page in render(gather(lake, command), out.name).items()}
    for path, page in pages.items():
        _write(path, page)
    return list(pages)


def _write(out: Path, page: str) -> None:
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


def render(report: LakeReport, name: str) -> dict[str, str]:
    """A gathered report as HTML, a page a file name: those of single feeds first, `name`, the overview, last."""
    engine = _engine()
    files = page_names([feed.name for feed in report.feeds], name) if len(report.feeds) > ONE_FILE else {}
    links = {feed: _link(file) for feed, file in files.items()}
    shared = {"report": report, "links": links, "home": _link(name)}
    pages = {
        files[feed.name]: engine.get_template("feed_page.html.j2").render(feed=feed, **shared)
        for feed in report.feeds
        if files
    }
    return {**pages, name: engine.get_template("overview.html.j2").render(shared)}


def page_names(feeds: list[str], name: str) -> dict[str, str]:
    """Feed to the name of its page: `report-FEED.html` beside `report.html`, with only what any file system takes."""
    stem, suffix = os.path.splitext(name)
    found: dict[str, str] = {}
    for feed in feeds:
        safe = re.sub(r"[^A-Za-z0-9_]+", "_", feed)[:100]
        taken = {other.lower() for other in found.values()}
        names = (f"{stem}-{safe}{again}{suffix or '.html'}" for again in ("", *(f"-{n}" for n in range(2, 10_000))))
        found[feed] = next(n for n in names if n.lower() not in taken)
    return found


def _link(file: str) -> str:
    """A relative link; the `./` keeps a colon in the name from being read as a scheme."""
    return "./" + quote(file)


def _engine() -> Any:
    import jinja2
    from markupsafe import Markup

    from beam_grid.report import charts, words
    from beam_grid.report.prose import prose
    from beam_grid.report.suspects import KINDS

    files = resources.files(__name__)
    engine = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8")),
    )
    for name in ("count", "plural", "share", "number", "signed", "moment", "duration", "step", "windows_of"):
        engine.filters[name] = getattr(words, name)
    engine.filters["prose"] = prose
    engine.filters["zip"] = lambda one, other: list(zip(one, other, strict=True))
    engine.globals |= {
        "charts": charts,
        "kinds": KINDS,
        "style": Markup((files / "style.css").read_text(encoding="utf-8")),
    }
    return engine
