"""The whole Beam stage of a slice: read and judge, drop duplicates, tile, write; the manifest comes out last.

    partitions -> ReadAndJudge -> DropDuplicates -> WriteRows -------------------+-> WriteManifest
                       |               |    +----> WindowedTiles --+               |
                       |               +-- conflicts, superseded --+-> WriteFiles -+
                       +-- late, rejected -------------------------+

Nothing here commits: the driver does, when the graph has ended and the manifest file is there.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from msgspec.structs import replace

from data_sources.contract import Contract
from transforms.arrow import as_table
from transforms.blocks import Current, Slice, folder_of
from transforms.dedup import ORDER
from transforms.drop_duplicates import DropDuplicates
from transforms.files import write_file
from transforms.manifest import Kind, LandedFile, Manifest, merged, read_manifest
from transforms.pieces import joined
from transforms.read import ReadAndJudge
from transforms.read_in_pieces import ReadInPieces
from transforms.seen import write_hashes
from transforms.step import Step
from transforms.synced import synced_file
from transforms.tiles import merge_tiles
from transforms.windowed import WindowedTiles

MANIFEST = "manifest.json"

SPAN = timedelta(days=1)
"""Event time that shares a Beam window of tiles in a slice."""


@dataclass
class LandSlice(beam.PTransform):
    """Partitions (JSON text) to one manifest file in the attempt's folder.

    index: JSON file of what is committed, see DropDuplicates.
    in_pieces: what comes are pieces (JSON text, transforms/pieces.py), for runners that shuffle; then each worker writes
    what it has instead of gathering it at one: a slice may hold more than one of them does.
    """

    slice: Slice
    index: str | None
    in_pieces: bool = False

    def expand(self, partitions):
        return self._in_pieces(partitions) if self.in_pieces else self._gathered(partitions)

    def _in_pieces(self, pieces):
        contract = self.slice.contract
        unique = pieces | "Unique" >> ReadInPieces(self.slice, self.index)
        written = [
            unique.manifests,
            unique.rows | "WriteRows" >> beam.ParDo(_WriteRows(self.slice)).with_output_types(str),
            unique.aside | "WriteAside" >> beam.ParDo(_WriteAsideHere(self.slice)).with_output_types(str),
        ]
        for window in contract.windows:
            tiles = unique.rows | f"Tile_{window.name}" >> WindowedTiles(contract, window, span=SPAN)
            written.append(
                tiles
                | f"Gather_{window.name}" >> beam.WindowInto(GlobalWindows())
                | f"Write_{window.name}" >> beam.ParDo(_WriteTilesHere(self.slice, window.name)).with_output_types(str)
            )
        return self._manifest(written)

    def _gathered(self, partitions):
        contract, root = self.slice.contract, self.slice.root
        read = partitions | "Read" >> ReadAndJudge(self.slice)
        unique = read.on_time | "Unique" >> DropDuplicates(contract, self.index, root)
        rows = unique.rows | "WriteRows" >> beam.ParDo(_WriteRows(self.slice)).with_output_types(str)
        gathered = [read.aside, unique.aside]
        for window in contract.windows:
            tiles = unique.rows | f"Tile_{window.name}" >> WindowedTiles(contract, window, span=SPAN)
            gathered.append(
                tiles
                | f"Gather_{window.name}" >> beam.WindowInto(GlobalWindows())
                | f"Name_{window.name}" >> beam.ParDo(_Name(window.name)).with_output_types(tuple[str, pa.RecordBatch])
            )
        written = (
            gathered
            | "FlattenFiles" >> beam.Flatten()
            | "GroupFiles" >> beam.GroupByKey()
            | "WriteFiles" >> beam.ParDo(_WriteFiles(self.slice)).with_output_types(str)
        )
        return self._manifest([rows, written, read.manifests, unique.manifests])

    def _manifest(self, parts):
        return (
            parts
            | "FlattenManifest" >> beam.Flatten()
            | "KeyManifest" >> beam.ParDo(_Key()).with_output_types(tuple[int, str])
            | "GroupManifest" >> beam.GroupByKey()
            | "WriteManifest" >> beam.ParDo(_WriteManifest(self.slice)).with_output_types(str)
        )


@dataclass
class Partitions(beam.PTransform):
    """The partitions of the slice under way; to be applied to the pipeline itself."""

    current: Current

    def expand(self, pipeline):
        return pipeline | beam.Impulse() | "Each" >> beam.ParDo(_Partitions(self.current)).with_output_types(str)


class _Partitions(Step):
    def __init__(self, current: Current):
        self.current = current

    def process(self, _):
        yield from self.current.partitions


_TILES = "tiles:"
"""Stands before a window's name where its tiles and what is kept aside are grouped by file."""


class _Name(Step):
    def __init__(self, name: str):
        self.name = name

    def process(self, element):
        yield _TILES + self.name, element[1]


class _Key(Step):
    def process(self, manifest):
        yield 0, manifest


def _bounds(contract: Contract) -> list[str]:
    operation = [contract.lake.operation] if contract.lake.operation else []  # its least tells of truncates
    return list(dict.fromkeys([*contract.prune_by, contract.event_time, *operation]))


class _WriteRows(Step):
    """One file a shard, sorted by the cluster columns; written in a thread while the next shard is judged."""

    def __init__(self, slice: Slice):
        self.slice = slice

    def start_bundle(self):
        self.thread, self.written = ThreadPoolExecutor(1), []

    def process(self, element):
        shard, batch = element
        self.written.append(self.thread.submit(self._write, shard, batch))

    def finish_bundle(self):
        for file in self.written:
            yield GlobalWindows.windowed_value(_manifest(file.result()))
        self.thread.shutdown()

    def _write(self, shard: int, batch: pa.RecordBatch) -> LandedFile:
        contract = self.slice.contract
        rows = pa.Table.from_batches([batch]).drop_columns([ORDER])
        folder = folder_of(self.slice)
        file = write_file(folder, "rows", rows, contract.sort_by, _bounds(contract), shard=shard)
        return replace(file, keys=write_hashes(folder / file.name, rows, contract.dedup.key))


class _WriteFiles(Step):
    """One file a window table, tiles merged, and one a kind of what is kept aside: rejected, late, conflicts, superseded,
    and what snapshots and change files of masters held."""

    def __init__(self, slice: Slice):
        self.slice = slice

    def process(self, element):
        name, batches = element
        if name.startswith(_TILES):
            yield write_tiles(self.slice, name.removeprefix(_TILES), batches)
        else:
            yield write_aside(self.slice, name, batches)


class _WriteHere(Step):
    """Writes the batches of a bundle, by name, when there are many of a name or the bundle ends."""

    MOST_ROWS = 2_000_000

    def __init__(self, slice: Slice):
        self.slice = slice

    def start_bundle(self):
        self.held: dict[str, list[pa.RecordBatch]] = {}

    def take(self, name: str, batch: pa.RecordBatch) -> list[str]:
        """The manifests of what is written now."""
        self.held.setdefault(name, []).append(batch)
        if sum(one.num_rows for one in self.held[name]) < self.MOST_ROWS:
            return []
        return [self.write(name, self.held.pop(name))]

    def finish_bundle(self):
        for name, batches in self.held.items():
            yield GlobalWindows.windowed_value(self.write(name, batches))

    def write(self, name: str, batches: list[pa.RecordBatch]) -> str:
        raise NotImplementedError


class _WriteTilesHere(_WriteHere):
    """Files of a window's tiles; all tiles of a cell come together."""

    def __init__(self, slice: Slice, window: str):
        super().__init__(slice)
        self.window = window

    def process(self, element):
        yield from self.take(self.window, element[1])

    def write(self, name: str, batches: list[pa.RecordBatch]) -> str:
        return write_tiles(self.slice, name, batches)


class _WriteAsideHere(_WriteHere):
    """Files of rejects, late rows and the like."""

    def process(self, element):
        yield from self.take(*element)

    def write(self, name: str, batches: list[pa.RecordBatch]) -> str:
        return write_aside(self.slice, cast("Kind", name), batches)


def write_tiles(slice: Slice, name: str, batches: Iterable[pa.RecordBatch]) -> str:
    """One file of a window's tiles, merged; its manifest."""
    window = next(w for w in slice.contract.windows if w.name == name)
    tiles = merge_tiles(as_table(batches), slice.contract, window)
    return _manifest(write_file(folder_of(slice), "tiles", tiles, [], ["_cell"], window=name))


def write_aside(slice: Slice, kind: Kind, batches: Iterable[pa.RecordBatch]) -> str:
    """One file of what is kept aside; its manifest."""
    contract = slice.contract
    bounds = {"rejected": [], "snapshot": [], "changes": contract.lake.key}.get(kind, _bounds(contract))
    order = ["_source", "_position"] if kind in ("snapshot", "changes") else ["_source", "_partition", "_position"]
    return _manifest(write_file(folder_of(slice), kind, as_table(batches), order, bounds))


def _manifest(file: LandedFile) -> str:
    return Manifest(files=(file,)).text()


class _WriteManifest(Step):
    """The driver's one file: the manifests of the slice as one."""

    def __init__(self, slice: Slice):
        self.slice = slice

    def process(self, element):
        _, manifests = element
        folder = folder_of(self.slice)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / MANIFEST
        path.unlink(missing_ok=True)  # a runner may do a bundle again
        with synced_file(path) as out:
            out.write(joined(merged(map(read_manifest, manifests))).text().encode())
        yield str(path)
