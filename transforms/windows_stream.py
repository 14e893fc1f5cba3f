"""Windows for a Beam user: rows in, rows of windows out, through Beam's event-time windows and triggers.

    rows      12:01 12:04 | 12:16 |           | 12:02 (not late to the contract)
    watermark             |       | 12:15     |              a window fires when the watermark passes its end,
    panes                         [12:00, 2 rows]  [12:00, 1 row]             and again for what comes after

Rows are pre-combined to tiles within a bundle (as in `transforms.windowed`), and each tile goes to every window its
cell lies in: an element per window, stamped with the window's last cell, under FixedWindows(cell); of a calendar's with
its last second, under FixedWindows of a second. So each Beam window ends where one window of the contract ends, sliding
ones and days of 25 hours too, and neither Beam's SlidingWindows nor a window function of our own, which portable runners
refuse, is needed.

Guaranteed: no row is dropped, however late; the panes of a window, put together, hold each of its rows once. Not
guaranteed: when and in how many panes a window fires, which is the trigger's and the runner's affair; and nothing is
final here, for that is a matter of the contract's watermark. Copies are counted: put DropDuplicates before.
"""

from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.trigger import AccumulationMode, DefaultTrigger
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from data_sources.contract import Contract, WindowSpec
from data_sources.expressions import sandbox
from transforms.arrow import split_by_instant
from transforms.cells import cells_of
from transforms.given import check_times, check_window, rows_given
from transforms.measures import prepare
from transforms.step import Step
from transforms.windowed import LONGEST_LATENESS, Gather, TileRows, has_rows
from transforms.windows import values_sql, window_schema


@dataclass
class Windows(beam.PTransform):
    """Batches of rows to batches of window rows: `window_start`, `window_end`, `by`, the measures' values.

    In: Arrow batches with the contract's columns (others may stand beside them), or (key, batch) as DropDuplicates
    gives them, the key unread; event time is the contract's field, not Beam's timestamp. Out: a batch per window and
    pane, a row per `by` group, in the Beam window that ends with it. Raises ValueError where a column is missing, or an
    event time null.

    trigger: when a window fires; the default is once when the watermark passes its end, and again when a row comes later.
    accumulation_mode: what a later pane's row says.
        DISCARDING    the value of the rows that came since the pane before. Such rows can be put together where the
                      measures can: counts and sums add up, min and max compare; an avg, stddev, first or last of a
                      part says nothing of the whole. Where that is needed take WindowedTiles, which merge.
        ACCUMULATING  the value of all rows so far, of the groups of all of them: it replaces the row of the pane
                      before. The runner keeps a window's tiles for good, in case a row comes late.
    """

    contract: Contract
    window: WindowSpec
    trigger: Any = field(default_factory=DefaultTrigger)
    accumulation_mode: Any = AccumulationMode.DISCARDING

    def __post_init__(self):
        check_window(self.contract, self.window, "Windows")

    def expand(self, rows):
        return (
            rows
            | "TakeRows" >> beam.ParDo(_TakeRows(self.contract)).with_output_types(tuple[int, pa.RecordBatch])
            | "TileRows"
            >> beam.ParDo(TileRows(self.contract, self.window)).with_output_types(tuple[int, pa.RecordBatch])
            | "ExpandToWindows"
            >> beam.ParDo(_ExpandToWindows(self.contract, self.window)).with_output_types(tuple[int, pa.RecordBatch])
            | "IntoWindows"
            >> beam.WindowInto(
                FixedWindows(Duration(micros=cells_of(self.contract, self.window).beam())),
                trigger=self.trigger,
                accumulation_mode=self.accumulation_mode,
                allowed_lateness=LONGEST_LATENESS.total_seconds(),
            )
            | "CombineWindow" >> beam.CombinePerKey(Gather()).with_output_types(tuple[int, pa.RecordBatch])
            | "DropEmptyPanes" >> beam.Filter(has_rows).with_output_types(tuple[int, pa.RecordBatch])
            | "EndAsValues" >> beam.ParDo(_EndAsValues(self.contract, self.window)).with_output_types(pa.RecordBatch)
        )


class _TakeRows(Step):
    """The contract's columns, without a commit: what landed when has no part in a window's value."""

    def __init__(self, contract: Contract):
        self.contract = contract

    def process(self, element):
        batch = element[1] if isinstance(element, tuple) and len(element) == 2 else element
        given = rows_given(batch, self.contract, "Windows")
        check_times(given, self.contract, "Windows")
        names = self.contract.schema.names
        columns = [*(given.column(name) for name in names), pa.nulls(given.num_rows, pa.int64())]
        yield 0, pa.RecordBatch.from_arrays(columns, [*names, "_commit"])


class _ExpandToWindows(Step):
    """A cell's tiles to each window it lies in, by the window's start, at a time in the Beam window it ends with."""

    def __init__(self, contract: Contract, window: WindowSpec):
        self.contract, self.window = contract, window

    def process(self, element):
        cell, tiles = element
        cells = cells_of(self.contract, self.window)
        for start in cells.starts(cell):
            yield TimestampedValue((start, tiles), Timestamp(micros=cells.stamp(start, tiles)))


class _EndAsValues(Step):
    """The windows that fire in a bundle, merged and ended in one statement; two panes of a window stay apart."""

    def __init__(self, contract: Contract, window: WindowSpec):
        self.contract, self.window = contract, window

    def start_bundle(self):
        self.fired = {}

    def process(
        self,
        element,
        timestamp=beam.DoFn.TimestampParam,
        beam_window=beam.DoFn.WindowParam,
        pane=beam.DoFn.PaneInfoParam,
    ):
        start, tiles = element
        if start in self.fired:
            yield from self._end()
        self.fired[start] = WindowedValue(tiles, timestamp, (beam_window,), pane)

    def finish_bundle(self):
        yield from self._end()

    def _end(self):
        fired, self.fired = self.fired, {}
        if not fired:
            return
        values = window_rows({start: pane.value for start, pane in fired.items()}, self.contract, self.window)
        for start, rows in values.items():
            yield fired[start].with_value(rows)


def window_rows(tiles: dict[int, pa.RecordBatch], contract: Contract, window: WindowSpec) -> dict[int, pa.RecordBatch]:
    """Each window's rows from its tiles, both by its start in microseconds since the epoch."""
    tables = [
        pa.Table.from_batches([batch]).append_column("__start", pa.array([start] * batch.num_rows, pa.int64()))
        for start, batch in tiles.items()
    ]
    cursor = sandbox().cursor()
    try:
        prepare(cursor, contract, window)
        cursor.register("fired", pa.concat_tables(tables))
        found = cursor.sql(values_sql("fired", contract, window)).to_arrow_table()
    finally:
        cursor.close()
    schema = pa.schema([f for f in window_schema(contract, window) if f.name not in ("final", "revision")])
    return dict(split_by_instant(found.select(schema.names).cast(schema), "window_start"))
