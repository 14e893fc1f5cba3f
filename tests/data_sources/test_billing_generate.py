"""The billing generator's promises, checked on the files it wrote: as text, and as the contract reads them."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_sources.billing_transactions.generate import COLUMNS, disturb, generate
from data_sources.billing_transactions.generate import changes as day_of_changes
from data_sources.cdc import LSN
from data_sources.contract import Contract, load_contract
from data_sources.decode.json_lines import decode_json
from data_sources.decode.rejects import Decoded
from data_sources.expressions import sandbox
from data_sources.generators.registry import meters
from data_sources.generators.truth import COUNTS
from data_sources.records import Records
from data_sources.sources.files import plan_files, read_file
from data_sources.sources.finding import find_files

CONTRACT = load_contract(Path(__file__).parents[2] / "data_sources/billing_transactions/contract.toml")
SAMPLE = [
    "__$operation",
    "__$start_lsn",
    "__$seqval",
    "__$update_mask",
    "__$command_id",
    "transaction_id",
    "bill_id",
    "customer_id",
    "meter_id",
    "billing_period_start",
    "billing_period_end",
    "units_consumed_kwh",
    "rate_per_kwh",
    "base_amount",
    "tax_amount",
    "total_amount",
    "payment_status",
    "payment_method",
    "due_date",
    "region",
    "state",
    "fraud_flag",
    "cdc_timestamp",
]
"""The names of the seed's sample record, in its order."""
SHAPES = {
    "__$start_lsn": r"0x[0-9A-F]{10}",
    "__$seqval": r"0x[0-9A-F]{10}",
    "__$update_mask": r"0x([0-9A-F]{2}){1,3}",
    "transaction_id": r"TXN-\d{8}",
    "bill_id": r"BILL-\d{8}",
    "customer_id": r"CUST-\d{6}",
    "meter_id": r"SM-[NSEWC]-\d{5}",
    "billing_period_start": r"2025-\d\d-01",
    "billing_period_end": r"2025-\d\d-29",
    "due_date": r"2025-07-01",
    "cdc_timestamp": r"2025-06-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
}


def lines_of(out: Path) -> list[bytes]:
    *lines, rest = (out / "billing_cdc/billing_cdc_feed.json").read_bytes().split(b"\n")
    assert rest == b"" and all(lines)
    return lines


def records_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_float=Decimal) for line in lines_of(out)]


def truth_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "truth.json").read_text())["billing_transactions"]


def decoded(out: Path, contract: Contract = CONTRACT) -> list[Decoded]:
    """Every block of the contract's own files below `out`, decoded."""
    listing = plan_files(find_files(str(out), contract, own_globs=True), {}, contract, 10**7)
    assert not listing.problems
    blocks = [block for split in listing.splits for block in read_file(split, contract)]
    return [decode_json(block, contract) for block in blocks if isinstance(block, Records)]


def broken(rows: pa.Table, check: str) -> np.ndarray:
    """Mask of rows that break a SQL condition; NULL passes."""
    cursor = sandbox().cursor()
    cursor.register("row", rows)
    return ~cursor.sql(f"SELECT coalesce(({check}), true) AS ok FROM row").to_arrow_table()["ok"].to_numpy()


def judged(out: Path) -> dict[str, Any]:
    """What a reader counts who decodes by the contract, applies its rules and compares all declared fields."""
    read = undecodable = rule_broken = 0
    payloads: set[tuple[Any, ...]] = set()
    landed = 0
    for rows, rejecting, *_ in decoded(out):
        read += rows.num_rows + len(rejecting)
        undecodable += len(rejecting)
        fields = rows.select([f.name for f in CONTRACT.fields])
        bad = np.zeros(rows.num_rows, bool)
        for rule in CONTRACT.all_rules:
            if rule.on_fail == "reject":
                bad |= broken(fields, rule.check)
        rule_broken += int(bad.sum())
        good = fields.filter(pa.array(~bad))
        landed += good.num_rows
        payloads |= set(zip(*(column.to_pylist() for column in good.columns), strict=True))
    return {
        "read": read,
        "rejected": undecodable + rule_broken,
        "late": 0,
        "landed - superseded": len(payloads),
        "duplicates + superseded": landed - len(payloads),
        "conflicts": 0,
        "rejected_by_cause": {"undecodable": undecodable, "rule_broken": rule_broken, "from_the_future": 0},
    }


@pytest.mark.parametrize(
    ("seed", "scale", "days"), [(42, 1, 1), (1, 1, 2), (2, 3, 1), (3, 0.01, 3), (4, 0.001, 1), (5, 1, 1)]
)
@pytest.mark.parametrize("messy", [False, True])
def test_truth_is_what_a_reader_finds(tmp_path: Path, seed: int, scale: float, days: int, messy: bool) -> None:
    counts = generate(tmp_path, seed=seed, scale=scale, days=days, messy=messy)
    found = judged(tmp_path)
    assert truth_of(tmp_path) == found
    assert counts == {name: found[name] for name in COUNTS}
    assert counts["landed - superseded"] == max(1, round(400 * scale)) * days
    if messy:
        assert min(counts["rejected"], counts["duplicates + superseded"]) > 0
        assert min(found["rejected_by_cause"][c] for c in ("undecodable", "rule_broken")) > 0
    else:
        assert counts["read"] == counts["landed - superseded"]


def test_a_record_looks_as_the_seeds_sample(tmp_path: Path) -> None:
    generate(tmp_path)
    records = records_of(tmp_path)
    assert len(records) == 400
    known = {m["meter_id"]: m for m in meters().select("meter_id", "customer_id", "region", "state").to_dicts()}
    for change in records:
        assert list(change) == SAMPLE
        assert known[change["meter_id"]].items() <= change.items()
        for name, shape in SHAPES.items():
            assert re.fullmatch(shape, change[name]), (name, change[name])
    assert [f.name for f in CONTRACT.fields][:-1] == SAMPLE and CONTRACT.fields[-1].name == "event_serial_no"
    assert SAMPLE[5:-1] == COLUMNS
    assert len({c["customer_id"] for c in records}) > 100


@pytest.mark.parametrize("seed", [42, 1, 2])
def test_histories_hold_together(tmp_path: Path, seed: int) -> None:
    generate(tmp_path, seed=seed, scale=5, days=2)
    alive: dict[str, dict[str, Any]] = {}
    deleted: set[str] = set()
    operations: Counter[int] = Counter()
    records = records_of(tmp_path)
    for i, change in enumerate(records):
        key, row = change["transaction_id"], {name: change[name] for name in COLUMNS}
        operation = change["__$operation"]
        operations[operation] += 1
        assert key not in deleted
        if operation == 2:
            assert key not in alive
            alive[key] = row
        elif operation == 1:
            assert alive.pop(key) == row
            deleted.add(key)
        elif operation == 3:
            assert alive[key] == row
            after = records[i + 1]
            assert after["__$operation"] == 4 and after["transaction_id"] == key
            same = ("__$start_lsn", "__$seqval", "__$update_mask", "__$command_id", "cdc_timestamp")
            assert [after[name] for name in same] == [change[name] for name in same]
            changed = {name for name in COLUMNS if after[name] != change[name]}
            mask = int(change["__$update_mask"], 16)
            assert changed == {name for bit, name in enumerate(COLUMNS) if mask >> bit & 1} != set()
        else:
            assert records[i - 1]["__$operation"] == 3
            alive[key] = row
        if operation in (1, 2):
            assert change["__$update_mask"] == "0x00"
    assert operations == {2: 2200, 3: 800, 4: 800, 1: 200}


def test_log_sequence_numbers_grow_and_some_transactions_hold_several_changes(tmp_path: Path) -> None:
    generate(tmp_path, days=3)
    records = records_of(tmp_path)
    commits: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for change in records:
        commits[int(change["__$start_lsn"], 16)].append(change)
    assert list(commits) == sorted(commits)
    place = [(int(c["__$start_lsn"], 16), int(c["__$seqval"], 16), c["__$operation"]) for c in records]
    assert place == sorted(set(place))
    sequences = [int(c["__$seqval"], 16) for c in records]
    assert sequences == sorted(sequences)
    times = [c["cdc_timestamp"] for c in records]
    assert times == sorted(times)
    several = 0
    for of_one in commits.values():
        assert len({c["cdc_timestamp"] for c in of_one}) == 1
        numbers = list(dict.fromkeys(c["__$command_id"] for c in of_one))
        assert numbers == list(range(1, len(numbers) + 1))
        assert len({c["__$seqval"] for c in of_one}) == len(numbers)
        several += len(numbers) > 1
    assert several > 40
    at_once = [o for o in commits.values() if max(Counter(c["transaction_id"] for c in o).values()) > 2]
    assert len(at_once) > 10, "few rows are inserted and updated in one transaction, where seqval is needed"


@pytest.mark.parametrize("seed", [42, 1, 7])
def test_amounts_add_up_and_fraud_comes_in_its_share(tmp_path: Path, seed: int) -> None:
    generate(tmp_path, seed=seed)
    cent = Decimal("0.01")
    records = records_of(tmp_path)
    frauds = [c for c in records if c["fraud_flag"]]
    assert len(frauds) / len(records) == pytest.approx(0.04, abs=0.004)
    for change in records:
        units, rate, base, tax = (
            change[n] for n in ("units_consumed_kwh", "rate_per_kwh", "base_amount", "tax_amount")
        )
        assert change["total_amount"] == base + tax
        assert abs(tax - base * 18 / 100) <= cent / 2
        if change["fraud_flag"]:
            assert cent <= base <= 50 and base < units * rate / 4
        else:
            assert abs(base - units * rate) <= cent / 2 and base > 50
        assert (change["payment_method"] is None) == (change["payment_status"] in ("PENDING", "OVERDUE"))
    for later in (3, 4, 1):
        assert any(c["__$operation"] == later for c in records)
    assert {c["payment_status"] for c in records} == {"PENDING", "PAID", "OVERDUE", "DISPUTED"}


def test_rules_warn_of_the_planted_frauds_and_of_nothing_else(tmp_path: Path) -> None:
    generate(tmp_path, scale=10)
    ((rows, rejecting, *_),) = decoded(tmp_path)
    assert not len(rejecting)
    hits = {rule.id: broken(rows, rule.check) for rule in CONTRACT.all_rules}
    assert hits.pop("BT-001").tolist() == rows["fraud_flag"].to_pylist()
    assert [name for name, mask in hits.items() if mask.any()] == []
    assert set(hits) == {
        *("operation:__$operation", "lsn:__$start_lsn", "lsn:__$seqval"),
        *(f"BT-00{n}" for n in range(2, 7)),
    }


def test_each_warning_rule_can_fire(tmp_path: Path) -> None:
    generate(tmp_path, scale=0.01)
    line = json.loads(lines_of(tmp_path)[0])
    spoiled = {
        "BT-001": {"base_amount": 3.5, "tax_amount": 0.63, "total_amount": 4.13},
        "BT-002": {"total_amount": 1},
        "BT-003": {"tax_amount": 0.5, "total_amount": line["base_amount"] + 0.5},
        "BT-004": {"customer_id": "C1"},
        "BT-005": {"payment_status": "FORGIVEN"},
        "BT-006": {"billing_period_end": "2024-01-01"},
    }
    feed = tmp_path / "billing_cdc/billing_cdc_feed.json"
    feed.write_text("".join(json.dumps(line | {"fraud_flag": False} | change) + "\n" for change in spoiled.values()))
    ((rows, *_),) = decoded(tmp_path)
    warn = [rule for rule in CONTRACT.rules if rule.on_fail == "warn"]
    assert [rule.id for rule in warn] == list(spoiled)
    for i, rule in enumerate(warn):
        assert broken(rows, rule.check).tolist()[i], rule.id


def test_messy_and_clean_feeds_hold_the_same_changes(tmp_path: Path) -> None:
    """So whatever is made of the changes in the order of their numbers is the same table."""
    generate(tmp_path / "clean", days=2)
    generate(tmp_path / "messy", days=2, messy=True)

    def distinct(out: Path) -> set[tuple[Any, ...]]:
        fields = [f.name for f in CONTRACT.fields]
        ops = [t.filter(pa.array(~(broken(t, CONTRACT.all_rules[0].check) | broken(t, CONTRACT.all_rules[1].check))))
               for t, *_ in decoded(out)]  # fmt: skip
        return {row for t in ops for row in zip(*(t[name].to_pylist() for name in fields), strict=True)}

    assert distinct(tmp_path / "messy") == distinct(tmp_path / "clean")


def test_every_kind_of_mess_is_there(tmp_path: Path) -> None:
    generate(tmp_path, messy=True)
    ((rows, rejecting, *_),) = decoded(tmp_path)
    rejected = Counter(r["rule"].split(":")[0] for r in rejecting.table().to_pylist())
    assert {"json", "utf8", "utf-8", "type", "null", "time"} >= set(rejected)
    assert min(rejected[k] for k in ("json", "utf-8", "null")) > 0 and rejected["type"] + rejected["time"] > 0
    nulls = {r["rule"] for r in rejecting.table().to_pylist() if r["rule"].startswith("null")}
    assert nulls == {"null:transaction_id", "null:cdc_timestamp"}
    operations = Counter(rows["__$operation"].to_pylist())
    assert sum(operations[o] for o in operations if o not in (1, 2, 3, 4)) == 4
    malformed = [lsn for lsn in rows["__$start_lsn"].to_pylist() if not re.fullmatch(LSN, lsn)]
    assert len(malformed) == 4
    assert 2 <= len([e for e in rows["_extra"].to_pylist() if e]) <= 20

    lines = lines_of(tmp_path)
    at: dict[bytes, list[int]] = defaultdict(list)
    for i, line in enumerate(lines):
        at[line].append(i)
    apart = [b - a for places in at.values() for a, b in pairwise(places)]
    assert sum(gap <= 20 for gap in apart) >= 8 and sum(gap > 50 for gap in apart) >= 5
    assert sum(line.startswith(b'{"cdc_timestamp"') and b"+05:30" in line for line in lines) == 6

    order: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    images: dict[tuple[int, int, int], int] = {}
    for i, r in enumerate(rows.to_pylist()):
        if re.fullmatch(LSN, r["__$start_lsn"]) and r["__$operation"] in (1, 2, 3, 4):
            place = (int(r["__$start_lsn"], 16), int(r["__$seqval"], 16), r["__$operation"])
            order[r["transaction_id"]].append(place)
            images.setdefault(place, i)
    firsts = {key: list(dict.fromkeys(places)) for key, places in order.items()}
    assert sum(places != sorted(places) for places in firsts.values()) >= 5, "no later change before an earlier one"
    pairs = [images[lsn, seq, 4] - i for (lsn, seq, op), i in images.items() if op == 3]
    assert sum(gap > 1 for gap in pairs) >= 5 and sum(gap < 0 for gap in pairs) >= 3, "images stand together"


def test_disturbing_only_adds(tmp_path: Path) -> None:
    clean = day_of_changes(9, 0, 200)
    rows = disturb(clean, np.random.default_rng(1))
    intact = rows.filter(rows["_label"] == "intact").sort("__$start_lsn", "__$seqval", "__$operation")
    assert intact.select(clean.columns).equals(clean)


def test_some_histories_stand_last_change_first() -> None:
    clean = day_of_changes(9, 0, 2000)
    rows = disturb(clean, np.random.default_rng(1))
    histories: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    for row, *place in rows.filter(rows["_label"] == "intact").select("_row", *SAMPLE[1:3], SAMPLE[0]).iter_rows():
        histories[row].append(tuple(place))
    long = [places for places in histories.values() if len(places) > 2]
    assert len(long) > 200
    assert sum(places == sorted(places, reverse=True) for places in long) / len(long) == pytest.approx(0.15, abs=0.06)
    assert sum(places == sorted(places) for places in long) / len(long) > 0.5


def test_the_example_is_an_update_of_the_feed_and_no_part_of_it(tmp_path: Path) -> None:
    generate(tmp_path)
    path = tmp_path / "billing_cdc/cdc_update_pair_example.json"
    pair = path.read_bytes().splitlines()
    assert [json.loads(line)["__$operation"] for line in pair] == [3, 4]
    assert set(pair) <= set(lines_of(tmp_path))
    assert [f.name for f in find_files(str(tmp_path), CONTRACT, own_globs=True)] == [
        "billing_cdc/billing_cdc_feed.json"
    ]
    generate(tmp_path, scale=0.001)
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize("messy", [False, True])
def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path, messy: bool) -> None:
    for name, seed in (("a", 9), ("b", 9), ("c", 10)):
        generate(tmp_path / name, seed=seed, days=2, messy=messy)
    a, b, c = ([p.read_bytes() for p in sorted((tmp_path / n).rglob("[!.]*")) if p.is_file()] for n in ("a", "b", "c"))
    assert a == b and len(a) == 3
    assert all(x != y for x, y in zip(a[:2], c[:2], strict=True))


def test_more_days_only_append(tmp_path: Path) -> None:
    generate(tmp_path / "one")
    generate(tmp_path / "three", days=3)
    assert lines_of(tmp_path / "three")[:400] == lines_of(tmp_path / "one")
    days = Counter(c["cdc_timestamp"][:10] for c in records_of(tmp_path / "three"))
    assert days == {"2025-06-15": 400, "2025-06-16": 400, "2025-06-17": 400}
    assert len({c["transaction_id"] for c in records_of(tmp_path / "three")}) == 660


def test_a_hundred_times_as_much_takes_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    assert generate(tmp_path, scale=100, messy=True)["landed - superseded"] == 40_000
    assert time.monotonic() - start < 15


def test_other_feeds_keep_their_truth(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text('{"customers": {"read": 7}}')
    generate(tmp_path)
    assert json.loads((tmp_path / "truth.json").read_text())["customers"] == {"read": 7}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale is 0: give a number above 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 1e9}, "give at most 25000"),
        ({"days": 0}, "days is 0: give at least 1"),
        ({"seed": -1}, "seed is -1: give 0 or more"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
