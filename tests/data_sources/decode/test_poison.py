"""Records put aside undecoded: each a reject at the place where the decoder would have put it, with its bytes."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from data_sources.contract import Contract, parse_contract
from data_sources.decode.csv_lines import split_csv
from data_sources.decode.poison import set_aside
from data_sources.formats import Block, format_of

FIELDS = [{"name": "at", "type": "timestamp"}, {"name": "slot", "type": "string"}, {"name": "kwh", "type": "float64"}]


def feed(form: str, **more: object) -> Contract:
    base = {"name": "t", "format": form, "event_time": "at", "dedup": {"key": ["at", "slot"]}, "fields": FIELDS}
    return parse_contract({**base, **more}, "tests")


WIDE = feed("csv", unpivot={"columns": "^h", "into": ["slot", "kwh"]})
FLAT, ROWS = feed("csv"), feed("parquet")


def block_of(contract: Contract) -> tuple[Block, tuple[str, ...] | None]:
    if contract.format == "parquet":
        return (pa.table({"at": ["x", "y"], "slot": ["1", "2"], "kwh": [1.0, None]}), 7), None
    header = ("at", "h1", "h2") if contract.unpivot else ("at", "slot", "kwh")
    return split_csv(b"x,1,2\ny,3,4\n", 7, contract, True)[0], header


@pytest.mark.parametrize("contract", [FLAT, WIDE, ROWS], ids=["csv", "unpivoted", "parquet"])
def test_each_record_is_a_reject_where_the_decoder_would_put_it(contract: Contract) -> None:
    """Both records have a time that is none, so that the decoder rejects them whole."""
    block, header = block_of(contract)
    refused = format_of(contract).decode(block, header, {}).rejecting.table()
    aside = set_aside(block, contract, "KeyError: 'k'", header, {})
    found = aside.rejecting.table()
    assert aside.rows.num_rows == 0
    assert found["cause"].to_pylist() == ["poison"] * 2 and found["rule"].to_pylist() == ["KeyError"] * 2
    assert found["reason"].to_pylist() == ["'k'"] * 2
    assert found["_position"].to_pylist() == sorted(
        {p - p % 10_000 if contract.unpivot else p for p in refused["_position"].to_pylist()}
    )
    raws = found["raw"].to_pylist()
    if contract.format == "parquet":
        assert [json.loads(raw) for raw in raws] == [json.loads(raw) for raw in refused["raw"].to_pylist()]
    else:
        assert raws == ([b"x,1,2", b"y,3,4"])


def test_an_error_without_a_text_is_its_own_reason() -> None:
    block, header = block_of(FLAT)
    found = set_aside(block, FLAT, "MemoryError: ", header, {}).rejecting.table()
    assert set(found["rule"].to_pylist()) == set(found["reason"].to_pylist()) == {"MemoryError"}
