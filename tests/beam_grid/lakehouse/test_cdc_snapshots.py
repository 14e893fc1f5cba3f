"""Full snapshots of a CDC feed against an oracle in plain Python: what they lack goes, what they repeat stays as it was.

The oracle walks each key's changes as known after some commit; it knows nothing of batches, tables or SQL.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.landing import Lake
from beam_grid.refine import refine
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
    by_key,
    change,
    cut,
    everything,
    instant,
    part_history,
    place,
    same,
    sequence,
    truncates,
)

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1800)]

SNAPSHOTS = {"snapshot_files": ["full_*"]}
BILLS_TOO: Row = {
    **BILLS, "lake": {**BILLS["lake"], **SNAPSHOTS},
    "fields": [{"name": "mask", "source": "__$update_mask", "type": "string"}, *BILLS["fields"]],
}  # fmt: skip
PARTS_TOO: Row = {**PARTS, "lake": {**PARTS["lake"], **SNAPSHOTS}}
CONTENT = {"bills_transactions": ("id", "amount", "due", "paid"), "parts": ("no", "made", "odd.name")}


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
    contract, content = landing.contract, CONTENT[landing.contract.name]
    snapshots, result = told(landing, commit), {}
    for key, landed in by_key(landing).items():
        known = [row for number, row in landed if number <= commit]
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
    emptied = [row for number, row in truncates(landing) if number <= commit]
    same(landing.table("_deleted", columns), [rows[-1] for rows in deletes if rows] + emptied)
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


def check_past(landing: Landing, draw: random.Random, asked: int = 6) -> int:
    """Ask each key's history as of both times, edges above all; returns how many answers were rows."""
    histories, names, answers = defaultdict(list), landing.contract.schema.names, 0
    for row in landing.table("_history"):
        histories[tuple(row[k] for k in landing.contract.lake.key)].append(row)
    at = [counting(landing, commit) for commit in range(len(landing.clocks) + 1)]
    for key in at[-1]:
        times = [instant(row, landing.contract) for rows in (a[key] for a in at) for row in rows]
        for _ in range(asked if times else 0):
            valid = draw.choice(times) + timedelta(microseconds=draw.choice([-1, 0, 0, 1]))
            known = draw.choice(landing.clocks) + timedelta(microseconds=draw.choice([-1, 0, 0, 1]))
            found = [
                {n: row[n] for n in names} for row in histories[key]
                if row["valid_from"] <= valid < row["valid_to"] and row["known_from"] <= known < row["known_to"]
            ]  # fmt: skip
            had = [r for r in at[sum(c <= known for c in landing.clocks)][key] if instant(r, landing.contract) <= valid]
            assert found == ([had[-1]] if had and had[-1]["op"] in (2, 4) else []), (key, valid, known)
            answers += len(found)
    return answers


# Random histories ----------------------------------------------------------------------------------------------


def bill_history(draw: random.Random, number: int) -> list[Row]:
    """Changes of one key, of few values, so that a snapshot often repeats what a change has said."""
    return [
        change(f"k{number:03}", draw.choice([1, 2, 4, 4]), draw.randint(0, 12), draw.choice([1, 2]), draw.randint(0, 5))
        | {"mask": draw.choice([None, "0x00", "0x02"]), "paid": draw.choice([None, None, True])}
        for _ in range(draw.randint(1, 6))
    ]


def bill_snapshot(draw: random.Random, name: str, history: list[list[Row]]) -> list[Part]:
    """A snapshot, in one or two parts: of most keys, with a row of its own, or a copy of a change that landed."""
    at, hour = draw.randint(2, 11), draw.randint(0, 5)
    rows = []
    for changes in history:
        if draw.random() < 0.75:
            row = change(changes[0]["id"], 2, at + draw.choice([0, 0, 1]), draw.choice([1, 2]), hour + draw.choice([0, 0, 1]))  # fmt: skip
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
    """120 histories, truncates and snapshots of all kinds in five commits, refined by one and two, and anew."""
    draw = random.Random(20260302)
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
            for piece, commit in zip(pieces, sorted(draw.sample(range(5), len(pieces))), strict=True):
                slices[commit][1].append(piece)
            parts.append(Part(pieces[0].name, [r for p in pieces for r in p.rows], pieces[-1].done, any(p.has_reject for p in pieces)))  # fmt: skip
        feeds.append(slices)
        whole.append([(rows, parts)])
    each = landed(tmp_path / "each", feeds, {2, 3, 5})
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
