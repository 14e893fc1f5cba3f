"""Small lakes that faults are put into: random input, the command line run on it, the oracle's answer.

    drop 1 ─► run ─► lake ─► copied, for each fault ─► drop 2 ─► run with the fault ─► run ... ─► equal to the oracle

All is decided by the seed: records (copies, late rows, rejects, corrections that supersede), how they fall into files and
slices, the dedup of the contract, and of a soak which steps fail and how.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from beam_grid.commit import total
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import Contract
from tests.beam_grid.test_land import toml_of
from tests.properties.oracle import as_lines, oracle, slice_independent
from tests.properties.published import assert_tables
from tests.transforms.making import LATEST, TIMELESS, contract, minute, plain_contract
from transforms import faults
from transforms.faults import Fault

ROOT = Path(__file__).resolve().parents[2]
DEDUPS: tuple[dict[str, Any], ...] = (LATEST, {"key": ["id", "at"]}, {**LATEST, **TIMELESS}, TIMELESS)
SETTINGS: dict[str, Any] = {
    "beam_grid.lakehouse.delta_log:CHECKPOINT_EVERY": 2,
    "beam_grid.lakehouse.compact:AT_LEAST": 3,
    "beam_grid.checkpoints:EVERY": 2,
    "beam_grid.segments:RADIX": 2,
    "beam_grid.segments:collect.__defaults__": [0.0],
}
"""After so few commits a lake does what else takes it days."""

_WITHIN_S, _QUIET_S = 60, 6
_RANDOM = re.compile(
    r"\d{8}T\d{6}-[0-9a-f]{8}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![0-9])(?!\d{10}\b)[0-9a-f]{8,}"
)
"""What names hold that is drawn anew in each run; the ten digits of a commit's or version's number are not."""


class Driver:
    """Runs `beam-grid` again and again without loading it again and again (tests/soak/driver.py)."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "BEAM_GRID_DEBUG": "", "POLARS_MAX_THREADS": "2"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.driver"], cwd=ROOT, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._answer() == "ready"

    def run(self, arguments: list[str], err: Path, quiet_s: float = 0, **environment: str) -> int:
        """The exit code, below 0 for a signal."""
        job = {"quiet_s": quiet_s, "arguments": arguments, "err": str(err), "environment": environment, "settings": SETTINGS, "within_s": _WITHIN_S}  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@dataclass(frozen=True)
class Step:
    """One step of a run without faults, told so that it is the same one in the next run."""

    operation: str
    pattern: str
    nth: int

    def failed(self, kind: str) -> Fault:
        return Fault(self.operation, self.pattern, self.nth, kind)

    @property
    def kinds(self) -> list[str]:
        return [*faults.KINDS, *([faults.TORN] if self.operation == "write" else [])]


def taken(log: Path) -> list[tuple[str, str, str]]:
    """Operation, path and thread of the steps that a run took."""
    steps = (
        [line.split("|") for line in log.read_text().splitlines() if line.startswith("step|")] if log.exists() else []
    )
    return [(operation, path, thread) for _, operation, path, thread in steps]


def steps_of(log: Path, root: Path) -> list[Step]:
    """The steps that a run took in the lake `root`, each told by what it has in common with the same one of another run."""
    found: list[Step] = []
    done: list[tuple[str, str]] = []
    for operation, path, _ in taken(log):
        done.append((operation, path))
        pattern = "*/" + _RANDOM.sub("*", os.path.relpath(path, root)) if path != str(root) else "*/lake"
        nth = sum(o == operation and fnmatchcase(p, pattern) for o, p in done)
        found.append(Step(operation, pattern, nth))
    return found


@dataclass
class Story:
    """Input, contract and slices, all from a seed."""

    seed: int
    records: int = 60
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.changes: dict[str, Any] = {"dedup": DEDUPS[self.seed % len(DEDUPS)]}
        self.shards = self.rng.choice([1, 2, 4])
        drops = [self._records(n) for n in range(2)]
        self.slice_rows = max(5, len(drops[1]) // self.rng.choice([1, 2, 3]))
        self.drops = [as_lines(drop) for drop in drops]

    @property
    def contract(self) -> Contract:
        return contract(**self.changes)

    def _records(self, drop: int) -> list[dict[str, Any] | str]:
        """Some minutes of readings, those of the second drop partly copies and corrections of the first."""
        rng, made = self.rng, []
        for n in range(self.records):
            number = rng.randrange(self.records) + rng.choice([0, drop * self.records // 2])
            at = minute(number * 0.5)
            row = {
                "id": f"k{number}", "at": at.isoformat(), "kwh": rng.choice([None, 0.5, 1.25, 3.0, 8.5]),
                "meter": rng.choice([None, "m1", "m2", "m3"]), "version": rng.choice([1, 2, 3]),
            }  # fmt: skip
            fate = rng.random()
            if fate < 0.05:
                made.append('{"id": "cut off')
            elif fate < 0.1:
                made.append({**row, "kwh": -1.0})
            elif fate < 0.15 and n > 10:
                made.append({**row, "at": minute(number * 0.5 - 90).isoformat()})
            else:
                made += [row] * rng.choice([1, 1, 1, 2])
        return made


@dataclass
class Place:
    """A lake of a story's in a folder of its own; its files, which commits name by where they lie, are shared by all."""

    story: Story
    folder: Path
    source: Path
    driver: Driver
    drops: int = 0

    def __post_init__(self) -> None:
        self.lake, self.err, self.log = self.folder / "lake", self.folder / "err", self.folder / "faults"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "contract.toml").write_text(toml_of(plain_contract(**self.story.changes)))

    def drop(self) -> None:
        """The next drop is there."""
        self.source.mkdir(parents=True, exist_ok=True)
        (self.source / f"{self.drops}.json").write_text(self.story.drops[self.drops])
        self.drops += 1

    def run(self, *planned: Fault, follows: bool = False) -> int:
        """`beam-grid run`; the exit code. What struck and what was done is in `log`. follows: until it does nothing more."""
        self.log.unlink(missing_ok=True)
        self.err.unlink(missing_ok=True)
        words = [
            "run", "readings", "--contract", str(self.folder / "contract.toml"), "--source", f"{self.source}/[0-{self.drops - 1}].json",
            "--lake", str(self.lake), "--slice-rows", str(self.story.slice_rows), "--shards", str(self.story.shards),
            "--now", "2100-01-01T00:00:00Z",
        ]  # fmt: skip
        said = {faults.VARIABLE: "\n".join(map(str, planned)), faults.LOG: str(self.log)}
        words += ["--follow", "--every", "1s"] if follows else []
        return self.driver.run(words, self.err, _QUIET_S if follows else 0, **said)

    @property
    def hits(self) -> list[str]:
        return (
            [line for line in self.log.read_text().splitlines() if line.startswith("hit|")] if self.log.exists() else []
        )

    def copied(self, folder: Path) -> Place:
        shutil.copytree(self.folder, folder)
        return Place(self.story, folder, self.source, self.driver, self.drops)

    def checked(self) -> None:
        """The ledger and the tables are the oracle's, and so are tables made anew from what landed: by then of files that
        were put together, the first of which are gone."""
        feed = self.story.contract
        wanted = oracle(sorted(self.source.glob("*.json"))[: self.drops], feed)
        lake = Lake.open(self.lake, create=False)
        commits = list(lake.feed(feed.name).commits())
        assert all(commit.fates.balanced and commit.matches_files for commit in commits)
        assert slice_independent(total(commit.fates for commit in commits).by_name()) == wanted["counts"]
        assert_tables(lake, feed, wanted)
        anew = self.folder.with_name(f"{self.folder.name}-anew")
        shutil.copytree(self.lake, anew, ignore=lambda at, names: {"tables"} & set(names))
        refine(Lake.open(anew))
        assert_tables(Lake.open(anew), feed, wanted)
        shutil.rmtree(anew)

    def survives(self, fault: Fault) -> bool:
        """A run that the fault strikes dies, or says so; one that says that it has done all has. Returns whether it struck."""
        code = self.run(fault)
        told = f"{fault}, exit {code}, stderr:\n{self.err.read_text()}"
        if not self.hits:
            assert code == 0, told
            return False
        assert (code == -9) == fault.kind.endswith("die") and code in (-9, 0, 1, 2), told
        assert "Traceback" not in told, told
        if code == 0:
            self.checked()
        return True

    def follows(self, fault: Fault) -> None:
        """A run that follows ends by itself where the fault is no passing one, or goes on and does the rest; the fault need
        not strike, because it takes some steps in another order than the run that the fault was found in."""
        code = self.run(fault, follows=True)
        told = f"{fault}, exit {code}, stderr:\n{self.err.read_text()}"
        assert self.hits or code == 0, told
        assert (code == -9) == (fault.kind.endswith("die") and bool(self.hits)) and code in (-9, 0, 1, 2), told
        assert "Traceback" not in told and "quarantine" not in told, told
        if code == 0:
            self.checked()

    def ends(self, after: Sequence[str]) -> None:
        """The next run without a fault does all that is left."""
        code = self.run()
        assert code == 0, f"after {after}, exit {code}:\n{self.err.read_text()}"
