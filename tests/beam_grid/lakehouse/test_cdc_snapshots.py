"""Full snapshots of a CDC feed against an oracle in plain Python: what they lack goes, what they repeat stays as it was.

The oracle walks each key's changes as known after some commit; it knows nothing of batches, tables or SQL.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.feeds import built_in
from beam_grid.lakehouse.live import live
from beam_grid.lakehouse.query import query
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.billing_transactions.generate import generate
from data_sources.contract import parse_contract
from tests.beam_grid.lakehouse.test_cdc import (
    BILLS,
    CLOCKS,
    OPEN,
    PARTS,
    START,
    Landing,
    Part,
    Row,
    ask_past,
    by_key,
    change,
    cut,
    cut_off_after,
    emptied,
    everything,
    instant,
    part_history,
    place,
    same,
    sequence,
)

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1800)]

SNAPSHOTS = {"snapshot_files": ["full_*"]}
BILLS_TOO: Row = {
    **BILLS, "lake": {**BILLS["lake"], **SNAPSHOTS},
    "fields": [{"name": "mask", "source": "__$update_mask", "type": "string"}, *BILLS["fields"],
               {"name": "sent", "source": "$.ts_ms", "type": "timestamp"}],
}  # fmt: skip
PARTS_TOO: Row = {**PARTS, "lake": {**PARTS["lake"], **SNAPSHOTS}}
CONTENT = {"bills_transactions": ("id", "amount", "due", "paid"), "parts": ("no", "made", "odd.name"),
           "meters": ("row", "id", "grid", "address")}  # fmt: skip


# The oracle ----------------------------------------------------------------------------------------------------


def told(landing: Landing, commit: int) -> list[tuple[list[Row], bool]]:
    """Of each snapshot as read by then what it held, and whether it tells of what it lacks."""
    read: dict[str, list[Part]] = defaultdict(list)
    for number, part in landing.read:
        if number <= commit:
            read[part.name].append(part)
    return [
        ([row for part in parts for row in part.rows], parts[-1].done and not any(p.has_reject for p in parts))
        for parts in read.values()
    ]


def counting(landing: Landing, commit: int) -> dict[tuple[Any, ...], list[Row]]:
    """The changes that count, by key and in the order of the log, as known after a commit; truncates are of every key."""
    known = {key: [row for number, row in rows if number <= commit] for key, rows in by_key(landing).items()}
    return judged(landing, commit, known)


def judged(
    landing: Landing, commit: int, changes: dict[tuple[Any, ...], list[Row]]
) -> dict[tuple[Any, ...], list[Row]]:
    """Of each key's changes, in the order of the log, those that count by the snapshots known then, and what these lack."""
    contract, content = landing.contract, CONTENT[landing.contract.name]
    snapshots, result = told(landing, commit), {}
    for key, known in changes.items():
        images = {sequence(row, contract): row for row in known}  # of one place the greatest
        steps = [(at, 1, place(row, contract), row) for at, row in images.items()]
        held_at = set()
        for rows, tells in snapshots:
            mine = [row for row in rows if tuple(row[k] for k in contract.lake.key) == key]
            held_at |= {sequence(row, contract) for row in mine}
            if tells and not mine:
                times = [row[contract.event_time] for row in rows]
                lack = dict.fromkeys(contract.schema.names) | dict(zip(contract.lake.key, key, strict=True))
                lack |= {"op": 1, contract.event_time: max(times)}
                steps.append((min(sequence(row, contract) for row in rows), 0, place(lack, contract), lack))
        before: Row | None = None
        found = []
        for at, is_change, _, row in sorted(steps, key=lambda step: step[:3]):
            now = row if row["op"] in (2, 4) else None
            if not is_change:
                counts = before is not None
            elif now and at in held_at and before:
                counts = any(now[n] != before[n] for n in content)
            else:
                counts = True
            found += [row] if counts else []
            before = now
        result[key] = found
    return result


def check(landing: Landing) -> None:
    """All three tables against the oracle, the history as known now."""
    names, commit = landing.contract.schema.names, len(landing.clocks)
    columns = ", ".join(f'"{n}"' for n in names)
    counted = counting(landing, commit)
    last = [rows[-1] for rows in counted.values() if rows]
    same(landing.table(columns=columns), [row for row in last if row["op"] in (2, 4)])
    deletes = [[row for row in rows if row["op"] == 1] for rows in counted.values()]
    same(landing.table("_deleted", columns), [rows[-1] for rows in deletes if rows] + emptied(landing))
    versions = []
    for rows in counted.values():
        ends = OPEN
        for row in reversed(rows):
            start = instant(row, landing.contract)
            if row["op"] in (2, 4):
                versions.append(row | {"valid_from": start, "valid_to": max(start, ends)})
            ends = min(ends, start)
    now = [
        r for r in landing.table("_history", f"{columns}, valid_from, valid_to, known_to") if r.pop("known_to") == OPEN
    ]
    same(now, versions)


def check_past(landing: Landing, draw: random.Random) -> int:
    """Ask each key's history at random times; returns how many answers were rows."""
    contract, at = landing.contract, [counting(landing, commit) for commit in range(len(landing.clocks) + 1)]
    times = {key: [instant(row, contract) for rows in (a[key] for a in at) for row in rows] for key in at[-1]}

    def wanted(key: tuple[Any, ...], valid: datetime, known: datetime) -> Row | None:
        had = [r for r in at[sum(c <= known for c in landing.clocks)][key] if instant(r, contract) <= valid]
        return had[-1] if had and had[-1]["op"] in (2, 4) else None

    return ask_past(landing, draw, times, wanted)


# Random histories ----------------------------------------------------------------------------------------------


def bill_history(draw: random.Random, number: int) -> list[Row]:
    """Changes of one key, of few values, so that a snapshot often repeats what a change has said."""
    return [
        change(f"k{number:03}", draw.choice([1, 2, 4, 4]), draw.randint(0, 12), draw.choice([1, 2]), draw.randint(0, 5))
        | {"mask": draw.choice([None, "0x00", "0x02"]), "paid": draw.choice([None, None, True]), "sent": sent(draw)}
        for _ in range(draw.randint(1, 6))
    ]


def sent(draw: random.Random) -> datetime:
    """When a message was made: as often another as not."""
    return START + timedelta(seconds=draw.randint(0, 1))


def bill_snapshot(draw: random.Random, name: str, history: list[list[Row]]) -> list[Part]:
    """A snapshot, in one or two parts: of most keys, with a row of its own, or a copy of a change that landed."""
    at, hour = draw.randint(2, 11), draw.randint(0, 5)
    rows = []
    for changes in history:
        if draw.random() < 0.75:
            row = change(changes[0]["id"], 2, at + draw.choice([0, 0, 1]), draw.choice([1, 2]), hour + draw.choice([0, 0, 1])) | {"sent": sent(draw)}  # fmt: skip
            copies = [one for one in changes if int(one["start_lsn"], 16) >= at]
            rows.append(draw.choice(copies) if copies and draw.random() < 0.3 else row)
    return parted(draw, name, rows)


def part_snapshot(draw: random.Random, name: str, history: list[list[Row]]) -> list[Part]:
    version, day = draw.choice([-5, 0, 5]), date(2026, 3, draw.randint(1, 4))
    rows: list[Row] = [
        {"no": of[0]["no"], "made": date(2026, 1, d), "version": version, "op": 2, "odd.name": draw.choice([None, "a", "B"]), "day": day}
        for of in history for d in (1, 2) if draw.random() < 0.6
    ]  # fmt: skip
    return parted(draw, name, rows)


def parted(draw: random.Random, name: str, rows: list[Row]) -> list[Part]:
    """Whole; in two slices; complete, then reopened; never complete; with a reject in its first or its last part."""
    half, how = len(rows) // 2, draw.choice(["whole", "sliced", "reopened", "begun", "spoilt", "spoilt later"])
    if name == "full_0":
        how = "reopened"
    if how in ("whole", "spoilt"):
        return [Part(name, rows, has_reject=how == "spoilt")]
    one, two = (
        Part(name, rows[:half], done=how in ("reopened", "spoilt later")),
        Part(name, rows[half:], done=how != "begun"),
    )
    two.has_reject = how == "spoilt later"
    return [one, two]


Slices = list[tuple[list[Row], list[Part]]]


def landed(lake: Path, feeds: list[Slices], stops: set[int]) -> list[Landing]:
    """The slices of both feeds, one commit each, with a refine after those commits that `stops` numbers."""
    opened = Lake.open(lake)
    landings = [Landing(opened, parse_contract(raw, "test")) for raw in (BILLS_TOO, PARTS_TOO)]
    for number in range(len(feeds[0])):
        for landing, slices in zip(landings, feeds, strict=True):
            landing.land(slices[number][0], CLOCKS[number], slices[number][1])
        if number + 1 in stops:
            refine(opened)
    return landings


def test_any_order_of_changes_and_snapshots_comes_to_one_state_and_history(tmp_path: Path) -> None:
    """120 histories, truncates and snapshots of all kinds in five commits, the last of changes only; and anew."""
    draw = random.Random(3)
    feeds: list[Slices] = []
    whole: list[Slices] = []
    for make, snapshot in ((bill_history, bill_snapshot), (part_history, part_snapshot)):
        histories = [make(draw, n) for n in range(60)]
        empty: Row = {"op": 0, "start_lsn": "0x6", "at": START + timedelta(hours=3)} if make is bill_history else {"op": 0, "version": 1, "day": date(2026, 3, 2)}  # fmt: skip
        slices: Slices = [(rows, []) for rows in cut(histories, draw, 5)]
        slices[3][0].append(empty)
        rows, parts = [row for of in histories for row in of] + [empty], []
        for number in range(6):
            pieces = snapshot(draw, f"full_{number}", histories)
            for piece, commit in zip(pieces, sorted(draw.sample(range(4), len(pieces))), strict=True):
                slices[commit][1].append(piece)
            parts.append(Part(pieces[0].name, [r for p in pieces for r in p.rows], pieces[-1].done, any(p.has_reject for p in pieces)))  # fmt: skip
        feeds.append(slices)
        whole.append([(rows, parts)])
    each = landed(tmp_path / "each", feeds, {2, 4, 5})
    for landing in each:
        check(landing)
        assert check_past(landing, draw) > 40
    tables = everything(each)
    shutil.rmtree(tmp_path / "each" / "tables")
    refine(each[0].lake)
    assert everything(each) == tables
    for one, other in zip(landed(tmp_path / "sorted", whole, set()), each, strict=True):
        assert counting(one, 1) == counting(other, 5), "the oracle says the same of one batch"
        counted, own = counting(other, 5), [row for _, row in other.landed]
        lacked = sum(row["op"] == 1 and row not in own for rows in counted.values() for row in rows)
        repeated = sum(row not in counted[key] for key, of_key in by_key(one).items() for _, row in of_key)
        assert lacked > 10 and repeated > 10, "or all this showed little"


# Stories -------------------------------------------------------------------------------------------------------


def full(name: str, at: int, amounts: dict[str, int], **said: Any) -> Part:
    """A snapshot of these bills at a place in the log; its time is as many hours after START."""
    return Part(name, [change(key, 2, at, amount) for key, amount in amounts.items()], **said)


def amounts(landing: Landing) -> dict[str, tuple[int, int]]:
    """What the table shows of each bill: the amount, and the place in the log of the change it is from."""
    return {row["id"]: (int(row["amount"]), int(row["start_lsn"], 16)) for row in landing.table()}


def test_stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    commit     1              2               3                    4               5              6               7
    changes    at 5 to 150                    at 50, late; 155
    snapshot                  at 100                               160, nothing    170, one row   200, a reject   the rest
                                                                   new             differs        300             of 300
    """
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract(BILLS_TOO, "test"))
    copied = change("copied", 2, 100, 10)
    first = ["same", "between", "lacked", "revived", "spoilt", "reopened", "copied", "other"]
    landing.land([*(change(key, 2, 5, 10) for key in first), copied, change("after", 2, 150, 1)])
    refine(landing.lake)
    assert amounts(landing)["copied"] == (10, 100)
    everyone = dict.fromkeys(["same", "between", "spoilt", "reopened", "copied", "other"], 10)
    landing.land([], parts=[full("full_1", 100, everyone)])
    cut_off_after(landing.lake, "silver.bills_transactions_deleted", monkeypatch)
    refine(landing.lake)
    check(landing)
    kept = dict.fromkeys(everyone, (10, 5)) | {"after": (1, 150)}
    assert amounts(landing) == kept, "a row the snapshot repeats is as it was, also where its copy had landed before"
    assert {row["id"] for row in landing.table("_deleted")} == {"lacked", "revived"}

    revived, updated = change("revived", 2, 150, 30), change("same", 4, 155, 11)
    landing.land([change("between", 4, 50, 20), change("late", 2, 50, 7), revived, updated])
    refine(landing.lake)
    check(landing)
    kept |= {"between": (10, 100), "revived": (30, 150), "same": (11, 155)}
    assert amounts(landing) == kept, "what a snapshot lacks is gone, also what comes late; a later change stands"

    tables = [landing.lake.path / "tables/silver" / name for name in ("bills_transactions", "bills_transactions_deleted", "bills_history")]  # fmt: skip
    versions = [live(table).version for table in tables]
    now = {key: amount for key, (amount, _) in kept.items()}
    landing.land([], parts=[full("full_2", 160, now)])
    done = refine(landing.lake)
    assert done.feeds == {"bills_transactions": 1} and refine(landing.lake).feeds == {}
    assert [live(table).version for table in tables] == versions, "a snapshot that says nothing new writes nothing"
    landing.land([], parts=[full("full_3", 170, now | {"other": 12})])
    refine(landing.lake)
    check(landing)
    assert _changed(tables[0], versions[0]) == [("other", "update_postimage"), ("other", "update_preimage")]
    assert live(tables[1]).version == versions[1] and amounts(landing)["other"] == (12, 170)
    learnt = [r for r in landing.table("_history") if r["known_from"] == landing.clocks[-1]]
    assert sorted((r["id"], int(r["start_lsn"], 16)) for r in learnt) == [("other", 5), ("other", 170)]

    now["other"] = 12
    spoilt, half = dict(list(now.items())[:2]), {k: v for k, v in now.items() if k != "reopened"}
    landing.land([], parts=[full("full_4", 200, spoilt, has_reject=True), full("full_5", 300, half)])
    refine(landing.lake)
    check(landing)
    assert {*now} - {*amounts(landing)} == {"reopened"}, "only a snapshot without rejects tells of what it lacks"
    landing.land([], parts=[full("full_5", 300, {"reopened": 10})])
    refine(landing.lake)
    check(landing)
    assert check_past(landing, random.Random(5)) > 20
    assert amounts(landing)["reopened"] == (10, 5), "and only until more of it is read"


def _changed(table: Path, after: int) -> list[tuple[str, str]]:
    """What the change data feed has after a version, in order."""
    from runners import delta

    reader = delta.session().read.format("delta").option("readChangeFeed", "true")
    rows = reader.option("startingVersion", after + 1).load(str(table)).collect()
    return sorted((row["id"], row["_change_type"]) for row in rows)


# Files ---------------------------------------------------------------------------------------------------------


def test_a_billing_snapshot_file_in_either_order(tmp_path: Path) -> None:
    """The generator's feed as it is, and a compressed snapshot that lacks five rows, has one more, and one otherwise."""
    generate(tmp_path / "grid", scale=0.5)
    feed = tmp_path / "grid/billing_cdc/billing_cdc_feed.json"
    records = [json.loads(line) for line in feed.read_text().splitlines()]
    records.sort(key=lambda r: (int(r["__$start_lsn"], 16), int(r["__$seqval"], 16), r["__$operation"]))
    last = {r["transaction_id"]: r for r in records if r["__$operation"] != 3}
    rows = {key: r for key, r in last.items() if r["__$operation"] != 1}
    updated = [key for key, r in rows.items() if r["__$operation"] == 4]
    *lost, paid = [*updated[:3], *[key for key in rows if key not in updated][:3]]
    at = {"__$operation": 2, "__$start_lsn": "0x0FFFFFFFFF", "__$seqval": None, "__$update_mask": "0x00",
          "__$command_id": None, "cdc_timestamp": "2025-06-17T00:00:00Z"}  # fmt: skip
    held = {key: r | at for key, r in rows.items() if key not in lost}
    held[paid] |= {"payment_status": "PAID", "payment_method": "CASH"}
    held["TXN-99999999"] = held[paid] | {"transaction_id": "TXN-99999999"}
    snapshot = feed.with_name("billing_snapshot_20250617.json.gz")
    snapshot.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in held.values()).encode()))
    expected = {key: r["__$start_lsn"] for key, r in rows.items() if key not in lost}
    expected |= dict.fromkeys([paid, "TXN-99999999"], "0x0FFFFFFFFF")

    seen = []
    contract = built_in()["billing_transactions"]
    for order, stops in (([feed, snapshot], {0, 1}), ([snapshot, feed], {1})):
        lake = Lake.open(tmp_path / f"lake-{order[0].name}")
        for number, file in enumerate(order):
            folder = tmp_path / f"{order[0].name}-{number}" / "billing_cdc"
            folder.mkdir(parents=True)
            shutil.copy(file, folder)
            with lake.lock("land"):
                found = land(lake, contract, Options(source=str(folder.parent), own_globs=True, shards=2))
            assert found.problems == [] and found.fates.landed == (len(records) if file == feed else len(held))
            if number in stops:
                refine(lake)
        shown = query(lake, 'SELECT transaction_id, "__$start_lsn" AS lsn FROM silver.billing_transactions').to_pylist()
        assert {row["transaction_id"]: row["lsn"] for row in shown} == expected
        gone = query(lake, "SELECT * FROM silver.billing_transactions_deleted").to_pylist()
        lacked = [row for row in gone if row["__$start_lsn"] is None]
        assert {row["transaction_id"] for row in lacked} == {*lost}
        assert {(row["cdc_timestamp"], row["_source"]) for row in lacked} == {
            (datetime(2025, 6, 17, tzinfo=UTC), f"billing_cdc/{snapshot.name}")
        }
        tables = ["billing_transactions", "billing_transactions_deleted", "billing_history"]
        columns = ", ".join(f'"{name}"' for name in contract.schema.names)
        seen.append([Counter(map(str, query(lake, _known_now(columns, name)).to_pylist())) for name in tables])
    assert seen[0] == seen[1]


def _known_now(columns: str, table: str) -> str:
    is_history = table.endswith("_history")
    more = ", valid_from, valid_to" if is_history else ""
    return f"SELECT {columns}{more} FROM silver.{table} WHERE {'is_current_knowledge' if is_history else 'true'}"
