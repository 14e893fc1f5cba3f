"""The whole Beam stage of a slice: read and judge, drop duplicates, tile, write; the manifest comes out last.

    partitions -> ReadAndJudge -> DropDuplicates -> WriteRows ----------------+-> WriteManifest
                       |               |    +----> WindowedTiles -> WriteTiles +
                       |               +-- conflicts, superseded --+           |
                       +-- late, rejected -------------------------+-> WriteAside

Nothing here commits: the driver does, when the graph has ended and the manifest file is there.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from msgspec.structs import replace

from data_sources.contract import Contract
from transforms.arrow import as_table
from transforms.blocks import Current, Slice
from transforms.dedup import ORDER
from transforms.drop_duplicates import DropDuplicates
from transforms.files import write_file
from transforms.manifest import LandedFile, Manifest, merged, read_manifest
from transforms.read import ReadAndJudge
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
    """

    slice: Slice
    index: str | None

    def expand(self, partitions):
        contract, root = self.slice.contract, self.slice.root
        read = partitions | "Read" >> ReadAndJudge(self.slice)
        unique = read.on_time | "Unique" >> DropDuplicates(contract, self.index, root)
        written = [unique.rows | "WriteRows" >> beam.ParDo(_WriteRows(self.slice)).with_output_types(str)]
        for window in contract.windows:
            tiles = unique.rows | f"Tile_{window.name}" >> WindowedTiles(contract, window, span=SPAN)
            written.append(
                tiles
                | f"Gather_{window.name}" >> beam.WindowInto(GlobalWindows())
                | f"Name_{window.name}" >> beam.ParDo(_Name(window.name)).with_output_types(tuple[str, pa.RecordBatch])
                | f"Group_{window.name}" >> beam.GroupByKey()
                | f"Write_{window.name}" >> beam.ParDo(_WriteTiles(self.slice)).with_output_types(str)
            )
        written.append(
            [read.aside, unique.aside]
            | "FlattenAside" >> beam.Flatten()
            | "GroupAside" >> beam.GroupByKey()
            | "WriteAside" >> beam.ParDo(_WriteAside(self.slice)).with_output_types(str)
        )
        return (
            [*written, read.manifests, unique.manifests]
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


class _Name(Step):
    def __init__(self, name: str):
        self.name = name

    def process(self, element):
        yield self.name, element[1]


class _Key(Step):
    def process(self, manifest):
        yield 0, manifest


def folder_of(slice: Slice) -> Path:
    return Path(slice.root) / "data" / slice.attempt


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


class _WriteTiles(Step):
    """One file a window table, tiles merged."""

    def __init__(self, slice: Slice):
        self.slice = slice

    def process(self, element):
        name, batches = element
        contract = self.slice.contract
        window = next(w for w in contract.windows if w.name == name)
        tiles = merge_tiles(as_table(batches), contract, window)
        yield _manifest(write_file(folder_of(self.slice), "tiles", tiles, [], ["_cell"], window=name))


class _WriteAside(Step):
    """One file a kind: rejected, late, conflicts, superseded, and what snapshots and change files of masters held."""

    def __init__(self, slice: Slice):
        self.slice = slice

    def process(self, element):
        kind, batches = element
        contract = self.slice.contract
        bounds = {"rejected": [], "snapshot": [], "changes": contract.lake.key}.get(kind, _bounds(contract))
        order = ["_source", "_position"] if kind in ("snapshot", "changes") else ["_source", "_partition", "_position"]
        yield _manifest(write_file(folder_of(self.slice), kind, as_table(batches), order, bounds))


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
            out.write(merged(map(read_manifest, manifests)).text().encode())
        yield str(path)
