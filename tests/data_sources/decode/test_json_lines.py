"""Every hostile record has one fate, wherever it stands: alone, among good ones, in a message, beside other bad ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_sources.decode import json_lines
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import MAX_RECORD, Decoded, Rejecting
from data_sources.records import Records, lines, messages
from tests.conftest import examples
from tests.data_sources.decode.cases import contract, fate, fates

ROOT = Path(__file__).resolve().parents[3]
CONTRACT = contract()
GOOD = {"id": "g", "at": "2025-06-15T10:00:00Z", "kwh": 1.5, "n": 7, "price": 2.25, "ok": True, "day": "2025-06-15", "note": "é"}  # fmt: skip


def record(**changed: str) -> bytes:
    """A good record with some values replaced by raw JSON, unknown names added."""
    raw = {name: json.dumps(value, ensure_ascii=False) for name, value in GOOD.items()} | changed
    return ("{" + ",".join(f'"{name}":{value}' for name, value in raw.items()) + "}").encode("utf-8", "surrogatepass")


def nested(depth: int, field: str) -> bytes:
    return record(**{field: "[" * depth + "]" * depth})


HOSTILE: dict[str, tuple[bytes, str]] = {
    # numbers
    "NaN": (record(kwh="NaN"), "reject number"),
    "Infinity": (record(kwh="Infinity"), "reject number"),
    "minus Infinity": (record(kwh="-Infinity"), "reject number"),
    "NaN in an unknown field": (record(x="NaN"), "reject number"),
    "Infinity nested in an unknown field": (record(x='{"y":[Infinity]}'), "reject number"),
    "1e400": (record(kwh="1e400"), "reject number"),
    "1e400 in an unknown field": (record(x="1e400"), "reject number"),
    "an exponent beyond reason": (record(kwh="1e99999999999999999999"), "reject number"),
    "an exponent below reason": (record(kwh="1e-99999999999999999999"), "'kwh': 0.0,"),
    "minus zero": (record(kwh="-0"), "'kwh': -0.0,"),
    "the smallest double": (record(kwh="5e-324"), "'kwh': 5e-324,"),
    "the greatest double": (record(kwh="1.7976931348623157e308"), "'kwh': 1.7976931348623157e+308,"),
    "digits beyond a double": (record(kwh="0.1000000000000000055511151231257827"), "'kwh': 0.1,"),
    "2^70 into a float": (record(kwh=str(2**70)), "'kwh': 1.1805916207174113e+21,"),
    "2^70 into an int": (record(n=str(2**70)), "reject type:n"),
    "2^70 in an unknown field": (record(x=str(2**70)), f'"x": {2**70}'),
    "2^63": (record(n=str(2**63)), "reject type:n"),
    "2^63 - 1": (record(n=str(2**63 - 1)), f"'n': {2**63 - 1},"),
    "-2^63": (record(n=str(-(2**63))), f"'n': {-(2**63)},"),
    "5,000 digits into a float": (record(kwh="9" * 5000), "reject number"),
    "5,000 digits into an int": (record(n="9" * 5000), "reject number"),
    "5,000 digits in an unknown field": (record(x="9" * 5000), "reject number"),
    "1.0 into an int": (record(n="1.0"), "'n': 1,"),
    "1e2 into an int": (record(n="1e2"), "'n': 100,"),
    "1.5 into an int": (record(n="1.5"), "reject type:n"),
    "01": (record(n="01"), "reject json"),
    "+1": (record(n="+1"), "reject json"),
    ".5": (record(kwh=".5"), "reject json"),
    "0x10": (record(n="0x10"), "reject json"),
    "a decimal with too many digits": (record(price="1.255"), "reject type:price"),
    "a decimal with a needless zero": (record(price="1.250"), "'price': Decimal('1.25'),"),
    "a decimal too wide": (record(price="123456789.00"), "reject type:price"),
    "a whole number too wide for a decimal": (record(price="100000000"), "reject type:price"),
    "a whole number as wide as a decimal": (record(price="-99999999"), "'price': Decimal('-99999999.00'),"),
    "a decimal too wide by its exponent": (record(price="1e8"), "reject type:price"),
    "a decimal as text": (record(price='"1.25"'), "'price': Decimal('1.25'),"),
    "a decimal as text with too many digits": (record(price='"1.255"'), "reject type:price"),
    "a decimal as text with blanks": (record(price='" 1.25"'), "reject type:price"),
    "a decimal as Arabic digits": (record(price='"١"'), "reject type:price"),
    "a decimal that is empty text": (record(price='""'), "reject type:price"),
    "a decimal with an exponent": (record(price="1E+2"), "'price': Decimal('100.00'),"),
    "a decimal that is NaN in words": (record(price='"NaN"'), "reject type:price"),
    # values of another type
    "number as text": (record(kwh='"1.5"'), "reject type:kwh"),
    "whole number as text": (record(n='"1"'), "reject type:n"),
    "text as number": (record(note="5"), "reject type:note"),
    "bool for number": (record(kwh="true"), "reject type:kwh"),
    "bool for whole number": (record(n="true"), "reject type:n"),
    "bool for decimal": (record(price="true"), "reject type:price"),
    "number for bool": (record(ok="1"), "reject type:ok"),
    "text for bool": (record(ok='"true"'), "reject type:ok"),
    "yes for bool": (record(ok='"yes"'), "reject type:ok"),
    "object for text": (record(note='{"a":1}'), "reject type:note"),
    "array for number": (record(kwh="[1.5]"), "reject type:kwh"),
    "number for time": (record(at="1750000000"), "reject type:at"),
    "a date that does not exist": (record(day='"2025-02-30"'), "reject time:day"),
    "an hour that does not exist": (record(at='"2025-06-15T25:00:00Z"'), "reject time:at"),
    "the year 0": (record(at='"0000-12-31T23:00:00Z"'), "reject time:at"),
    "the year 10000 in UTC": (record(at='"9999-12-31T23:00:00-14:00"'), "reject time:at"),
    "null key": (record(id="null"), "reject null:id"),
    "null event time": (record(at="null"), "reject null:at"),
    "null elsewhere": (record(kwh="null"), "'kwh': None,"),
    # names
    "a name twice": (record(kwh='1.5,"kwh":2.5'), "reject json"),
    "a name twice, escaped": (record(kwh='1.5,"\\u006bwh":2.5'), "reject json"),
    "a name twice, once null": (record(kwh='null,"kwh":2.5'), "reject json"),
    "an unknown name twice": (record(x='1,"x":2'), "reject json"),
    "an unknown name twice, null": (record(x='null,"x":null'), "reject json"),
    "a nested name twice": (record(x='{"y":1,"y":1}'), "reject json"),
    "a deeply nested name twice": (record(x='[{"y":{"z":1,"z":2}}]'), "reject json"),
    "a name in capitals": (record(KWH="2.5"), '"KWH": 2.5'),
    "an empty name": (record(**{"": "1"}), '{"": 1}'),
    # text
    "an escaped lone surrogate": (record(note='"\\ud800"'), "reject utf-8"),
    "a reversed pair of surrogates": (record(note='"\\udc00\\ud800"'), "reject utf-8"),
    "a pair of surrogates": (record(note='"\\ud83d\\ude00"'), "'note': '😀',"),
    "a raw surrogate": (record(note='"\ud800"'), "reject utf-8"),
    "a lone surrogate in an unknown field": (record(x='"\\ud800"'), "reject utf-8"),
    "a lone surrogate in an unknown name": (record(**{"\\ud800": "1"}), "reject utf-8"),
    "a byte that is not UTF-8": (record(note='"?"').replace(b"?", b"\xff"), "reject utf-8"),
    "a byte that is not UTF-8 in a time": (record(at='"?"').replace(b"?", b"\xff"), "reject utf-8"),
    "a byte that is not UTF-8 in a name": (record(x="1").replace(b"x", b"\xff"), "reject utf-8"),
    "a byte that is not UTF-8 in a null field": (record(x="null").replace(b"x", b"\xff"), "reject utf-8"),
    "an escaped NUL": (record(note='"a\\u0000b"'), "'note': 'a\\x00b',"),
    "a raw NUL": (record(note='"a\x00b"'), "reject json"),
    "a raw tab in a text": (record(note='"a\tb"'), "reject json"),
    "brackets in a text": (record(note='"' + "[{" * 90 + '"'), "'note': '[{[{"),
    # shape
    "two objects": (record() + b" " + record(), "reject json"),
    "two objects without a blank": (record() + record(), "reject json"),
    "two objects, a NUL between": (record() + b"\0" + record(), "reject json"),
    "a NUL behind": (record() + b"\0", "reject json"),
    "a comma behind": (record() + b",", "reject json"),
    "half an object": (record()[:40], "reject json"),
    "an array": (b"[" + record() + b"]", "reject json"),
    "a number": (b"17", "reject json"),
    "null": (b"null", "reject json"),
    "words": (b"hello, world", "reject json"),
    "a single brace": (b"{", "reject json"),
    "an empty object": (b"{}", "reject null:id"),
    "a byte order mark": (b"\xef\xbb\xbf" + record(), "'n': 7,"),
    "a comment": (b"/* x */" + record(), "reject json"),
    "single quotes": (record().replace(b'"', b"'"), "reject json"),
    "a carriage return within": (record().replace(b",", b",\r", 1), "'n': 7,"),
    "blanks around": (b"  " + record() + b" \t", "'n': 7,"),
    # size and nesting
    "nesting of 63": (nested(63, "x"), '{"x": [[['),
    "nesting of 64": (nested(64, "x"), "reject json"),
    "nesting of 2,000": (nested(2_000, "x"), "reject json"),
    "nesting of 100,000": (nested(100_000, "x"), "reject json"),
    "nesting of 100,000 objects": (record(x='{"a":' * 100_000 + "1" + "}" * 100_000), "reject json"),
    "nesting of 100,000 in a declared field": (nested(100_000, "kwh"), "reject json"),
    "nesting of 100,000, never closed": (b'{"x":' + b"[" * 100_000, "reject json"),
    "nesting of 100,000, closed wrongly": (b'{"x":' + b"[" * 100_000 + b"}", "reject json"),
    "3 MB": (record(note='"' + "x" * 3_000_000 + '"'), "reject size"),
    "one byte too long": (record(note='"' + "x" * (MAX_RECORD - len(record(note='""')) + 1) + '"'), "reject size"),
    "as long as may be": (record(note='"' + "x" * (MAX_RECORD - len(record(note='""'))) + '"'), "'n': 7,"),
    # beyond the contract
    "unknown fields": (record(x="1", y='{"b":[1,2.5,null],"a":"é"}'), '"y": {"a": "é", "b": [1, 2.5, null]}'),
    "an unknown field that is null": (record(x="null"), "'_extra': None"),
    "an unknown field that is an empty object": (record(x="{}"), '{"x": {}}'),
    "an unknown field that is an empty array": (record(x="[]"), '{"x": []}'),
    "an unknown field called _extra": (record(_extra='"mine"'), '{"_extra": "mine"}'),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_has_one_fate(name: str) -> None:
    raw, expected = HOSTILE[name]
    alone = fate(decode_json(lines(raw + b"\n", 1), CONTRACT), 1)
    assert (alone == expected) if expected.startswith("reject") else (expected in alone and "reject" not in alone)
    good = [record(id=f'"g{i}"') for i in range(1000)]
    among = [*good[:617], raw, *good[617:]]
    bad = [b'{"id":"b","at":"2025-06-15T10:00:00Z","kwh":"bad"}', b"", b"\xff", record(x="[1]"), raw, b"{"]
    blocks = {
        "among 1,000 good ones": (lines(b"\n".join(among) + b"\n", 1), 618),
        "with CRLF": (lines(b"\r\n".join(among) + b"\r\n", 1), 618),
        "as the last line, without its line end": (lines(b"\n".join([*good[:70], raw]), 1), 71),
        "as a message": (messages(among, range(1, 1002), [0] * 1001), 618),
        "as the only message": (messages([raw], [5], [0]), 5),
        "next to bad ones": (lines(b"\n".join(bad) + b"\n", 1), 5),
        "next to bad messages": (messages([b if b else None for b in bad], range(6), [0] * 6), 4),
    }
    for where, (records, position) in blocks.items():
        decoded = decode_json(records, CONTRACT)
        assert fate(decoded, position) == alone, where
        if "good" in where:
            assert decoded.rows.num_rows >= 1000, where


def test_all_hostile_records_together() -> None:
    """One block that holds them all: each keeps the fate it has alone, and each good one lands."""
    cases = [raw for raw, _ in HOSTILE.values()]
    mixed = [raw for n, case in enumerate(cases) for raw in (case, record(id=f'"g{n}"'))]
    rows, rejects = fates(decode_json(messages(mixed, range(len(mixed)), [0] * len(mixed)), CONTRACT))
    assert len(rows) + len(rejects) == len(mixed)
    for n, (_, expected) in enumerate(HOSTILE.values()):
        assert f"'id': 'g{n}'" in rows[2 * n + 1]
        if expected.startswith("reject"):
            assert "reject " + rejects[2 * n][1] == expected
        else:
            assert expected in rows[2 * n]


@pytest.mark.pipeline
def test_nesting_does_not_overflow_the_block_readers_stack() -> None:
    """pyarrow.json dies of a nesting of 100,000, and with it the process: nothing deep may reach it."""
    script = (
        "from tests.data_sources.decode.cases import contract\n"
        "from data_sources.decode.json_lines import decode_json\n"
        "from data_sources.records import messages\n"
        'good = b\'{"id":"a","at":"2025-06-15T10:00:00Z"}\'\n'
        "for n in (65, 2_000, 20_000, 100_000, 500_000):\n"
        "    for o, c in ((b'[', b']'), (b'[', b''), (b'{\"a\":', b'}')):\n"
        "        for name in (b'x', b'id'):\n"
        "            deep = b'{\"%s\":' % name + o * n + (b'1' if o != b'[' else b'') + c * n + b'}'\n"
        "            d = decode_json(messages([good, deep, good], range(3), [0] * 3), contract())\n"
        "            assert (d.rows.num_rows, len(d.rejecting)) == (2, 1), (n, o, c)\n"
        "print('survived')\n"
    )
    path = str(ROOT)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


def test_blank_lines_keep_positions_and_hold_no_record() -> None:
    data = b"\n" + record() + b"\n \t \n" + b" " * 500 + b"\n\r\n" + record(kwh="NaN") + b"\n" + record() + b"\n\n"
    rows, rejects = fates(decode_json(lines(data, 10), CONTRACT))
    assert set(rows) == {11, 16} and rejects == {15: ("undecodable", "number")}


def test_an_object_over_two_lines_is_two_rejects() -> None:
    head, tail = record()[:30], record()[30:]
    data = b"\n".join([record(), head, tail, record(), b'{"x":{}', b"}", record()]) + b"\n"
    rows, rejects = fates(decode_json(lines(data, 1), CONTRACT))
    assert set(rows) == {1, 4, 7} and rejects == dict.fromkeys([2, 3, 5, 6], ("undecodable", "json"))


def test_two_objects_on_a_line_do_not_make_up_for_one_on_two_lines() -> None:
    """Rows equal lines here, and yet every row would stand at another record's position."""
    two, split = b'{"id":"a"}{"id":"b"}', record().replace(b",", b",\n", 1).split(b"\n")
    rows, rejects = fates(decode_json(lines(b"\n".join([two, *split, record()]) + b"\n", 1), CONTRACT))
    assert set(rows) == {4} and set(rejects) == {1, 2, 3}


def test_raw_line_breaks_in_messages() -> None:
    """A message is one record: one object over two lines is fine, two objects are not."""
    broken = record().replace(b",", b",\n", 1)
    values = [record(), broken, record() + b"\n" + record(), record() + b"\n", b"\n" + record(), b"\n", record()]
    rows, rejects = fates(decode_json(messages(values, range(7), [0] * 7), CONTRACT))
    assert set(rows) == {0, 1, 3, 4, 6} and set(rejects) == {2, 5}
    assert len(set(rows.values())) == len(rows) and all("'n': 7" in row for row in rows.values())


def test_a_message_without_a_value_is_a_reject() -> None:
    rows, rejects = fates(decode_json(messages([None, record()], [3, 4], [0, 0]), CONTRACT))
    assert set(rows) == {4} and rejects == {3: ("undecodable", "json")}


def test_rejects_keep_their_bytes_cut_to_what_a_record_may_have() -> None:
    long = record(note='"' + "x" * 3_000_000 + '"')
    table = decode_json(lines(b"\xff{\n" + long + b"\n", 1), CONTRACT).rejecting.table()
    assert table["raw"].to_pylist() == [b"\xff{", long[:MAX_RECORD]]
    assert table["reason"][1].as_py() == "the record has more than 1,048,576 bytes", (
        "of longer ones the reader drops some"
    )


def test_decimals_at_the_edge_of_their_precision() -> None:
    """28 digits is where Python's decimal would begin to round."""
    wide = contract(fields=[{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
                            {"name": "d", "type": "decimal(38,10)"}])  # fmt: skip
    base = b'{"id":"a","at":"2025-06-15T10:00:00Z","d":%s}'
    digits = "1234567890123456789012345678.0123456789"
    cases = {digits: digits, f'"{digits}"': digits, digits + "1": None, f'"{digits}1"': None, "1e27": f"{10**27}.{'0' * 10}",
             "1e28": None, "-1e-10": "-0.0000000001", "1e-11": None, "0e-300": "0.0000000000", digits + "0" * 30: digits}  # fmt: skip
    for text, expected in cases.items():
        for records in (
            lines(base % text.encode(), 1),
            lines(b"\n".join([base % b"1", base % text.encode(), b"{"]), 0),
        ):
            rows = decode_json(records, wide).rows.to_pylist()
            shown = [f"{r['d']:.10f}" for r in rows if r["_position"] == 1]
            assert shown == ([expected] if expected else []), text


def test_odd_input_names_go_the_slow_way_too() -> None:
    """msgspec, which sifts a bad block, takes no quotes or backslashes in a name."""
    odd = contract(fields=[{"name": "id", "type": "string", "source": 'the "id"'}, {"name": "at", "type": "timestamp", "source": "a\\b"},
                           {"name": "extra", "type": "string", "source": "_extra"}, {"name": "n", "type": "int64", "source": "Zähler / kWh"}])  # fmt: skip
    good = json.dumps(
        {'the "id"': "a", "a\\b": "2025-06-15T10:00:00Z", "_extra": "e", "Zähler / kWh": 3, "_index": 1}
    ).encode()
    rows, rejects = fates(decode_json(lines(b"\n".join([good] * 90 + [b"{"]), 1), odd))
    assert len(rows) == 90 and set(rejects) == {91}
    assert "'extra': 'e', 'n': 3" in rows[1] and "'_extra': '{\"_index\": 1}'" in rows[1]


def strictly(records: Records) -> Decoded:
    """The reference: each record by itself, by the strict decoder."""
    rejecting = Rejecting(records.raw, records.positions)
    at, raw = json_lines._decode_strictly(records, list(range(len(records))), CONTRACT, rejecting)
    return json_lines.finish(raw, at, CONTRACT, rejecting, records.positions)


VALUES = st.sampled_from(
    [b"NaN", b"1e400", b"-0", b"1.0", b"1e2", b"true", b"null", b'"1"', b'"\\ud800"', b'"\xff"', b"[]", b"{}", b"[[1]]", b'{"a":1,"a":2}',
     b"1.255", b'"1.25"', b"9223372036854775808", b'"2025-02-30"', b'"2025-06-15T10:00:00.123456789+02"', b'"2025-06-15 10Z"', b"1}{", b"1\r"]
)  # fmt: skip
GOOD_RECORDS = st.sampled_from([record(), record(x="null"), record(kwh="null", n="null"), record(x='{"y":[1]}'), record(x='"t"'), b'{"id":"a","at":"2025-06-15 10:00"}'])  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good record with a value replaced, or bytes changed, added or taken away at random."""
    raw = draw(GOOD_RECORDS)
    if draw(st.booleans()):
        field = draw(st.sampled_from([*GOOD, "x", "\\u0069d"]))
        return record(**{field: "@"}).replace(b"@", draw(VALUES)).replace(b"\n", b"")
    changed = bytearray(raw)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        piece = draw(
            st.binary(max_size=3) | st.sampled_from([b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"e", b"}{"])
        )
        changed[at : at + draw(st.integers(0, 3))] = piece
    return bytes(changed).replace(b"\n", b"")


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.integers(0, 12) | mutated() | GOOD_RECORDS, max_size=12), st.booleans())
def test_blocks_are_decoded_as_the_strict_decoder_does(parts: list[bytes | int], as_messages: bool) -> None:
    """Rows equal, rejects at the same positions with the same rule; numbers stand for runs of good records."""
    raws = [raw for part in parts for raw in ([part] if isinstance(part, bytes) else [record()] * (part * 8))]
    if as_messages:
        records = messages(raws, range(len(raws)), [0] * len(raws))
    else:
        records = lines(b"".join(raw + b"\n" for raw in raws), 1)
    assert fates(decode_json(records, CONTRACT)) == fates(strictly(records))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(mutated() | GOOD_RECORDS, min_size=1, max_size=80), st.data())
def test_a_records_fate_does_not_depend_on_its_neighbours(raws: list[bytes], data: st.DataObject) -> None:
    records = messages(raws, range(len(raws)), [0] * len(raws))
    rows, rejects = fates(decode_json(records, CONTRACT))
    cut = data.draw(st.integers(0, len(raws)))
    for part in (np.arange(cut), np.arange(cut, len(raws))):
        some_rows, some_rejects = fates(decode_json(records.take(part), CONTRACT))
        assert some_rows == {p: rows[p] for p in part.tolist() if p in rows}
        assert some_rejects == {p: rejects[p] for p in part.tolist() if p in rejects}
