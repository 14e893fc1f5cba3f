"""Tables of SQLite files: every value as it is held, any slicing the same, and what is refused with which words."""

from __future__ import annotations

import gzip
import json
import math
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.contract import Contract, ContractError, parse_contract
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import MAX_RECORD
from data_sources.sources.errors import SourceError
from data_sources.sources.files import plan_files, read_file
from data_sources.sources.finding import find_files
from data_sources.splits import FileEnd
from tests.conftest import examples
from tests.data_sources.sources.test_files import Reader

FIELDS = [
    {"name": "id", "type": "string"},
    {"name": "at", "type": "date"},
    {"name": "v", "type": "float64"},
    {"name": "flag", "type": "bool"},
]


def contract(table: str = "t", **more: Any) -> Contract:
    told = {"name": "t", "format": "sqlite", "sqlite": {"table": table}, "event_time": "at", "dedup": {"key": ["id"]}}
    return parse_contract({**told, "fields": FIELDS, **more}, "t.toml")


FEED = contract()


def made(path: Path, *statements: str | tuple[str, tuple[Any, ...]], create: str = "CREATE TABLE t (id, at, v, flag)") -> Path:  # fmt: skip
    database = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA synchronous = OFF", create, *statements):
        database.execute(*((statement,) if isinstance(statement, str) else statement))
    database.close()
    return path


def row(*values: Any) -> tuple[str, tuple[Any, ...]]:
    return f"INSERT INTO t VALUES ({', '.join('?' * len(values))})", values


GOOD = row("a", "2021-01-01", 1.5, 1)


def records(source: Path, feed: Contract = FEED, rows: int = 10**6) -> list[tuple[str, int, bytes]]:
    return Reader(source, feed).all(rows)


def problem(path: Path, feed: Contract = FEED) -> str:
    """Why a file beside a good one is left out; the good one is read."""
    good = path.parent / "zzz.db"
    good.unlink(missing_ok=True)
    made(good, GOOD)
    reader = Reader(path.parent, feed)
    assert [name for name, _, _ in reader.all()] == ([good.name] if feed is FEED else [])
    told = [p for p in reader.problems if p.startswith(f"{path.name}: ")]
    assert len(told) == 1, reader.problems
    return told[0]


def test_every_kind_of_value(tmp_path: Path) -> None:
    text = 'q" b\\ n\n r\r z\0 u\u2028 \x1f ä 😀'
    made(tmp_path / "a.db",
         row(text, None, 0.1, 1), row(-(2**63), 2**63 - 1, 1e308, 0), row(b"\x00\xff", "", -0.0, 2),
         row("x", "y", math.inf, "1"), row("x", "y", math.nan, 1.0), "INSERT INTO t VALUES (CAST(x'41ff' AS TEXT), '', 1, 1)")  # fmt: skip
    found = records(tmp_path)
    assert [position for _, position, _ in found] == [1, 2, 3, 4, 5, 6]
    raw = [r for _, _, r in found]
    assert all(b"\n" not in r for r in raw)
    assert json.loads(raw[0]) == {"id": text, "at": None, "v": 0.1, "flag": True}
    assert json.loads(raw[1]) == {"id": -(2**63), "at": 2**63 - 1, "v": 1e308, "flag": False}
    assert json.loads(raw[2]) == {"id": {"$blob": "00ff"}, "at": "", "v": 0.0, "flag": 2}
    assert json.loads(raw[3]) == {"id": "x", "at": "y", "v": math.inf, "flag": "1"}
    assert json.loads(raw[4]) == {"id": "x", "at": "y", "v": None, "flag": 1.0}
    assert b'"A\xff"' in raw[5]


def test_what_does_not_fit_is_a_reject_and_the_rest_are_rows(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db",
                GOOD, row("b", "2021-01-01", math.inf, 1), row(5, "2021-01-01", 1, 1), row(b"c", "2021-01-01", 1, 1),
                row("d", "2021-01-01", "1", 1), row("e", "2021-01-01", 1, 2), row("f", "soon", 1, 1), row(None, "2021-01-01", 1, 1),
                "INSERT INTO t VALUES (CAST(x'41ff' AS TEXT), '2021-01-01', 1, 1)", row("g" * MAX_RECORD, "2021-01-01", 1, 1),
                row("h", "2021-01-01", 2, None))  # fmt: skip
    (split,) = plan_files(find_files(str(path), FEED, False), {}, FEED, 100).splits
    blocks = [b for b in read_file(split, FEED) if not isinstance(b, FileEnd)]
    decoded = [decode_json(b, FEED) for b in blocks]  # type: ignore[arg-type]
    rows = [r for d in decoded for r in d.rows.select(["id", "v", "flag", "_position"]).to_pylist()]
    assert rows == [
        {"id": "a", "v": 1.5, "flag": True, "_position": 1},
        {"id": "h", "v": 2.0, "flag": None, "_position": 11},
    ]
    rejected = [(r["_position"], r["rule"]) for d in decoded for r in d.rejecting.table().to_pylist()]
    assert rejected == [(2, "number"), (3, "type:id"), (4, "type:id"), (5, "type:v"), (6, "type:flag"), (7, "time:at"),
                        (8, "null:id"), (9, "utf-8"), (10, "size")]  # fmt: skip


VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(), st.binary(max_size=20)
)


@settings(max_examples=examples(30), deadline=None)
@given(
    st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.tuples(VALUES, VALUES), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_any_slicing_gives_the_rows_as_sqlite_holds_them(rows: dict[int, tuple[Any, Any]], slice_rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        inserts = [("INSERT INTO t (rowid, id, v) VALUES (?, ?, ?)", (n, *values)) for n, values in rows.items()]
        made(path, *inserts, create="CREATE TABLE t (id BLOB, v BLOB, at, flag)")
        reader = Reader(path, FEED)
        found = reader.all(slice_rows)
        assert reader.problems == [] and reader.slices == -(-len(rows) // slice_rows)
        assert [position for _, position, _ in found] == sorted(rows)
        for _, position, raw in found:
            wanted = [{"$blob": v.hex()} if isinstance(v, bytes) else v for v in rows[position]]
            assert list(json.loads(raw).values()) == [*wanted, None, None]
        assert reader.slice() is None


@pytest.mark.parametrize("name", ['we"ird', "ta'ble; --", "select", "ünïcode", "123", "a b", "%s"])
def test_odd_names_of_tables_and_columns(tmp_path: Path, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    path = made(tmp_path / "a.db", f"INSERT INTO {quoted} VALUES ('a', 1, 2, 3, 4, 5)", create=f'CREATE TABLE {quoted} (id, "rowid", "{{n}} "" ;", at, v, flag)')  # fmt: skip
    assert [json.loads(r) for _, _, r in records(path, contract(name))] == [
        {"id": "a", "rowid": 1, '{n} " ;': 2, "at": 3, "v": 4, "flag": 5}
    ]


def test_the_table_is_found_whatever_its_case_and_files_by_their_ending(tmp_path: Path) -> None:
    for name in ("a.db", "b.sqlite", "c.SQLITE3", "d.json", "e"):
        made(tmp_path / name, GOOD)
    assert [name for name, _, _ in records(tmp_path, contract("T"))] == ["a.db", "b.sqlite", "c.SQLITE3"]


def test_no_rows_is_nothing_new(tmp_path: Path) -> None:
    reader = Reader(made(tmp_path / "a.db"), FEED)
    assert reader.slice() is None and reader.problems == []


@pytest.mark.parametrize(
    ("create", "wanted"),
    [
        ("CREATE TABLE other (id, at)", "has no table 't'; its tables: 'other'"),
        ("CREATE VIEW t AS SELECT 'a' AS id", "is a view or virtual table"),
        ("CREATE VIRTUAL TABLE t USING fts5(id)", "is a view or virtual table"),
        ("CREATE TABLE t (id PRIMARY KEY) WITHOUT ROWID", "shows no rowid"),
        ("CREATE TABLE t (id, rowid, oid, _rowid_)", "shows no rowid"),
        ("CREATE TABLE t (a, b)", "columns (a, b) are none of the contract's"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, create: str, wanted: str) -> None:
    assert wanted in problem(made(tmp_path / "a.db", create=create))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [(b"", "is no SQLite database (it is empty)"), (b'{"id": "a"}\n', "begins with b'{\"id\": \"a\"}"), (gzip.compress(b"", mtime=0), "unpack it"), (b"SQLite format 3\0", "is no SQLite database")],
)  # fmt: skip
def test_what_is_no_database(tmp_path: Path, data: bytes, wanted: str) -> None:
    (tmp_path / "a.db").write_bytes(data)
    assert wanted in problem(tmp_path / "a.db")


def test_a_truncated_file_and_a_damaged_page(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", *[row("x" * 500, "2021-01-01", n, 1) for n in range(200)])
    whole = path.read_bytes()
    for broken in (whole[: 10 * 4096], whole[:50_000] + b"\xff" * 4096 + whole[54_096:], whole[:100]):
        path.write_bytes(broken)
        assert ("is cut short" if len(broken) % 4096 else "SQLite says: ") in problem(path)
    path.write_bytes(whole[:-1])
    assert "is cut short" in problem(path)


def test_a_locked_file_waits_and_is_read_later(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", GOOD)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    reader = Reader(tmp_path, FEED)
    assert reader.slice() is None
    assert reader.problems == ["a.db: left out: SQLite says: database is locked; another program writes to it; run again when it is done"]  # fmt: skip
    writer.execute("COMMIT")
    writer.close()
    assert reader.ids() == ["a"] and reader.problems == []


def test_a_file_left_half_written_is_not_read_as_it_stands(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", "BEGIN", *[row("x" * 1000, "2021-01-01", n, 1) for n in range(100)], "COMMIT")
    writer = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA cache_size = 2", "BEGIN", "UPDATE t SET id = id || 'y'"):
        writer.execute(statement)
    assert path.read_bytes().count(b"xy") > 0, "part of the change is in the file"
    (tmp_path / "killed").mkdir()
    for name in ("a.db", "a.db-journal"):
        (tmp_path / "killed" / name).write_bytes((tmp_path / name).read_bytes())
    writer.close()
    assert "open it once with sqlite3" in problem(tmp_path / "killed" / "a.db")
    sqlite3.connect(tmp_path / "killed" / "a.db").execute("SELECT * FROM t").close()
    assert {len(json.loads(raw)["id"]) for _, _, raw in records(tmp_path / "killed" / "a.db")} == {1000}


def test_in_wal_mode_what_is_not_yet_in_the_file_is_waited_for_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", "PRAGMA journal_mode = WAL", GOOD)
    assert path.read_bytes()[18:20] == b"\x02\x02" and os.listdir(tmp_path) == ["a.db"]
    before = path.read_bytes()
    reader = Reader(tmp_path, FEED)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute(*row("b", "2021-01-01", 2, 0))
    assert reader.slice() is None
    assert "holds changes that are still in a.db-wal" in reader.problems[0]
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b.db").symlink_to(path)
    linked = Reader(tmp_path / "links", FEED)
    assert linked.slice() is None and "still in a.db-wal" in linked.problems[0]
    (tmp_path / "links" / "b.db").unlink()
    (tmp_path / "links").rmdir()
    assert path.read_bytes() == before
    writer.close()
    assert reader.ids() == ["a", "b"] and os.listdir(tmp_path) == ["a.db"]


def test_a_file_that_changed_never_counts_as_grown(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", GOOD)
    reader = Reader(tmp_path, FEED)
    assert reader.ids() == ["a"]
    os.utime(path, ns=(1, 1))
    assert reader.slice() is None and reader.problems == []
    made(path, row("b", "2021-01-01", 2, 0), create="SELECT 1")
    assert reader.slice() is None
    assert reader.problems == ["a.db: left out: has changed since it was read (land what it holds now under a new name)"]  # fmt: skip


def test_a_file_that_changes_between_plan_and_reading_stops_the_slice(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", GOOD)
    (split,) = plan_files(find_files(str(path), FEED, False), {}, FEED, 100).splits
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"a\.db: cannot be read \(changed while it was read\)"):
        list(read_file(split, FEED))
    path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(read_file(split, FEED))


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"sqlite": None}, '[sqlite]: format = "sqlite", and no other, has [sqlite]'),
        ({"format": "json"}, '[sqlite]: format = "sqlite", and no other, has [sqlite]'),
        ({"sqlite": {}}, "sqlite.table: is missing"),
        ({"sqlite": {"tabel": "t"}}, "did you mean 'table'?"),
        ({"format": "sqlit"}, "did you mean 'sqlite'?"),
    ],
)
def test_what_a_contract_must_say(more: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ContractError) as told:
        contract(**more)
    assert wanted in str(told.value)
