"""`beam-grid generate`: sample data of the built-in sources, with the truth a run should count; and streams by a spec."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beam_grid.errors import GridError
from beam_grid.feeds import BUILT_IN


def sources() -> list[str]:
    """Sources that can be generated: folders of data_sources with a generate.py."""
    return sorted(p.parent.name for p in BUILT_IN.glob("*/generate.py"))


def generate(
    names: tuple[str, ...], out: Path, *, options: dict[str, Any] | None = None, **given: Any
) -> dict[str, dict[str, int]]:
    """Write the named sources' data (all without names) below `out`; returns the counts of truth.json by feed.

    given: what every source takes; options: what only some do (`interval`, `meters`, `sensors`, `anomalies`, `faults`), for
    which the sources must be named. Raises GridError for a source or argument that cannot be, before anything is written.
    """
    known = sources()
    for name in names:
        if name not in known and (BUILT_IN / name / "contract.toml").is_file():
            notes = f"{BUILT_IN.name}/{name}/NOTES.md"
            raise GridError(f"source {name!r}: has no generator of its own; {notes} says which one writes it")
        if name not in known:
            raise GridError(f"source {name!r}: is not known; {_hint(name, known)}")
    options = options or {}
    for option in options:
        able = [name for name in known if option in inspect.signature(_generator(name)).parameters]
        if unable := [name for name in names or known if name not in able]:
            raise GridError(
                f"generate: --{option} is not for {unable[0]}; name the source it is for: {', '.join(able)}"
            )
    try:
        return {name: _generator(name)(out, **given, **options) for name in names or known}
    except ValueError as cause:
        raise GridError(f"generate: {cause}") from cause
    except OSError as cause:
        raise GridError(f"generate: {out} cannot be written ({cause.strerror or cause})") from cause


def _generator(name: str) -> Callable[..., dict[str, int]]:
    generator: Callable[..., dict[str, int]] = importlib.import_module(f"data_sources.{name}.generate").generate
    return generator


def stream(
    names: tuple[str, ...],
    out: str | None,
    *,
    spec: str | None = None,
    rate: float | None = None,
    kafka: str | None = None,
    **given: Any,
) -> Iterator[str]:
    """Send the streams of the named sources' specs, or of the spec file; yields a line on each when it is done.

    Into files below `out`, or to each spec's topic on the broker `kafka`. `given` is what `Output` takes besides.
    """
    if spec is not None and names:
        raise GridError("generate: give either SOURCE or --spec FILE, not both")
    if (out is None) == (kafka is None):
        raise GridError("generate: give either --out DIR or --kafka HOST:PORT for the stream")
    try:
        for path in [Path(spec)] if spec is not None else _specs(names):
            yield _stream(path, out, rate, kafka, **given)
    except ValueError as cause:
        raise GridError(f"generate: {cause}") from cause
    except OSError as cause:
        raise GridError(f"generate: {out} cannot be written ({cause.strerror or cause})") from cause


def _stream(path: Path, out: str | None, rate: float | None, kafka: str | None, **given: Any) -> str:
    from data_sources.generators.streams.feed import emit_feed
    from data_sources.generators.streams.load import load_spec

    spec = load_spec(path)
    done = emit_feed(spec, Path(out) if out is not None else None, kafka, rate=rate, **given)
    line = f"{spec.name}: {done.records:,} records in {done.seconds:.1f} s ({done.rate:,.0f} a second)"
    line += f" to {out if kafka is None else f'topic {spec.topic} at {kafka}'}"
    if rate is not None and done.rate < 0.98 * rate and done.records > rate:
        line += f"; {rate:,.0f} a second were asked for: this machine or the sink is too slow"
    return line


def _specs(names: tuple[str, ...]) -> list[Path]:
    known = sorted(p.parent.name for p in BUILT_IN.glob("*/spec.toml"))
    if not names:
        raise GridError(f"generate: name a SOURCE that has a spec ({', '.join(known)}), or give --spec FILE")
    for name in names:
        if name not in known:
            raise GridError(f"source {name!r}: has no spec to stream by; {_hint(name, known)}; or give --spec FILE")
    return [BUILT_IN / name / "spec.toml" for name in names]


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
