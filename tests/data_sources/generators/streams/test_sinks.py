"""Files: how many records each has, and that what is read back is what was written."""

import datetime as dt
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_sources.generators.streams.sinks import JsonFiles, Kafka, ParquetFiles

ROWS = pl.DataFrame(
    {
        "n": range(25),
        "at": [dt.datetime.fromisoformat(f"2024-01-01T00:00:{i:02d}.500000") for i in range(25)],
        "d": pl.Series([i + 0.25 for i in range(25)]).cast(pl.Decimal(10, 2)),
        "s": ["ä" if i % 2 else None for i in range(25)],
    }
)


def test_json_files_have_their_records_whatever_the_pieces(tmp_path):
    sink = JsonFiles(tmp_path, "made", 10)
    for start, n in ((0, 3), (3, 17), (20, 5)):
        sink.write(ROWS.slice(start, n))
    seen = sorted(p.name for p in tmp_path.iterdir())
    assert seen == [".made_000002.json.part", "made_000000.json", "made_000001.json"], "no half file in sight"
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [p.name for p in files] == ["made_000000.json", "made_000001.json", "made_000002.json"]
    lines = [p.read_text(encoding="utf-8").splitlines() for p in files]
    assert [len(x) for x in lines] == [10, 10, 5]
    assert [json.loads(line)["n"] for part in lines for line in part] == list(range(25))
    assert json.loads(lines[0][1]) == {"n": 1, "at": "2024-01-01T00:00:01.500Z", "d": 1.25, "s": "ä"}


def test_a_full_last_file_leaves_no_empty_one(tmp_path):
    sink = JsonFiles(tmp_path, "made", 5)
    sink.write(ROWS)
    sink.close()
    assert len(list(tmp_path.iterdir())) == 5


def test_parquet_files_keep_types(tmp_path):
    sink = ParquetFiles(tmp_path, "made", 10)
    sink.write(ROWS.head(13))
    sink.write(ROWS.slice(13))
    sink.close()
    tables = [pq.read_table(p) for p in sorted(tmp_path.glob("*.parquet"))]
    assert [t.num_rows for t in tables] == [10, 10, 5]
    whole = pa.concat_tables(tables)
    assert whole.schema.field("d").type == pa.decimal128(10, 2)
    assert whole.schema.field("at").type == pa.timestamp("us", "UTC")
    assert whole["n"].to_pylist() == list(range(25))


def test_an_earlier_run_is_replaced_and_strangers_stay(tmp_path):
    for name in ("made_000007.json", ".made_000001.json.part", "made_000003.parquet", "other_000000.json"):
        (tmp_path / name).write_text("{}")
    sink = JsonFiles(tmp_path, "made", 100)
    sink.write(ROWS)
    sink.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made_000000.json", "other_000000.json"]


def test_times_with_microseconds_and_without_a_value(tmp_path):
    rows = pl.DataFrame(
        {"at": [dt.datetime.fromisoformat("2024-01-01T00:00:00.000020"), None, dt.datetime.fromisoformat("2024-01-01")]}
    )
    for part, seen in ((rows, "2024-01-01T00:00:00.000020Z"), (rows.tail(2), None)):
        sink = JsonFiles(tmp_path, "made", 100)
        sink.write(part)
        sink.close()
        first, *_, last = [json.loads(x)["at"] for x in (tmp_path / "made_000000.json").read_text().splitlines()]
        assert first == seen
        assert last.startswith("2024-01-01T00:00:00.000")


def test_no_broker_is_told():
    with pytest.raises(ValueError, match=r"no Kafka broker at 127.0.0.1:1 .*--kafka"):
        Kafka("127.0.0.1:1", "t", patience_s=0.5)
