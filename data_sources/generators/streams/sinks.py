"""Where records go: JSON files, Parquet files, Kafka. A sink is given records and closed; it knows no rate.

Files have at most `per_file` records, are written under a hidden name and renamed when whole, so that no reader picks
up half of one; their names sort in the order of writing. Kafka: one message a record, key as the spec says; `close`
returns when the broker has confirmed all, or raises.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Protocol

import polars as pl

from data_sources.smart_meter_readings.generate import iso_timestamps


class Sink(Protocol):
    """Takes records until it is closed."""

    def write(self, records: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


class JsonFiles:
    """`<folder>/<name>_000000.json` and so on, one object a line."""

    ending = "json"

    def __init__(self, folder: Path, name: str, per_file: int) -> None:
        self._folder, self._name, self._per_file = folder, name, per_file
        self._number = self._held = 0
        self._file: BinaryIO | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in (f"{name}_??????.json", f"{name}_??????.parquet", f".{name}_??????.*.part"):
            for stale in folder.glob(pattern):
                stale.unlink()

    def write(self, records: pl.DataFrame) -> None:
        """Append, going on to the next file where one is full."""
        while records.height:
            room = self._per_file - self._held
            self._append(records.head(room))
            self._held += min(room, records.height)
            records = records.slice(room)
            if self._held == self._per_file:
                self._finish()

    def close(self) -> None:
        """Finish the last file."""
        if self._held:
            self._finish()

    def _append(self, records: pl.DataFrame) -> None:
        if self._file is None:
            self._file = self._part().open("wb")
        json_ready(records).write_ndjson(self._file)

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._part().rename(self._folder / f"{self._name}_{self._number:06d}.{self.ending}")
        self._number, self._held = self._number + 1, 0

    def _part(self) -> Path:
        return self._folder / f".{self._name}_{self._number:06d}.{self.ending}.part"


class ParquetFiles(JsonFiles):
    """`<folder>/<name>_000000.parquet` and so on; timestamps are UTC, decimals stay decimals."""

    ending = "parquet"

    def __init__(self, folder: Path, name: str, per_file: int) -> None:
        super().__init__(folder, name, per_file)
        self._waiting: list[pl.DataFrame] = []

    def _append(self, records: pl.DataFrame) -> None:
        self._waiting.append(records)

    def _finish(self) -> None:
        pl.concat(self._waiting).with_columns(
            pl.selectors.datetime(time_zone=None).dt.replace_time_zone("UTC")
        ).write_parquet(self._part())
        self._waiting = []
        super()._finish()


class Kafka:
    """Messages to a topic through librdkafka. Raises ValueError where there is no broker or no such topic."""

    def __init__(self, bootstrap: str, topic: str, key: str | None = None, patience_s: float = 10) -> None:
        from confluent_kafka import KafkaException, Producer

        self._topic, self._key, self._refused = topic, key, ""
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,  # keeps the order when a request is sent again
                "linger.ms": 20,
                "log_level": 0,
            }
        )
        try:
            seen = self._producer.list_topics(topic, timeout=patience_s).topics[topic]
        except KafkaException as cause:
            raise ValueError(f"no Kafka broker at {bootstrap} ({cause}); start one, or correct --kafka") from cause
        if seen.error is not None:
            raise ValueError(f"topic {topic} at {bootstrap}: {seen.error}; create it first")

    def write(self, records: pl.DataFrame) -> None:
        """Hand over all records in order; waits where the producer's queue is full."""
        lines = io.BytesIO()
        json_ready(records).write_ndjson(lines)
        keys = [None] * records.height if self._key is None else records[self._key].cast(pl.String).to_list()
        for key, value in zip(keys, lines.getvalue().splitlines(), strict=True):
            while True:
                try:
                    self._producer.produce(self._topic, value, key, on_delivery=self._seen)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        self._producer.poll(0)
        self._complain()

    def close(self) -> None:
        """Wait for the broker's confirmation of all messages."""
        waiting = self._producer.flush(30)
        self._complain()
        if waiting:
            raise ValueError(
                f"topic {self._topic}: {waiting:,} messages were not confirmed within 30 s; check the broker"
            )

    def _seen(self, error: object, _: object) -> None:
        if error is not None:
            self._refused = self._refused or str(error)

    def _complain(self) -> None:
        if self._refused:
            raise ValueError(f"topic {self._topic}: not everything was delivered: {self._refused}")


def json_ready(records: pl.DataFrame) -> pl.DataFrame:
    """Times as text with Z, decimals as numbers."""
    changes = []
    for name, kind in records.schema.items():
        if isinstance(kind, pl.Decimal):
            changes.append(records[name].cast(pl.Float64))
        elif isinstance(kind, pl.Datetime):
            changes.append(_as_text(records[name]))
    return records.with_columns(changes)


def _as_text(times: pl.Series) -> pl.Series:
    us = times.cast(pl.Int64).fill_null(0)
    if (us % 1000 != 0).any():
        return times.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias(times.name)
    text = iso_timestamps(us.to_numpy() // 1000)
    if times.null_count():
        text = pl.select(pl.when(pl.lit(times.is_not_null())).then(pl.lit(text))).to_series()
    return text.alias(times.name)
