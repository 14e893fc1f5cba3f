"""A CDC feed's tables against an oracle in plain Python, over landing zones made by hand.

The oracle sorts and takes the last; it knows nothing of batches. Each history has keys of its own, so that one refine
takes in hundreds of them at once.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid import refine as refining
from beam_grid.commit import Fates
from beam_grid.errors import GridError, RunFailed
from beam_grid.lakehouse import tables
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.sequence import sequence_sql
from beam_grid.lakehouse.tables import Table, transaction
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.refine import refine, versions
from data_sources.contract import LINEAGE, Contract, parse_contract
from tests import committed
from tests.data_sources.decode.test_debezium import bills as debezium_bills

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2026, 3, 1, tzinfo=UTC)
OPEN = datetime(9999, 12, 31, tzinfo=UTC)
Row = dict[str, Any]

BILLS: Row = {
    "name": "bills_transactions", "format": "json", "event_time": "at",
    "lake": {"load": "cdc", "key": ["id"], "operation": "op", "cluster_by": ["id"],
             "sequence_by": ["start_lsn", "seqval", "serial", "op"]},
    "fields": [
        {"name": "op", "type": "int64"}, {"name": "start_lsn", "type": "string"}, {"name": "seqval", "type": "string"},
        {"name": "serial", "type": "int64"}, {"name": "id", "type": "string"}, {"name": "amount", "type": "decimal(10,2)"},
        {"name": "due", "type": "date"}, {"name": "paid", "type": "bool"}, {"name": "at", "type": "timestamp"},
    ],
}  # fmt: skip
PARTS: Row = {  # two columns of key, one sequence number that may be below zero, days for times, no operation in the order
    "name": "parts", "format": "json", "event_time": "day",
    "lake": {"load": "cdc", "key": ["no", "made"], "operation": "op", "sequence_by": ["version"]},
    "fields": [
        {"name": "no", "type": "int64"}, {"name": "made", "type": "date"}, {"name": "version", "type": "int64"},
        {"name": "op", "type": "int64"}, {"name": "odd.name", "type": "string"}, {"name": "day", "type": "date"},
    ],
}  # fmt: skip


def bills() -> Contract:
    return parse_contract(BILLS, "test")


def parts() -> Contract:
    return parse_contract(PARTS, "test")


@dataclass
class Part:
    """What a commit reads of a full snapshot: some records, maybe its last (`done`), maybe one that is rejected."""

    name: str
    rows: list[Row]
    done: bool = True
    has_reject: bool = False


@dataclass
class Landing:
    """A feed's landing zone and the changes in it; `now` of a commit may go back, what is known may not."""

    lake: Lake
    contract: Contract
    landed: list[tuple[int, Row]] = field(default_factory=list)
    clocks: list[datetime] = field(default_factory=list)
    read: list[tuple[int, Part]] = field(default_factory=list)

    def land(self, rows: list[Row], now: datetime | None = None, parts: Sequence[Part] = ()) -> None:
        """Commit these changes in two files, with bounds of the key as manifests have them.

        Of snapshots those records land that are no copies; what they held is written whole.
        """
        log, number = self.lake.feed(self.contract.name), len(self.clocks) + 1
        now = now or START + timedelta(days=number)
        folder = log.path / "data" / f"attempt-{number}"
        folder.mkdir(parents=True)
        schema = pa.schema([f.with_nullable(True) for f in self.contract.landed_schema])
        names, files = self.contract.schema.names, []
        parts = [replace(part, rows=[{n: row.get(n) for n in names} for row in part.rows]) for part in parts]
        known = [row for _, row in self.landed] + [{n: row.get(n) for n in names} for row in rows]
        sourced = [("in", row) for row in rows]
        for part in parts:
            for row in part.rows:
                if row not in known:
                    known.append(row)
                    sourced.append((part.name, row))
        rows = [
            {n: row.get(n) for n in names}
            | dict.fromkeys(LINEAGE)
            | {"_source": source, "_position": place, "_commit": number, "_ingested_at": now}
            for place, (source, row) in enumerate(sourced)
        ]
        files += self._aside(folder, parts, number)
        for half in (0, 1):
            if some := rows[half::2]:
                path = folder / f"rows-{half}.parquet"
                table = pa.Table.from_pylist(some, schema=schema)
                pq.write_table(table, path)
                least, greatest = bounds(table, [*self.contract.lake.key, "op"])
                where = f"data/{folder.name}/{path.name}"
                files.append(
                    committed.file("rows", where, len(some), bytes=path.stat().st_size, min=least, max=greatest)
                )
        log.remember(self.contract)
        ends = [committed.file_end(part.name, role="snapshot", done=part.done) for part in parts]
        log.append(
            committed.commit(
                number, self.contract.name, attempt=folder.name, contract=self.contract.hash, now=micros(now),
                files=tuple(files), fates=Fates(landed=len(rows)),
                partitions=tuple(committed.partition(end.path, ends=(end,)) for end in ends),
            )
        )  # fmt: skip
        self.read += [(number, part) for part in parts]
        self.landed += [(number, {n: row[n] for n in names}) for row in rows]
        self.clocks.append(max([now, *self.clocks]))

    def _aside(self, folder: Path, parts: Sequence[Part], number: int) -> list[Row]:
        """What snapshots held and what of them was rejected, a file each."""
        lake, files = self.contract.lake, []
        names = list(dict.fromkeys([*lake.key, *lake.sequence_by, str(lake.operation), self.contract.event_time]))
        schema = pa.schema(
            [*(self.contract.schema.field(n).with_nullable(True) for n in names), ("_source", pa.string())]
        )
        bad = pa.schema([("cause", pa.string()), ("rule", pa.string()), ("reason", pa.string()), ("_source", pa.string()),
                         ("_partition", pa.int32()), ("_position", pa.int64()), ("raw", pa.binary()),
                         ("_ingested_at", pa.timestamp("us", "UTC")), ("_commit", pa.int64())])  # fmt: skip
        found = {
            "snapshot": ([row | {"_source": p.name} for p in parts for row in p.rows], schema),
            "rejected": ([{"_source": p.name, "_commit": number} for p in parts if p.has_reject], bad),
        }
        for kind, (rows, columns) in found.items():
            if rows:
                path = folder / f"{kind}-{number}.parquet"  # unlike any other, as land names them
                pq.write_table(pa.Table.from_pylist(rows, schema=columns), path)
                files.append(committed.file(kind, f"data/{folder.name}/{path.name}", len(rows)))
        return files

    def table(self, suffix: str = "", columns: str = "*") -> list[Row]:
        name = f"silver.{self.contract.name}{suffix}"
        if suffix == "_history":
            name = name.replace("_transactions", "")
        return query(self.lake, f"SELECT {columns} FROM {name}").to_pylist()


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def bounds(table: pa.Table, key: list[str]) -> tuple[Row, Row]:
    def plain(value: Any) -> Any:
        return (value - date(1970, 1, 1)).days if isinstance(value, date) else value

    known = {k: [plain(v) for v in table[k].to_pylist() if v is not None] for k in key}
    return {k: min(v, default=None) for k, v in known.items()}, {k: max(v, default=None) for k, v in known.items()}


# The oracle: order, state, and what was known when.


def lsn(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    widths = (8, 8, 4, 4)
    return int("".join(part.zfill(width) for part, width in zip(text.split(":"), widths, strict=False)), 16)


def place(row: Row, contract: Contract) -> tuple[Any, ...]:
    """Where a change stands among its key's: by sequence, then by its values, null least."""
    names = [n for n in contract.lake.sequence_by if n != "op"] + ["op"]
    order = [lsn(row[n]) if isinstance(row[n], str) else row[n] for n in names]
    return tuple((v is not None, v) if v is not None else (False,) for v in [*order, *row.values()])


def sequence(row: Row, contract: Contract) -> tuple[Any, ...]:
    return place(row, contract)[: len({*contract.lake.sequence_by, "op"})]


def instant(row: Row, contract: Contract) -> datetime:
    time = row[contract.event_time]
    return time if isinstance(time, datetime) else datetime(time.year, time.month, time.day, tzinfo=UTC)


def truncates(landing: Landing) -> list[tuple[int, Row]]:
    return [(commit, row) for commit, row in landing.landed if row["op"] == 0]


def emptied(landing: Landing) -> list[Row]:
    """One truncate of each place in the log, that with the greatest values."""
    rows = sorted((row for _, row in truncates(landing)), key=lambda row: place(row, landing.contract))
    return list({sequence(row, landing.contract): row for row in rows}.values())


def by_key(landing: Landing) -> dict[tuple[Any, ...], list[tuple[int, Row]]]:
    """The changes that count, by key and in the order of the log; a truncate is one of every key."""
    found: dict[tuple[Any, ...], list[tuple[int, Row]]] = defaultdict(list)
    for commit, row in landing.landed:
        key = tuple(row[k] for k in landing.contract.lake.key)
        if row["op"] in (1, 2, 4) and None not in key:
            found[key].append((commit, row))
    for of_key in found.values():
        of_key += truncates(landing)
        of_key.sort(key=lambda change: place(change[1], landing.contract))
    return found


def living(landing: Landing) -> list[Row]:
    last = [changes[-1][1] for changes in by_key(landing).values()]
    return [row for row in last if row["op"] not in (0, 1)]


def buried(landing: Landing) -> list[Row]:
    deletes = [[row for _, row in changes if row["op"] == 1] for changes in by_key(landing).values()]
    return [of_key[-1] for of_key in deletes if of_key] + emptied(landing)


def known_now(landing: Landing) -> list[Row]:
    """Versions as known after all commits: of each sequence the last image, to the earliest time of those after it."""
    versions = []
    for changes in by_key(landing).values():
        last = {sequence(row, landing.contract): row for _, row in changes}
        ends = OPEN
        for row in reversed(last.values()):
            start = instant(row, landing.contract)
            if row["op"] not in (0, 1):
                versions.append(row | {"valid_from": start, "valid_to": max(start, ends)})
            ends = min(ends, start)
    return versions


def as_of(landing: Landing, changes: list[tuple[int, Row]], valid: datetime, known: datetime) -> Row | None:
    """The last of the changes known by then whose time had come; a sequence is its last known image only."""
    had = [row for commit, row in changes if landing.clocks[commit - 1] <= known]
    had = list({sequence(row, landing.contract): row for row in had}.values())
    had = [row for row in had if instant(row, landing.contract) <= valid]
    return had[-1] if had and had[-1]["op"] not in (0, 1) else None


def check(landing: Landing) -> None:
    names = landing.contract.schema.names
    columns = ", ".join(f'"{n}"' for n in names)
    same(landing.table(columns=columns), living(landing))
    same(landing.table("_deleted", columns), buried(landing))
    now = [
        r for r in landing.table("_history", f"{columns}, valid_from, valid_to, known_to") if r.pop("known_to") == OPEN
    ]
    same(now, known_now(landing))


def same(seen: Iterable[Row], wanted: Iterable[Row]) -> None:
    have, want = (Counter(frozenset(row.items()) for row in rows) for rows in (seen, wanted))
    assert have == want


def check_past(landing: Landing, draw: random.Random) -> int:
    """Ask each key's history at random times; returns how many answers were rows."""
    changes = by_key(landing)
    times = {key: [instant(row, landing.contract) for _, row in of_key] for key, of_key in changes.items()}
    return ask_past(landing, draw, times, lambda key, valid, known: as_of(landing, changes[key], valid, known))


def ask_past(
    landing: Landing, draw: random.Random, times: dict[tuple[Any, ...], list[datetime]],
    wanted: Callable[[tuple[Any, ...], datetime, datetime], Row | None], asked: int = 6,
) -> int:  # fmt: skip
    """Ask each key's history as of both times, edges above all; returns how many answers were rows."""
    histories, names, answers = defaultdict(list), landing.contract.schema.names, 0
    for row in landing.table("_history"):
        histories[tuple(row[k] for k in landing.contract.lake.key)].append(row)
    for key, instants in times.items():
        for _ in range(asked if instants else 0):
            valid = draw.choice(instants) + timedelta(microseconds=draw.choice([-1, 0, 0, 1]))
            known = draw.choice(landing.clocks) + timedelta(microseconds=draw.choice([-1, 0, 0, 1]))
            found = [
                {n: row[n] for n in names} for row in histories[key]
                if row["valid_from"] <= valid < row["valid_to"] and row["known_from"] <= known < row["known_to"]
            ]  # fmt: skip
            expected = wanted(key, valid, known)
            assert found == ([] if expected is None else [expected]), (key, valid, known)
            answers += len(found)
    return answers


# Random histories.


def bill_history(draw: random.Random, number: int) -> list[Row]:
    """Changes of two or three keys in the order of the log: honest or wild, then whatever else a log may hold."""
    rows, honest = [], draw.random() < 0.4
    for key in range(draw.choice([1, 2, 3])):
        identity = f"{'kK'[key % 2]}{number:03}-{key}"
        for step in range(draw.randint(1, 9)):
            number_ = step * 7 if honest else draw.randint(0, 9)
            wild = draw.choice([f"0x{number_:04x}", f"0x{number_:02X}", f"00000000:{number_:x}", f"00000000:00000000:{number_ >> 16:04x}:{number_:04x}"])  # fmt: skip
            rows.append(
                {
                    "id": identity, "op": draw.choice([1, 2, 4, 4, 4]), "start_lsn": f"0x{number_:010X}" if honest else wild,
                    "seqval": None if draw.random() < 0.2 else f"0x{draw.choice([1, 15, 16, 300]):X}",
                    "serial": draw.choice([None, None, 2, 9, 10, -1]),
                    "amount": draw.choice([None, Decimal("1.50"), Decimal("-2.25"), Decimal("10.00")]),
                    "due": draw.choice([None, date(2026, 4, 1)]), "paid": draw.choice([None, True, False]),
                    "at": START + timedelta(hours=step if honest else draw.randint(0, 5)),
                }
            )  # fmt: skip
    rows += [draw.choice(rows) | {"amount": Decimal("77.00"), "op": 3, "start_lsn": "0xFFFF"} for _ in range(draw.randint(0, 3))]  # fmt: skip
    rows += [draw.choice(rows) | {"amount": draw.choice([None, Decimal("9.00")])} for _ in range(draw.randint(0, 3))]
    rows += [draw.choice(rows) for _ in range(draw.randint(0, 3))]
    return [*rows, {"op": None, "id": None, "at": START}]


def part_history(draw: random.Random, number: int) -> list[Row]:
    rows: list[Row] = [
        {
            "no": number - 100, "made": date(2026, 1, draw.randint(1, 2)), "version": draw.choice([None, -11, -2, 0, 1, 9, 10]),
            "op": draw.choice([1, 2, 4, 4]), "odd.name": draw.choice([None, "a", "B"]), "day": date(2026, 3, draw.randint(1, 4)),
        }
        for _ in range(draw.randint(1, 7))
    ]  # fmt: skip
    return [*rows, draw.choice(rows)]


def cut(histories: list[list[Row]], draw: random.Random, commits: int) -> list[list[Row]]:
    """Each history in an order of its own, over some of the commits."""
    slices: list[list[Row]] = [[] for _ in range(commits)]
    for history in histories:
        history = list(history)
        if draw.random() < 0.7:
            draw.shuffle(history)
        places = sorted(draw.randrange(commits) for _ in history) if draw.random() < 0.5 else [draw.randrange(commits) for _ in history]  # fmt: skip
        for row, into in zip(history, places, strict=True):
            slices[into].append(row)
    return slices


def everything(landings: list[Landing]) -> dict[str, list[str]]:
    return {
        f"{one.contract.name}{suffix}": sorted(
            json.dumps(row, default=str, sort_keys=True) for row in one.table(suffix)
        )
        for one in landings
        for suffix in ("", "_deleted", "_history")
    }


CLOCKS = [START + timedelta(days=d) for d in (3, 1, 5, 5, 9)]


def landed(lake: Path, slices: list[tuple[list[Row], list[Row]]], stops: set[int]) -> list[Landing]:
    """Both feeds' slices, one commit each, with a refine after those commits that `stops` numbers."""
    opened = Lake.open(lake)
    landings = [Landing(opened, bills()), Landing(opened, parts())]
    for number, (some, others) in enumerate(slices):
        landings[0].land(some, CLOCKS[number])
        landings[1].land(others, CLOCKS[number])
        if number + 1 in stops:
            refine(opened)
    return landings


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_any_order_copies_and_slices_come_to_the_sources_state_and_history(tmp_path: Path) -> None:
    """280 histories and truncates of all of them, five commits: refined by two and then by three, and at once after the
    tables were deleted."""
    draw = random.Random(20260301)
    old, new = [[make(draw, n) for n in range(140)] for make in (bill_history, part_history)]
    slices = list(zip(cut(old, draw, 5), cut(new, draw, 5), strict=True))
    # Two in one commit, others that come first or last and stand before those, and some that are sent again.
    for commit, lsn_, hour in ((2, 6, 3), (2, 4, 1), (4, 2, 2), (3, 4, 0)):
        slices[commit][0].append({"op": 0, "start_lsn": f"0x{lsn_:X}", "at": START + timedelta(hours=hour)})
    for commit, version, day in ((1, 5, 2), (3, None, 3), (3, -11, 4), (1, -11, 2), (0, -2, 2), (2, -2, 1)):
        slices[commit][1].append({"op": 0, "version": version, "day": date(2026, 3, day)})
    each = landed(tmp_path / "each", slices, {2, 5})
    for landing in each:
        check(landing)
        assert check_past(landing, draw) > 200
        last = max(place(row, landing.contract) for _, row in truncates(landing))
        gone = [changes for changes in by_key(landing).values() if place(changes[-1][1], landing.contract) == last]
        assert sum(changes[-2][1]["op"] not in (0, 1) for changes in gone) > 10, "truncates deleted next to nothing"
    tables = everything(each)
    assert len(tables["bills_transactions_history"]) > 1.2 * len(known_now(each[0])), "nothing was learnt late"
    shutil.rmtree(tmp_path / "each" / "tables")
    refine(each[0].lake)
    assert everything(each) == tables


def change(key: str, op: int, at: int, amount: int, hour: int | None = None) -> Row:
    """A change of bill `key`, the `at`-th of the log; its time is that many hours after START unless said."""
    time = START + timedelta(hours=at if hour is None else hour)
    return {"id": key, "op": op, "start_lsn": f"0x{at:04X}", "amount": Decimal(amount), "at": time}


STORIES: dict[str, tuple[list[list[tuple[int, int, int]]], list[int | None]]] = {
    # commits of (operation, place in the log, amount), and the amount that is to be seen after each; None for no row
    "a delete older than what the row shows": ([[(2, 1, 10), (4, 5, 50)], [(1, 3, 0)]], [50, 50]),
    "an update older than the delete": ([[(2, 1, 10), (1, 5, 0)], [(4, 4, 40)]], [None, None]),
    "a delete and, commits later, an older update": ([[(2, 1, 10)], [(1, 5, 0)], [(4, 4, 40)]], [10, None, None]),
    "a delete before its insert": ([[(1, 5, 0)], [(2, 1, 10)], [(4, 3, 30)]], [None, None, None]),
    "a row that comes back": ([[(2, 1, 10), (1, 5, 0)], [(2, 7, 70)], [(4, 6, 60)], [(1, 6, 0)]], [None, 70, 70, 70]),
    "a row that came back before it went": ([[(2, 7, 70)], [(1, 5, 0)], [(4, 8, 80)]], [70, 70, 80]),
    "an update older than the last": ([[(2, 1, 10)], [(4, 5, 50)], [(4, 3, 30)]], [10, 50, 50]),
    "an image before an update, alone": ([[(3, 9, 90)], [(2, 1, 10)], [(3, 15, 50)]], [None, 10, 10]),  # nobody else is there
    "an update of a row never seen": ([[(4, 5, 50)]], [50]),
    "a delete of a row never seen": ([[(1, 5, 0)]], [None]),
    "two images for one place in the log": ([[(4, 5, 51)], [(4, 5, 50)], [(4, 5, 52)], [(4, 5, 50)]], [51, 51, 52, 52]),
    "${env:HOME}": ([[(2, 1, 10)], [(4, 5, 50)]], [10, 50]),  # Spark put what is called so in the place of such text
    "delete and delete again": ([[(2, 1, 10)], [(1, 5, 0)], [(1, 3, 0)], [(4, 4, 40)]], [10, None, None, None]),
}  # fmt: skip


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_stories(tmp_path: Path) -> None:
    landing = Landing(Lake.open(tmp_path / "a lake[1]{*}"), bills())
    for commit in range(4):
        rows = [
            change(story, *one)
            for story, (commits, _) in STORIES.items()
            for one in (commits[commit] if commit < len(commits) else [])
        ]
        landing.land([*rows, {"id": None, "at": START}])
        refine(landing.lake)
        seen = {row["id"]: int(row["amount"]) for row in landing.table()}
        assert {story: seen.get(story) for story in STORIES} == {
            story: wanted[min(commit, len(wanted) - 1)] for story, (_, wanted) in STORIES.items()
        }
        check(landing)
    assert {row["id"] for row in landing.table("_deleted")} == {s for s, (c, _) in STORIES.items() if any(o[0] == 1 for x in c for o in x)}  # fmt: skip
    from runners import delta

    path = landing.lake.path / "tables" / "silver" / "bills_transactions"
    feed = delta.session().read.format("delta").option("readChangeFeed", "true").option("startingVersion", 1).load(str(path))  # fmt: skip
    kinds = [row["_change_type"] for row in feed.where("id = 'a row that comes back'").collect()]
    assert kinds == ["insert"], "the tombstone and the late changes made no change of the row"
    kinds = [row["_change_type"] for row in feed.where("id = 'a delete and, commits later, an older update'").collect()]
    assert sorted(kinds) == ["delete", "insert"]


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_a_truncate_deletes_what_stands_before_it_whatever_comes_first(tmp_path: Path) -> None:
    """
    log          a 1   b 2   update of a 3   truncate 5   c 6   b 7
    lands first  a     b
    then                                     truncate     c
    and last                 update of a                        b
    """

    def envelope(op: str, at: int, key: str | None = None) -> Row:
        source = {"commit_lsn": f"0x{at:02X}", "ts_ms": (micros(START) // 1000) + at * 3_600_000}
        return {"op": op, "before": None, "after": key and {"id": key, "amount": at}, "source": source}

    feed, lake = debezium_bills(), Lake.open(tmp_path / "lake")
    for number, envelopes in enumerate(
        (
            [envelope("c", 1, "a"), envelope("c", 2, "b")],
            [envelope("t", 5), envelope("c", 6, "c")],
            [envelope("u", 3, "a"), envelope("c", 7, "b")],
        )
    ):
        source = tmp_path / f"{number}.json"
        source.write_text("".join(json.dumps(one) + "\n" for one in envelopes))
        with lake.lock("land"):
            assert land(lake, feed, Options(source=str(source), now=micros(START), shards=2)).fates.landed == 2
        refine(lake)

    def rows(sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in query(lake, sql).to_pylist()]

    assert rows("SELECT id, CAST(amount AS INT) FROM silver.bills ORDER BY id") == [("b", 7), ("c", 6)]
    five = START + timedelta(hours=5)
    assert rows('SELECT "__$operation", id, "__$start_lsn", "at" FROM silver.bills_deleted') == [
        (0, None, "0x05", five)
    ]
    known = "is_current_knowledge ORDER BY id, valid_from"
    assert [
        (key, begin.hour, None if end == OPEN else end.hour)
        for key, begin, end in rows(f"SELECT id, valid_from, valid_to FROM silver.bills_history WHERE {known}")
    ] == [("a", 1, 3), ("a", 3, 5), ("b", 2, 5), ("b", 7, None), ("c", 6, None)]
    from runners import delta

    path = lake.path / "tables" / "silver" / "bills"
    told = delta.session().read.format("delta").option("readChangeFeed", "true").option("startingVersion", 1).load(str(path))  # fmt: skip
    assert sorted((row["id"], row["_change_type"]) for row in told.collect()) == [
        ("a", "delete"), ("a", "insert"), ("b", "delete"), ("b", "insert"), ("b", "insert"), ("c", "insert"),
    ]  # fmt: skip


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_history_can_be_asked_as_of_both_times(tmp_path: Path) -> None:
    """
    log          insert 10 at 01:00    update 30 at 03:00    update 20 at 02:00, late    delete at 05:00
    learnt       day 1                 day 2                 day 3                       day 4
    """
    landing = Landing(Lake.open(tmp_path / "lake"), bills())
    for number, one in enumerate(["2 1 10", "4 3 30", "4 2 20", "1 5 0"]):
        at = [int(word) for word in one.split()]
        landing.land([change("b", *at), change("zero", 2, number * 2 + 1, number, hour=7)])
    refine(landing.lake)

    def amount(hour: float, day: float) -> int | None:
        valid, known = START + timedelta(hours=hour), START + timedelta(days=day)
        found = query(
            landing.lake,
            f"SELECT amount FROM silver.bills_history WHERE id = 'b' AND valid_from <= TIMESTAMP '{valid:%Y-%m-%dT%H:%M:%SZ}' "
            f"AND valid_to > TIMESTAMP '{valid:%Y-%m-%dT%H:%M:%SZ}' AND known_from <= TIMESTAMP '{known:%Y-%m-%dT%H:%M:%SZ}' "
            f"AND known_to > TIMESTAMP '{known:%Y-%m-%dT%H:%M:%SZ}'",
        ).to_pylist()  # fmt: skip
        assert len(found) < 2
        return int(found[0]["amount"]) if found else None

    hours = (0.5, 1, 2.5, 3, 4.9, 5)
    assert [amount(h, 0.9) for h in hours] == [None] * 6
    assert [amount(h, 1) for h in hours] == [None, 10, 10, 10, 10, 10]
    assert [amount(h, 2.5) for h in hours] == [None, 10, 10, 30, 30, 30]
    assert [amount(h, 3) for h in hours] == [None, 10, 20, 30, 30, 30]
    assert [amount(h, 99) for h in hours] == [None, 10, 20, 30, 30, None]
    rows = sorted((r for r in landing.table("_history") if r["id"] == "zero"), key=lambda r: (r["_sequence"], r["known_from"]))  # fmt: skip
    seven, days = START + timedelta(hours=7), [START + timedelta(days=d) for d in (1, 2, 3, 4)]
    assert [(int(r["amount"]), r["valid_from"], r["valid_to"], r["known_from"], r["known_to"]) for r in rows] == [
        (0, seven, OPEN, days[0], days[1]), (0, seven, seven, days[1], OPEN), (1, seven, OPEN, days[1], days[2]), (1, seven, seven, days[2], OPEN),
        (2, seven, OPEN, days[2], days[3]), (2, seven, seven, days[3], OPEN), (3, seven, OPEN, days[3], OPEN),
    ]  # fmt: skip


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_cut_off_between_the_tables_of_a_commit_and_with_a_table_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(7)
    landing = Landing(Lake.open(tmp_path / "lake"), bills())
    slices = cut([bill_history(draw, n) for n in range(20)], draw, 4)
    landing.land(slices[0])
    done = _refine_killed_at(landing.lake, "refine:after-silver.bills_transactions_deleted")
    assert done.returncode == -signal.SIGKILL, f"the step was never reached: {done.stderr[-2000:]}"
    assert not shown(landing.lake)
    landing.land(slices[1])
    cut_off_after(landing.lake, "silver.bills_transactions", monkeypatch)
    assert not shown(landing.lake)
    landing.land(slices[2])
    refine(landing.lake)
    check(landing)
    check_past(landing, draw)
    landing.land([*slices[3], change("new", 2, 1, 5)])
    with monkeypatch.context() as broken, pytest.raises(RunFailed, match="cut off"):
        broken.setattr(tables, "transaction", cut_off_before_the_merge)
        refine(landing.lake)
    assert landing.table("_deleted"), "nothing was deleted"
    current = Table(landing.lake, "silver.bills_transactions")
    assert current.state().applied(current.application("bills_transactions", "inserts")) == 4, "nothing was appended"
    refine(landing.lake)
    check(landing)
    before = everything([landing])
    for lost in (["bills_transactions"], ["bills_transactions_deleted", "bills_history"]):
        for name in lost:
            shutil.rmtree(landing.lake.path / "tables" / "silver" / name)
        refine(landing.lake)
        assert everything([landing]) == before


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_an_order_that_gains_a_field_makes_the_tables_anew(tmp_path: Path) -> None:
    """An update kept as delete and insert, the insert first in the log: `serial` says which is last, once it is asked."""
    before = parse_contract({**BILLS, "lake": {**BILLS["lake"], "sequence_by": ["start_lsn", "seqval", "op"]}}, "test")
    after = parse_contract(
        {**BILLS, "lake": {**BILLS["lake"], "sequence_by": ["start_lsn", "serial", "seqval", "op"]}}, "test"
    )
    landing = Landing(Lake.open(tmp_path / "lake"), before)
    kept = [
        change("a", 1, 5, 10) | {"serial": 1, "seqval": "0x6"},
        change("a", 2, 5, 16) | {"serial": 2, "seqval": "0x5"},
    ]
    landing.land([change("a", 2, 1, 10), *kept, change("b", 2, 1, 1) | {"serial": 1}])
    refine(landing.lake)
    check(landing)
    assert {row["id"] for row in landing.table()} == {"b"}
    landing.contract = after
    landing.land([change("c", 2, 7, 3)])
    refine(landing.lake)
    check(landing)
    assert {(row["id"], int(row["amount"])) for row in landing.table()} == {("a", 16), ("b", 1), ("c", 3)}
    landing.land([change("a", 4, 8, 17), change("c", 1, 8, 3)])
    assert refine(landing.lake).feeds == {"bills_transactions": 1}
    check(landing)


def shown(lake: Lake) -> list[str]:
    """The bills' tables and views of the newest version set."""
    found = versions(lake)
    return [name for name in (*found.tables, *found.views) if "bills" in name] if found else []


def cut_off_after(lake: Lake, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refine that ends once it has written to this table."""

    def point(name: str) -> None:
        if name == f"refine:after-{table}":
            raise RuntimeError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(refining, "point", point)
        with pytest.raises(RuntimeError, match="cut off"):
            refine(lake)


def cut_off_before_the_merge(spark: Any, application: str, commit: int) -> Any:
    if application.endswith("/silver.bills_transactions"):
        raise RuntimeError("cut off between append and MERGE")
    return transaction(spark, application, commit)


def _refine_killed_at(lake: Lake, point: str) -> subprocess.CompletedProcess[str]:
    code = f"from beam_grid.refine import refine; from beam_grid.landing import Lake; refine(Lake.open({str(lake.path)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BEAM_GRID_KILL_AT": point}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_a_sequence_sorts_as_its_parts_do() -> None:
    from runners import delta

    contract = parse_contract(
        {**BILLS, "lake": {**BILLS["lake"], "sequence_by": ["start_lsn", "op", "serial", "big", "at", "due", "paid"]},
         "fields": [*BILLS["fields"], {"name": "big", "type": "decimal(38,0)"}]},
        "test",
    )  # fmt: skip
    draw = random.Random(3)
    texts = ["0x0", "0X00ff", "0xFF", "00000027:00000ac0:0002", "27:ac0:3", "0x" + "F" * 40, "0x" + "f" * 39, "a", None]
    numbers = [None, 0, -1, 1, 9, 10, 2**63 - 1, -(2**63)]
    rows = [
        {
            "start_lsn": draw.choice(texts), "op": draw.choice([1, 2, 4]), "serial": draw.choice(numbers),
            "big": draw.choice([None, Decimal(0), Decimal(10**33 - 1), Decimal(1 - 10**33), Decimal(-5), Decimal(-50)]),
            "at": draw.choice([START, datetime(1961, 1, 1, tzinfo=UTC)]), "due": draw.choice([date(1969, 1, 1), date(2026, 1, 1)]),
            "paid": draw.choice([None, True, False]),
        }
        for _ in range(400)
    ]  # fmt: skip
    spark = delta.session()
    types = "start_lsn STRING, op BIGINT, serial BIGINT, big DECIMAL(38,0), at TIMESTAMP, due DATE, paid BOOLEAN"
    told = spark.createDataFrame([tuple(row.values()) for row in rows], types)
    made = [row[0] for row in told.selectExpr(sequence_sql(contract)).collect()]

    def order(row: Row) -> list[Any]:
        found = [row[n] for n in contract.lake.sequence_by]
        return [() if v is None else (lsn(v) if isinstance(v, str) else v,) for v in found]

    for one, text in zip(rows, made, strict=True):
        for other, said in zip(rows[:60], made, strict=False):
            assert (order(one) < order(other), order(one) == order(other)) == (text < said, text == said)


@pytest.mark.spark
@pytest.mark.timeout(1800)
def test_what_cannot_be_a_cdc_feeds_table_is_said(tmp_path: Path) -> None:
    def refused(name: str, words: str, **changed: Any) -> None:
        contract = parse_contract({**BILLS, **changed}, "test", conditions_are_checked=True)  # as one that landed once
        landing = Landing(Lake.open(tmp_path / name), contract)
        landing.land([change("a", 2, 1, 1) | {"rate": 1.0, "Valid_From": START}])
        with pytest.raises(GridError, match=words):
            refine(landing.lake)

    fields = BILLS["fields"]
    refused(
        "a",
        "'Valid_From': silver.bills_history has a column of its own",
        fields=[*fields, {"name": "Valid_From", "type": "timestamp"}],
    )
    refused("b", "'rate' is a float64", fields=[*fields, {"name": "rate", "type": "float64"}],
            lake={**BILLS["lake"], "sequence_by": ["rate"]})  # fmt: skip
    lake = Lake.open(tmp_path / "c")
    Landing(lake, bills()).land([change("a", 2, 1, 1)])
    Landing(lake, parse_contract({**BILLS, "name": "bills"}, "test")).land([change("a", 2, 1, 1)])
    with pytest.raises(GridError, match="belongs to feed bills"):
        refine(lake)
