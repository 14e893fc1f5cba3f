"""CSV records to rows. Records without quotes go through Arrow together, quoted ones through Python's csv module.

Guarantees: a record's fate does not depend on its neighbours. A record with more or fewer values than the header
is a reject (`columns`), not a shifted row; with `short_rows = "null"` its missing last values are null. A row of
blanks and delimiters is no record. A quote that never closes costs the line it stands on, not the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_sources.contract import Contract
from data_sources.decode.columns import Binding, bind, unique_names
from data_sources.decode.expand import expand
from data_sources.decode.json_lines import finish
from data_sources.decode.reading import Reading, joined
from data_sources.decode.rejects import EXTRA, MAX_RECORD, Decoded, Rejecting
from data_sources.records import Records, lines

MAX_LINES = 200
"""Lines one record may span; a quote still open after these is taken for a stray one."""

csv.field_size_limit(MAX_RECORD)


def split_csv(data: bytes, first: int, contract: Contract, final: bool) -> tuple[Records, int]:
    """Cut whole lines into records that may span lines; returns them and how many bytes they take.

    With `final` false, a record left open at the end is not cut: its bytes belong to the next block.
    """
    single = lines(data, first)
    if contract.csv.quote.encode() not in data:
        return _with_values(single, contract), len(data)
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
    cut = Records(data, begin, end, position, whole_lines=False, line_ends=single.line_ends)
    return _with_values(cut, contract), consumed


def _with_values(cut: Records, contract: Contract) -> Records:
    """The records without those of blanks, delimiters and empty quotes only."""
    if not len(cut):
        return cut
    quote = contract.csv.quote.encode()
    buffer, empty = np.frombuffer(cut.data, np.uint8), contract.csv.delimiter.encode() + quote + b" \t"
    first = buffer[cut.starts]
    second = buffer[np.minimum(cut.starts + 1, np.maximum(cut.ends - 1, 0))]
    maybe = np.isin(first, np.frombuffer(empty, np.uint8)) & np.isin(second, np.frombuffer(empty, np.uint8))
    raws = ((i, cut.raw(i)) for i in np.flatnonzero(maybe).tolist())
    without = [i for i, raw in raws if not raw.strip(empty) and raw.count(quote) % 2 == 0]
    if not without:
        return cut
    keep = np.delete(np.arange(len(cut)), without)
    return replace(cut, starts=cut.starts[keep], ends=cut.ends[keep], positions=cut.positions[keep])


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
    """Python's name of the encoding that records come in; a byte order mark is taken off where a file begins."""
    if contract.csv.is_transcoded:
        return "utf-8"
    return codecs.lookup(contract.csv.encoding).name.removesuffix("-sig")


def header_names(raw: bytes, contract: Contract) -> list[str]:
    """Column names of a header line. Raises ValueError for bytes and line ends that a header cannot have."""
    text = raw.decode(codec(contract)).removeprefix("\ufeff")
    try:
        names = next(csv.reader([text], delimiter=contract.csv.delimiter, quotechar=contract.csv.quote), [])
    except csv.Error as cause:
        why = "has lines that end with a lone carriage return beside others" if "\r" in text else f"is no CSV ({cause})"
        raise ValueError(f"its header {why}; write the file with one kind of line end") from cause
    return [name.strip() for name in names]


def decode_csv(
    records: Records, contract: Contract, header: Sequence[str], constants: Mapping[str, str | None] | None = None
) -> Decoded:
    """Rows and rejects of CSV records under the names of a header; see Decoded.

    constants: by field, the text that holds for all of them, read as a value of a column is.
    """
    names = list(header)
    rejecting = Rejecting(records.raw, records.positions)
    text, index = _texts_of(records, contract, names, rejecting)
    binding, positions, parents = bind(names, contract), records.positions, None
    columns = Columns(text, binding)
    if contract.unpivot is not None:
        rejecting, expanded = expand(records, index, binding, rejecting)
        columns, index = columns.unpivoted(contract.unpivot.into, expanded.rows, expanded.places), expanded.at
        positions, parents = expanded.positions, expanded.parents
    reading = Reading(contract, index, rejecting, constants or {})
    raw = _typed(columns, contract, reading)
    blank = None if contract.unpivot is None else columns.own[contract.unpivot.into[1]].is_null()
    return finish(
        raw, index, contract, rejecting, positions, later=reading.later, parents=parents, missing=binding.says_missing,
        blank=blank,
    )  # fmt: skip


class Columns:
    """The texts of a block by column, each row once or, unpivoted, once for each column that is a record."""

    def __init__(
        self, text: pa.Table, binding: Binding, rows: pa.Array | None = None, own: Mapping[str, pa.Array] | None = None
    ) -> None:
        self.binding, self.own, self._text, self._rows = binding, own or {}, text, rows

    def __len__(self) -> int:
        return self._text.num_rows if self._rows is None else len(self._rows)

    def __getitem__(self, at: int) -> pa.Array:
        chunks = self._text.column(at).chunks
        column = pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())
        return column if self._rows is None else column.take(self._rows)

    def unpivoted(self, into: list[str], rows: np.ndarray, places: np.ndarray) -> Columns:
        """rows: the row of each record; places: which of the binding's unpivoted columns it is."""
        names, at = unique_names(self.binding.names), self.binding.unpivoted
        slots = pa.array([names[n] for n in at], pa.string()).take(pa.array(places))
        values = pa.concat_arrays([self[n] for n in at]) if at else pa.array([], pa.string())
        own = {into[0]: slots, into[1]: values.take(pa.array(places * self._text.num_rows + rows))}
        return Columns(self._text, self.binding, pa.array(rows), own)


def _texts_of(
    records: Records, contract: Contract, names: list[str], rejecting: Rejecting
) -> tuple[pa.Table, np.ndarray]:
    """The values of the records that have as many as the header, as text, and which records these are."""
    quote = contract.csv.quote.encode()
    delimiter, fewest = contract.csv.delimiter.encode(), len(names) if contract.csv.short_rows == "reject" else 1
    plain: list[int] = []
    short: list[int] = []
    parsed: dict[int, list[str | None]] = {}
    special = [mark for mark in (quote, b"\r", codecs.BOM_UTF8) if mark in records.data]
    for i in range(len(records)):
        raw = records.raw(i)
        if len(raw) > MAX_RECORD:
            rejecting.add(i, "undecodable", "size", f"the record has more than {MAX_RECORD:,} bytes")
        elif special and any(mark in raw for mark in special):
            _parse(i, raw, contract, fewest, names, parsed, rejecting)
        elif _right_width(width := raw.count(delimiter) + 1, fewest, names, i, rejecting):
            (plain if width == len(names) else short).append(i)
    for i in short:
        _parse(i, records.raw(i), contract, fewest, names, parsed, rejecting)
    text, plain = _read_plain(records, plain, contract, names, rejecting)
    index = np.asarray(plain, np.int64)
    if parsed:
        rows = pa.table([pa.array(c, pa.string()) for c in zip(*parsed.values(), strict=True)], names=_numbered(names))
        index = np.concatenate([index, np.fromiter(parsed, np.int64)])
        order = np.argsort(index, kind="stable")
        text, index = pa.concat_tables([text, rows]).take(pa.array(order)), index[order]
    return text, index


def _parse(
    i: int,
    raw: bytes,
    contract: Contract,
    fewest: int,
    names: list[str],
    parsed: dict[int, list[str | None]],
    rejecting: Rejecting,
) -> None:
    """The values of one record, one character after the other."""
    try:
        values = _values(raw.decode(codec(contract)), contract)
    except UnicodeDecodeError as cause:
        _not_decoded(i, cause, contract, rejecting)
        return
    if values is None:
        rejecting.add(i, "undecodable", "csv", "a quote is never closed, or a line ends outside quotes")
    elif _right_width(len(values), fewest, names, i, rejecting):
        given: list[str | None] = [None if v in contract.csv.nulls else v for v in values]
        parsed[i] = given + [None] * (len(names) - len(given))


def _right_width(width: int, fewest: int, names: list[str], i: int, rejecting: Rejecting) -> bool:
    if not fewest <= width <= len(names):
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


def _typed(columns: Columns, contract: Contract, reading: Reading) -> pa.Table:
    """A column a field, in the contract's order, then what the records hold beyond it."""
    texts: dict[str, pa.Array] = {}
    unbound = [f for f in contract.fields if f.name not in columns.binding.columns]
    for field in unbound:  # what a list of columns may name, too
        if field.name in columns.own:
            texts[field.name] = reading.taken(columns.own[field.name], field)
        elif reading.has_constant(field):
            texts[field.name] = reading.constant(field, len(columns))
    for field in contract.fields:
        places = columns.binding.columns.get(field.name)
        if places is not None:
            parts = [columns[at] if isinstance(at, int) else texts.get(at, _no_text(columns)) for at in places]
            texts[field.name] = reading.taken(parts[0] if len(parts) == 1 else joined(parts, field), field)
    typed = [
        reading.typed(texts[f.name], f) if f.name in texts else pa.nulls(len(columns), f.arrow) for f in contract.fields
    ]
    return pa.table([*typed, _extra(columns)], names=[*(f.name for f in contract.fields), EXTRA])


def _no_text(columns: Columns) -> pa.Array:
    return pa.nulls(len(columns), pa.string())


def _extra(columns: Columns) -> pa.Array:
    at = columns.binding.unknown
    if not at:
        return _no_text(columns)
    names = unique_names(columns.binding.names)
    values = [columns[i].to_pylist() for i in at]
    rows = ({names[i]: v for i, v in zip(at, row, strict=True) if v is not None} for row in zip(*values, strict=True))
    return pa.array([json.dumps(r, ensure_ascii=False, sort_keys=True) if r else None for r in rows], pa.string())


def _numbered(names: list[str]) -> list[str]:
    return [f"c{n}" for n in range(len(names))]
