"""Send live substation telemetry to Kafka for a while: `iot_stream_simulator.py SECONDS [--rate 3]`.

Each message is one reading of a random transformer that the hub takes at the moment it is sent, measured up to 2.5
seconds before: key = iot_device_id, value = JSON as in the generated files. Exit codes are those of
`data_sources/generators/simulator.py`.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator

import numpy as np

from data_sources.generators.simulator import simulate
from data_sources.substation_telemetry.readings import as_records, condition, readings

TOPIC = "energy.substation.telemetry"


def main(arguments: list[str] | None = None) -> int:
    """Run the simulator; returns the exit code."""
    return simulate(
        "Send live substation telemetry to Kafka for a while.", TOPIC, lambda seed: _Hub().messages, arguments
    )


class _Hub:
    """Numbers the messages as a hub does, from 1."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def messages(self, rng: np.random.Generator, count: int, now_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """`count` messages of random transformers, enqueued now."""
        transformer = rng.integers(0, condition().height, count)
        latency_ms = rng.integers(150, 2_500, count)
        sequence = np.fromiter(itertools.islice(self._numbers, count), np.int64, count)
        rows = as_records(readings(rng, transformer, now_ms - latency_ms, latency_ms, sequence))
        lines = io.BytesIO()
        rows.write_ndjson(lines)
        keys = (key.encode() for key in rows["iot_device_id"])
        yield from zip(keys, lines.getvalue().splitlines(), strict=True)


if __name__ == "__main__":
    sys.exit(main())
