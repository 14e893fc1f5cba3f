"""Send live smart-meter readings to Kafka for a while: `kafka_producer_simulator.py SECONDS [--rate 3]`.

Each message is one reading of a random meter, stamped with the moment it is sent: key = meter_id, value = JSON as in the
generated files. When it stops, and its exit codes: `data_sources/generators/simulator.py`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import numpy as np

from data_sources.generators.registry import meters
from data_sources.generators.simulator import simulate
from data_sources.smart_meter_readings.generate import as_records, readings
from data_sources.smart_meter_readings.order import meter_sizes

TOPIC = "energy.smart_meter.readings"


def main(arguments: list[str] | None = None) -> int:
    """Run the simulator; returns the exit code."""
    return simulate(
        "Send live smart-meter readings to Kafka for a while.", TOPIC, lambda s: _Grid(s).messages, arguments
    )


class _Grid:
    """The meters of a seed, each of its own size."""

    def __init__(self, seed: int) -> None:
        self._sizes = meter_sizes(seed)

    def messages(self, rng: np.random.Generator, count: int, now_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """`count` readings of random meters, taken now."""
        meter = rng.integers(0, meters().height, count)
        rows = as_records(readings(rng, meter, np.full(count, now_ms), self._sizes[meter]))
        lines = io.BytesIO()
        rows.write_ndjson(lines)
        keys = (key.encode() for key in rows["meter_id"])
        yield from zip(keys, lines.getvalue().splitlines(), strict=True)


if __name__ == "__main__":
    sys.exit(main())
