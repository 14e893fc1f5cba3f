"""`python -m benchmarks.alert_latency`: how long after a reading is sent the alert it causes is at a webhook.

    producer ──5,000/s──┐
    this process ───────┴─► Kafka broker ─► beam-grid run --follow ─► tables ─► rules ─► webhook, in this process
      marked readings, now and then                                                  └─► when each came, and how often

All are processes of their own on this machine. A marked reading is one of a meter of its own that no other reading has, sent by
this process; the rule names such meters. Its time is from just before it is given to the producer to the first byte of the
alert's body. In the end every marked reading must have been alerted, each exactly once, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from beam_grid.landing import Lake
from beam_grid.progress import newest_first
from benchmarks.equal import CONTRACT
from benchmarks.measure import end, start
from tests.beam_grid.alerts.receiver import SECRET, Receiver, webhook
from tests.component.broker import KafkaBroker

_FIRST_SET_WITHIN_S = 60.0
_WARM_UP_S = 10.0
_ALERTED_WITHIN_S = 60.0
_EVERY_S = 0.5
"""Between two marked readings; not a divisor of the follower's pace, with what is added for each."""
_DRIFT_S = 0.037
_PARTITIONS = 2
_MARKED = "MARKED-"

RULES = f"""
[[alerts]]
name = "marked"
table = "silver.{CONTRACT.name}"
key = ["meter_id"]
time = "{CONTRACT.event_time}"
within = "1m"
where = "meter_id LIKE '{_MARKED}%'"
severity = "critical"
send_resolved = false
budget = 1000000
"""


class NotAlerted(SystemExit):
    """An alert did not come, came twice, or was of no marked reading."""


class Timed(Receiver):
    """A webhook's receiver that notes when it had each alert, by meter."""

    def __init__(self) -> None:
        self.received: dict[str, list[float]] = {}
        super().__init__()

    def take(self, id: str, body: dict[str, Any]) -> None:
        now = time.time()
        keys = [alert["key"]["meter_id"] for alert in body["alerts"]] + [other["key"][0] for other in body["others"]]
        for key in keys:
            self.received.setdefault(key, []).append(now)
        super().take(id, body)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alert_latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rate", type=int, default=5_000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    folder = Path("bench-data")
    folder.mkdir(exist_ok=True)
    measure(folder, given.rate, given.seconds)


def measure(folder: Path, rate: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Seconds from sending to receipt, printed; raises NotAlerted where one is missing, or came twice."""
    print(f"alerts: {rate:,} messages/s for {seconds:.0f} s", flush=True)
    sent, received, lake = watch(folder / "alerts", rate, seconds)
    found = figures(sent, received) | steps(lake)
    for label, value in found.items():
        print(f"  {label:<52}{value:>12,.2f}", flush=True)
    return {"alerts": found}


def watch(folder: Path, rate: int, seconds: float) -> tuple[dict[str, float], dict[str, list[float]], Lake]:
    """When each marked reading was sent, when its alerts came, and the lake."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "kafka").mkdir(parents=True)
    assert CONTRACT.topic is not None
    lake = Lake.open(folder / "lake")
    with ExitStack() as stack:
        broker = KafkaBroker((folder / "kafka").absolute())
        stack.callback(broker.stop)
        broker.start()
        broker.create_topic(CONTRACT.topic, _PARTITIONS)
        receiver = Timed()
        stack.callback(receiver.end)
        os.environ["BEAM_GRID_TEST_HOOK"] = SECRET
        (lake.path / "alerts.toml").write_text(RULES + webhook(receiver, timeout="10s"))
        producer = start(["-m", "benchmarks.producer", broker.bootstrap, CONTRACT.topic, str(rate)], folder / "producer.log", subprocess.PIPE)  # fmt: skip
        stack.callback(end, producer, 10)
        source = f"kafka://{broker.bootstrap}/{CONTRACT.topic}"
        run = start(["-m", "beam_grid", "run", CONTRACT.name, "--source", source, "--lake", str(lake.path), "--follow", "--every", "1s"], folder / "run.log")  # fmt: skip
        stack.callback(end, run, 10)

        def check() -> None:
            for process, log in ((run, "run.log"), (producer, "producer.log")):
                if process.poll() is not None:
                    raise NotAlerted(f"{folder / log} ended:\n{(folder / log).read_text()[-2000:]}")

        deadline = time.monotonic() + _FIRST_SET_WITHIN_S
        while not list((lake.path / "versions").glob("[0-9]*.json")):
            check()
            if time.monotonic() > deadline:
                raise NotAlerted(f"nothing was published in {_FIRST_SET_WITHIN_S:.0f} s; see {folder / 'run.log'}")
            time.sleep(0.2)
        time.sleep(_WARM_UP_S)
        marks = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "log_level": 0})
        started, sent = time.monotonic(), dict[str, float]()
        while time.monotonic() - started < seconds:
            check()
            meter = f"{_MARKED}{len(sent):06}"
            sent[meter] = time.time()
            marks.produce(CONTRACT.topic, marked(meter, sent[meter]))
            marks.flush(10)
            time.sleep(max(0.0, sent[meter] + _EVERY_S + _DRIFT_S - time.time()))
        deadline = time.monotonic() + _ALERTED_WITHIN_S
        while len(receiver.received) < len(sent) and time.monotonic() < deadline:
            check()
            time.sleep(0.1)
        time.sleep(2 * _EVERY_S)  # for one that comes twice
        if receiver.wrong or max(receiver.deliveries.values(), default=0) > 1:
            raise NotAlerted(
                f"messages came twice or were wrong: {receiver.deliveries.most_common(3)} {receiver.wrong[:3]}"
            )
        return sent, dict(receiver.received), lake


def marked(meter: str, at: float) -> bytes:
    """A reading taken at this time."""
    record = {
        "event_id": f"{meter}-{at:.3f}", "meter_id": meter, "customer_id": "C-0", "reading_kwh": 99.0,
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "voltage_v": 230.0, "current_a": 5.0, "power_factor": 0.95, "frequency_hz": 50.0, "meter_status": "ACTIVE",
        "region": "NORTH", "state": "Delhi", "grid_zone": "GZ-1", "is_anomaly_flag": False,
    }  # fmt: skip
    return json.dumps(record).encode()


def figures(sent: dict[str, float], received: dict[str, list[float]]) -> dict[str, float]:
    """Seconds; raises NotAlerted unless each that was sent came once, and nothing else."""
    if missing := sorted(sent.keys() - received.keys()):
        raise NotAlerted(f"{len(missing):,} of {len(sent):,} marked readings were not alerted, as {missing[:3]}")
    if others := sorted(received.keys() - sent.keys()):
        raise NotAlerted(f"{len(others):,} alerts are of no marked reading, as {others[:3]}")
    if twice := sorted(meter for meter, times in received.items() if len(times) > 1):
        raise NotAlerted(f"{len(twice):,} marked readings were alerted more than once, as {twice[:3]}")
    took = [received[meter][0] - at for meter, at in sent.items()]
    return {
        "reading to alert, median s": statistics.median(took),
        "reading to alert, p95 s": statistics.quantiles(took, n=20)[-1] if len(took) > 1 else took[0],
        "reading to alert, greatest s": max(took),
        "marked readings, each alerted once": float(len(sent)),
    }


def steps(lake: Lake) -> dict[str, float]:
    """Of the kept sets, medians of what each step took."""
    found = list(newest_first(lake))
    said = {
        "landing": "land_s",
        "publishing": "publish_s",
        "asking the rules": "alerts_s",
        "set to webhook": "delivered_s",
    }
    known = {name: [took for one in found if (took := getattr(one, word)) is not None] for name, word in said.items()}
    return {f"{name}, median s": statistics.median(took) for name, took in known.items() if took}


if __name__ == "__main__":
    main()
