"""`python -m benchmarks.producer BOOTSTRAP TOPIC RATE`: meter readings to Kafka as they are taken, until SIGTERM or SIGINT.

Each reading's event time is the millisecond at which it is due, so a row's age is what lies between. What falls due while
a batch is made goes with the next, so the rate holds over time. Prints the number of messages the broker has confirmed.
"""

from __future__ import annotations

import signal
import sys
import time

import numpy as np

from data_sources.generators.streams.sinks import Kafka
from data_sources.smart_meter_readings.generate import as_records, readings
from data_sources.smart_meter_readings.order import meter_sizes

_SEED = 7
_EVERY_S = 0.05


def main(bootstrap: str, topic: str, rate: int) -> None:
    """Send until told to stop. Raises ValueError where there is no broker or no such topic."""
    sink, rng, sizes = Kafka(bootstrap, topic), np.random.default_rng(_SEED), meter_sizes(_SEED)
    stopped: list[int] = []
    for word in (signal.SIGTERM, signal.SIGINT):
        signal.signal(word, lambda number, _: stopped.append(number))
    started, sent = time.time(), 0
    while not stopped:
        due = int((time.time() - started) * rate)
        number = np.arange(sent, due)
        if len(number):
            meter = number % len(sizes)
            event_ms = ((started + number / rate) * 1000).astype(np.int64)
            sink.write(as_records(readings(rng, meter, event_ms, sizes[meter])))
            sent = due
        time.sleep(max(0.0, started + sent / rate + _EVERY_S - time.time()))
    sink.close()
    print(sent, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
