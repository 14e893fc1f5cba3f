"""Log sequence numbers, the roles of master files and a snapshot's date; what a contract must say of them."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from beam_grid.feeds import BUILT_IN
from data_sources.cdc import LSN, gains_fields, lsn_sort_key
from data_sources.contract import Contract, ContractError, LakeSpec, load_contract, parse_contract
from data_sources.decode.json_lines import decode_json
from data_sources.lake_tables import clash, silver_names
from data_sources.records import messages
from data_sources.snapshots import as_of_name, as_of_rows, role


def test_lsns_sort_as_numbers() -> None:
    rising = [
        "0x01",
        "0x0a",
        "0x0A3B5C7D8E",
        "00000027:00000ac0:0002",
        "0x0000002700000ac00003",
        "27:ac1:1",
        "0xffffffffffffffffffff",
    ]
    keys = lsn_sort_key(pa.array([*rising, None])).to_pylist()
    assert keys[:-1] == sorted(keys[:-1]) and len(set(keys)) == len(keys) and keys[-1] is None
    assert lsn_sort_key(pa.array(["0x2700000ac00002", "00000027:00000ac0:0002"])).to_pylist()[0] == keys[3]


@pytest.mark.parametrize(
    ("text", "fits"),
    [("0x0A3B", True), ("0XAB", True), ("1:2:3", True), ("00000027:00000ac0:0002", True), ("0x", False), ("0xZZ", False),
     ("27", False), ("", False), ("1:2:g", False), (" 0x01", False)],
)  # fmt: skip
def test_what_an_lsn_looks_like(text: str, fits: bool) -> None:
    assert duckdb.execute("SELECT regexp_full_match(?, ?)", [text, LSN]).fetchall() == [(fits,)]


def test_roles_of_files() -> None:
    both = LakeSpec(load="scd2", snapshot_files=["m_*.parquet"], delta_files=["m_delta_*.parquet"])
    assert role("a/m_1.parquet", both) == "snapshot" and role("a/m_delta_1.parquet", both) == "delta"
    with pytest.raises(ValueError, match="neither among"):
        role("x.parquet", both)
    assert role("x", LakeSpec(load="scd2", delta_files=["*_delta_*"])) == "snapshot"
    assert role("x", LakeSpec(load="scd2", snapshot_files=["full*"])) == "delta"
    assert role("x", LakeSpec(load="scd2")) == role("x", LakeSpec(load="cdc")) == "delta"
    billing = load_contract(BUILT_IN / "billing_transactions/contract.toml").lake
    names = ("billing_cdc/billing_snapshot_1.json.gz", "billing_snapshot_1.json", "billing_cdc/billing_cdc_feed.json")
    assert [role(name, billing) for name in names] == ["snapshot", "snapshot", "delta"]


def masters(**lake: Any) -> Contract:
    return parse_contract(
        {
            "name": "m", "format": "csv", "event_time": "day",
            "lake": {"load": "scd2", "key": ["id"], "effective_from": "day", **lake},
            "fields": [{"name": n, "type": t} for n, t in (("id", "string"), ("day", "date"), ("x", "int64"))],
        },
        "tests",
    )  # fmt: skip


def test_a_snapshots_date_comes_from_its_name_or_a_column() -> None:
    named = masters(as_of=r"name:m_(\d{8}):%Y%m%d")
    rows = pa.table({"id": ["a"], "day": [date(2025, 1, 2)], "x": [1]})
    june = 1_748_736_000_000_000
    assert as_of_name("in/m_20250601.csv", named.lake) == june
    assert as_of_rows(rows, named, "in/m_20250601.csv").tolist() == [june]
    with pytest.raises(ValueError, match="holds no date"):
        as_of_name("m.csv", named.lake)
    with pytest.raises(ValueError, match="'20259901', is not %Y%m%d"):
        as_of_name("m_20259901.csv", named.lake)
    assert as_of_rows(rows, masters(as_of="column:day"), "m.csv").tolist() == [1_735_776_000_000_000]
    assert as_of_rows(rows, masters(), "m.csv").tolist() == [1_735_776_000_000_000]


def test_content_is_what_a_change_says_of_its_row() -> None:
    """Not where it stands in the log, nor what SQL Server's change tables have beside the row, whatever it is called."""
    billing = load_contract(BUILT_IN / "billing_transactions/contract.toml")
    others = {"cdc_timestamp", "event_serial_no", *(n for n in billing.schema.names if n.startswith("__$"))}
    assert billing.content == [n for n in billing.schema.names if n not in others] and len(others) == 7
    raw = {word: said for word, said in billing.to_dict().items() if word != "dedup"}
    for one in raw["fields"]:
        if one["name"] == "__$update_mask":
            one |= {"name": "mask", "source": "__$update_mask"}
    assert parse_contract(raw, "tests").content == billing.content
    sources: dict[str, str | list[str]] = {
        "sent": "$.ts_ms", "old": "$.payload.before.price", "place": ["$.source.file", "$.source.pos"],
        "note": "$.after.note", "joined": ["id", "$.source.table"], "deep": "$.power.pf", "of": "source.meter",
    }  # fmt: skip
    raw["fields"] += [{"name": name, "type": "string", "source": source} for name, source in sources.items()]
    more = ["note", "joined", "deep", "of"]
    assert parse_contract(raw, "tests").content == [*billing.content, *more], "nor what is the message's alone"
    raw["lake"]["envelope"] = "none"
    assert parse_contract(raw, "tests").content == [*billing.content, *sources], "without envelopes it is the row's"


@pytest.mark.parametrize(
    ("lake", "said"),
    [
        ({"key": []}, "lake.key: load = \"scd2\" needs"),
        ({"key": ["idd"]}, "did you mean 'id'?"),
        ({"effective_from": "x"}, "'x' is not a date or timestamp"),
        ({"as_of": "day"}, "is not column:NAME or name:REGEX"),
        ({"as_of": "column:dya"}, "did you mean 'day'?"),
        ({"as_of": "name:(:%Y"}, "is not a regular expression"),
        ({"track": ["x"], "ignore": ["x"]}, "'x' is also in lake.ignore"),
        ({"sequence_by": ["day"]}, "lake.sequence_by: is for load = \"cdc\""),
        ({"load": "cdc", "effective_from": None}, "lake.effective_from: is for load = \"scd2\""),
    ],
)  # fmt: skip
def test_mistakes_are_named(lake: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError) as caught:
        masters(**lake)
    assert said in str(caught.value)


CHANGES: dict[str, Any] = {
    "name": "bills", "format": "json", "event_time": "at",
    "lake": {"load": "cdc", "key": ["id"], "operation": "op", "sequence_by": ["lsn"]},
    "fields": [{"name": "id", "type": "string"}, {"name": "op", "type": "int64"}, {"name": "lsn", "type": "string"},
               {"name": "at", "type": "timestamp"}],
}  # fmt: skip


@pytest.mark.parametrize("name", ["valid_from", "valid_to", "Known_From", "KNOWN_TO", "is_current_knowledge"])
def test_names_that_a_history_needs_are_refused(name: str) -> None:
    fields = [*CHANGES["fields"], {"name": name, "type": "timestamp"}]
    with pytest.raises(ContractError, match=f'{name}.*bills_history has a column of its own.*source = "{name}"'):
        parse_contract({**CHANGES, "fields": fields}, "tests")
    renamed = {"name": "from_source", "source": name, "type": "timestamp"}
    parse_contract({**CHANGES, "fields": [*CHANGES["fields"], renamed]}, "tests")
    parse_contract({**CHANGES, "fields": fields}, "tests", conditions_are_checked=True)  # what landed stays readable


@pytest.mark.parametrize(
    ("kind", "fits"),
    [("float64", False), ("decimal(10,2)", False), ("decimal(38,0)", True), ("int64", True), ("date", True)],
)
def test_fractions_order_no_changes(kind: str, fits: bool) -> None:
    raw = {
        **CHANGES,
        "lake": {**CHANGES["lake"], "sequence_by": ["n"]},
        "fields": [*CHANGES["fields"], {"name": "n", "type": kind}],
    }
    if fits:
        parse_contract(raw, "tests")
        return
    with pytest.raises(ContractError, match=r"lake.sequence_by: field 'n' is a .* cannot order changes"):
        parse_contract(raw, "tests")


def test_an_operation_is_no_key_and_a_made_column_none_either() -> None:
    with pytest.raises(ContractError, match=r"lake\.key: .op. is the operation"):
        parse_contract({**CHANGES, "lake": {**CHANGES["lake"], "key": ["id", "op"]}}, "tests")
    raw: dict[str, Any] = {
        "name": "sites", "format": "csv", "event_time": "at", "lake": {"load": "scd2", "key": ["id"]},
        "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
    }  # fmt: skip
    for name, said in (
        ("Is_Current", "do not differ by case alone"),
        ("SCD_VERSION", "it is then the source's opinion"),
    ):
        with pytest.raises(ContractError, match=said):
            parse_contract({**raw, "fields": [*raw["fields"], {"name": name, "type": "int64"}]}, "tests")
    own = [*raw["fields"], {"name": "scd_version", "type": "int64"}]
    parse_contract({**raw, "fields": own}, "tests")
    with pytest.raises(ContractError, match=r"silver\.sites makes 'scd_version' itself"):
        parse_contract({**raw, "fields": own, "lake": {"load": "scd2", "key": ["id", "scd_version"]}}, "tests")


@pytest.mark.parametrize(
    ("sequence", "declared", "said"),
    [
        (["__$start_lsn", "__$seqval"], True, "put '__\\$command_id' before it"),
        (["__$start_lsn", "__$seqval"], False, "declare '__\\$command_id' \\(int64\\) and put it before it"),
        (["__$start_lsn"], True, "put '__\\$command_id' into it"),
        (["__$start_lsn", "__$seqval", "__$command_id"], True, "stands behind '__\\$seqval'"),
        (["__$start_lsn", "__$command_id", "__$seqval"], True, None),
        (["__$start_lsn"], False, None),
    ],
)
def test_an_order_without_the_command_is_warned_of(sequence: list[str], declared: bool, said: str | None) -> None:
    names = {*sequence, *(["__$command_id"] if declared else [])}
    more = [{"name": n, "type": "int64" if n == "__$command_id" else "string"} for n in sorted(names)]
    raw = {**CHANGES, "lake": {**CHANGES["lake"], "sequence_by": sequence}, "fields": [*CHANGES["fields"], *more]}
    found = [text for text in parse_contract(raw, "tests").warnings if "sequence_by" in text]
    assert found == [] if said is None else re.search(said, found[0])


def test_a_sequence_may_gain_fields_and_lose_none() -> None:
    assert gains_fields(["a", "c"], ["a", "b", "c", "d"]) and gains_fields(["a"], ["a"])
    assert not gains_fields(["a", "c"], ["c", "a"]) and not gains_fields(["a", "c"], ["a", "d"])


def test_tables_of_a_built_in_feed_are_told() -> None:
    billing = load_contract(BUILT_IN / "billing_transactions/contract.toml")
    assert silver_names(billing)[2] == "silver.billing_history"
    assert "billing_history is a table of the built-in feed" in str(
        clash(parse_contract({**CHANGES, "name": "billing"}, "tests"), [billing])
    )
    assert clash(parse_contract(CHANGES, "tests"), [billing]) is None and clash(billing, [billing]) is None


def test_a_change_without_any_place_is_a_reject_that_says_what_to_name() -> None:
    contract = parse_contract({**CHANGES, "lake": {**CHANGES["lake"], "sequence_by": ["lsn", "no", "op"]},
                               "fields": [*CHANGES["fields"], {"name": "no", "type": "int64"}]}, "tests")  # fmt: skip
    records = [
        {"id": "a", "op": 2, "at": "2025-01-01T00:00:00Z", **place}
        for place in ({"lsn": "0x0A"}, {"no": 0}, {"lsn": None, "no": None}, {})
    ]
    raw = [json.dumps(record).encode() for record in records] + [b"null"]
    decoded = decode_json(messages(raw, range(len(raw)), [0] * len(raw)), contract)
    assert decoded.rows["_position"].to_pylist() == [0, 1, 4], "a tombstone has no place and needs none"
    rejects = decoded.rejecting.table().to_pylist()
    assert [(r["_position"], r["cause"], r["rule"]) for r in rejects] == [
        (n, "undecodable", "null:lsn") for n in (2, 3)
    ]
    assert "by lsn, no," in rejects[0]["reason"] and "$.source.lsn" in rejects[0]["reason"]


def test_a_cdc_contract_needs_its_words() -> None:
    raw: dict[str, Any] = {
        "name": "b", "format": "json", "event_time": "at",
        "fields": [{"name": "id", "type": "string"}, {"name": "op", "type": "string"}, {"name": "at", "type": "timestamp"}],
    }  # fmt: skip
    for lake, said in (
        ({"key": ["id"]}, "needs the fields that order changes"),
        ({"key": ["id"], "sequence_by": ["at"]}, "needs the field that holds the operation codes"),
        ({"key": ["id"], "sequence_by": ["at"], "operation": "op"}, "must be an int64"),
    ):
        with pytest.raises(ContractError, match=said):
            parse_contract({**raw, "lake": {"load": "cdc", **lake}}, "tests")
