"""CSV records: quotes, delimiters, encodings, ragged rows; a record's fate is its own."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.decode.columns import bind
from data_sources.decode.csv_lines import MAX_LINES, decode_csv, header_names, split_csv
from data_sources.decode.rejects import MAX_RECORD, Decoded
from tests.conftest import examples
from tests.data_sources.decode.cases import contract, fate, fates

NAMES = ["id", "at", "kwh", "n", "price", "ok", "day", "note"]
AT = "2025-06-15T10:00:00Z"
GOOD = f"g,{AT},1.5,7,2.25,true,2025-06-15,hello".encode()


def decode(data: bytes, names: list[str] = NAMES, fields: Any = None, **csv_words: Any) -> Decoded:
    feed = contract("csv", fields=fields, csv=csv_words)
    records, used = split_csv(data, 1, feed, True)
    assert used == len(data)
    return decode_csv(records, feed, names)


def test_values_of_every_type() -> None:
    rows = decode(b'g,2025-06-15T12:00:00+02:00, 1.5 ,7,2.2,TRUE,2025-06-15,"a, ""b"""\n').rows.to_pylist()
    assert rows[0]["at"].isoformat() == "2025-06-15T10:00:00+00:00" and str(rows[0]["price"]) == "2.20"
    assert (rows[0]["kwh"], rows[0]["n"], rows[0]["ok"], rows[0]["note"]) == (1.5, 7, True, 'a, "b"')


HOSTILE: dict[str, tuple[bytes, str]] = {
    "too few values": (b"g,2025-06-15T10:00:00Z,1.5", "reject columns"),
    "too many values": (GOOD + b",more", "reject columns"),
    "too many values, quoted": (GOOD + b',"more"', "reject columns"),
    "NaN": (GOOD.replace(b"1.5", b"nan"), "reject type:kwh"),
    "1e400": (GOOD.replace(b"1.5", b"1e400"), "reject type:kwh"),
    "hexadecimal": (GOOD.replace(b",7,", b",0x7,"), "reject type:n"),
    "a decimal comma": (GOOD.replace(b"1.5", b'"1,5"'), "reject type:kwh"),
    "a date that does not exist": (GOOD.replace(b"2025-06-15,h", b"2025-02-30,h"), "reject time:day"),
    "blank key": (GOOD.replace(b"g,", b",", 1), "reject null:id"),
    "blank time": (GOOD.replace(AT.encode(), b""), "reject null:at"),
    "blank number": (GOOD.replace(b"1.5", b""), "'kwh': None"),
    "blank quoted number": (GOOD.replace(b"1.5", b'""'), "'kwh': None"),
    "quoted number": (GOOD.replace(b"1.5", b'"1.5"'), "'kwh': 1.5"),
    "a byte that is not UTF-8": (GOOD + b"\xff", "reject utf-8"),
    "a byte that is not UTF-8, in quotes": (GOOD.replace(b"hello", b'"\xff"'), "reject utf-8"),
    "a NUL": (GOOD + b"\0", "'note': 'hello\\x00'"),
    "a carriage return outside quotes": (GOOD.replace(b"hello", b"a\rb"), "reject csv"),
    "a carriage return in quotes": (GOOD.replace(b"hello", b'"a\rb"'), "'note': 'a\\rb'"),
    "carriage returns that make up the right width": (b"g,2025-06-15T10:00:00Z,1.5,7,2.25\rx,true,2025-06-15,h", "reject csv"),
    "a quote within": (GOOD.replace(b"hello", b'5" pipe'), "'note': '5\" pipe'"),
    "text behind a quote": (GOOD.replace(b"hello", b'"a"b'), "'note': 'ab'"),
    "a quote that never closes, last": (GOOD.replace(b"hello", b'"hello'), "reject csv"),
    "a quote that never closes, first": (b'"' + GOOD, "reject csv"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "'id': '\\ufeffg'"),
    "blanks only": (GOOD.replace(b"hello", b"   "), "'note': '   '"),
    "3 MB": (GOOD + b"x" * 3_000_000, "reject size"),
    "3 MB in quotes": (GOOD.replace(b"hello", b'"' + b"x" * 3_000_000 + b'"'), "reject size"),
    "one quoted value": (b'"' + GOOD + b'"', "reject columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_has_one_fate(name: str) -> None:
    raw, expected = HOSTILE[name]
    alone = fate(decode(raw + b"\n"), 1)
    assert (alone == expected) if expected.startswith("reject") else (expected in alone and "reject" not in alone)
    for end in (b"\n", b"\r\n"):
        lines = [*[GOOD] * 300, raw, *[GOOD] * (0 if "never closes" in name else 300)]
        decoded = decode(end.join(lines) + end)
        assert fate(decoded, 301) == alone and decoded.rows.num_rows >= len(lines) - 1
    others = [b"x", GOOD + b"\xff", GOOD.replace(b"hello", b'"q"'), raw]
    assert fate(decode(b"\n".join(others) + b"\n"), 4) == alone


def test_a_stray_quote_costs_its_line_and_not_the_file() -> None:
    data = b"\n".join([GOOD] * 3 + [GOOD.replace(b"hello", b'"hello')] + [GOOD] * (MAX_LINES + 50)) + b"\n"
    rows, rejects = fates(decode(data))
    assert rejects == {4: ("undecodable", "csv")} and len(rows) == MAX_LINES + 53


def test_line_breaks_in_quotes_are_one_record_at_its_first_line() -> None:
    long = GOOD.replace(b"hello", b'"a\n\n  b\r\nc"')
    rows, rejects = fates(decode(GOOD + b"\n\n" + long + b"\n" + GOOD + b"\n"))
    assert not rejects and set(rows) == {1, 3, 7} and "'a\\n\\n  b\\r\\nc'" in rows[3]
    lines = GOOD.replace(b"hello", b'"' + b"\n" * (MAX_LINES - 1) + b'"')
    assert fates(decode(lines + b"\n"))[0].keys() == {1}


@pytest.mark.parametrize(
    "words", [{"delimiter": ";"}, {"delimiter": "|"}, {"delimiter": "\t"}, {"delimiter": ";", "quote": "'"}]
)
def test_other_delimiters_and_quotes(words: dict[str, str]) -> None:
    d, q = words["delimiter"], words.get("quote", '"')
    text = GOOD.decode().replace(",", d)
    data = f"{text}\n{text.replace('hello', f'{q}a{d}b,{q}{q}c{q}')}\n{text.replace('hello', 'a,b')}\n".encode()
    notes = [r["note"] for r in decode(data, **words).rows.to_pylist()]
    assert notes == ["hello", f"a{d}b,{q}c", "a,b"]


def test_encodings() -> None:
    text = GOOD.decode().replace("hello", "Zähler €") + "\n"
    quoted = GOOD.decode().replace("hello", '"Zähler, €"') + "\n"
    for name in ("utf-8", "utf-8-sig", "cp1252", "iso8859-15"):
        raw = "utf-8" if name == "utf-8-sig" else name
        rows = decode((text + quoted).encode(raw), encoding=name).rows.to_pylist()
        assert [r["note"] for r in rows] == ["Zähler €", "Zähler, €"], name
    assert fate(decode(GOOD + b"\x81\n", encoding="cp1252"), 1) == "reject cp1252"
    assert fate(decode("Zähler".encode() + GOOD + b"\n", encoding="ascii"), 1) == "reject ascii"
    assert "Ã¤" in fate(decode("ä".encode() + GOOD + b"\n", encoding="latin-1"), 1)


def test_null_words_quoted_and_plain() -> None:
    line = GOOD.replace(b"1.5", b"NA").replace(b",7,", b",-,").replace(b"hello", b"")
    feed = {"null": ["NA", "-"]}
    rows = decode(line + b"\n" + line.replace(b"NA", b'"NA"') + b"\n", **feed).rows.to_pylist()
    assert [(r["kwh"], r["n"], r["note"]) for r in rows] == [(None, None, "")] * 2


def test_missing_extra_and_reordered_columns() -> None:
    names = ["site", "at", "id", "kwh", "remark"]
    data = f'a,{AT},g,1.5,\n"b",{AT},h,2.5,"x, y"\n'.encode()
    rows = decode(data, names).rows.to_pylist()
    assert [(r["id"], r["kwh"], r["n"]) for r in rows] == [("g", 1.5, None), ("h", 2.5, None)]
    assert [r["_extra"] for r in rows] == ['{"site": "a"}', '{"remark": "x, y", "site": "b"}']
    rejects = fates(decode(b"g,1.5\n", ["id", "kwh"]))[1]
    assert rejects == {1: ("undecodable", "null:at")}


def test_headers() -> None:
    feed = contract("csv")
    assert header_names(b'\xef\xbb\xbf"id" , at,kwh', feed) == ["id", "at", "kwh"]
    twice = header_names(b"id,kwh,at,kwh", feed)
    assert twice == ["id", "kwh", "at", "kwh"]
    with pytest.raises(ValueError, match="names 'kwh' twice; say which column is meant with source = 'kwh#1'"):
        bind(twice, feed)
    assert bind(header_names(b"id,x,x,at", feed), feed).unknown == (1, 2)
    assert not bind(header_names(b"id;at;kwh", feed), feed).fits
    with pytest.raises(UnicodeDecodeError):
        header_names(b"id,\xff", feed)


PIECES = st.sampled_from([GOOD, GOOD.replace(b"hello", b'"a,b"'), GOOD.replace(b"hello", b'"a\nb"'), GOOD.replace(b"hello", b'"a\n\n""b""\nc"'),
                          b"", b"x,y", GOOD + b"\xff", GOOD.replace(b"1.5", b" nan"), GOOD.replace(b"hello", b"a\rb"), GOOD.replace(b"hello", b'x"y')])  # fmt: skip


@pytest.mark.parametrize("at", range(4))
def test_a_block_that_ends_inside_a_record_leaves_it_to_the_next(at: int) -> None:
    lines = [b"a\n", b'"b\n', b'"\n', b"c\n"]
    records, used = split_csv(b"".join(lines[: at + 1]), 1, contract("csv"), final=False)
    assert (len(records), used) == [(1, 2), (1, 2), (2, 7), (3, 9)][at]


@settings(max_examples=examples(120), deadline=None)
@given(st.lists(PIECES, max_size=25), st.integers(0, 2000), st.sampled_from([b"\n", b"\r\n"]))
def test_cutting_into_blocks_changes_nothing(pieces: list[bytes], at: int, end: bytes) -> None:
    """A block that ends inside a record leaves it to the next one."""
    feed = contract("csv")
    data = b"".join(p + end for p in pieces)
    whole = fates(decode(data))
    cut = data.rfind(b"\n", 0, at) + 1
    first, used = split_csv(data[:cut], 1, feed, final=False)
    line = 1 + data[:used].count(b"\n")
    second, rest = split_csv(data[used:], line, feed, final=True)
    assert used <= cut and rest == len(data) - used
    parts = [fates(decode_csv(records, feed, NAMES)) for records in (first, second)]
    assert ({**parts[0][0], **parts[1][0]}, {**parts[0][1], **parts[1][1]}) == whole


@settings(max_examples=examples(120), deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), min_size=1, max_size=30), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), st.sampled_from([",", ";", "|"]))  # fmt: skip
def test_what_pythons_writer_writes_is_read_back(notes: list[str], quoting: int, delimiter: str) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # it leaves a lone carriage return bare, which is no one's to tell from a line end
        notes = [note.replace("\r", "\n") for note in notes]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    for n, note in enumerate(notes):
        writer.writerow([f"i{n}", AT, 1.5, n, "2.25", "true", "2025-06-15", note])
    decoded = decode(out.getvalue().encode(), delimiter=delimiter)
    assert [r["note"] for r in decoded.rows.to_pylist()] == [note or None for note in notes]
    assert not len(decoded.rejecting)


def test_a_record_as_long_as_may_be_spans_lines() -> None:
    body = b"x" * 1000 + b"\n"
    fits = b'"' + body * 150 + b'"'
    value = b'"' + (b"x" * 10_000 + b"\n") * 60 + b'"'
    long = value + b"," + value
    assert len(value) < MAX_RECORD < len(long)
    rows, rejects = fates(decode(GOOD.replace(b"hello", fits) + b"\n" + GOOD + b"\n"))
    assert len(rows) == 2 and not rejects
    rows, rejects = fates(decode(GOOD.replace(b"hello", long) + b"\n" + GOOD + b"\n"))
    assert len(rows) == 1 and rejects[1] == ("undecodable", "csv")
