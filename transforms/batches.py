"""The element of every collection here: an Arrow RecordBatch, and the one coder it travels by.

Between workers a batch is an Arrow IPC stream. Inside one process (runners/direct.py says so) it is handed over
by reference: the in-process runner otherwise copies each encoded byte about five times.

A coder is by reference from its making on, for one run: graphs that other threads build or run meanwhile, on this
runner or on one whose workers are elsewhere, have coders of their own.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import apache_beam as beam
import pyarrow as pa

_SHARED: dict[int, dict[int, pa.RecordBatch]] = {}
"""By run, the batches under way in it by ticket."""

_NUMBERS = itertools.count(1)
_TICKET = struct.Struct("<qq")
_sharing: ContextVar[int | None] = ContextVar("sharing", default=None)


@contextmanager
def shared_in_process(run: int | None = None) -> Iterator[int]:
    """Coders made by this thread while this holds pass batches by reference, for runners whose workers are this process.

    run: that of an earlier call, whose graph is run once more; yields this run's. What is under way when it ends is
    dropped.
    """
    run = next(_NUMBERS) if run is None else run
    _SHARED[run] = {}
    before = _sharing.set(run)
    try:
        yield run
    finally:
        _sharing.reset(before)
        _SHARED.pop(run, None)


class RecordBatchCoder(beam.coders.Coder):
    """Arrow IPC stream of one batch; a ticket for it inside one process. Never pickle.

    A ticket is good for one decoding. State is read more than once: it takes a coder with `tickets` false.
    """

    def __init__(self, tickets: bool = True) -> None:
        self.run = _sharing.get() if tickets else None

    def encode(self, value: pa.RecordBatch) -> bytes:
        if self.run is not None and (shared := _SHARED.get(self.run)) is not None:
            ticket = next(_NUMBERS)
            shared[ticket] = value
            return _TICKET.pack(self.run, ticket)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        if len(encoded) == _TICKET.size:
            run, ticket = _TICKET.unpack(encoded)
            return _SHARED[run].pop(ticket)  # decoded once, so that memory is free again
        with pa.ipc.open_stream(encoded) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Without it Beam encodes each batch again only to learn its size."""
        return _TICKET.size if self.run in _SHARED else int(value.nbytes)

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type:
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
