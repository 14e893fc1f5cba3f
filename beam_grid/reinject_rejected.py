"""`reinject rejected`: what a wrong contract rejected is judged again, from its kept bytes, under the mended one.

    commit 3   read 100 = landed 90 + duplicates 0 + late 0 + rejected 10
    commit 7   read   0 = landed  7 + duplicates 1 + late 0 + rejected -8      judged the rejects of commit 3 again
    in total   read 100 = landed 97 + duplicates 1 + late 0 + rejected  2

Guarantees: a reject stands in one current file of rejects at a time, for the commit that judges a file again names it
and writes those that are left into its own. A record is judged once under a contract, so a second run finds nothing to
do. What lands keeps the place it came from; copies are dropped as ever; watermarks do not move.
`read` grows only where a reject becomes several records: a row that `[unpivot]` makes so, a message of several.
Not guaranteed: that a record is late which would have been, had the contract been right at first. Rejects of full
snapshots are left: a snapshot is what was in one file, so land it again under another name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from msgspec.structs import replace

from beam_grid import openlineage
from beam_grid.errors import GridError
from beam_grid.feeds import built_in
from beam_grid.graph import graph_runner
from beam_grid.land import (
    SLICE_ROWS,
    Landed,
    Options,
    check_contract,
    clock,
    count,
    land_slice,
    landed_dataset,
    settle_shards,
)
from beam_grid.landing import FeedLog, Lake, written_to
from beam_grid.plan import Plan
from beam_grid.state import FeedState, Kept
from data_sources.contract import Contract
from data_sources.decode.rejects import POISON
from data_sources.sources import rejected
from data_sources.splits import FileSplit, JudgedBy, KafkaSplit, Origin, PartitionPlan, RejectedSplit

KEY = "rejected"
"""Key of the one partition that files of rejects form."""


@dataclass
class JudgedAgain(Landed):
    """What a run did. judged: rejects that were judged again; there: current rejects before it, of the rule that was asked
    for; snapshots: those of full snapshots among them."""

    judged: int = 0
    there: int = 0
    snapshots: int = 0

    @property
    def still_rejected(self) -> int:
        return self.judged + self.fates.rejected


def reinject_rejected(
    lake: Lake,
    name: str,
    *,
    mended: Contract | None = None,
    rule: str | None = None,
    command: str = "",
    slice_rows: int = SLICE_ROWS,
) -> JudgedAgain:
    """Judge the current rejects of a feed again, of one rule or all; the caller holds the landing lock.

    mended: the contract of now; None for the built-in one, or else the one that the lake remembers.

    Raises GridError for a feed that never landed, a rule that rejected nothing, a contract that differs in what
    identifies a row or under which nothing would change; RunFailed when a slice fails; earlier ones stay.
    """
    feed = lake.landed(name)
    contract, is_remembered = _contract(feed, mended)
    check_contract(feed, contract)
    with written_to(lake):
        return _Run(feed, contract, rule).run(is_remembered, command, slice_rows)


def _contract(feed: FeedLog, mended: Contract | None) -> tuple[Contract, bool]:
    """The contract of now, and whether it is the one that the lake remembers."""
    if mended is not None:
        if mended.name != feed.name:
            raise GridError(f"--contract: is of feed {mended.name!r}, and --feed names {feed.name!r}")
        return mended, False
    known = built_in()
    return (known[feed.name], False) if feed.name in known else (feed.contract(), True)


class _File(NamedTuple):
    """What a file of rejects holds: how many of each rule; those wanted, how many of them come from full snapshots, and the
    split that takes the others, None where there are none."""

    rules: Counter[str]
    wanted: int
    snapshots: int
    split: RejectedSplit | None
    taken: int


@dataclass
class _Run:
    feed: FeedLog
    contract: Contract
    rule: str | None
    files: dict[str, _File] = field(default_factory=dict)
    contracts: dict[str, Contract] = field(default_factory=dict)

    def run(self, is_remembered: bool, command: str, slice_rows: int) -> JudgedAgain:
        started, name, lake = time.monotonic(), self.feed.name, self.feed.lake
        state, kept, done = FeedState.of(self.feed), Kept.of(self.feed), JudgedAgain(name)
        files = [self._file(split) for split in kept.rejected.values()]
        self._check_rule(files)
        done.there, done.snapshots = sum(f.wanted for f in files), sum(f.snapshots for f in files)
        if is_remembered and done.there > done.snapshots and not any(f.split for f in files):
            raise GridError(
                f"feed {name}: its rejects ({done.there:,}) were judged by the contract that the lake remembers, under which "
                "nothing would change; give the mended one: --contract FILE"
            )
        options = Options("rejected records", command=command)
        shards, now = settle_shards(self.feed, None), clock()
        job = openlineage.run(lake, f"reinject.{name}", "apache-beam")
        with graph_runner(options, None) as run, job as told:
            while (chosen := list(self._next(kept, slice_rows))) != []:
                told.start([openlineage.landing(lake, name, "input")], [openlineage.landing(lake, name, "output")])
                splits = [replace(split, number=number) for number, split in enumerate(chosen)]
                plan = Plan([PartitionPlan(key=KEY, splits=tuple(splits))], sum(split.rows for split in splits))
                commit = land_slice(self.feed, self.contract, state, plan, options, shards, now, run)
                done.judged += sum(self.files[split.path].taken for split in splits)
                state.add(commit)
                kept.add(commit)
                count(done, commit)
                told.inputs = [openlineage.landing(lake, name, "input", rows=done.judged)]
                told.outputs = [landed_dataset(lake, self.contract, done)]
        done.seconds = time.monotonic() - started
        return done

    def _check_rule(self, files: list[_File]) -> None:
        rules = sum((f.rules for f in files), Counter[str]())
        if self.rule is None or not rules:
            return
        if self.rule == POISON and any(rule.startswith(f"{POISON}/") for rule in rules):
            return
        if self.rule not in rules and self.rule not in {rule.split("/", 1)[1] for rule in rules}:
            there = ", ".join(f"{rule.split('/', 1)[1]} ({n:,})" for rule, n in rules.most_common())
            raise GridError(f"--rule {self.rule}: has no rejects in feed {self.feed.name}; there are: {there}")

    def _next(self, kept: Kept, slice_rows: int) -> Iterator[RejectedSplit]:
        """Files with something to judge again, the oldest first, until they hold `slice_rows`; a file is taken whole. Two in
        which a source of one name is another file are not taken together."""
        rows, origins = 0, dict[str, Origin]()
        for known in kept.rejected.values():
            split = self._file(known).split
            if split is None:
                continue
            if rows and rows + split.rows > slice_rows:
                return
            if any(origins.setdefault(origin.source, origin) != origin for origin in split.origins):
                return
            rows += split.rows
            yield split

    def _file(self, split: RejectedSplit) -> _File:
        if split.path not in self.files:
            self.files[split.path] = self._looked_into(split)
        return self.files[split.path]

    def _looked_into(self, split: RejectedSplit) -> _File:
        path = self.feed.path / split.path
        there = set(pq.read_schema(path).names)
        rows = rejected.conform(
            pq.read_table(path, columns=[n for n in rejected.SCHEMA.names if n in there and n != "raw"])
        )
        rules = Counter(f"{c}/{r}" for c, r in zip(rows["cause"].to_pylist(), rows["rule"].to_pylist(), strict=True))
        wanted, is_poison = rejected.of_rule(rows, self.rule), rejected.of_rule(rows, POISON)
        by = rejected.judged_by(rows)
        again = set(by[wanted & is_poison].tolist())  # it is the version that changed, not the contract
        judged = [one for n in np.unique(by).tolist() if (one := self._judged_by(n, n in again)) is not None]
        places = {(s, c) for s, c in zip(rows["_source"].to_pylist(), rows["_commit"].to_pylist(), strict=True)}
        origins, snapshots = dict[str, Origin](), set[str]()
        for number in sorted({commit for _, commit in places}):
            of_commit = self._origins({source for source, commit in places if commit == number}, number)
            for source, (origin, is_snapshot) in of_commit.items():
                if is_snapshot:
                    snapshots.add(source)
                else:
                    origins[source] = origin
        of_snapshots = wanted & np.isin(rows["_source"].to_pylist(), list(snapshots))
        asked = replace(
            split,
            rule=self.rule,
            judged=tuple(judged),
            origins=tuple(o for s, o in origins.items() if s not in snapshots),
        )
        taken = int(rejected.taken(rows, asked).sum())
        return _File(rules, int(wanted.sum()), int(of_snapshots.sum()), asked if taken else None, taken)

    def _judged_by(self, number: int, is_poison: bool) -> JudgedBy | None:
        """None for a commit under the contract of now, unless what it put aside is to be tried again."""
        digest = self.feed.read(number).contract
        if digest == self.contract.hash and not is_poison:
            return None
        then = self.contracts.get(digest) or self.contracts.setdefault(digest, self.feed.contract(digest))
        if then.unpivot is not None and self.contract.unpivot is None:
            raise GridError(
                f"feed {self.feed.name}: its contract had [unpivot] when commit {number} landed, and has none now; "
                "write it again, or land the files under a new feed name"
            )
        return JudgedBy(commit=number, unpivot=then.unpivot is not None, document=then.document is not None)

    def _origins(self, sources: set[str], number: int) -> dict[str, tuple[Origin, bool]]:
        """Per source that the commit read: what decoding needs, and whether it is a full snapshot."""
        found = {}
        for split in (split for partition in self.feed.read(number).plan for split in partition.splits):
            match split:
                case FileSplit() if split.lineage in sources:
                    origin = Origin(
                        source=split.lineage, name=split.name, header=split.header, constants=split.constants
                    )
                    found[split.lineage] = origin, split.role == "snapshot"
                case KafkaSplit() if split.topic in sources:
                    found[split.topic] = Origin(source=split.topic), False
        return found
