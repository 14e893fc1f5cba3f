"""Rows on their way to their shards, by way of files in the attempt's folder; what runners move are their places.

    piece  ──► shuffle/PIECE-xxxx.arrow   [ shard 0 ][ shard 1 ][ shard 2 ]     Arrow IPC streams, one after the other
                     (shard, place)  ──► GroupByKey ──► read from there, mapped

A runner that takes rows itself copies each byte some ten times between Python and Java: on Spark that was two thirds of
the CPU time of a slice. Workers see the lake anyway. A worker that is lost leaves what it wrote, so that it need not be
made again.

Not guaranteed: that they are on the disk: they are of one run of a slice, and go with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from msgspec import Struct

from data_sources.typed_json import decoder, encode
from transforms.arrow import as_table

FOLDER = "shuffle"


class Place(Struct, frozen=True, kw_only=True):
    """Where a shard's rows of a piece stand."""

    file: str
    """In the shuffle folder."""
    offset: int
    bytes: int


_place = decoder(Place)


class Out:
    """A file that rows of several shards are written to; held until there are `most_rows` of them."""

    def __init__(self, folder: Path, most_rows: int = 400_000) -> None:
        """folder: the attempt's."""
        self._folder, self._most = folder / FOLDER, most_rows
        self._held: dict[int, list[pa.RecordBatch]] = {}
        self._rows = 0

    def add(self, shard: int, batch: pa.RecordBatch) -> list[tuple[int, str]]:
        """(shard, place) of what is written now."""
        self._held.setdefault(shard, []).append(batch)
        self._rows += batch.num_rows
        return self.flush() if self._rows >= self._most else []

    def flush(self) -> list[tuple[int, str]]:
        """(shard, place) of all that was held."""
        if not self._held:
            return []
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{secrets.token_hex(8)}.arrow"
        places, options = [], pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as out:
            for shard, batches in sorted(self._held.items()):
                table = as_table(batches).unify_dictionaries()
                start = out.tell()
                with pa.ipc.new_stream(out, table.schema, options=options) as writer:
                    writer.write_table(table)
                place = Place(file=path.name, offset=start, bytes=out.tell() - start)
                places.append((shard, encode(place).decode()))
        self._held, self._rows = {}, 0
        return places


def read_places(folder: Path, places: Iterable[str]) -> list[pa.Table]:
    """The rows at the places, in their order. folder: the attempt's."""
    found = []
    for place in map(_place, places):
        with pa.memory_map(str(folder / FOLDER / place.file)) as file:
            file.seek(place.offset)
            with pa.ipc.open_stream(pa.py_buffer(file.read_buffer(place.bytes))) as reader:
                found.append(reader.read_all())
    return found
