"""What the generators of transformers and customers promise, checked on the files as Parquet and by their contracts."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_sources.contract import Contract, load_contract
from data_sources.customers import generate as customers
from data_sources.decode.parquet_rows import decode_parquet
from data_sources.expressions import sandbox
from data_sources.files import find_files, plan_files, read_file
from data_sources.generators.registry import meters
from data_sources.generators.truth import COUNTS
from data_sources.snapshots import as_of_rows, role
from data_sources.transformers import generate as transformers

SOURCES = Path(__file__).parents[2] / "data_sources"
CONTRACTS = {name: load_contract(SOURCES / name / "contract.toml") for name in ("transformers", "customers")}
FOLDER = "transformer_parquet"
FILES = {
    "transformers": {"transformer_master.parquet": 500, "transformer_master_delta_20250601.parquet": 30},
    "customers": {"customer_master.parquet": 1000},
}
BOTH = pytest.mark.parametrize("source", [transformers, customers], ids=["transformers", "customers"])
TRACKED = ["health_index_score", "status", "last_maintenance_date"]
OF_THE_VERSION = ["record_effective_date", "record_end_date", "is_current", "scd_version"]


def table(out: Path, name: str) -> pa.Table:
    return pq.read_table(out / FOLDER / name)


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    return table(out, name).to_pylist()


def judged(out: Path, contract: Contract) -> dict[str, Any]:
    """What a reader counts who decodes by the contract and compares all declared fields."""
    read = rejected = landed = 0
    distinct: set[tuple[Any, ...]] = set()
    listing = plan_files(find_files(str(out), contract, own_globs=True), {}, contract, 10**7)
    assert not listing.problems
    for split in listing.splits:
        for block in read_file(split, contract):
            if isinstance(block, tuple):
                good, rejecting, *_ = decode_parquet(*block, contract)
                read += block[0].num_rows
                rejected += len(rejecting)
                landed += good.num_rows
                distinct |= set(zip(*(good[f.name].to_pylist() for f in contract.fields), strict=True))
    assert read == landed + rejected
    return {
        "read": read,
        "rejected": rejected,
        "late": 0,
        "landed - superseded": len(distinct),
        "duplicates + superseded": landed - len(distinct),
        "conflicts": 0,
        "rejected_by_cause": {"undecodable": rejected, "rule_broken": 0, "from_the_future": 0},
    }


@BOTH
@pytest.mark.parametrize("messy", [False, True])
@pytest.mark.parametrize(("seed", "scale", "days"), [(42, 1, 1), (3, 0.01, 4), (7, 50, 1)])
def test_truth_is_what_a_reader_finds(
    tmp_path: Path, source: ModuleType, seed: int, scale: float, days: int, messy: bool
) -> None:
    counts = source.generate(tmp_path, seed=seed, scale=scale, days=days, messy=messy)
    truth = json.loads((tmp_path / "truth.json").read_text())[source.FEED]
    assert truth == judged(tmp_path, CONTRACTS[source.FEED])
    assert counts == {name: truth[name] for name in COUNTS}
    assert counts["landed - superseded"] == sum(FILES[source.FEED].values())
    if messy:
        assert min(counts["rejected"], counts["duplicates + superseded"]) > 0
    else:
        assert counts["read"] == counts["landed - superseded"]


@BOTH
@pytest.mark.parametrize("messy", [False, True])
def test_just_the_seeds_files_and_each_contract_takes_only_its_own(
    tmp_path: Path, source: ModuleType, messy: bool
) -> None:
    for other in (transformers, customers):
        other.generate(tmp_path, scale=3, days=2, messy=messy)
    assert {p.name for p in (tmp_path / FOLDER).iterdir()} == {n for files in FILES.values() for n in files}
    contract = CONTRACTS[source.FEED]
    found = [f.name for f in find_files(str(tmp_path), contract, own_globs=True)]
    assert found == [f"{FOLDER}/{name}" for name in sorted(FILES[source.FEED])]
    roles = {name: role(name, contract.lake) for name in found}
    assert all(kind == ("delta" if "_delta_" in name else "snapshot") for name, kind in roles.items())
    assert role("customer_master_delta_20250601.parquet", CONTRACTS["customers"].lake) == "delta"


def test_transformers_are_the_grids_and_have_the_seeds_columns(tmp_path: Path) -> None:
    transformers.generate(tmp_path)
    found = rows(tmp_path, "transformer_master.parquet")
    assert [r["transformer_id"] for r in found] == [f"TRF-{r}-{i:04d}" for r in "NSEWC" for i in range(1, 101)]
    assert {r["substation_id"] for r in found} == {f"SUB-{r}-{i:03d}" for r in "NSEWC" for i in range(1, 51)}
    names = list(found[0])
    assert names[0] == "transformer_id" and names[-7:] == [*TRACKED, *OF_THE_VERSION]
    assert names == [f.name for f in CONTRACTS["transformers"].fields]
    for r in found:
        assert r["region"][0] == r["transformer_id"][4] == r["substation_id"][4]
        assert [r[n] for n in OF_THE_VERSION] == [date(2025, 1, 1), date(9999, 12, 31), True, 1]
        assert 0 <= r["health_index_score"] <= 100
        assert r["install_date"] < r["last_maintenance_date"] < r["record_effective_date"]
        assert 6 < r["latitude"] < 36 and 68 < r["longitude"] < 98
    status = Counter(r["status"] for r in found)
    assert status["ACTIVE"] > 400 and status["UNDER_MAINTENANCE"] > status["DECOMMISSIONED"]
    health = np.array([r["health_index_score"] for r in found])
    age = np.array([(r["record_effective_date"] - r["install_date"]).days for r in found])
    assert np.corrcoef(health, age)[0, 1] < -0.5


@pytest.mark.parametrize("seed", range(12))
def test_all_30_changes_differ_in_a_tracked_column_and_in_no_other(tmp_path: Path, seed: int) -> None:
    transformers.generate(tmp_path, seed=seed)
    before = {r["transformer_id"]: r for r in rows(tmp_path, "transformer_master.parquet")}
    changed = rows(tmp_path, "transformer_master_delta_20250601.parquet")
    assert len({r["transformer_id"] for r in changed}) == 30
    assert CONTRACTS["transformers"].lake.track == TRACKED
    kinds = []
    following = {"ACTIVE": "UNDER_MAINTENANCE", "UNDER_MAINTENANCE": "DECOMMISSIONED"}
    for new in changed:
        old = before[new["transformer_id"]]
        differ = [name for name in new if new[name] != old[name]]
        assert [name for name in differ if name in OF_THE_VERSION] == ["record_effective_date", "scd_version"]
        kinds.append(tuple(name for name in differ if name not in OF_THE_VERSION))
        assert [new[n] for n in OF_THE_VERSION] == [date(2025, 6, 1), date(9999, 12, 31), True, 2]
        assert new["status"] in (old["status"], following.get(old["status"]))
        assert old["last_maintenance_date"] <= new["last_maintenance_date"] < date(2025, 6, 1)
        assert 0 <= new["health_index_score"] <= 100
    # a MERGE that looks at score and status alone would miss those with another date only
    health, status, maintained = TRACKED
    assert Counter(kinds) == {
        (health, maintained): 6, (health,): 6, (status,): 6, (maintained,): 6, (health, status, maintained): 6
    }  # fmt: skip


def test_customers_are_the_grids_and_have_the_seeds_columns_in_its_order(tmp_path: Path) -> None:
    customers.generate(tmp_path)
    found = rows(tmp_path, "customer_master.parquet")
    seeds = """customer_id customer_name meter_id transformer_id region state tariff_category connection_type
        sanctioned_load_kw account_status outstanding_balance record_effective_date record_end_date is_current"""
    assert list(found[0]) == [*seeds.split(), "scd_version"] == [f.name for f in CONTRACTS["customers"].fields]
    assert [r["customer_id"] for r in found] == [f"CUST-{i:06d}" for i in range(1, 1001)]
    pairs = {r["meter_id"]: r for r in meters().to_dicts()}
    for r in found:
        meter = pairs[r["meter_id"]]
        assert [r[n] for n in ("customer_id", "region", "state")] == [
            meter[n] for n in ("customer_id", "region", "state")
        ]
        assert r["transformer_id"][4] == r["meter_id"][3]
        assert [r[n] for n in OF_THE_VERSION] == [date(2025, 1, 1), date(9999, 12, 31), True, 1]
        assert (r["connection_type"] == "THREE_PHASE") == (r["sanctioned_load_kw"] > 10)
    assert len({r["meter_id"] for r in found}) == 1000
    assert {r["tariff_category"] for r in found} == {"RESIDENTIAL", "COMMERCIAL", "INDUSTRIAL", "AGRICULTURAL"}
    assert {r["account_status"] for r in found} == {"ACTIVE", "SUSPENDED", "CLOSED"}
    owed = [r["outstanding_balance"] for r in found]
    assert all(isinstance(o, Decimal) for o in owed) and sum(o % 1 != 0 for o in owed) > 300 and min(owed) < 0


@BOTH
def test_no_rule_warns_of_good_rows_and_each_can_fire(tmp_path: Path, source: ModuleType) -> None:
    source.generate(tmp_path)
    contract = CONTRACTS[source.FEED]
    good = pa.concat_tables([table(tmp_path, name) for name in FILES[source.FEED]])
    spoiled = good.slice(0, 1).to_pylist()[0] | {
        "transformer_id": "T1", "status": "LOST", "health_index_score": 101.0, "capacity_mva": 0.0,
        "last_maintenance_date": date(1980, 1, 1), "tariff_category": "?", "connection_type": "?", "account_status": "?",
        "sanctioned_load_kw": -1.0,
    }  # fmt: skip
    bad = pa.Table.from_pylist([spoiled], schema=good.schema)
    assert len(contract.rules) == 5
    for rule in contract.all_rules:
        assert rule.on_fail == "warn"
        passed = {}
        for label, what in (("good", good), ("bad", bad)):
            cursor = sandbox().cursor()
            cursor.register("row", what)
            passed[label] = set(cursor.sql(f"SELECT {rule.check} AS ok FROM row").to_arrow_table()["ok"].to_pylist())
        assert passed == {"good": {True}, "bad": {False}}, rule.id


@BOTH
def test_messy_files_hold_the_clean_rows_and_a_column_nobody_declared(tmp_path: Path, source: ModuleType) -> None:
    source.generate(tmp_path / "clean")
    source.generate(tmp_path / "messy", messy=True)
    contract = CONTRACTS[source.FEED]
    key = contract.lake.key[0]
    for name, good_rows in FILES[source.FEED].items():
        clean, messy = rows(tmp_path / "clean", name), rows(tmp_path / "messy", name)
        remarks = [r.pop("survey_remark") for r in messy]
        assert 0 < sum(r is not None for r in remarks) < len(messy) / 5
        good = [tuple(r.values()) for r in messy if r[key] and r["record_effective_date"]]
        assert set(good) == {tuple(r.values()) for r in clean} and len(set(good)) == good_rows
        copies, lost = len(good) - good_rows, len(messy) - len(good)
        assert copies == max(1, round(0.03 * good_rows))
        assert {r[key] is None for r in messy} == {r["record_effective_date"] is None for r in messy} == {True, False}
        assert lost == max(1, round(0.01 * good_rows)) + max(1, round(0.005 * good_rows))
        assert [r[key] for r in messy if r[key]] != sorted((r[key] for r in messy if r[key]), key=None)


def test_a_snapshot_speaks_of_its_date_also_when_messy(tmp_path: Path) -> None:
    transformers.generate(tmp_path, messy=True)
    contract = CONTRACTS["transformers"]
    for name, day in zip(FILES["transformers"], ("2025-01-01", "2025-06-01"), strict=True):
        speaks = as_of_rows(table(tmp_path, name), contract, name).max()
        assert np.datetime64(int(speaks), "us") == np.datetime64(day)


@BOTH
@pytest.mark.parametrize("messy", [False, True])
def test_same_seed_same_bytes_whatever_the_scale(tmp_path: Path, source: ModuleType, messy: bool) -> None:
    for name, seed, scale in (("a", 9, 1), ("b", 9, 7), ("c", 10, 1)):
        source.generate(tmp_path / name, seed=seed, scale=scale, messy=messy)
    a, b, c = ([p.read_bytes() for p in sorted((tmp_path / n / FOLDER).iterdir())] for n in "abc")
    assert a == b and len(a) == len(FILES[source.FEED])
    assert all(x != y for x, y in zip(a, c, strict=True))


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"scale": -1}, "scale is -1: give"), ({"days": 0}, "days is 0: give"), ({"seed": -1}, "seed is -1: give")],
)
def test_arguments_out_of_range_are_refused(
    tmp_path: Path, source: ModuleType, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        source.generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
