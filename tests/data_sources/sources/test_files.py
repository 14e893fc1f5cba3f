"""Which files there are, what of them is new, and that no cut changes what is read."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from data_sources.contract import Contract, parse_contract
from data_sources.decode.csv_lines import decode_csv
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import MAX_RECORD
from data_sources.formats import lines
from data_sources.sources import opening, segments
from data_sources.sources.errors import SourceError
from data_sources.sources.files import Files, plan_files, read_file
from data_sources.sources.finding import find_files
from data_sources.sources.opening import compression
from data_sources.splits import FileEnd
from tests.conftest import examples


def contract(form: str = "json", **more: Any) -> Contract:
    fields = [{"name": "id", "type": "string"}, {"name": "at", "type": "date"}, {"name": "v", "type": "string"}]
    return parse_contract(
        {"name": "t", "format": form, "event_time": "at", "dedup": {"key": ["id"]}, "fields": fields, **more}, "t.toml"
    )


JSON, CSV = contract(), contract("csv")


def line(n: int | str) -> bytes:
    return b'{"id":"%s","at":"2025-06-15"}\n' % str(n).encode()


class Reader:
    """Reads a folder as slices do, and remembers what is committed."""

    def __init__(self, source: Path | str, feed: Contract = JSON) -> None:
        self.source, self.feed, self.known, self.problems, self.slices = str(source), feed, {}, [], 0  # type: ignore[var-annotated]

    def slice(self, rows: int = 10**6) -> list[tuple[str, int, bytes]] | None:
        """(file, position, raw record) of one slice; None where nothing is new."""
        listing = Files(self.source).plan(self.feed, self.known, rows)
        self.problems = listing.problems
        if not listing.splits:
            return None
        read, known = [], {}
        for split in listing.splits:
            for block in read_file(split, self.feed):
                if isinstance(block, FileEnd):
                    known[block.path] = block
                else:
                    read += [(split.name, int(p), block.raw(i)) for i, p in enumerate(block.positions)]
        assert len(read) <= rows
        self.known |= known
        self.slices += 1
        return read

    def all(self, rows: int = 10**6) -> list[tuple[str, int, bytes]]:
        """What is new, over as many slices as it takes."""
        found: list[tuple[str, int, bytes]] = []
        while (some := self.slice(rows)) is not None:
            found += some
        return found

    def ids(self, rows: int = 10**6) -> list[str]:
        rows_by_id = [raw.split(b'"')[3] if raw.startswith(b'{"id"') else raw for _, _, raw in self.all(rows)]
        return [r.decode() for r in rows_by_id]


# --- which files


def names(source: Path | str, feed: Contract = JSON, own_globs: bool = False) -> list[str]:
    return [f.name for f in find_files(str(source), feed, own_globs)]


def test_folder_file_and_glob(tmp_path: Path) -> None:
    for name in ["b.json", "a.jsonl", "sub/c.ndjson.gz", "sub/deep/d.JSON.zst", "e.csv", "truth.json", "sub/truth.json", ".hidden.json",
                 ".git/x.json", "f.parquet", "g.json.tmp", "h"]:  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(line(1))
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / ".beamgridignore").write_text("# what the run should come to\n\ntruth.*\n", encoding="utf-8")
    assert names(tmp_path) == ["a.jsonl", "b.json", "sub/c.ndjson.gz", "sub/deep/d.JSON.zst"]
    assert names(tmp_path / "h") == ["h"]
    assert names(tmp_path / "*.json*") == ["a.jsonl", "b.json"]
    assert names(tmp_path / "**" / "*.gz") == ["sub/c.ndjson.gz"]
    assert names(tmp_path / "s*") == ["sub/c.ndjson.gz", "sub/deep/d.JSON.zst"]
    assert names(tmp_path / "no*") == []
    assert names(tmp_path, CSV) == ["e.csv"]
    (tmp_path / "lake" / "landing").mkdir(parents=True)
    for name in ("lake/lake.json", "lake/landing/0000000001.json"):
        (tmp_path / name).write_bytes(b"{}")
    assert not any("lake" in name for name in names(tmp_path)), "a lake is no source"
    own = contract(files=["c.*", "deep/*"])
    assert names(tmp_path, own, own_globs=True) == ["sub/c.ndjson.gz", "sub/deep/d.JSON.zst"]
    assert names(tmp_path, JSON, own_globs=True) == []
    with pytest.raises(SourceError, match="no such file or folder"):
        names(tmp_path / "nowhere")


def test_a_relative_source_names_files_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_bytes(line(1))
    for source in (".", "a.json", "*.json", str(tmp_path)):
        assert [f.path for f in find_files(source, JSON, False)] == [str(tmp_path / "a.json")]


ODD = [
    "a b.json",
    "a'b.json",
    'a"b.json',
    "a\nb.json",
    "äöü.json",
    "😀.json",
    "a[1].json",
    "a*b.json",
    "a%20b.json",
    "-.json",
    "a;b,c.json",
]


def test_odd_names(tmp_path: Path) -> None:
    for name in ODD:
        (tmp_path / name).write_bytes(line(1))
    assert names(tmp_path) == sorted(ODD, key=os.fsencode)
    assert len(Reader(tmp_path).all()) == len(ODD)
    for name in ODD:
        assert names(tmp_path / name) == [name]
    (tmp_path / "sub[1]").mkdir()
    (tmp_path / "sub[1]" / "x.json").write_bytes(line(1))
    assert names(tmp_path / "sub[1]") == ["x.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_can_be_written_down(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.json")
    with open(path, "wb") as out:
        out.write(line(1))
    read = Reader(tmp_path).all()
    assert [name for name, _, _ in read] == ["caf\\xe9.json"] and pa.array([read[0][0]])
    assert names(os.fsdecode(path)) == ["caf\\xe9.json"]


def test_links_pipes_and_loops(tmp_path: Path) -> None:
    """A loop of links must not read a file forty times, nor a pipe wait for ever."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_bytes(line(1))
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.json").write_bytes(line(2))
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "out")
    os.mkfifo(tmp_path / "in" / "pipe.json")
    (tmp_path / "in" / "gone.json").symlink_to(tmp_path / "nothing")
    reader = Reader(tmp_path / "in")
    assert reader.ids() == ["1", "2"]
    assert len(reader.problems) == 1 and reader.problems[0].startswith("gone.json: left out: No such file")


# --- what is new


def test_only_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(line(1) + line(2))
    reader = Reader(tmp_path)
    assert reader.ids() == ["1", "2"]
    assert reader.slice() is None
    (tmp_path / "0.json").write_bytes(line(0))
    assert reader.ids() == ["0"]
    with (tmp_path / "a.json").open("ab") as out:
        out.write(line(3))
    assert reader.all() == [("a.json", 3, line(3)[:-1])]
    os.utime(tmp_path / "a.json", ns=(1, 1))
    assert reader.slice() is None and not reader.problems


def test_an_unfinished_json_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(line(1) + line(2)[:9])
    reader = Reader(tmp_path)
    assert reader.ids() == ["1"] and reader.slice() is None
    path.write_bytes(line(1) + line(2)[:20])
    assert reader.slice() is None
    path.write_bytes(line(1) + line(2) + line(3)[:1])
    assert reader.all() == [("a.json", 2, line(2)[:-1])]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_whole_object_without_a_line_end_lands_and_the_file_grows_after_it(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(line(1) + line(2)[:-1])
    reader = Reader(tmp_path)
    assert reader.ids() == ["1", "2"] and reader.slice() is None
    with path.open("ab") as out:
        out.write(end + line(3) + line(4)[:-1])
    assert [(p, raw[7:8]) for _, p, raw in reader.all(rows=1)] == [(3, b"3"), (4, b"4")]
    with path.open("ab") as out:
        out.write(end)
    assert reader.all() == []
    with path.open("ab") as out:
        out.write(line(5))
    assert [p for _, p, _ in reader.all()] == [5] and not reader.problems


def test_an_unfinished_csv_line_waits_whatever_it_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    reader = Reader(tmp_path, CSV)
    for content, expected in [
        (b"", []),
        (b"id,at,v", []),
        (b"id,at,v\n", []),
        (b"id,at,v\na,2025-06-15,x", []),
        (b"id,at,v\na,2025-06-15,x\r", []),
        (b"id,at,v\na,2025-06-15,x\r\nb", [(2, b"a,2025-06-15,x")]),
        (b"id,at,v\na,2025-06-15,x\r\nb,2025-06-15,\n", [(3, b"b,2025-06-15,")]),
    ]:
        path.write_bytes(content)
        assert [(p, raw) for _, p, raw in reader.all()] == expected, content
        assert not reader.problems


def test_a_carriage_return_at_the_end_may_be_half_of_a_line_end(tmp_path: Path) -> None:
    path, feed = tmp_path / "a.csv", contract("csv", csv={"header": False})
    reader = Reader(tmp_path, feed)
    path.write_bytes(b"a,2025-06-15,x\r")
    assert reader.slice() is None
    path.write_bytes(b"a,2025-06-15,x\r\nb,2025-06-15,y\r\n")
    assert [p for _, p, _ in reader.all()] == [1, 2]


def test_a_compressed_last_line_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id,at,v\na,2025-06-15,x\nb,2025-06-15,y"))
    reader = Reader(tmp_path, CSV)
    assert [(p, raw[:1]) for _, p, raw in reader.all()] == [(2, b"a"), (3, b"b")] and reader.slice() is None


def test_a_compressed_file_is_done_with_the_slice_that_reads_its_last_record(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"".join(line(n) for n in range(4))))
    reader, done = Reader(tmp_path), []
    while reader.slice(2) is not None:
        done.append(reader.known[str(tmp_path / "a.json.gz")].done)
    assert done == [False, True]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_a_file_that_changed_otherwise_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    pack = gzip.compress if name.endswith(".gz") else bytes
    path = tmp_path / name
    path.write_bytes(pack(line(1) + line(2)))
    (tmp_path / "b.json").write_bytes(line(8))
    reader = Reader(tmp_path)
    assert reader.ids() == ["1", "2", "8"]
    for content in (line(1) + line(7) + line(3), line(1), b""):
        path.write_bytes(pack(content))
        with (tmp_path / "b.json").open("ab") as out:
            out.write(line(9))
        assert reader.ids() == ["9"], "the rest lands"
        assert len(reader.problems) == 1 and reader.problems[0].startswith(
            f"{name}: left out: has changed since it was read"
        )
    path.write_bytes(pack(line(1) + line(2)))
    assert reader.slice() is None and not reader.problems


def test_a_compressed_file_never_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(line(1)))
    reader = Reader(tmp_path)
    assert reader.ids() == ["1"]
    path.write_bytes(gzip.compress(line(1)) + gzip.compress(line(2)))
    assert reader.slice() is None and "has changed" in reader.problems[0]


def test_changed_between_two_slices_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"".join(map(line, range(10))))
    reader = Reader(tmp_path)
    assert len(reader.slice(rows=4) or []) == 4
    path.write_bytes(b"".join(map(line, [0, 1, 2, 99, *range(4, 10)])))
    assert reader.slice(rows=4) is None and "has changed" in reader.problems[0]
    path.write_bytes(b"".join(map(line, range(12))))
    assert reader.ids(rows=4) == [str(n) for n in range(4, 12)]


def test_a_file_that_is_gone_before_all_of_it_was_read_is_named_until_it_is_back_or_given_up(tmp_path: Path) -> None:
    rows, files = b"".join(map(line, range(4))), tmp_path / "in"
    (files / "sub").mkdir(parents=True)
    for name in ("a.json", "sub/b.json", "tail.json", "whole.json"):
        (files / name).write_bytes(rows + {"tail.json": line(9)[:7], "whole.json": b"\n  "}.get(name, b""))
    (files / "c.json.gz").write_bytes(gzip.compress(rows))
    with zipfile.ZipFile(files / "z.zip", "w") as archive:
        archive.writestr("m.json", rows)
    half: dict[str, FileEnd] = {}
    for name in ("a.json", "sub/b.json", "c.json.gz", "z.zip/m.json"):  # of each the first slice alone
        reader = Reader(files / name.partition("/m")[0])
        reader.slice(rows=3)
        half |= reader.known
    for name in ("tail.json", "whole.json"):
        reader = Reader(files / name)
        reader.all(rows=3)
        half |= reader.known

    def lost(source: Path, feed: Contract = JSON) -> dict[str, str]:
        found = Files(str(source)).plan(feed, half, 10**6).problems
        return {name: why.removeprefix("is gone ").split(" (")[0] for name, why in (p.split(": ", 1) for p in found)}

    assert lost(files) == {}, "nothing is gone"
    held = tmp_path / "held"
    files.rename(held)
    files.mkdir()
    unread, closed = f"with {len(line(3))} bytes unread", "before all of it was read"
    gone = {
        "a.json": unread,
        "sub/b.json": unread,
        "c.json.gz": closed,
        "z.zip/m.json": closed,
        "tail.json": "with 7 bytes unread",
    }
    assert lost(files) == gone == lost(files / "**")
    assert lost(files / "*.json*") == {name: gone[name] for name in ("a.json", "c.json.gz", "tail.json")}
    assert lost(files, contract(files=["*.gz"])).keys() == gone.keys() and lost(held) == {}, "of other places, nothing"
    (files / "other.json").write_bytes(line(8))
    assert lost(files / "other.json") == {}
    with zipfile.ZipFile(files / "z.zip", "w") as archive:
        archive.writestr("other.json", rows)
    (held / "a.json").rename(files / "a.json")
    (files / ".beamgridignore").write_text("tail.*\n", encoding="utf-8")
    assert lost(files) == {name: gone[name] for name in ("sub/b.json", "c.json.gz", "z.zip/m.json")}
    more = (replace(half[f"{files}/tail.json"], path=f"{files}/more{n}.json") for n in range(40))
    many = Files(str(files)).plan(JSON, half | {end.path: end for end in more}, 10**6).problems
    assert len(many) == 21 and many[-1] == "23 more files are gone half read"


# --- compressed and damaged


def pack(data: bytes, codec: str) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, codec) as stream:
        stream.write(data)
    return bytes(out.getvalue())


@pytest.mark.parametrize(("codec", "ending"), [("gzip", ".gz"), ("zstd", ".zst")])
def test_damaged_compressed_files_are_left_out_whole(
    tmp_path: Path, codec: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK", 1000)
    data = b"".join(line(os.urandom(8).hex()) for _ in range(3000))
    packed = pack(data, codec)
    (tmp_path / f"cut.json{ending}").write_bytes(packed[: len(packed) // 2])
    (tmp_path / f"early.json{ending}").write_bytes(packed[:3])
    (tmp_path / f"flipped.json{ending}").write_bytes(
        packed[:-400] + bytes(255 - b for b in packed[-400:-390]) + packed[-390:]
    )
    (tmp_path / f"good.json{ending}").write_bytes(packed)
    (tmp_path / f"text.json{ending}").write_bytes(data)
    reader = Reader(tmp_path)
    read = reader.all(rows=500)
    assert {name for name, _, _ in read} == {f"good.json{ending}"}, "and nothing of the damaged ones"
    assert b"\n".join(raw for _, _, raw in read) + b"\n" == data
    assert [p.split(".")[0] for p in reader.problems] == ["cut", "early", "flipped", "text"]


def test_gzip_of_several_members(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(
        gzip.compress(line(1) + line(2)[:7]) + gzip.compress(line(2)[7:]) + gzip.compress(b"")
    )
    assert Reader(tmp_path).ids() == ["1", "2"]


def test_damage_that_shows_only_while_reading_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(line(1))
    split = plan_files(find_files(str(tmp_path), JSON, False), {}, JSON, 9).splits[0]
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.json: cannot be read \(No such file"):
        list(read_file(split, JSON))


def test_empty_files_and_headers_alone_are_no_news(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv.gz"):
        pack_ = gzip.compress if name.endswith("gz") else bytes
        for content in (b"", b"id,at,v\n", b"id,at,v", b"\xef\xbb\xbfid,at,v\r\n"):
            (tmp_path / name).write_bytes(pack_(content))
            reader = Reader(tmp_path, CSV)
            assert reader.slice() is None and not reader.problems, content
        (tmp_path / name).unlink()
    (tmp_path / "a.json").write_bytes(b"")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(b""))
    assert Reader(tmp_path).slice() is None


def test_a_csv_file_whose_header_fits_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "semicolons.csv").write_bytes(b"id;at;v\na;2025-06-15;x\n")
    (tmp_path / "twice.csv").write_bytes(b"id,at,id\na,2025-06-15,x\n")
    (tmp_path / "blank.csv").write_bytes(b"\nid,at,v\na,2025-06-15,x\n")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\xff")
    (tmp_path / "good.csv").write_bytes(b"id,at,v\na,2025-06-15,x\n")
    reader = Reader(tmp_path, CSV)
    assert [name for name, _, _ in reader.all()] == ["good.csv"]
    said = dict(p.split(": ", 1) for p in reader.problems)
    assert said.keys() == {"semicolons.csv", "twice.csv", "blank.csv", "picture.csv"}
    assert (
        "its delimiter looks like ;, and the contract says ','" in said["semicolons.csv"]
        and "'id' twice" in said["twice.csv"]
        and "blank" in said["blank.csv"]
    )


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "dir.json").mkdir()
    (tmp_path / "dir.json" / "a.json").write_bytes(line(1))
    assert Reader(tmp_path).ids() == ["1"]


# --- cuts


def cuts_agree(data: bytes, name: str, feed: Contract, block: int) -> None:
    """Slices of 1, 2, 3, 7 records, and tiny blocks, give the records and positions of one read."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / name
        codec = compression(name)
        path.write_bytes(pack(data, codec) if codec else data)
        whole = Reader(folder, feed).all()
        decoded = fates_of(Reader(folder, feed), feed)
        for rows in (1, 2, 3, 7):
            assert Reader(folder, feed).all(rows) == whole, rows
        patch.setattr(lines, "BLOCK", block)
        for rows in (1, 3, 10**6):
            assert Reader(folder, feed).all(rows) == whole, (rows, block)
        assert fates_of(Reader(folder, feed), feed, rows=2) == decoded


def fates_of(reader: Reader, feed: Contract, rows: int = 10**6) -> tuple[list[Any], list[Any]]:
    """Rows and rejects of all that is new, decoded."""
    good: list[Any] = []
    bad: list[Any] = []
    while (listing := plan_files(find_files(reader.source, feed, False), reader.known, feed, rows)).splits:
        for split in listing.splits:
            for block in read_file(split, feed):
                if isinstance(block, FileEnd):
                    reader.known[block.path] = block
                    continue
                found = decode_json(block, feed) if feed.format == "json" else decode_csv(block, feed, list(split.header or ()) or ["id", "at", "v"])  # fmt: skip
                good += found.rows.drop_columns(["_index"]).to_pylist()
                bad += [(r["_position"], r["rule"], r["raw"]) for r in found.rejecting.table().to_pylist()]
    return good, bad


JSON_LINES = st.lists(
    st.sampled_from([line(1), line("x" * 30), b"\n", b"{\n", b" \r\n", line(2).replace(b"\n", b"\r\n"), b"\xff\n"]),
    max_size=15,
)


@settings(max_examples=examples(60), deadline=None)
@given(
    JSON_LINES,
    st.sampled_from([b"", line(9)[:-1], line(9)[:9], b"  "]),
    st.integers(1, 40),
    st.sampled_from(["a.json", "a.json.gz", "a.json.zst"]),
)
def test_cuts_inside_a_json_file_change_nothing(parts: list[bytes], tail: bytes, block: int, name: str) -> None:
    cuts_agree(b"".join(parts) + tail, name, JSON, block)


CSV_LINES = st.lists(st.sampled_from([b"a,2025-06-15,x\n", b'b,2025-06-15,"y\n\nz"\n', b'c,2025-06-15,"q""\r\n,"\r\n', b"\n", b"short\n", b'd,2025-06-15,5" x\n',
                                      b'e,2025-06-15,"' + b"w" * 50 + b'\n"\n', b"f,2025-02-30,x\n", b"g,2025-06-15,\xff\n"]), max_size=15)  # fmt: skip


@settings(max_examples=examples(80), deadline=None)
@given(CSV_LINES, st.sampled_from([b"", b"h,2025", b'i,2025-06-15,"open\n', b"\r\n"]), st.integers(1, 40), st.booleans(), st.booleans(), st.sampled_from(["a.csv", "a.csv.gz"]))  # fmt: skip
def test_cuts_inside_a_csv_file_change_nothing(
    parts: list[bytes], tail: bytes, block: int, header: bool, bom: bool, name: str
) -> None:
    data = (b"\xef\xbb\xbf" if bom else b"") + (b"id,at,v\n" if header else b"") + b"".join(parts) + tail
    cuts_agree(data, name, contract("csv", csv={"header": header}), block)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.sampled_from([b"a,2025-06-15,x\r", b"\r", b"short\r", b'b,2025-06-15,"q"\r']), min_size=1, max_size=12),
    st.integers(1, 30),
)
def test_cuts_inside_a_file_with_lone_returns_change_nothing(parts: list[bytes], block: int) -> None:
    cuts_agree(b"id,at,v\r" + b"".join(parts), "a.csv", CSV, block)


@settings(max_examples=examples(60), deadline=None)
@given(JSON_LINES, st.data())
def test_growing_at_any_byte_changes_nothing(parts: list[bytes], data: st.DataObject) -> None:
    """A writer flushes where it likes; what is read in the end is what one read gives."""
    whole = b"".join(parts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_bytes(whole)
        expected = Reader(folder).all()
        reader, read = Reader(folder), []
        for cut in sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4))):
            path.write_bytes(whole[:cut])
            read += reader.all(data.draw(st.integers(1, 3)))
            assert not reader.problems
        path.write_bytes(whole)
        assert read + reader.all() == expected


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(1, 5), st.sampled_from([60, 400, 1 << 28]), st.data())  # fmt: skip
def test_a_file_that_grows_has_few_segments_and_any_change_of_what_was_read_is_seen(
    growth: list[int], rows: int, most: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(0, len(growth)), "commits of an older version, a segment each")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path, reader, read = Path(folder) / "a.json", Reader(folder), []
        for n, lines_more in enumerate(growth):
            with path.open("ab") as out:
                out.write(b"".join(line(f"{n}-{m}") for m in range(lines_more)))
            with pytest.MonkeyPatch.context() as before:
                if n < old:
                    before.setattr(lines, "joined", lambda _, parts: tuple(parts))
                patch.setattr(segments, "MOST_JOINED", most)
                read += reader.all(rows)
            assert not reader.problems
        whole, end = path.read_bytes(), reader.known[str(path)]
        assert read == Reader(folder).all()
        assert [0, *(s.end for s in end.segments)] == [*(s.start for s in end.segments), len(whole)]
        if old < len(growth):
            assert len(end.segments) <= len(whole).bit_length() + 2 * len(whole) // most
        assert all(s.digest == opening.digest(str(path), s.start, s.end) for s in end.segments)
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] + line(9))
        assert reader.slice() is None and "has changed" in reader.problems[0]


def test_a_file_of_hundreds_of_commits_has_few_segments(tmp_path: Path) -> None:
    path, reader = tmp_path / "a.json", Reader(tmp_path)
    for n in range(300):
        with path.open("ab") as out:
            out.write(line(n))
        assert len(reader.all()) == 1
    assert len(reader.known[str(path)].segments) <= 14 and not reader.problems


def test_segments_whose_bytes_were_changed_are_not_joined(tmp_path: Path) -> None:
    """Between the look at a file and the reading of it: what was read then stays told by its own digest."""
    path = tmp_path / "a.json"
    path.write_bytes(line(1))
    reader = Reader(tmp_path)
    reader.all()
    path.write_bytes(line(1) + line(2))
    (split,) = Files(str(tmp_path)).plan(JSON, reader.known, 10).splits
    path.write_bytes(line(7) + line(2))
    *_, end = read_file(split, JSON)
    assert len(end.segments) == 2
    reader.known[str(path)] = end
    path.write_bytes(line(7) + line(2) + line(3))
    assert reader.slice() is None and "has changed" in reader.problems[0]


def test_a_headerless_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa,2025-06-15,x\n\xef\xbb\xbfb,2025-06-15,y\n")
    feed = contract("csv", csv={"header": False})
    assert [r["id"] for r in fates_of(Reader(tmp_path, feed), feed)[0]] == ["a", "\ufeffb"]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_a_line_beyond_all_bounds_costs_one_reject(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 MB: longer than a block and what may follow it."""
    monkeypatch.setattr(lines, "BLOCK", 1 << 16)
    data = line(1) + b'{"id":"' + b"x" * 3_000_000 + b'"}\n' + line(2) + line(3)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    for rows in (1, 2, 10):
        good, bad = fates_of(Reader(tmp_path), JSON, rows)
        assert [(r["id"], r["_position"]) for r in good] == [("1", 1), ("2", 3), ("3", 4)], rows
        assert [(p, rule, len(raw)) for p, rule, raw in bad] == [(2, "size", MAX_RECORD)]


def test_lone_returns_are_line_ends_only_where_a_file_has_no_other(tmp_path: Path) -> None:
    (tmp_path / "mac.csv").write_bytes(b"id,at,v\ra,2025-06-15,x\rb,2025-06-15,y\r")
    (tmp_path / "unix.csv").write_bytes(b"id,at,v\na,2025-06-15,x\ry\nb,2025-06-15,z\n")
    good, bad = fates_of(Reader(tmp_path, CSV), CSV, rows=1)
    assert [(r["id"], r["_position"]) for r in good] == [("a", 2), ("b", 3), ("b", 3)]
    assert [(p, rule) for p, rule, _ in bad] == [(2, "csv")]
