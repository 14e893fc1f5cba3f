"""`python -m benchmarks.page`: the dashboard of `beam-grid serve` in headless Chromium, over a thousand sensors.

    opened with nothing in the browser's cache ─► first paint ─► the fleet, drawn: strip, list, counts
    scrolled for some seconds ─► frames a second, and the longest between two

Chromium draws without a graphics card here, on the same cores as the server.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.measure import end, run, start
from benchmarks.sensors import FEED
from benchmarks.serve import is_ready
from tests.beam_grid.server.browser import Browser, browser
from tests.component.broker import free_ports

_STARTS_WITHIN_S = 120.0
_AIMS = {"drawn_s": 1.0, "frames_a_second": 60.0}

_WATCH = """
const look = () => {
  const sections = [...document.querySelectorAll("main section")];
  const drawn = sections.length && sections.every((s) => s.getAttribute("aria-busy") !== "true") && document.querySelector(".rows .row[aria-rowindex='2']");
  if (drawn) window.drawnAt = performance.now(); else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
"""Before the page's own scripts: when everything the view has is drawn, in milliseconds since the page was asked for."""

_SCROLL = """new Promise((done) => {
  const boxes = [document.querySelector(".rows"), document.querySelector(".strip")], frames = [], began = performance.now();
  const step = (now) => {
    frames.push(now);
    const share = Math.abs(((now - began) / %d * 4) %% 2 - 1);
    for (const box of boxes) box.scrollTop = share * (box.scrollHeight - box.clientHeight);
    if (now - began < %d) requestAnimationFrame(step); else done(frames);
  };
  requestAnimationFrame(step);
})"""
"""From the end to the beginning and back, twice; the moments of the frames."""


def measure(folder: Path, sensors: int = 1000, opens: int = 7, scroll_s: float = 4.0) -> dict[str, dict[str, Any]]:
    """Figures, printed: medians of some opens. Raises AssertionError where the page says an error or Chromium is missing."""
    at = folder / "page"
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir(parents=True)
    run(["-m", "beam_grid", "generate", FEED, "--out", str(at / "data"), "--sensors", str(sensors), "--days", "2", "--interval", "1h"], at / "generate.log")  # fmt: skip
    run(["-m", "beam_grid", "run", FEED, "--source", str(at / "data"), "--lake", str(at / "lake")], at / "run.log")
    with ExitStack() as stack:
        (port,) = free_ports(1)
        server = start(["-m", "beam_grid", "serve", "--lake", str(at / "lake"), "--port", str(port)], at / "serve.log")
        stack.callback(end, server, 10)
        until = time.monotonic() + _STARTS_WITHIN_S
        while not is_ready(port):
            if time.monotonic() > until:
                raise SystemExit(f"page: the server does not start:\n{(at / 'serve.log').read_text()[-2000:]}")
            time.sleep(0.25)
        page = stack.enter_context(browser(at / "profile"))
        page.size(1280, 900)
        page.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        opened = [_opened(page, f"http://127.0.0.1:{port}/?{n}#/fleet/{FEED}") for n in range(opens)]
        frames = page.run(_SCROLL % (scroll_s * 1000, scroll_s * 1000))
        page.picture(at / "fleet.png")
        assert not page.errors, page.errors
    first, warm = opened[0], opened[1:]
    between = [b - a for a, b in pairwise(frames)]
    found = {
        "first_open_s": first[1],
        "painted_s": statistics.median(one[0] for one in warm),
        "drawn_s": statistics.median(one[1] for one in warm),
        "frames_a_second": 1000 * len(between) / (frames[-1] - frames[0]),
        "longest_frame_ms": max(between),
    }
    print(f"page: the fleet of {sensors:,} sensors, headless Chromium on the same cores, nothing cached")
    print(f"  first paint {found['painted_s']:.2f} s, drawn whole {found['drawn_s']:.2f} s (medians of {len(warm)}; aim {_AIMS['drawn_s']:.0f}); the very first {found['first_open_s']:.2f} s")  # fmt: skip
    print(f"  scrolled for {scroll_s:g} s: {found['frames_a_second']:.0f} frames a second (aim {_AIMS['frames_a_second']:.0f}), longest {found['longest_frame_ms']:.0f} ms")  # fmt: skip
    return {"page": found}


def _opened(page: Browser, url: str) -> tuple[float, float]:
    """Seconds to the first paint, and until all is drawn."""
    page.call("Network.clearBrowserCache")
    page.open(url)
    drawn = page.until("window.drawnAt")
    painted = page.run("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? window.drawnAt")
    return painted / 1000, drawn / 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--sensors", type=int, default=1000)
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    measure(folder, parser.parse_args().sensors)


if __name__ == "__main__":
    main()
