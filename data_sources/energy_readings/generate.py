"""Readings of 2,000 energy meters (S0) by the spec beside this file: seven of them odd.

Guaranteed: the same arguments give byte-identical files; with `messy` the records are those of the clean stream in
order of arrival, some twice, some without a key. Not guaranteed: the same bytes from another version of Polars.
"""

from __future__ import annotations

from pathlib import Path

from data_sources.generators.streams.feed import generate_feed


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `out/energy_readings/energy_readings_NNNNNN.json` and `out/truth.json`; returns the counts of truth.json.

    Sorted by name the files are one log. Raises ValueError for an argument out of range.
    """
    return generate_feed(Path(__file__).parent, out, seed=seed, scale=scale, days=days, messy=messy)
