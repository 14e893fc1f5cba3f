"""A real Kafka broker on this machine, for the component tests and for `python -m benchmarks.freshness`.

Guarantees: broker and controller run in one JVM on loopback, from jars that Maven fetched once; the ports and the data
outlive `stop` and `start`; each method returns when what it asked for is there, or raises RuntimeError with the
reason.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.component import jars
from tests.waiting import PATIENCE_S

_POM = Path(__file__).resolve().parent / "kafka" / "pom.xml"


class KafkaBroker:
    """Broker and controller in one JVM, on loopback; ports and data outlive `stop` and `start`."""

    user = "grid"

    def __init__(self, folder: Path) -> None:
        """Log, settings and data lie in `folder`, which exists. Raises RuntimeError without Java or the jars."""
        self._folder = folder
        self._log = folder / "broker.log"
        self._properties = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        java = shutil.which("java")
        if java is None:
            raise RuntimeError("Kafka broker: no `java` on the PATH; install Java 17 or later")
        self._java = [
            java, "-Xmx512m", "-Dlog4j2.level=INFO", "-cp", os.pathsep.join(map(str, jars.resolve(_POM))),
        ]  # fmt: skip
        plain, sasl, controller = free_ports(3)
        self.password = secrets.token_urlsafe(12)
        self.bootstrap = f"127.0.0.1:{plain}"
        self.sasl_bootstrap = f"127.0.0.1:{sasl}"
        self.sasl_config = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": self.user,
            "sasl.password": self.password,
        }
        properties = _SERVER_PROPERTIES.format(
            plain=plain,
            sasl=sasl,
            controller=controller,
            user=self.user,
            password=self.password,
            data=folder / "data",
        )
        self._properties.write_text(properties)

    def start(self) -> None:
        """Returns when the broker answers; raises RuntimeError with the log's tail when it does not."""
        if not (self._folder / "data").exists():
            formatted = subprocess.run(
                [*self._java, "kafka.tools.StorageTool", "format", "--standalone",
                 "--cluster-id", "YmVhbS1ncmlkLXRlc3RzLQ", "--config", str(self._properties)],
                capture_output=True, text=True, timeout=PATIENCE_S,
            )  # fmt: skip
            if formatted.returncode:
                raise RuntimeError(f"Kafka broker: cannot format:\n{formatted.stdout}{formatted.stderr}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(KafkaException):
                if self._admin().list_topics(timeout=1).brokers:
                    return
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])
        self.stop()
        raise RuntimeError(f"Kafka broker: not up within {PATIENCE_S:g} s. Its log ends:\n{tail}")

    def stop(self) -> None:
        """Takes the broker down in order: after a kill its next start waits 9 s for its lease."""
        if self._process is None:
            return
        for how, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
                break
        self._process = None

    def pause(self) -> None:
        """From here on it answers nobody, and its connections stay open."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Returns when the topic can be written to."""
        admin = self._admin()
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            seen = admin.list_topics(name, timeout=5).topics[name].partitions
            if len(seen) == partitions and all(p.leader >= 0 for p in seen.values()):
                return
            time.sleep(0.05)
        raise RuntimeError(f"Kafka topic {name}: no leader for all {partitions} partitions after {PATIENCE_S:g} s")

    def recreate_topic(self, name: str, partitions: int = 1) -> None:
        """Deletes the topic and makes it anew; returns when the new one can be written to."""
        admin = self._admin()
        admin.delete_topics([name])[name].result(timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while name in admin.list_topics(timeout=5).topics:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka topic {name}: still there {PATIENCE_S:g} s after it was deleted")
            time.sleep(0.05)
        self.create_topic(name, partitions)

    def produce(
        self,
        topic: str,
        messages: Iterable[bytes | None],
        partition: int | None = None,
        timestamps: Iterable[int] | None = None,
    ) -> None:
        """Writes the messages in order and waits for the broker to have them all.

        None is a tombstone. `timestamps` are the messages' own, in milliseconds since the epoch,
        one a message, -1 for none; without them it is the time of writing.
        """
        failed: list[str] = []
        values = list(messages)
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,  # keeps the order when a request is sent again
                "queue.buffering.max.messages": max(len(values), 1),
                "queue.buffering.max.kbytes": 1 << 20,
            }
        )
        to = -1 if partition is None else partition  # -1: the client chooses
        times = [0] * len(values) if timestamps is None else list(timestamps)
        for value, time_ms in zip(values, times, strict=True):
            producer.produce(
                topic, value, timestamp=time_ms, partition=to,
                on_delivery=lambda error, _: failed.append(str(error)) if error else None,
            )  # fmt: skip
            producer.poll(0)
        waiting = producer.flush(20)
        if failed or waiting:
            raise RuntimeError(f"Kafka topic {topic}: {waiting} messages not sent, refused: {failed[:3]}")

    def delete_topic(self, name: str) -> None:
        admin = self._admin()
        admin.delete_topics([name])[name].result(timeout=PATIENCE_S)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Drops what lies before the offset, as retention does."""
        at = TopicPartition(topic, partition, offset)
        admin = self._admin()  # held, because its answer does not come once it is collected
        admin.delete_records([at])[at].result(timeout=PATIENCE_S)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


# Timestamps are the tests' own, years back and hours ahead: time deletes nothing and refuses none.
_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
log.dirs={data}
auto.create.topics.enable=false
log.retention.ms=-1
log.cleaner.backoff.ms=500
log.message.timestamp.after.max.ms=9223372036854775807
num.network.threads=2
num.io.threads=2
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""
