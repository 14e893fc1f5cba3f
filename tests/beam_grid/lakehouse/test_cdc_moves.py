"""Rows that change their key, against the source itself: a table in plain Python that writes its log as SQL Server does.

The oracle of what was known when, walks each key's changes; it knows nothing of batches, tables or SQL.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_grid.lakehouse import cdc_moves
from beam_grid.lakehouse.duck import connect
from beam_grid.lakehouse.tables import Batch
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import parse_contract
from tests.beam_grid.lakehouse.test_cdc import (
    CLOCKS,
    OPEN,
    START,
    Landing,
    Part,
    Row,
    ask_past,
    cut,
    everything,
    instant,
    lsn,
    place,
    same,
    sequence,
)
from tests.beam_grid.lakehouse.test_cdc_snapshots import judged

METERS: Row = {
    "name": "meters", "format": "json", "event_time": "at",
    "lake": {"load": "cdc", "key": ["id", "grid"], "operation": "op", "sequence_by": ["start_lsn", "seqval", "op"],
             "snapshot_files": ["full_*"]},
    "fields": [
        {"name": "op", "type": "int64"}, {"name": "start_lsn", "type": "string"}, {"name": "seqval", "type": "string"},
        {"name": "row", "type": "int64"}, {"name": "id", "type": "string"}, {"name": "grid", "type": "int64"},
        {"name": "address", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "sent", "type": "timestamp", "source": "$.ts_ms"},
    ],
}  # fmt: skip
"""The table's own key is `row`; the lake's are a meter's number and its grid."""

SNAPSHOT = 4


# The source ----------------------------------------------------------------------------------------------------


@dataclass
class Source:
    """A table and its log; a transaction is a place and a time. `whole`: unchanged keys have their before images too."""

    grid: int
    whole: bool
    rows: dict[int, Row] = field(default_factory=dict)
    log: list[Row] = field(default_factory=list)
    transaction: int = 0
    states: list[dict[int, Row]] = field(default_factory=list)
    """The rows before each transaction."""

    def begin(self) -> None:
        self.states.append(dict(self.rows))
        self.transaction += 1

    def _write(self, op: int, row: Row, step: int) -> None:
        times = {"at": START + timedelta(hours=self.transaction), "sent": START + timedelta(seconds=step)}
        self.log.append(
            {**row, "op": op, "start_lsn": f"0x{self.transaction * 10:06X}", "seqval": f"0x{step:04X}", **times}
        )

    @property
    def _step(self) -> int:
        return len(self.log) + 1

    def insert(self, row: int, key: str, address: str) -> None:
        self.rows[row] = {"row": row, "id": key, "grid": self.grid, "address": address}
        self._write(2, self.rows[row], self._step)

    def update(self, row: int, **to: Any) -> None:
        before, after, step = self.rows[row], {**self.rows[row], **to}, self._step
        if self.whole or before["id"] != after["id"]:
            self._write(3, before, step)
        self.rows[row] = after
        self._write(4, after, step)

    def delete(self, row: int) -> None:
        self._write(1, self.rows.pop(row), self._step)

    def held(self) -> list[Row]:
        """The records of a snapshot taken after SNAPSHOT transactions."""
        at = {"op": 2, "start_lsn": f"0x{SNAPSHOT * 10 + 5:06X}", "seqval": "0x0001", "sent": START}
        rows = [*self.states, self.rows][: SNAPSHOT + 1][-1].values()
        return [{**row, **at, "at": START + timedelta(hours=SNAPSHOT, minutes=30)} for row in rows]


def source(draw: random.Random, number: int) -> Source:
    """Some transactions over a few rows: no two have one key at the end of any."""
    made, keys = Source(number, whole=draw.random() < 0.7), [f"m{n}" for n in range(12)]
    for _ in range(draw.randint(3, 9)):
        made.begin()
        rows = sorted(made.rows)
        free = [key for key in keys if key not in {row["id"] for row in made.rows.values()}]
        what = draw.choice(
            ["insert", "insert", "update", "move", "move", "swap", "rotate", "delete", "take over", "through"]
        )
        if what == "insert" or len(rows) < 2:
            made.insert(len(made.log) + 1, draw.choice(free), draw.choice("AB"))
        elif what == "update":
            made.update(draw.choice(rows), address=draw.choice("ABC"))
        elif what == "move":
            made.update(draw.choice(rows), id=draw.choice(free))
        elif what in ("swap", "rotate"):  # one statement: keys are not unique between its rows
            some = draw.sample(rows, min(len(rows), 2 if what == "swap" else 3))
            for row, key in zip(some, [made.rows[r]["id"] for r in [*some[1:], some[0]]], strict=True):
                made.update(row, id=key)
        elif what == "delete":
            made.delete(draw.choice(rows))
        elif what == "take over":
            one, other = draw.sample(rows, 2)
            key = made.rows[other]["id"]
            made.update(one, id=key)
            made.delete(other)
        else:  # two changes of one row in one transaction
            row, (first, last) = draw.choice(rows), draw.sample(free, 2)
            made.update(row, id=first)
            made.update(row, id=last)
    return made


# The oracle ----------------------------------------------------------------------------------------------------


def moved(row: Row, images: list[Row], key: list[str]) -> bool:
    """Whether the other side of the image's pair is known, and under other keys only."""
    others = [o for o in images if o["op"] == 7 - row["op"] and spot(o) == spot(row)]
    mine = [row[k] for k in key]
    return bool(others) and all([o[k] for k in key] != mine for o in others)


def spot(row: Row) -> tuple[int, int]:
    return lsn(row["start_lsn"]), lsn(row["seqval"])


def counting(landing: Landing, commit: int) -> dict[tuple[Any, ...], list[Row]]:
    """The changes that count, by key and in the order of the log, as known after a commit."""
    contract, key = landing.contract, landing.contract.lake.key
    known = [row for number, row in landing.landed if number <= commit and row["id"] is not None]
    by_spot: dict[Any, list[Row]] = defaultdict(list)
    for row in known:
        if row["op"] in (3, 4):
            by_spot[spot(row)].append(row)
    is_moved = {id(row): row["op"] in (3, 4) and moved(row, by_spot[spot(row)], key) for row in known}
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in known:
        if row["op"] != 3 or is_moved[id(row)]:
            found[tuple(row[k] for k in key)].append(row)
    result = {}
    for of, rows in found.items():
        rows.sort(key=lambda row: place(row, contract))
        images = list({sequence(row, contract): row for row in rows}.values())
        own: list[Row] = []
        before: Row | None = None
        for row in images:
            is_others = (
                row["op"] in (1, 3) and before is not None and before["op"] == 4 and is_moved[id(before)]
                and before["at"] == row["at"]
                and any(row[n] is not None and row[n] != before[n] for n in ("row", "address"))
            )  # fmt: skip
            own += [] if is_others else [row]
            before = row
        result[of] = own
    return judged(landing, commit, result)


def check(landing: Landing) -> None:
    """All three tables against the oracle, the history as known now."""
    contract, names = landing.contract, landing.contract.schema.names
    columns, counted = ", ".join(f'"{n}"' for n in names), counting(landing, len(landing.clocks))
    last = [rows[-1] for rows in counted.values() if rows]
    same(landing.table(columns=columns), [row for row in last if row["op"] in (2, 4)])
    ends = [[row for row in rows if row["op"] in (1, 3)] for rows in counted.values()]
    same(landing.table("_deleted", columns), [rows[-1] for rows in ends if rows])
    versions = []
    for rows in counted.values():
        ends_at = OPEN
        for row in reversed(rows):
            start = instant(row, contract)
            if row["op"] in (2, 4):
                versions.append(row | {"valid_from": start, "valid_to": max(start, ends_at)})
            ends_at = min(ends_at, start)
    history = landing.table("_history", f"{columns}, valid_from, valid_to, known_to")
    same([r for r in history if r.pop("known_to") == OPEN], versions)


def check_past(landing: Landing, draw: random.Random) -> int:
    contract, at = landing.contract, [counting(landing, commit) for commit in range(len(landing.clocks) + 1)]
    keys = {key for a in at for key in a}
    times = {key: sorted({instant(row, contract) for a in at for row in a.get(key, [])}) for key in keys}

    def wanted(key: tuple[Any, ...], valid: datetime, known: datetime) -> Row | None:
        had = at[sum(c <= known for c in landing.clocks)].get(key, [])
        had = [row for row in had if instant(row, contract) <= valid]
        return had[-1] if had and had[-1]["op"] in (2, 4) else None

    return ask_past(landing, draw, times, wanted)


def landed(lake: Path, slices: list[list[Row]], full: Part, stops: set[int]) -> Landing:
    """The slices, one commit each, and the snapshot with the second."""
    landing = Landing(Lake.open(lake), parse_contract(METERS, "test"))
    for number, rows in enumerate(slices):
        landing.land(rows, CLOCKS[number], [full] if number == 1 else [])
        if number + 1 in stops:
            refine(landing.lake)
            check(landing)
    return landing


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_any_order_and_slicing_comes_to_the_sources_table_and_history(tmp_path: Path) -> None:
    """150 tables' logs with copies and lone images, and a snapshot that lacks some rows, five commits; and anew."""
    draw = random.Random(12)
    sources = [source(draw, number) for number in range(150)]
    logs = [[*one.log, draw.choice(one.log)] for one in sources]
    for log in logs[::10]:  # images whose other side never comes
        log.append(draw.choice(log) | {"op": draw.choice([3, 3, 4]), "start_lsn": "0x000001", "at": START})
    slices = cut(logs, draw, 5)
    slices[0] = [row for row in slices[0] if row["op"] != 3]  # no row has moved yet: the fast way, then the other
    slices[1] += [row for log in logs for row in log if row["op"] == 3]
    rows = [row for one in sources for row in one.held()]
    lost = draw.sample(rows, len(rows) // 4)
    full = Part("full_1", [row for row in rows if row not in lost])
    each = landed(tmp_path / "each", slices, full, {1, 2, 5})
    assert check_past(each, draw) > 300
    seen = each.table(columns='"row", id, grid, address')
    lone = set(range(0, 150, 10))
    gone = {(row["grid"], row["row"]) for row in lost}
    gone -= {(row["grid"], row["row"]) for log in logs for row in log if lsn(row["start_lsn"]) > SNAPSHOT * 10}
    truth = [row for one in sources if one.grid not in lone for row in one.rows.values() if (one.grid, row["row"]) not in gone]  # fmt: skip
    same([row for row in seen if row["grid"] not in lone], truth)
    tables = everything([each])
    shutil.rmtree(tmp_path / "each" / "tables")
    refine(each.lake)
    assert everything([each]) == tables
    ended = [row for row in each.table("_deleted") if row["op"] == 3]
    assert len(ended) > 50 and len(gone) > 20, "no key was left"


# Which images moved, without Spark -----------------------------------------------------------------------------


def change(op: int, at: int, key: str, grid: int = 1, **said: Any) -> Row:
    return {"op": op, "start_lsn": f"0x{at:02X}", "seqval": "0x01", "row": 1, "id": key, "grid": grid, "address": "A",
            "at": START + timedelta(hours=at), **said}  # fmt: skip


def moves(landing: Landing, scratch: Path) -> list[tuple[str, int, int, int | None]]:
    """(key, operation, from which commit, until which) of what moved up to the last commit."""
    import pyarrow.parquet as pq

    batch = Batch(landing.lake.feed("meters"), landing.contract, list(landing.lake.feed("meters").commits()), 0)
    with connect(scratch) as engine:
        if not cdc_moves._write(engine, batch, scratch / "moves.parquet"):
            return []
    rows = pq.read_table(scratch / "moves.parquet").to_pylist()
    found = [(r["id"], 3 if r["__is_before"] else 4, r["__moved"], r["__own"]) for r in rows]
    return sorted(found, key=str)


def brings(landing: Landing, scratch: Path, applied: int) -> bool:
    log = landing.lake.feed("meters")
    with connect(scratch) as engine:
        return cdc_moves._brings(engine, Batch(log, landing.contract, list(log.commits()), applied))


def test_an_image_moves_when_both_sides_of_its_update_are_known(tmp_path: Path) -> None:
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract(METERS, "test"))
    same_key = [change(op, 2, "same") for op in (3, 4)]
    landing.land([change(2, 1, "a"), *same_key, change(3, 3, "a"), change(3, 4, "lone"), change(4, 5, "later")])
    assert moves(landing, tmp_path / "s") == [] and not brings(landing, tmp_path / "s", 0)
    respelt = change(4, 3, "b", start_lsn="00000000:00000000:0003", seqval="0X1")
    landing.land([change(2, 9, "other"), respelt])
    assert moves(landing, tmp_path / "s") == [("a", 3, 2, None), ("b", 4, 2, None)]
    assert brings(landing, tmp_path / "s", 1)
    landing.land([change(3, 5, "later"), change(4, 4, "lone")])
    assert not brings(landing, tmp_path / "s", 2), "the other side has the same key"
    landing.land([change(4, 4, "lone", grid=2), change(3, 7, "x", start_lsn=None, seqval=None), change(4, 7, "y", start_lsn=None, seqval=None)])  # fmt: skip
    assert [m[:2] for m in moves(landing, tmp_path / "s")] == [("a", 3), ("b", 4), ("lone", 4)], "no place, no pair"


def test_where_many_share_a_place_a_key_that_is_seen_again_has_not_moved(tmp_path: Path) -> None:
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract(METERS, "test"))
    landing.land([change(3, 2, "a"), change(4, 2, "b")])
    assert moves(landing, tmp_path / "s") == [("a", 3, 1, None), ("b", 4, 1, None)]
    landing.land([change(3, 2, "b"), change(4, 2, "a")])
    assert moves(landing, tmp_path / "s") == [("a", 3, 1, 2), ("b", 4, 1, 2)]


@pytest.mark.parametrize("seed", range(20))
def test_what_moved_is_what_the_oracle_says(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    landing = Landing(Lake.open(tmp_path / "lake"), parse_contract(METERS, "test"))
    rows = [
        change(draw.choice([3, 4]), draw.randint(1, 4), draw.choice("abc"), seqval=draw.choice(["0x1", "0x01", None]))
        for _ in range(25)
    ]
    for part in (rows[:8], rows[8:16], rows[16:]):
        landing.land(part)
    found = {(key, op) for key, op, _, own in moves(landing, tmp_path / "s") if own is None}
    key = landing.contract.lake.key

    def at(row: Row) -> Any:
        return lsn(row["start_lsn"]), row["seqval"] and lsn(row["seqval"])

    wanted = {
        (row["id"], row["op"])
        for row in rows
        if (others := [o for o in rows if o["op"] == 7 - row["op"] and at(o) == at(row)])
        and all([o[k] for k in key] != [row[k] for k in key] for o in others)
    }
    assert found == wanted
