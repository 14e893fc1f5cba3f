"""silver.MASTER against an oracle in plain Python, over what `land` makes of files: after each commit, at once, anew."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from beam_grid.commit import Commit
from beam_grid.errors import RunFailed
from beam_grid.lakehouse import scd2, tables
from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.tables import Batch, Table
from beam_grid.land import Options, land
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import Contract, parse_contract
from data_sources.splits import FileEnd

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1800)]

NOW = 1_790_000_000_000_000
OPEN = "9999-12-31"

BY_DAY: dict[str, Any] = {
    "name": "assets", "format": "csv", "event_time": "day",
    "lake": {"load": "scd2", "key": ["id"], "effective_from": "day", "as_of": "column:day", "ignore": ["note"],
             "snapshot_files": ["full_*.csv"], "delta_files": ["delta_*.csv"]},
    "fields": [{"name": "id", "type": "string"}, {"name": "day", "type": "date"}, {"name": "status", "type": "string"},
               {"name": "level", "type": "float64"}, {"name": "note", "type": "int64"}],
}  # fmt: skip
"""As `customers`: every field is tracked but the ignored one; a snapshot's date is that of its newest row."""

AS_THE_SEED: dict[str, Any] = {
    "name": "poles", "format": "csv", "event_time": "seen",
    "lake": {"load": "scd2", "key": ["id", "zone"], "effective_from": "record_effective_date", "track": ["status", "level"],
             "ignore": ["is_current"], "as_of": "name:(\\d{8}):%Y%m%d", "snapshot_files": ["full_*"], "delta_files": ["delta_*"],
             "cluster_by": ["zone"]},
    "fields": [{"name": "id", "type": "int64"}, {"name": "zone", "type": "string"}, {"name": "seen", "type": "timestamp"},
               {"name": "record_effective_date", "type": "date"}, {"name": "status", "type": "string"},
               {"name": "level", "type": "float64"}, {"name": "note", "type": "int64"},
               {"name": "is_current", "type": "string"}, {"name": "scd_version", "type": "int64"}],
}  # fmt: skip
"""As `transformers`: the input has opinions on what is made here; a history may begin after its snapshot's date."""

BY_FILE: dict[str, Any] = {
    "name": "sites", "format": "csv", "event_time": "at",
    "lake": {"load": "scd2", "key": ["id"], "as_of": "name:(\\d{8}):%Y%m%d", "ignore": ["at", "note"],
             "snapshot_files": ["full_*.csv"]},
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "status", "type": "string"},
               {"name": "name", "type": "string"}, {"name": "note", "type": "int64"}],
}  # fmt: skip
"""Names no effective_from: a snapshot's rows are of its date."""

Row = dict[str, Any]


@dataclass
class File:
    """An input file; a row without a key is rejected. `read` and `done`: how much of it landed."""

    name: str
    rows: list[Row]
    read: int = 0
    done: bool = False


@dataclass
class World:
    """A lake and the files that landed in it, in the order in which they did."""

    lake: Lake
    contract: Contract
    files: list[File] = field(default_factory=list)

    def land(self, name: str, rows: list[Row], *, slice_rows: int = 1000) -> None:
        file = File(name, rows)
        self.files.append(file)
        source = self.lake.path.parent / "in" / name
        source.parent.mkdir(exist_ok=True)
        names = [f.input_name for f in self.contract.fields if any(f.name in row for row in rows)]
        with source.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(names)
            writer.writerows([row.get(n) for n in names] for row in rows)
        with self.lake.lock("land"):
            land(self.lake, self.contract, Options(str(source), now=NOW, slice_rows=slice_rows, shards=2))

    def at(self, commits: list[Commit]) -> list[File]:
        """The files as far as these commits have read them, by the line numbers they tell."""
        ends = {e.name: e for c in commits for p in c.partitions for e in p.ends if isinstance(e, FileEnd)}
        return [File(f.name, f.rows, ends[f.name].line - 2, ends[f.name].done) for f in self.files if f.name in ends]

    @property
    def commits(self) -> list[Commit]:
        return list(self.lake.feed(self.contract.name).commits())

    def table(self, steps: list[int], name: str = "x", *, check: Callable[[int], None] | None = None) -> list[Row]:
        """The rows of a table that took in the commits up to each of these numbers, one batch each."""
        from runners import delta

        spark = delta.session(brief=True)
        table, commits, applied = Table(self.lake, f"silver.{name}"), self.commits, 0
        for step in steps:
            batch = Batch(self.lake.feed(self.contract.name), self.contract, commits[:step], applied)
            delta.suit_to(spark, batch.bytes("rows"))
            scd2.prepare(spark, table, table.state(), batch)
            scd2.apply(spark, table, batch)
            applied = step
            if check is not None:
                check(step)
        return self.rows(name)

    def rows(self, name: str = "x") -> list[Row]:
        from runners import delta

        found = delta.session().sql(f"SELECT * FROM {Table(self.lake, f'silver.{name}').sql}").toArrow()
        return shown(found.to_pylist(), self.contract)


def shown(rows: list[Row], contract: Contract) -> list[Row]:
    """In the order of keys and versions, without lineage."""
    rows = [{n: v for n, v in row.items() if not n.startswith("_")} for row in rows]
    return sorted(rows, key=lambda r: ([str(r[k]) for k in contract.lake.key], r["scd_version"]))


def expected(files: list[File], contract: Contract) -> list[Row]:
    """The oracle: a walk along each key's dates."""
    lake, names = contract.lake, [f.name for f in contract.fields]
    made = {"record_effective_date", "record_end_date", "is_current", "scd_version"}
    tracked = lake.track or [n for n in names if n not in {*lake.key, *lake.ignore, *made, lake.effective_from}]

    def key_of(row: Row) -> tuple[Any, ...]:
        return tuple(row[k] for k in lake.key)

    changes, snapshots = [], []
    for arrival, file in enumerate(files):
        seen = [{n: row.get(n) for n in names} for row in file.rows[: file.read]]
        good = [row for row in seen if None not in key_of(row)]
        text = file.name.split("_")[1].removesuffix(".csv")
        named = lake.as_of is not None and lake.as_of.startswith("name")
        if file.name.startswith("delta"):
            told = datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC) if named and len(text) == 8 else None
            told = told.date() if told and lake.effective_from else told
            told = told or max((day for day, _, _, _ in snapshots), default=None)
            changes += [((told is not None, told, arrival, n), row) for n, row in enumerate(seen) if row in good]
        elif good:
            day = datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC) if named else max(row["day"] for row in good)
            day = day.date() if named and lake.effective_from else day
            snapshots.append(
                (day, [row if row in good else None for row in seen], file.done and len(good) == len(seen), arrival)
            )
    result = []
    for key in {key_of(row) for _, row in changes} | {key_of(row) for _, rows, *_ in snapshots for row in rows if row}:
        held = {day for day, rows, *_ in snapshots if any(row and key_of(row) == key for row in rows)}
        absent = sorted({day for day, _, tells, _ in snapshots if tells} - held)
        newest: dict[Any, tuple[Any, Row]] = {}

        def see(day: Any, rank: Any, row: Row, newest: dict[Any, tuple[Any, Row]] = newest) -> None:
            if day not in newest or newest[day][0] < rank:
                newest[day] = rank, row

        for rank, row in changes:
            if key_of(row) == key:
                see(row[lake.effective_from or contract.event_time], rank, row)
        for day, rows, _, arrival in snapshots:
            for n, row in enumerate(rows):
                if row and key_of(row) == key:
                    begun = row[lake.effective_from] if lake.effective_from else None
                    is_back = begun is None or any(begun < a < day for a in absent)
                    see(day if is_back else begun, (True, day, arrival, n), row)
        at = {day: row for day, (_, row) in newest.items()}
        history: list[Row] = []
        version: Row | None = None
        for day in sorted({*at, *absent}):
            if day not in at:
                if version is not None:
                    version["record_end_date"], version = day, None
                continue
            if version is not None and all(version[t] == at[day][t] for t in tracked):
                version |= {n: v for n, v in at[day].items() if n not in made}
                continue
            if version is not None:
                version["record_end_date"] = day
            version = {n: v for n, v in at[day].items() if n not in made}
            version |= {"record_effective_date": day, "record_end_date": None, "scd_version": len(history) + 1}
            history.append(version)
        far = date(9999, 12, 31) if lake.effective_from else datetime(9999, 12, 31, tzinfo=UTC)
        for row in history:
            row["is_current"] = row["record_end_date"] is None
            row["record_end_date"] = row["record_end_date"] or far
        result += history
    return shown(result, contract)


def same(seen: list[Row], wanted: list[Row]) -> None:
    assert len(seen) == len(wanted), difference(seen, wanted)
    assert [sorted(r.items()) for r in seen] == [sorted(r.items()) for r in wanted], difference(seen, wanted)


def difference(seen: list[Row], wanted: list[Row]) -> str:
    one, two = ({json.dumps(r, default=str, sort_keys=True) for r in rows} for rows in (seen, wanted))
    return "\n".join([*(f"- {t}" for t in sorted(one - two)[:10]), *(f"+ {t}" for t in sorted(two - one)[:10])])


def contested(files: list[tuple[str, list[Row]]], contract: Contract) -> set[tuple[Any, ...]]:
    """Keys of which a change and another row are of one date, or two rows of snapshots of one date (a superset):
    which counts, arrival decides."""
    lake, names = contract.lake, [f.name for f in contract.fields]
    rows: dict[Any, set[str]] = {}
    for file, some in files:
        for row in some:
            key, date_ = tuple(row[k] for k in lake.key), row[lake.effective_from or contract.event_time]
            days = [date_]
            if file.startswith("full"):
                is_named = lake.as_of is not None and lake.as_of.startswith("name")
                of_file = datetime.strptime(file.split("_")[1], "%Y%m%d").replace(tzinfo=UTC)
                of_file = of_file.date() if lake.effective_from else of_file
                own = of_file if is_named else max(r["day"] for r in some if None not in [r[k] for k in lake.key])
                days = [date_, own] if lake.effective_from else [own]
            for day in days:
                rows.setdefault((key, day), set()).add(str([row.get(n) for n in names]))
    return {key for (key, _), seen in rows.items() if len(seen) > 1}


def invariants(rows: list[Row], contract: Contract) -> None:
    """What is so whatever happened: half-open, no overlap, at most one current row, numbered 1..n."""
    keys: dict[Any, list[Row]] = {}
    for row in rows:
        keys.setdefault(tuple(row[k] for k in contract.lake.key), []).append(row)
    for history in keys.values():
        assert [r["scd_version"] for r in history] == list(range(1, len(history) + 1))
        assert all(
            r["record_effective_date"] < r["record_end_date"]
            for r in history
            if not str(r["record_effective_date"]).startswith(OPEN)
        )
        assert all(a["record_end_date"] <= b["record_effective_date"] for a, b in pairwise(history))
        assert [r["is_current"] for r in history[:-1]] == [False] * (len(history) - 1)
        assert history[-1]["is_current"] == str(history[-1]["record_end_date"]).startswith(OPEN)


# Random histories ----------------------------------------------------------------------------------------------


def history(pick: random.Random, raw: dict[str, Any], keys: int) -> list[tuple[str, list[Row]]]:
    """Files of random rows, few values, few dates; a third of what change files hold was in a snapshot too."""
    start = date(2025, 1, 1)
    pool = [f"k{n}" for n in range(keys)]
    files = []
    in_full: dict[str, list[Row]] = {k: [] for k in pool}
    for n in range(9):
        is_full = n % 9 < 5
        day = start + timedelta(days=pick.randrange(2, 14))
        rows = []
        for k in pool:
            if pick.random() < (0.25 if is_full else 0.5):
                continue
            for _ in range(pick.choice([1, 1, 1, 2])):
                shift = timedelta(days=pick.randrange(0, 14))
                eff = day - shift if raw is BY_DAY and is_full else start + shift
                row = {"id": k, "status": pick.choice(["A", "B", None]), "note": pick.choice([0, 1])}
                if raw is not BY_FILE:
                    row["level"] = pick.choice([None, 0.5])
                if raw is BY_DAY:
                    row["day"] = eff
                elif raw is BY_FILE:
                    row["name"] = pick.choice(["x", None])
                    row["at"] = datetime(eff.year, eff.month, eff.day, pick.choice([0, 6]), tzinfo=UTC)
                else:
                    row |= {"id": int(k[1:]), "zone": pick.choice(["n", "n", "s"]), "record_effective_date": eff}
                    row |= {
                        "seen": datetime(2025, 5, 1, tzinfo=UTC),
                        "is_current": "yes",
                        "scd_version": pick.choice([1, 7]),
                    }
                if is_full:
                    in_full[k].append(row)
                elif in_full[k] and pick.random() < 0.3:
                    row = pick.choice(in_full[k])
                rows += [row] * pick.choice([1, 1, 1, 2])
        if n == 1:
            rows.append({**rows[0], "id": None})
        pick.shuffle(rows)
        files.append(
            (
                f"full_{day:%Y%m%d}_{n}.csv"
                if is_full
                else f"delta_{n}.csv"
                if n % 2
                else f"delta_{day:%Y%m%d}_{n}.csv",
                rows,
            )
        )
    return files


@pytest.mark.parametrize(("raw", "seed"), [(BY_DAY, 1), (AS_THE_SEED, 2), (BY_FILE, 3)])
def test_random_histories(raw: dict[str, Any], seed: int, tmp_path: Path) -> None:
    """80 keys with histories of their own, batch by batch; and the files in another order, cut elsewhere, at once."""
    pick = random.Random(seed)
    files = history(pick, raw, 80)
    world, other = (
        World(Lake.open(tmp_path / name / "lake"), parse_contract(raw, "test")) for name in ("one", "other")
    )
    for into in (world, other):
        pick.shuffle(files)
        for name, rows in files:
            into.land(name, rows, slice_rows=pick.choice([60, 1000]))
    commits = world.commits
    amid = [c.number for c in commits if any(not e.done and e.role == "snapshot" for p in c.partitions for e in p.ends)]  # fmt: skip
    cuts = sorted({amid[0], pick.randrange(amid[0] + 1, len(commits)), len(commits)})
    wanted = {cut: expected(world.at(commits[:cut]), world.contract) for cut in cuts}
    seen = world.table(cuts, check=lambda cut: same(world.rows(), wanted[cut]))
    invariants(seen, world.contract)
    late = other.table([len(other.commits)])
    same(late, expected(other.at(other.commits), other.contract))
    moot, key = contested(files, world.contract), world.contract.lake.key
    sure, sure_too = ([r for r in rows if tuple(r[k] for k in key) not in moot] for rows in (seen, late))
    same(sure, sure_too)
    assert len(sure) > 20 and late != seen, "or the order showed nothing"
    assert {r["scd_version"] for r in seen} >= {1, 2, 3} and any(not r["is_current"] for r in seen)
    pairs = [(a, b) for a, b in pairwise(seen) if b["scd_version"] > 1]
    assert any(a["record_end_date"] < b["record_effective_date"] for a, b in pairs), "nothing was deleted and revived"
    assert any(a["record_end_date"] == b["record_effective_date"] for a, b in pairs), "nothing was changed"


# Each sentence as an example -----------------------------------------------------------------------------------

EXAMPLES_CONTRACT = {**BY_DAY, "lake": {**BY_DAY["lake"], "as_of": "name:(\\d{8}):%Y%m%d"}}

SNAPSHOTS = {10: "full_20250110.csv", 20: "full_20250120.csv", 21: "full_20250120_south.csv", 25: "full_20250125_bad.csv", 30: "full_20250130.csv"}  # fmt: skip
"""Those of day 20 are two files; that of day 25 has a record without a key. Keys change by files 1, 2 and, late, 3."""

NEVER = (date(9999, 12, 31) - date(2024, 12, 31)).days
"""The open end, as a date that something begins."""

Seen = tuple[int, int, str | None, int]
"""Where (a snapshot's number above or a change file's), day, status, note."""

EXAMPLES: dict[str, tuple[list[Seen], list[tuple[int, int | None, str | None, int]]]] = {
    "there in every snapshot": ([(10, 1, "A", 1), (20, 1, "A", 1), (30, 1, "A", 1)], [(1, None, "A", 1)]),
    "a snapshot lacks it": ([(10, 1, "A", 1)], [(1, 20, "A", 1)]),
    "back with its old row": ([(10, 1, "A", 1), (30, 1, "A", 1)], [(1, 20, "A", 1), (30, None, "A", 1)]),
    "back with a row from before it went": ([(10, 1, "A", 1), (30, 15, "B", 1)], [(1, 20, "A", 1), (30, None, "B", 1)]),
    "back with a row from after it went": ([(10, 1, "A", 1), (30, 26, "B", 1)], [(1, 20, "A", 1), (26, None, "B", 1)]),
    "back with a row that a change file had, too": ([(30, 5, "A", 1), (3, 5, "A", 1)], [(5, 10, "A", 1), (30, None, "A", 1)]),
    "new in the last snapshot, dated before one that lacked it": ([(30, 5, "A", 1)], [(30, None, "A", 1)]),
    "begins after the snapshots": ([(1, 40, "A", 1)], [(40, None, "A", 1)]),
    "a change after it was absent": ([(10, 1, "A", 1), (3, 22, "B", 1)], [(1, 20, "A", 1), (22, 30, "B", 1)]),
    "a row beats an absence of its date": ([(10, 1, "A", 1), (1, 20, "B", 1), (30, 20, "B", 1)], [(1, 20, "A", 1), (20, None, "B", 1)]),
    "the other file of that day has it": ([(10, 1, "A", 1), (21, 1, "A", 1), (30, 1, "A", 1)], [(1, None, "A", 1)]),
    "only a snapshot with a reject has it": ([(25, 22, "A", 1)], [(22, 30, "A", 1)]),
    "ended by the snapshot in parts": ([(10, 1, "A", 1), (20, 1, "A", 1)], [(1, 30, "A", 1)]),
    "late into the middle": ([(1, 40, "A", 1), (2, 50, "C", 1), (3, 45, "B", 1)], [(40, 45, "A", 1), (45, 50, "B", 1), (50, None, "C", 1)]),
    "late before the first": ([(1, 40, "A", 1), (3, 35, "B", 1)], [(35, 40, "B", 1), (40, None, "A", 1)]),
    "A, A, then B between them": ([(1, 40, "A", 1), (2, 50, "A", 1), (3, 45, "B", 1)], [(40, 45, "A", 1), (45, 50, "B", 1), (50, None, "A", 1)]),
    "late and equal to its successor": ([(1, 40, "A", 1), (2, 50, "B", 1), (3, 45, "B", 1)], [(40, 45, "A", 1), (45, None, "B", 1)]),
    "many changes in one batch": ([(1, 40, "A", 1), (1, 42, "B", 1), (1, 44, "A", 1)], [(40, 42, "A", 1), (42, 44, "B", 1), (44, None, "A", 1)]),
    "a revision of what is ignored": ([(1, 40, "A", 1), (2, 50, "A", 2)], [(40, None, "A", 2)]),
    "a late one does not show": ([(1, 40, "A", 1), (2, 50, "A", 2), (3, 45, "A", 9)], [(40, None, "A", 2)]),
    "ignored, as last seen inside the version": ([(1, 40, "A", 1), (2, 45, "A", 2), (1, 50, "B", 3)], [(40, 50, "A", 2), (50, None, "B", 3)]),
    "two rows of one date": ([(1, 40, "B", 1), (2, 40, "A", 9)], [(40, None, "A", 9)]),
    "two rows of one date, told apart by the ignored": ([(2, 40, "A", 1), (1, 40, "A", 2)], [(40, None, "A", 1)]),
    "two rows of one date in one file": ([(2, 40, "B", 1), (2, 40, "A", 1)], [(40, None, "A", 1)]),
    "corrected to null": ([(1, 40, "A", 9), (2, 40, None, 1)], [(40, None, None, 1)]),
    "a correction taken back": ([(1, 40, "A", 1), (2, 40, "B", 1), (3, 40, "A", 1)], [(40, None, "A", 1)]),
    "corrected in place": ([(10, 1, "B", 1), (20, 1, "A", 1), (30, 1, "A", 1)], [(1, None, "A", 1)]),
    "corrected in place and back": ([(10, 1, "B", 1), (20, 1, "A", 1), (30, 1, "B", 1)], [(1, None, "B", 1)]),
    "a change between two snapshots": ([(10, 1, "A", 1), (1, 1, "B", 1), (20, 1, "A", 1), (30, 1, "A", 1)], [(1, None, "A", 1)]),
    "a change after the snapshots": ([(10, 1, "B", 1), (20, 1, "B", 1), (30, 1, "B", 1), (3, 1, "A", 1)], [(1, None, "A", 1)]),
    "null is a value": ([(1, 40, None, 1), (2, 45, None, 2), (2, 50, "A", 1)], [(40, 50, None, 2), (50, None, "A", 1)]),
    "a copy": ([(1, 40, "A", 1), (2, 40, "A", 1), (2, 40, "A", 1)], [(40, None, "A", 1)]),
    "not yet": ([(1, 40, "A", 1), (2, NEVER, "B", 1)], [(40, None, "A", 1), (NEVER, None, "B", 1)]),
}  # fmt: skip


def day(n: int) -> date:
    return date(2025, 1, 1) + timedelta(days=n - 1)


def test_each_sentence(tmp_path: Path) -> None:
    world = World(Lake.open(tmp_path / "lake"), parse_contract(EXAMPLES_CONTRACT, "test"))

    def file(number: int) -> list[Row]:
        rows = [{"id": k, "day": day(d), "status": s, "note": n} for k, (seen, _) in EXAMPLES.items() for f, d, s, n in seen if f == number]  # fmt: skip
        return rows + ([{**rows[0], "id": None}] if number == 25 else [])

    for number in (10, 1, 20, 21, 25, 2, 30, 3):  # without `level`: a column that a file lacks is null
        world.land(SNAPSHOTS.get(number, f"delta_{number}.csv"), file(number), slice_rows=3 if number == 30 else 1000)
    commits = world.commits
    assert len(commits) == 7 + -(-len(file(30)) // 3)
    half: list[Row] = []

    def check(cut: int) -> None:
        same(world.rows(), expected(world.at(commits[:cut]), world.contract))
        half.extend(world.rows() if cut == 8 else [])

    seen = world.table([2, 8, len(commits)], check=check)
    pending = [r["record_end_date"] for r in half if r["id"] == "ended by the snapshot in parts"]
    assert pending == [date(9999, 12, 31)]
    found = {k: [(r["record_effective_date"], r["record_end_date"], r["status"], r["note"]) for r in seen if r["id"] == k] for k in EXAMPLES}  # fmt: skip
    wanted = {k: [(day(a), day(b) if b else date(9999, 12, 31), s, n) for a, b, s, n in told] for k, (_, told) in EXAMPLES.items()}  # fmt: skip
    assert found == wanted
    assert {r["level"] for r in seen} == {None}
    same(seen, expected(world.at(commits), world.contract))
    invariants(seen, world.contract)


# Through refine ------------------------------------------------------------------------------------------------


def test_refine_brings_masters_up_once_and_makes_them_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Lake.open(tmp_path / "lake"), parse_contract(BY_DAY, "test"))

    def rows(status: str, on: int, *names: str) -> list[Row]:
        return [{"id": n, "day": day(on), "status": status, "level": 1.5, "note": 1} for n in names]

    world.land("full_1.csv", rows("A", 1, *(f"k{n}" for n in range(20))))
    assert refine(world.lake).feeds == {"assets": 1}
    world.land("delta_1.csv", rows("B", 5, "k3", "k4"))
    with monkeypatch.context() as cut, pytest.raises(RunFailed, match="cut off"):
        cut.setattr(tables, "transaction", Mock(side_effect=RuntimeError("cut off between append and MERGE")))
        refine(world.lake)
    assert len(world.rows("assets")) == 22, "nothing was appended before the cut"
    refine(world.lake)
    assert refine(world.lake).feeds == {}
    answer = query(world.lake, "SELECT * FROM silver.assets")
    assert answer.schema.names[-11:-7] == ["record_effective_date", "record_end_date", "is_current", "scd_version"]
    seen = shown(answer.to_pylist(), world.contract)
    same(seen, expected(world.at(world.commits), world.contract))
    assert [r["_source"] for r in answer.to_pylist() if r["status"] == "B"] == ["delta_1.csv"] * 2
    log = [json.loads(line) for p in sorted((world.lake.path / "tables/silver/assets/_delta_log").glob("*.json")) for line in p.read_text().splitlines()]  # fmt: skip
    done = [e["commitInfo"] for e in log if "commitInfo" in e]
    assert [(one["operation"], one["operationMetrics"].get("numOutputRows")) for one in done[1:3]] == [
        ("WRITE", "20"),
        ("WRITE", "2"),
    ]
    merge = next(one["operationMetrics"] for one in done if one["operation"] == "MERGE")
    assert [merge[f"numTargetRows{what}"] for what in ("Inserted", "Updated", "Deleted", "Copied")] == [
        "0",
        "2",
        "0",
        "0",
    ]

    grown = {**BY_DAY, "fields": [*BY_DAY["fields"], {"name": "owner", "type": "string", "since": "2"}]}
    grown["lake"] = {**BY_DAY["lake"], "ignore": ["note", "status"]}
    world.contract = parse_contract(grown, "test")
    world.land("delta_2.csv", [{**row, "owner": "me"} for row in rows("C", 7, "k5")])
    refine(world.lake)
    seen = shown(query(world.lake, "SELECT * FROM silver.assets").to_pylist(), world.contract)
    same(seen, expected(world.at(world.commits), world.contract))
    assert [(r["status"], r["owner"]) for r in seen if r["id"] in ("k3", "k5")] == [
        ("B", None),
        ("A", None),
        ("C", "me"),
    ]
    shutil.rmtree(world.lake.path / "tables")
    refine(world.lake)
    same(shown(query(world.lake, "SELECT * FROM silver.assets").to_pylist(), world.contract), seen)
