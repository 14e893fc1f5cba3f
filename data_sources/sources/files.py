"""Files as sources: what is there, what of it is new, and reading it block by block.

A file is identified by its absolute path and judged unchanged by size and time, else by its content: of what was
read, segment by segment, an xxh3 digest is kept. A file of lines may grow; compressed files, Parquet and SQLite never
do.
A last line without its line end waits, unless it is one whole JSON object (nothing could still be appended to it)
or the file is compressed.

    plan_files   ->  FileSplits, small, written down before reading
    read_file    ->  blocks of Records or Arrow tables, then a FileEnd
"""

from __future__ import annotations

import glob
import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from msgspec.structs import replace

from data_sources.contract import Contract
from data_sources.decode.csv_lines import header_names, split_csv
from data_sources.decode.rejects import MAX_RECORD
from data_sources.records import Records, count_line_ends, lines
from data_sources.snapshots import as_of_name, role
from data_sources.splits import FileEnd, FileSplit, Segment
from data_sources.sqlite_rows import TableError, plan_rows, read_rows

BLOCK = 8 << 20
"""Bytes read at a time; with readings of 340 bytes about 24,000 rows."""

ENDINGS = {
    "json": (".json", ".jsonl", ".ndjson"),
    "csv": (".csv", ".txt"),
    "parquet": (".parquet",),
    "sqlite": (".db", ".sqlite", ".sqlite3"),
}
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
NOT_DATA = {
    "truth.json",
    "planted.json",
    "sample_message.json",
    "sample_telemetry.json",
    "cdc_update_pair_example.json",
}
"""Files beside generated data that hold what a run should count, or show one record of a file beside them."""


class SourceError(ValueError):
    """A source that cannot be read at all: says what was seen and what to try."""


@dataclass(frozen=True)
class Found:
    """A file under a source: absolute path and the name relative to the source, `/` between parts."""

    path: str
    name: str


@dataclass
class Listing:
    """What a plan is made of: splits to read, and files that were left out with the reason."""

    splits: list[FileSplit] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def compression(path: str) -> str | None:
    return COMPRESSED.get(os.path.splitext(path)[1].lower())


def find_files(source: str, contract: Contract, own_globs: bool) -> list[Found]:
    """Files of the feed under a file, folder or glob, sorted by relative name, bytewise.

    With `own_globs` the contract's `files` decide which are the feed's, else every file that can be its format.
    Raises SourceError where nothing is there.
    """
    if os.path.isfile(source):
        name = os.fsencode(os.path.basename(source)).decode("utf-8", "backslashreplace")
        return [Found(os.path.abspath(source), name)]
    if os.path.isdir(source):
        root = source
        paths = _walk(source)
    elif glob.has_magic(source):
        root = os.path.dirname(re.split(r"[*?\[]", source, maxsplit=1)[0])
        matches = glob.glob(source, recursive=True)
        paths = [p for p in matches if os.path.isfile(p)]
        for folder in sorted(p for p in matches if os.path.isdir(p)):
            paths += _walk(folder)
    else:
        raise SourceError(f"source {source}: there is no such file or folder; check the path")
    root = os.path.abspath(root or ".")
    found = []
    for path in {os.path.abspath(p) for p in paths}:
        name = os.path.relpath(path, root).replace(os.sep, "/")
        if name.split("/")[-1] in NOT_DATA or any(part.startswith(".") for part in name.split("/")):
            continue
        if own_globs:
            wanted = any(fnmatch(name, pattern) or fnmatch(name, f"*/{pattern}") for pattern in contract.files)
        else:
            base = os.path.splitext(path)[0] if compression(path) else path
            wanted = base.lower().endswith(ENDINGS[contract.format])
        if wanted:
            found.append(Found(path, os.fsencode(name).decode("utf-8", "backslashreplace")))
    return sorted(found, key=lambda f: os.fsencode(os.path.relpath(f.path, root)))


def _walk(folder: str) -> list[str]:
    """Regular files (and links that lead nowhere) below a folder; each real folder once, however links lead to it."""
    been: set[str] = set()
    paths = []
    for at, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(at)) in been:
            folders.clear()
            continue
        been.add(real)
        folders.sort()
        paths += [p for name in names if os.path.isfile(p := os.path.join(at, name)) or os.path.islink(p)]
    return paths


def plan_files(found: list[Found], known: Mapping[str, FileEnd], contract: Contract, rows: int) -> Listing:
    """The next slice: splits of at most `rows` rows together, numbered, in the order of the files.

    known: per absolute path where the commits stand. A full snapshot of which nothing more can be read and that was not
    read to its end is a problem: until it was, it tells of no deletes.
    """
    listing = Listing()
    for file in found:
        if rows <= 0:
            break
        try:
            split = _plan_one(file, known.get(file.path), contract, rows)
            if split is None:
                _check_snapshot(file, known.get(file.path), contract)
        except (OSError, pa.ArrowInvalid, SourceError, ValueError) as cause:
            listing.problems.append(f"{file.name}: {_short(cause)}")
            continue
        if split is not None:
            rows -= split.rows
            listing.splits.append(replace(split, number=len(listing.splits)))
    return listing


def _check_snapshot(file: Found, before: FileEnd | None, contract: Contract) -> None:
    """Raises ValueError for a full snapshot that waits, when there is nothing new in it."""
    if not contract.lake.tells_snapshots or (before and before.done) or role(file.name, contract.lake) == "delta":
        return
    if before is None:
        raise ValueError(
            "is a full snapshot and holds no record; it is not believed, and no key is taken as deleted by it "
            "(take it away, or write what it should hold)"
        )
    raise ValueError(
        "is a full snapshot whose last line has no line end and waits; until it is read, no key is taken as deleted "
        "by it (write the line end, or land the file compressed)"
    )


def _plan_one(file: Found, before: FileEnd | None, contract: Contract, rows: int) -> FileSplit | None:
    """The split of one file to read next, None where nothing is new."""
    stat = os.stat(file.path)
    closed = contract.format in ("parquet", "sqlite") or compression(file.path) is not None
    untouched = before is not None and (before.size, before.mtime) == (stat.st_size, stat.st_mtime_ns)
    if before is not None and untouched and before.done:
        return None
    digest = None
    if closed:
        digest = before.digest if before and untouched else _digest(file.path, 0, stat.st_size)
        if before is not None and digest != before.digest:
            raise SourceError("has changed since it was read; what it holds now is left out (land it under a new name)")
    elif before is not None and not untouched:
        same = stat.st_size >= before.offset and all(_digest(file.path, s, e) == d for s, e, d in before.segments)
        if not same:
            raise SourceError(
                "has changed since it was read, not only grown; it is left out (land it under a new name)"
            )
    if before is not None and before.done and closed:
        return None
    split = FileSplit(
        path=file.path,
        name=file.name,
        start=before.offset if before else 0,
        line=before.line if before else 1,
        size=stat.st_size,
        mtime=stat.st_mtime_ns,
        digest=digest,
        segments=before.segments if before else (),
        open_line=before.open_line if before else False,
        role=role(file.name, contract.lake) if contract.lake.tells_snapshots else None,
    )
    if split.role == "snapshot":
        as_of_name(file.name, contract.lake)
    if contract.format == "parquet":
        return _plan_row_groups(split, contract, rows)
    if contract.sqlite is not None:
        found = plan_rows(file.path, contract, before.offset if before else None, rows)
        if found is None:
            return None
        source = f"{file.name}:{contract.sqlite.table}"
        return replace(split, source=source, start=found[0], line=found[0], rows=found[1])
    headed = contract.format == "csv" and contract.csv.header
    if contract.format == "csv":
        with _open(file.path) as stream:
            head = stream.read(MAX_RECORD)
        returns = b"\r" in head[:-1] and b"\n" not in head  # of a last \r the \n may be under way
        split = replace(split, returns=returns)
        if headed:
            header = _header(head, returns, contract)
            if header is None:
                return None
            split = replace(split, header=tuple(header))
    above = 1 if headed and split.start == 0 else 0
    count = _count_lines(split, stat.st_size, rows + above, contract) - above
    return replace(split, rows=min(count, rows)) if count > 0 else None


def _plan_row_groups(split: FileSplit, contract: Contract, rows: int) -> FileSplit | None:
    file = pq.ParquetFile(split.path)
    wanted = {f.input_name for f in contract.fields}
    if not wanted & set(file.schema_arrow.names):
        seen = ", ".join(file.schema_arrow.names)[:100]
        raise ValueError(f"its columns ({seen}) are none of the contract's; is it another feed's?")
    take = count = 0
    while split.start + take < file.metadata.num_row_groups and count < rows:
        count += file.metadata.row_group(split.start + take).num_rows
        take += 1
    return replace(split, groups=take, rows=count) if count else None


def _header(head: bytes, returns: bool, contract: Contract) -> list[str] | None:
    """Column names of a CSV file; None while the file is empty. Raises ValueError for a header that fits nothing."""
    line, end, _ = _mac(head, returns).partition(b"\n")
    if line.strip():
        return header_names(line.rstrip(b"\r"), contract)
    if end:
        raise ValueError("the first line, where the header is due, is blank")
    return None


def _count_lines(split: FileSplit, size: int, limit: int, contract: Contract) -> int:
    """Lines from `start` on, as far as `limit`; of a compressed file that is new, all: raises where it is damaged."""
    path, start = split.path, split.start
    closed = compression(path) is not None
    count, tail = 0, b""
    with _open(path) as stream:
        _skip(stream, path, start)
        left = size - start
        while (count < limit or (closed and start == 0)) and (
            block := stream.read(BLOCK if closed else min(BLOCK, left))
        ):
            left -= len(block)
            block = _mac(block, split.returns)
            count += count_line_ends(block)
            last = block.rfind(b"\n") + 1
            tail = (block[last:] if last else tail + block)[: MAX_RECORD + 1]
    if tail.strip() and (closed or _is_whole(tail, contract)):
        count += 1
    return count


def _is_whole(tail: bytes, contract: Contract) -> bool:
    """Whether a line without its line end can only be complete."""
    if contract.format != "json" or len(tail) > MAX_RECORD or not tail.rstrip().endswith(b"}"):
        return False
    try:
        return isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        return False


def read_file(split: FileSplit, contract: Contract) -> Iterator[Records | tuple[pa.Table, int] | FileEnd]:
    """Yield the split's blocks, and last where it ended.

    Blocks are Records, for Parquet (table, position of its first row). Raises SourceError where the file cannot be
    read (any more).
    """
    try:
        if contract.format == "sqlite":
            yield from _read_table(split, contract)
        else:
            yield from _read_parquet(split) if contract.format == "parquet" else _read_lines(split, contract)
    except (OSError, pa.ArrowInvalid, TableError) as cause:  # not chained: a source's OSError is not the lake's
        raise SourceError(f"source {split.path}: cannot be read ({_short(cause)}); mend it or take it away") from None


def _read_parquet(split: FileSplit) -> Iterator[tuple[pa.Table, int] | FileEnd]:
    file = pq.ParquetFile(split.path, coerce_int96_timestamp_unit="us")
    first = 1 + sum(file.metadata.row_group(g).num_rows for g in range(split.start))
    for group in range(split.start, split.start + split.groups):
        for batch in file.iter_batches(65536, row_groups=[group]):
            yield pa.Table.from_batches([batch]), first
            first += batch.num_rows
    end = split.start + split.groups
    yield _end(split, end, first, (), end >= file.metadata.num_row_groups)


def _read_table(split: FileSplit, contract: Contract) -> Iterator[Records | FileEnd]:
    for found in read_rows(split, contract, BLOCK):
        yield found if isinstance(found, Records) else _end(split, found[0], found[0], (), found[1])


def _read_lines(split: FileSplit, contract: Contract) -> Iterator[Records | FileEnd]:
    """Blocks of whole records from byte `start`, at most `rows` records, never beyond `size`.

    ....|start        ....\n ....\n ....      rest: an unfinished line, read on with the next block
    """
    path, left, line, offset = split.path, split.rows, split.line, split.start
    closed, header = compression(path) is not None, contract.format == "csv" and contract.csv.header
    budget = None if closed else split.size - offset
    rest, dropped, open_line, final = b"", 0, split.open_line, False
    with _open(path) as stream:
        _skip(stream, path, offset)
        while left > 0 and not final:
            data = stream.read(BLOCK if budget is None else min(BLOCK, budget))
            budget = None if budget is None else budget - len(data)
            if budget and data[-1:] != b"\n":  # read on to a line's end, so that nothing is carried over
                more = stream.readline(min(MAX_RECORD, budget))
                data, budget = data + more, budget - len(more)
            final = not data or budget == 0
            data = _mac(data, split.returns)
            block = rest + data if rest else data
            if open_line and block:  # the line end that a whole last line had lacked
                skipped = len(block) - len(block.removeprefix(b"\r").removeprefix(b"\n"))
                block, offset, open_line = block[skipped:], offset + skipped, False
            cut = block.rfind(b"\n") + 1
            if final and cut < len(block) and block[cut:].strip() and (closed or _is_whole(block[cut:], contract)):
                cut, open_line = len(block), True
            if not cut:
                if len(block) > BLOCK + MAX_RECORD:  # a line beyond all bounds: its head is enough to reject it
                    dropped += len(block) - MAX_RECORD - 1
                    block = block[: MAX_RECORD + 1]
                rest = block
                continue
            if header and offset == 0:
                skip = block.find(b"\n") + 1 or len(block)
                block, offset, line, cut = block[skip:], skip, 2, cut - skip
            elif contract.format == "csv" and offset == 0 and block.startswith(BOM_UTF8):
                block, offset, cut = block[3:], 3, cut - 3
            whole = block[:cut] if cut < len(block) else block
            records, used = (
                split_csv(whole, line, contract, final) if contract.format == "csv" else (lines(whole, line), cut)
            )
            if len(records) > left:
                used, open_line = int(records.starts[left]), False
                records = _first(records, left)
            if len(records):
                yield records
            left -= len(records)
            offset += used + (dropped if used else 0)
            ended = records.line_ends if used == len(whole) else count_line_ends(whole[:used])
            line += ended + (1 if open_line and used == cut else 0)
            rest, dropped = block[used:], 0 if used else dropped
        if closed and not final and not rest:  # the slice ended here; so may the file
            final = not stream.read(1)
    done = closed and final and not rest.strip() and left >= 0
    if not closed:
        done = offset >= split.size
    read = () if closed else (Segment(split.start, offset, _digest(path, split.start, offset)),)
    yield _end(split, offset, line, split.segments + read, done, open_line)


def _first(records: Records, count: int) -> Records:
    return Records(
        records.data,
        records.starts[:count],
        records.ends[:count],
        records.positions[:count],
        None,
        records.whole_lines,
        records.line_ends,
    )


def _end(
    split: FileSplit, offset: int, line: int, segments: tuple[Segment, ...], done: bool, open_line: bool = False
) -> FileEnd:
    return FileEnd(
        path=split.path,
        name=split.name,
        source=split.source,
        offset=offset,
        line=line,
        size=split.size,
        mtime=split.mtime,
        digest=split.digest,
        segments=segments,
        done=done,
        open_line=open_line,
        role=split.role,
    )


def _open(path: str) -> Any:
    codec = compression(path)
    if codec is None:
        return open(path, "rb")
    return pa.input_stream(path, compression=codec)


def _skip(stream: BinaryIO, path: str, offset: int) -> None:
    if compression(path) is None:
        stream.seek(offset)
        return
    while offset > 0:
        offset -= len(stream.read(min(BLOCK, offset))) or offset


def _mac(block: bytes, returns: bool) -> bytes:
    """Lone carriage returns as line ends, where a CSV file has no other."""
    return block.replace(b"\r", b"\n") if returns else block


def _digest(path: str, start: int, end: int) -> str:
    digest = xxhash.xxh3_64()
    with open(path, "rb") as stream:
        stream.seek(start)
        while start < end and (block := stream.read(min(BLOCK, end - start))):
            digest.update(block)
            start += len(block)
    return digest.hexdigest()


def _short(cause: BaseException) -> str:
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(str(text).split())[:300]
