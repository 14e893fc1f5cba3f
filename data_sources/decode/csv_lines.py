"""CSV records to rows. Records without quotes go through Arrow together, quoted ones through Python's csv module.

Guarantees: a record's fate does not depend on its neighbours. A record with more or fewer values than the header
is a reject (`columns`), not a shifted row. A quote that never closes costs the line it stands on, not the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_sources.contract import Contract
from data_sources.decode.casting import parse_text
from data_sources.decode.json_lines import finish
from data_sources.decode.rejects import EXTRA, MAX_RECORD, Decoded, Rejecting
from data_sources.records import Records, lines

MAX_LINES = 200
"""Lines one record may span; a quote still open after these is taken for a stray one."""

csv.field_size_limit(MAX_RECORD)


def split_csv(data: bytes, first: int, contract: Contract, final: bool) -> tuple[Records, int]:
    """Cut whole lines into records that may span lines; returns them and how many bytes they take.

    With `final` false, a record left open at the end is not cut: its bytes belong to the next block.
    """
    if contract.csv.quote.encode() not in data:
        return lines(data, first), len(data)
    single = lines(data, first)
    physical = np.append(np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1, len(data))
    starts, ends, positions, consumed = [], [], [], len(data)
    n, count = 0, len(single)
    while n < count:
        last = _closing_line(single, n, contract)
        if last is None:
            open_lines = count - n
            if not final and open_lines < MAX_LINES and len(data) - single.starts[n] < MAX_RECORD:
                consumed = int(physical[single.positions[n] - first - 1]) if single.positions[n] > first else 0
                break
            last = n
        starts.append(single.starts[n])
        ends.append(single.ends[last])
        positions.append(single.positions[n])
        n = last + 1
    begin, end, position = (np.asarray(a, np.int64) for a in (starts, ends, positions))
    return Records(data, begin, end, position, whole_lines=False, line_ends=single.line_ends), consumed


def _closing_line(single: Records, n: int, contract: Contract) -> int | None:
    """Index of the line that ends the record begun at line n; None if no quote closes it in reach."""
    quote = contract.csv.quote.encode()
    if quote not in single.raw(n):
        return n
    reader = csv.reader(_texts(single, n), delimiter=contract.csv.delimiter, quotechar=contract.csv.quote)
    try:
        next(reader)
    except (csv.Error, StopIteration):
        return None
    last = n + reader.line_num - 1
    if last >= len(single) or last - n >= MAX_LINES or single.ends[last] - single.starts[n] > MAX_RECORD:
        return None
    text = "\n".join(single.raw(i).decode("latin-1") for i in range(n, last + 1))
    return None if _values(text, contract) is None else last


def _texts(single: Records, n: int) -> Iterator[str]:
    for i in range(n, min(len(single), n + MAX_LINES + 1)):
        yield single.raw(i).decode("latin-1") + "\n"


def _values(text: str, contract: Contract) -> list[str] | None:
    """The values of one record; None if a quote stays open (it would swallow the line added here) or a line ends
    outside quotes."""
    lined = io.StringIO(f"{text}\nx", newline="")
    try:
        rows = list(csv.reader(lined, delimiter=contract.csv.delimiter, quotechar=contract.csv.quote))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 2 else None


def codec(contract: Contract) -> str:
    """Python's name of the encoding; a byte order mark is taken off where a file begins, not by the codec."""
    return codecs.lookup(contract.csv.encoding).name.removesuffix("-sig")


def header_names(raw: bytes, contract: Contract) -> list[str]:
    """Column names of a header line; raises ValueError that says what is wrong with it."""
    text = raw.decode(codec(contract)).removeprefix("\ufeff")
    names = next(csv.reader([text], delimiter=contract.csv.delimiter, quotechar=contract.csv.quote), [])
    names = [name.strip() for name in names]
    wanted = [f.input_name for f in contract.fields]
    for name in names:
        if names.count(name) > 1 and name in wanted:
            raise ValueError(f"the header names {name!r} twice")
    if not set(names) & set(wanted):
        seen = text[:100]
        raise ValueError(
            f"the header {seen!r} has none of the contract's columns; is the delimiter {contract.csv.delimiter!r}?"
        )
    return names


def decode_csv(records: Records, contract: Contract, names: list[str]) -> Decoded:
    """Rows and rejects of CSV records under a header's `names`; see Decoded."""
    rejecting = Rejecting(records.raw, records.positions)
    quote = contract.csv.quote.encode()
    plain: list[int] = []
    parsed: dict[int, list[str | None]] = {}
    special = [mark for mark in (quote, b"\r", codecs.BOM_UTF8) if mark in records.data]
    for i in range(len(records)):
        raw = records.raw(i)
        if len(raw) > MAX_RECORD:
            rejecting.add(i, "undecodable", "size", f"the record has {len(raw):,} bytes, more than {MAX_RECORD:,}")
        elif special and any(mark in raw for mark in special):
            try:
                values = _values(raw.decode(codec(contract)), contract)
            except UnicodeDecodeError as cause:
                _not_decoded(i, cause, contract, rejecting)
                continue
            if values is None:
                rejecting.add(i, "undecodable", "csv", "a quote is never closed, or a line ends outside quotes")
            elif _right_width(len(values), names, i, rejecting):
                parsed[i] = [None if v in contract.csv.nulls else v for v in values]
        elif _right_width(raw.count(contract.csv.delimiter.encode()) + 1, names, i, rejecting):
            plain.append(i)
    text, plain = _read_plain(records, plain, contract, names, rejecting)
    index = np.asarray(plain, np.int64)
    if parsed:
        rows = pa.table([pa.array(c, pa.string()) for c in zip(*parsed.values(), strict=True)], names=_numbered(names))
        index = np.concatenate([index, np.fromiter(parsed, np.int64)])
        order = np.argsort(index, kind="stable")
        text, index = pa.concat_tables([text, rows]).take(pa.array(order)), index[order]
    return finish(_typed(text, index, contract, names, rejecting), index, contract, rejecting, records.positions)


def _right_width(width: int, names: list[str], i: int, rejecting: Rejecting) -> bool:
    if width != len(names):
        rejecting.add(i, "undecodable", "columns", f"{width} values where the header has {len(names)} columns")
        return False
    return True


def _not_decoded(i: int, cause: UnicodeDecodeError, contract: Contract, rejecting: Rejecting) -> None:
    rejecting.add(i, "undecodable", codec(contract), f"byte {cause.start} is not {contract.csv.encoding}")


def _read_plain(
    records: Records, plain: list[int], contract: Contract, names: list[str], rejecting: Rejecting
) -> tuple[pa.Table, list[int]]:
    data = bytes(records.take(np.asarray(plain, np.int64)).joined()) if plain else b""
    try:
        data = data.decode(codec(contract)).encode()
    except UnicodeDecodeError:
        good = []
        for i in plain:
            try:
                records.raw(i).decode(codec(contract))
                good.append(i)
            except UnicodeDecodeError as cause:
                _not_decoded(i, cause, contract, rejecting)
        return _read_plain(records, good, contract, names, rejecting)
    schema = pa.schema([(n, pa.string()) for n in _numbered(names)])
    if not data:
        return schema.empty_table(), plain
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        read_options=pyarrow.csv.ReadOptions(
            column_names=schema.names, block_size=max(len(data), 1) + 1, use_threads=False
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=contract.csv.delimiter, quote_char=False, ignore_empty_lines=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=schema, null_values=contract.csv.nulls, strings_can_be_null=True
        ),
    )
    return table, plain


def _typed(text: pa.Table, index: np.ndarray, contract: Contract, names: list[str], rejecting: Rejecting) -> pa.Table:
    columns, used = [], set()
    for field in contract.fields:
        if field.input_name not in names:
            columns.append(pa.nulls(text.num_rows, field.arrow))
            continue
        at = names.index(field.input_name)
        used.add(at)
        column = pa.concat_arrays(text.column(at).chunks) if text.num_rows else pa.array([], pa.string())
        typed, bad = parse_text(column, field)
        for i in bad.tolist():
            rule = f"{'time' if field.type in ('timestamp', 'date') else 'type'}:{field.name}"
            rejecting.add(
                index[i], "undecodable", rule, f"{field.name}: {column[i].as_py()[:60]!r} is not a {field.type}"
            )
        columns.append(typed)
    extra = [at for at in range(len(names)) if at not in used]
    columns.append(_extra(text, extra, names))
    return pa.table(columns, names=[*(f.input_name for f in contract.fields), EXTRA])


def _extra(text: pa.Table, at: list[int], names: list[str]) -> pa.Array:
    if not at:
        return pa.nulls(text.num_rows, pa.string())
    columns = [text.column(i).to_pylist() for i in at]
    rows = (
        {names[i]: v for i, v in zip(at, values, strict=True) if v is not None} for values in zip(*columns, strict=True)
    )
    return pa.array([json.dumps(r, ensure_ascii=False, sort_keys=True) if r else None for r in rows], pa.string())


def _numbered(names: list[str]) -> list[str]:
    return [f"c{n}" for n in range(len(names))]
