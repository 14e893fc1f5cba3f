"""Messages from public bug reports come out with their right values (tests/cases/debezium-*), landed and in tables.

`rows.json` holds the right values; one session makes the tables of all four, as each needs Spark.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from beam_grid.lakehouse.query import query
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import Contract, load_contract, parse_contract

pytestmark = pytest.mark.pipeline

CASES = Path(__file__).parents[2] / "cases"
BUILT_IN = Path(__file__).parents[3] / "data_sources"
NOW = int(datetime(2025, 6, 16, tzinfo=UTC).timestamp()) * 1_000_000


def contract_of(case: str) -> Contract:
    return load_contract(CASES / case / "contract.toml")


def landed(lake: Path, feed: Contract, source: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and rejects, in the order of their places."""
    opened = Lake.open(lake)
    with opened.lock("land"):
        land(opened, feed, Options(source=str(source), now=NOW, slice_rows=1000, shards=2))
    log = Lake.open(lake).feed(feed.name)
    entries = {kind: [e for c in log.commits() for e in c.listed(kind)] for kind in ("rows", "rejected")}
    rows, rejected = (
        sorted((r for e in found for r in pq.read_table(log.path / e.path).to_pylist()), key=lambda r: r["_position"])
        for found in entries.values()
    )
    return rows, rejected


def expected(case: str) -> Any:
    return json.loads((CASES / case / "rows.json").read_text(encoding="utf-8"))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def without_format(feed: Contract) -> Contract:
    raw = json.loads(feed.model_dump_json(exclude_defaults=True))
    for field in raw["fields"]:
        field.pop("format", None)
    return parse_contract(raw, "tests")


def test_numbers_of_any_size_are_read_by_the_contracts_unit(tmp_path: Path) -> None:
    case = "debezium-9999-sentinel"
    rows, rejects = landed(tmp_path / "lake", contract_of(case), CASES / case / "given")
    right = [{k: moment(v) if k != "contract_id" else v for k, v in row.items()} for row in expected(case)]
    assert rejects == [] and [{k: r[k] for k in right[0]} for r in rows] == right


def test_numbers_that_nothing_explains_are_rejects_that_say_what_to_write(tmp_path: Path) -> None:
    case = "debezium-9999-sentinel"
    rows, rejects = landed(tmp_path / "lake", without_format(contract_of(case)), CASES / case / "given")
    assert rows == [] and len(rejects) == 4
    assert {r["rule"] for r in rejects} == {"time:supply_from"}
    assert 'format = "epoch_ms"' in rejects[0]["reason"] and "schemas.enable" in rejects[0]["reason"]


@pytest.mark.parametrize("has_schema", [True, False])
def test_a_wall_clock_written_as_if_utc_is_local_as_the_native_rows_text_is(tmp_path: Path, has_schema: bool) -> None:
    case = "debezium-local-datetime"
    feed, source = contract_of(case), CASES / case / "given"
    if has_schema:
        feed, native_and_bare = without_format(feed), (source / "tickets.json").read_text(encoding="utf-8").splitlines()
        fields = [{"type": "int64", "name": "io.debezium.time.Timestamp", "field": f} for f in ("outage_began", "changed_at")]  # fmt: skip
        schema = {"type": "struct", "fields": [{"type": "struct", "field": "after", "fields": fields}]}
        source = tmp_path / "tickets.json"
        wrapped = {"schema": schema, "payload": json.loads(native_and_bare[1])}
        source.write_text(f"{native_and_bare[0]}\n{json.dumps(wrapped)}\n", encoding="utf-8")
    rows, rejects = landed(tmp_path / "lake", feed, source)
    assert rejects == []
    right = {row["ticket_id"]: (moment(row["outage_began"]), moment(row["changed_at"])) for row in expected(case)}
    assert {r["ticket_id"]: (r["outage_began"], r["changed_at"]) for r in rows} == right


def test_decimals_in_base64_have_the_scale_of_the_schema(tmp_path: Path) -> None:
    case = "debezium-decimal-base64"
    feed = load_contract(BUILT_IN / "billing_transactions" / "contract.toml")
    rows, rejects = landed(tmp_path / "lake", feed, CASES / case / "given")
    right = [{k: v and (v if v.startswith("TXN") else Decimal(v)) for k, v in row.items()} for row in expected(case)]
    assert rejects == [] and [{k: r[k] for k in right[0]} for r in rows] == right


def test_decimals_in_base64_without_a_schema_are_rejects_that_name_the_setting(tmp_path: Path) -> None:
    case = "debezium-decimal-base64"
    feed = load_contract(BUILT_IN / "billing_transactions" / "contract.toml")
    (tmp_path / "in" / "billing_cdc").mkdir(parents=True)
    wrapped = (CASES / case / "given" / "billing_cdc" / "billing_cdc_feed.json").read_text(encoding="utf-8")
    bare = "".join(json.dumps(json.loads(line)["payload"]) + "\n" for line in wrapped.splitlines())
    (tmp_path / "in" / "billing_cdc" / "billing_cdc_feed.json").write_text(bare, encoding="utf-8")
    rows, rejects = landed(tmp_path / "lake", feed, tmp_path / "in")
    assert rows == [] and [r["rule"] for r in rejects] == ["type:units_consumed_kwh", "type:total_amount"]
    assert all("decimal.handling.mode=string" in r["reason"] for r in rejects)


def test_postgres_orders_its_changes_by_a_path_from_the_message(tmp_path: Path) -> None:
    case = "debezium-postgres-lsn"
    rows, rejects = landed(tmp_path / "lake", contract_of(case), CASES / case / "given")
    assert rejects == [] and [r["lsn"] for r in rows] == [54604320, 54604400, 54605000, 54606000, 54607000, 54608000, 54609000]  # fmt: skip
    last = {r["tariff_id"]: r for r in sorted(rows, key=lambda r: r["lsn"])}
    alive = [{"tariff_id": k, "price_ct": r["price_ct"]} for k, r in last.items() if r["op_code"] != 1]
    assert alive == expected(case)["silver.tariffs"]


def test_postgres_changes_without_the_path_are_rejects_that_name_it(tmp_path: Path) -> None:
    case = "debezium-postgres-lsn"
    raw = json.loads(contract_of(case).model_dump_json(exclude_defaults=True))
    next(f for f in raw["fields"] if f["name"] == "lsn").pop("source")
    rows, rejects = landed(tmp_path / "lake", parse_contract(raw, "tests"), CASES / case / "given")
    assert rows == [] and {r["rule"] for r in rejects} == {"null:lsn"} and len(rejects) == 7
    assert '"$.source.lsn"' in rejects[0]["reason"]


@pytest.mark.spark
def test_the_tables_hold_the_right_values(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    names = ("debezium-9999-sentinel", "debezium-local-datetime", "debezium-postgres-lsn")
    for case in names:
        landed(lake, contract_of(case), CASES / case / "given")
    billing = load_contract(BUILT_IN / "billing_transactions" / "contract.toml")
    landed(lake, billing, CASES / "debezium-decimal-base64" / "given")
    refine(Lake.open(lake))

    def ask(sql: str) -> list[dict[str, Any]]:
        return query(Lake.open(lake), sql).to_pylist()

    right = [{k: moment(v) if k != "contract_id" else v for k, v in row.items()} for row in expected(names[0])]
    columns = ", ".join(right[0])
    assert ask(f"SELECT {columns} FROM silver.supply_contracts ORDER BY contract_id") == right
    right = [{k: moment(v) if k != "ticket_id" else v for k, v in row.items()} for row in expected(names[1])]
    assert ask(f"SELECT {', '.join(right[0])} FROM silver.outage_tickets ORDER BY ticket_id") == right
    assert ask("SELECT tariff_id, price_ct FROM silver.tariffs") == expected(names[2])["silver.tariffs"]
    right = [
        {k: v and (v if v.startswith("TXN") else Decimal(v)) for k, v in row.items()}
        for row in expected("debezium-decimal-base64")
    ]
    assert ask(f"SELECT {', '.join(right[0])} FROM silver.billing_transactions ORDER BY transaction_id") == right
