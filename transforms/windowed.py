"""Windowed tiles: landed rows to tiles per cell, through Beam's event-time windows.

Rows are pre-combined per cell within a batch (what Beam's combiner lifting does, by the batch); one element a cell,
stamped with the cell's time, goes through FixedWindows(cell) and a combine. Merging a cell's tiles is left to the
writer, which does it for all cells of a slice in one vectorised statement: merging is associative.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.trigger import AccumulationMode, DefaultTrigger
from apache_beam.transforms.window import FixedWindows, GlobalWindows
from apache_beam.utils.timestamp import Duration, Timestamp

from data_sources.contract import Contract, WindowSpec
from transforms.arrow import as_batch, as_table
from transforms.batches import RecordBatchCoder
from transforms.cells import cells_of
from transforms.given import check_times, check_window, keyed, rows_given
from transforms.step import Step
from transforms.tiles import split_by_cell, tile_rows

LONGEST_LATENESS = timedelta(days=36_500)
"""Beam's own allowed lateness: longer than anything `judge` lets through, so that no runner drops a tile."""


@dataclass
class WindowedTiles(beam.PTransform):
    """(shard, batch) of landed rows to (cell, batch of tiles), one element a cell and pane; cell is its start,
    microseconds since the epoch. In: the contract's columns, as DropDuplicates or KeyByShard gives them, and `_commit`, null
    where it is missing; ValueError, within the first batch, where one lacks or an event time is null. window: one of
    contract.windows. The key keeps one window a key: runners pay for many windows under one.

    A calendar's cell goes through FixedWindows of a second, in the last second of the cell: its Beam window ends with it.

    trigger: when a cell's pane fires; the default is once, when the watermark passes its end. span: so much event time,
    in whole cells, shares an element and a Beam window instead of one cell: for bounded slices, which fire once anyway,
    because runners pay by the window, and a year has 35,000 quarter hours.
    """

    contract: Contract
    window: WindowSpec
    trigger: Any = field(default_factory=DefaultTrigger)
    span: timedelta | None = None

    def __post_init__(self):
        check_window(self.contract, self.window, "WindowedTiles")

    def expand(self, rows):
        width = cells_of(self.contract, self.window).beam(self.span)
        return (
            rows
            | "TileRows"
            >> beam.ParDo(TileRows(self.contract, self.window, self.span)).with_output_types(tuple[int, pa.RecordBatch])
            | "IntoCells"
            >> beam.WindowInto(
                FixedWindows(Duration(micros=width)),
                trigger=self.trigger,
                accumulation_mode=AccumulationMode.DISCARDING,
                allowed_lateness=LONGEST_LATENESS.total_seconds(),
            )
            | "CombineCell" >> beam.CombinePerKey(Gather()).with_output_types(tuple[int, pa.RecordBatch])
            | "DropEmptyPanes" >> beam.Filter(has_rows).with_output_types(tuple[int, pa.RecordBatch])
        )


class TileRows(Step):
    """Tiles of each batch, made in a thread while the next shard is judged; one element a cell, or a `span` of cells, and
    bundle."""

    def __init__(self, contract: Contract, window: WindowSpec, span: timedelta | None = None):
        self.contract, self.window, self.span = contract, window, span

    def start_bundle(self):
        self.thread, self.tiles = ThreadPoolExecutor(1), []

    def process(self, element):
        _, batch = keyed(element, f"WindowedTiles of {self.contract.name}")
        rows = pa.Table.from_batches([rows_given(batch, self.contract, "WindowedTiles")])
        check_times(rows, self.contract, "WindowedTiles")
        self.tiles.append(self.thread.submit(tile_rows, rows, self.contract, self.window))

    def finish_bundle(self):
        made = [tiles.result() for tiles in self.tiles]
        self.thread.shutdown()
        if made:
            cells = cells_of(self.contract, self.window)
            width = 1 if self.span is None else cells.beam(self.span)
            for start, rows in split_by_cell(pa.concat_tables(made), width):
                time = cells.cell_stamp(start, rows) if self.span is None else start
                yield GlobalWindows.windowed_value((start, rows), Timestamp(micros=time))


@beam.typehints.with_input_types(pa.RecordBatch)
@beam.typehints.with_output_types(pa.RecordBatch)
class Gather(beam.CombineFn):
    """Brings a cell's tiles together; associative, and merged later (see above).

    Its type hints are its own: those of CombinePerKey do not reach the step's output, which would be pickled.
    """

    def create_accumulator(self):
        return []

    def add_input(self, accumulator, batch):
        return [*accumulator, batch]

    def merge_accumulators(self, accumulators):
        return [batch for accumulator in accumulators for batch in accumulator]

    def extract_output(self, accumulator):
        batches = [b for b in accumulator if b.num_rows]
        if len(batches) == 1:
            return batches[0]
        return as_batch(as_table(batches)) if batches else pa.RecordBatch.from_pylist([], schema=pa.schema([]))

    def get_accumulator_coder(self):
        return beam.coders.IterableCoder(RecordBatchCoder())


def has_rows(element: tuple[int, pa.RecordBatch]) -> bool:
    """Whether a pane brought something; runners fire empty ones too."""
    return element[1].num_rows > 0
