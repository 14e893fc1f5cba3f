"""The element of every collection here: an Arrow RecordBatch, and the one coder it travels by.

Between workers a batch is an Arrow IPC stream. Inside one process (runners/direct.py says so) it is handed over
by reference: the in-process runner otherwise copies each encoded byte about five times.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import apache_beam as beam
import pyarrow as pa

_SHARED: dict[int, pa.RecordBatch] | None = None
_TICKETS = itertools.count()


@contextmanager
def shared_in_process() -> Iterator[None]:
    """While this holds, batches pass by reference; for runners whose workers are this very process."""
    global _SHARED
    _SHARED = {}
    try:
        yield
    finally:
        _SHARED = None


class RecordBatchCoder(beam.coders.Coder):
    """Arrow IPC stream of one batch; a ticket for it inside one process. Never pickle.

    A ticket is good for one decoding. State is read more than once: it takes a coder with `tickets` false.
    """

    def __init__(self, tickets: bool = True) -> None:
        self.tickets = tickets

    def encode(self, value: pa.RecordBatch) -> bytes:
        if self.tickets and _SHARED is not None:
            ticket = next(_TICKETS)
            _SHARED[ticket] = value
            return struct.pack("<q", ticket)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        if len(encoded) == 8 and _SHARED is not None:
            return _SHARED.pop(struct.unpack("<q", encoded)[0])  # decoded once, so that memory is free again
        with pa.ipc.open_stream(encoded) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Without it Beam encodes each batch again only to learn its size."""
        return 8 if self.tickets and _SHARED is not None else int(value.nbytes)

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type:
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
