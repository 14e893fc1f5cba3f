"""The element of every collection here: an Arrow RecordBatch, and the one coder it travels by.

Between workers a batch is an Arrow IPC stream. Inside one process (runners/direct.py says so) it is handed over
by reference: the in-process runner otherwise copies each encoded byte about five times.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator
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
    """Arrow IPC stream of one batch; a ticket for it inside one process. Never pickle."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        if _SHARED is not None:
            ticket = next(_TICKETS)
            _SHARED[ticket] = value
            return struct.pack("<q", ticket)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        if len(encoded) == 8 and _SHARED is not None:
            return _SHARED[struct.unpack("<q", encoded)[0]]
        with pa.ipc.open_stream(encoded) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Without it Beam encodes each batch again only to learn its size."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type:
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """One batch of a table's rows, whatever its chunks."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def as_table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """One table of at least one batch; text that is a dictionary in some and plain in others becomes plain."""
    batches = list(batches)
    schema = batches[0].schema
    if any(batch.schema != schema for batch in batches):
        for n, field in enumerate(schema):
            if any(batch.schema.field(n).type != field.type for batch in batches):
                schema = schema.set(n, field.with_type(pa.string()))
        batches = [batch.cast(schema) for batch in batches]
    return pa.Table.from_batches(batches)


def plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array without dictionary encoding."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def plain_table(table: pa.Table) -> pa.Table:
    """The table without dictionary encoding."""
    if not any(pa.types.is_dictionary(f.type) for f in table.schema):
        return table
    return pa.table({name: plain(table[name]) for name in table.column_names})
