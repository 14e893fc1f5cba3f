"""The element travels as Arrow, whole, and never as a pickle."""

from __future__ import annotations

import copyreg
import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.coders import coders
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from data_sources.splits import FileSplit, PartitionPlan
from data_sources.typed_json import encode
from tests.transforms.making import contract, minute
from transforms.arrow import as_batch, as_table, plain, plain_table
from transforms.batches import RecordBatchCoder, shared_in_process
from transforms.blocks import Slice
from transforms.land import MANIFEST, LandSlice
from transforms.manifest import read_manifest

SAMPLE = pa.table(
    {
        "text": pa.array(["a", None, "ß\0"]),
        "coded": pa.array(["x", "y", "x"]).dictionary_encode(),
        "number": pa.array([1, None, -(2**63)]),
        "real": pa.array([0.1, -0.0, None]),
        "money": pa.array([Decimal("1.23"), None, Decimal("-9999999.99")], pa.decimal128(9, 2)),
        "day": pa.array([date(1, 1, 1), None, date(9999, 12, 31)]),
        "at": pa.array([datetime(2025, 6, 15, 1, 2, 3, 4, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
        "flag": pa.array([True, False, None]),
        "key": pa.array([{"k0": "a", "k1": 1}, None, {"k0": None, "k1": 2}]),
    }
)


class TestCoder:
    def test_there_and_back(self) -> None:
        coder = RecordBatchCoder()
        for batch in (as_batch(SAMPLE), as_batch(SAMPLE.slice(1, 1)), as_batch(SAMPLE.slice(0, 0))):
            again = coder.decode(coder.encode(batch))
            assert again.equals(batch) and again.schema == batch.schema

    def test_a_batch_without_columns(self) -> None:
        batch = pa.RecordBatch.from_pylist([], schema=pa.schema([]))
        assert RecordBatchCoder().decode(RecordBatchCoder().encode(batch)).num_rows == 0

    def test_a_slice_carries_its_rows_alone(self) -> None:
        long = as_batch(pa.table({"n": list(range(100_000))}))
        assert len(RecordBatchCoder().encode(long.slice(5, 1))) < 2000

    def test_by_reference_inside_one_process_and_only_there(self) -> None:
        elsewhere, batch = RecordBatchCoder(), as_batch(SAMPLE)
        with shared_in_process():
            coder = RecordBatchCoder()
            ticket = coder.encode(batch)
            assert len(ticket) == 16 and coder.decode(ticket) is batch
            assert len(elsewhere.encode(batch)) > 16, "a graph that another thread runs has workers of its own"
        assert len(coder.encode(batch)) > 16
        assert coder.decode(coder.encode(batch)).equals(batch)

    def test_tickets_are_unique_over_threads(self) -> None:
        seen: list[bytes] = []
        with shared_in_process():
            coder = RecordBatchCoder()
            threads = [
                threading.Thread(target=lambda: seen.extend(coder.encode(as_batch(SAMPLE)) for _ in range(200)))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(set(seen)) == 800

    def test_beam_finds_it_for_every_way_to_write_the_type(self) -> None:
        assert isinstance(beam.coders.registry.get_coder(pa.RecordBatch), RecordBatchCoder)
        for hint in (tuple[int, pa.RecordBatch], beam.typehints.Tuple[str, pa.RecordBatch]):
            pair = beam.coders.registry.get_coder(convert_to_beam_type(hint))
            assert isinstance(pair.coders()[1], RecordBatchCoder)


class TestTables:
    def test_text_that_is_plain_in_some_batches_and_coded_in_others(self) -> None:
        coded = pa.table({"t": pa.array(["a", "b"]).dictionary_encode(), "n": [1, 2]})
        plain_text = pa.table({"t": ["c", None], "n": [3, 4]})
        for order in ([coded, plain_text], [plain_text, coded]):
            table = as_table(as_batch(t) for t in order)
            assert table["t"].type == pa.string()
            assert table.num_rows == 4 and set(table["t"].to_pylist()) == {"a", "b", "c", None}

    def test_different_dictionaries_become_one_batch(self) -> None:
        parts = [as_batch(pa.table({"t": pa.array([a, b]).dictionary_encode()})) for a, b in (("a", "b"), ("c", "a"))]
        whole = as_batch(as_table(parts))
        assert whole.column(0).to_pylist() == ["a", "b", "c", "a"]

    def test_an_empty_table_is_one_empty_batch(self) -> None:
        empty = as_batch(SAMPLE.slice(0, 0))
        assert empty.num_rows == 0 and empty.schema == SAMPLE.schema

    def test_plain(self) -> None:
        coded = pa.chunked_array([pa.array(["a", None]).dictionary_encode(), pa.array(["b"]).dictionary_encode()])
        assert plain(coded).to_pylist() == ["a", None, "b"] and plain(coded).type == pa.string()
        assert plain(pa.chunked_array([], pa.string())).to_pylist() == []
        assert plain_table(SAMPLE)["coded"].type == pa.string()


# ---- the graph that `land` runs -----------------------------------------------------------------------------

LINES = [
    {"id": f"k{n % 40}", "at": minute(n % 40).isoformat(), "kwh": -1.0 if n == 17 else n % 3, "meter": f"m{n % 3}"}
    for n in range(60)
] + [{"id": "late", "at": minute(-500).isoformat(), "kwh": 1.0, "meter": "m1"}]


@pytest.fixture
def slice_of_everything(tmp_path: Path) -> tuple[Slice, str, Path]:
    """A slice with all fates and a conflict; partitions as JSON."""
    source = tmp_path / "in.json"
    source.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    stat = source.stat()
    split = FileSplit(
        path=str(source), name="in.json", start=0, line=1, size=stat.st_size, mtime=stat.st_mtime_ns, rows=len(LINES)
    )
    partition = encode(PartitionPlan(key="files", splits=(split,))).decode()
    now = int(minute(100).timestamp() * 1e6)
    return Slice(contract(), str(tmp_path), "attempt", 1, now, 2), partition, tmp_path / "data" / "attempt"


@pytest.fixture
def pickling_refused() -> Iterator[list[int]]:
    """Any attempt to pickle a RecordBatch fails, and is counted."""
    tries: list[int] = []

    def refuse(_: pa.RecordBatch) -> Any:
        tries.append(1)
        raise AssertionError("a RecordBatch was pickled")

    copyreg.pickle(pa.RecordBatch, refuse)
    try:
        yield tries
    finally:
        del copyreg.dispatch_table[pa.RecordBatch]


def test_the_refusal_works(pickling_refused: list[int]) -> None:
    with pytest.raises(AssertionError):
        coders.FastPrimitivesCoder().encode(as_batch(SAMPLE))
    assert pickling_refused


@pytest.mark.pipeline
def test_a_whole_slice_without_one_pickled_batch(slice_of_everything: Any, pickling_refused: list[int]) -> None:
    slice, partition, folder = slice_of_everything
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as p:
        p | beam.Create([partition], reshuffle=False) | LandSlice(slice, None)
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    kinds = {file.kind for file in manifest.files}
    assert kinds == {"rows", "tiles", "late", "rejected", "conflicts"}, "all ways were taken"
    assert manifest.partitions and manifest.shards
    assert not pickling_refused


@pytest.mark.pipeline
def test_each_group_by_key_holds_batches_by_their_coder(slice_of_everything: Any) -> None:
    """Type hints that get lost on the way mean a silent fall back to pickle."""
    slice, partition, _ = slice_of_everything
    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | beam.Create([partition], reshuffle=False) | LandSlice(slice, None)
    proto, context = pipeline.to_runner_api(return_context=True)
    parts = proto.components

    def values_of(name: str) -> Any:
        return context.coders.get_by_id(parts.pcollections[name].coder_id).value_coder()

    for name, collection in parts.pcollections.items():
        if "RecordBatch" not in str(coder := context.coders.get_by_id(collection.coder_id)):
            plain = (coders.BytesCoder, coders.StrUtf8Coder)
            inner = coder.value_coder() if coder.is_kv_coder() else coder
            inner = inner.value_coder() if isinstance(inner, coders.IterableCoder) else inner
            assert isinstance(inner, plain), f"{collection.unique_name} ({name}) would be pickled: {coder}"
    found = {}
    for transform in parts.transforms.values():
        if transform.spec.urn == common_urns.primitives.GROUP_BY_KEY.urn:
            (source,) = transform.inputs.values()
            found[transform.unique_name.split("/", 1)[1]] = values_of(source)
        if transform.spec.urn == common_urns.composites.COMBINE_PER_KEY.urn:
            payload = beam_runner_api_pb2.CombinePayload.FromString(transform.spec.payload)
            accumulator = context.coders.get_by_id(payload.accumulator_coder_id)
            assert isinstance(accumulator.value_coder(), RecordBatchCoder)
    assert isinstance(found.pop("GroupManifest"), coders.StrUtf8Coder)
    assert set(found) == {"Unique/GroupByShard", "Tile_quarters/CombineCell/GroupByKey", "GroupFiles"}
    assert all(isinstance(coder, RecordBatchCoder) for coder in found.values()), found
