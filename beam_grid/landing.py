"""The landing zone: Parquet files and an append-only commit log, the only contract between the two stages.

    LAKE/lake.json                                   format of the lake
    LAKE/landing/FEED/feed.json                      shards and hash, fixed by the first commit
    LAKE/landing/FEED/contracts/HASH.json            every contract that landed here
    LAKE/landing/FEED/plan.json                      the slice under way: where from, how far, whose clock
    LAKE/landing/FEED/commits/0000000001.json        one JSON a commit, created atomically, never changed
    LAKE/landing/FEED/data/ATTEMPT/KIND-....parquet  files of an attempt; garbage unless a commit lists them
    LAKE/landing/FEED/checkpoints/N.parquet          what the commits up to N come to (checkpoints.py)
    LAKE/landing/FEED/segments/FIRST-LAST.parquet    which files hold what these commits landed (segments.py)
    LAKE/landing/FEED/history/DAY.parquet            a line for each commit (history.py)
    LAKE/locks/                                      one lock for landing, one for tables

Guarantees: a commit is all or nothing (`create_once` fails if the file exists, after syncing file and folder);
readers see only what commits list, or what a segment has in its place. Not guaranteed: that files of neither are gone
at once; `segments.collect` removes them when they are a day old and the caller holds the lock.

What a commit holds is typed in beam_grid/commit.py, and told word by word in docs/commit-log.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from beam_grid import durable
from beam_grid.commit import FORMAT, Commit, from_json, to_json
from beam_grid.errors import GridError, LakeBusy, RunFailed
from data_sources.typed_json import decoder, encode

if TYPE_CHECKING:  # at run time only where a contract is read: its libraries would double the time of a query
    from data_sources.contract import Contract


TABLES_WAIT_S = 60.0
"""A run that follows holds the lock on tables for moments, again and again: so long others wait for a turn."""


class Sharding(Struct, frozen=True):
    """How a feed's rows are spread, LAKE/landing/FEED/feed.json."""

    shards: int
    """How many."""
    hash: str
    """Names the function that gives a key its shard."""


_sharding = decoder(Sharding)


class LoadOutline(Struct, frozen=True):
    """[lake] of a contract, as far as an Outline has it."""

    load: str = "append"


class Outline(Struct, frozen=True):
    """What a command that only looks needs of a contract that landed: read without the libraries that check one."""

    event_time: str
    lake: LoadOutline = LoadOutline()


_outline = decoder(Outline)


@dataclass(frozen=True)
class Lake:
    """A lake's folder. `Lake.open` makes it where it is missing."""

    path: Path

    @classmethod
    def open(cls, path: Path | str, create: bool = True) -> Lake:
        """Raises GridError for a path that is no lake, or a lake a newer version wrote."""
        path = Path(path)
        mark = path / "lake.json"
        if path.exists() and not path.is_dir():
            raise GridError(f"lake {path}: is a file; give a folder")
        if not mark.exists():
            if not create:
                raise GridError(f"lake {path}: there is no lake here; `beam-grid land --lake {path}` makes one")
            if (
                path.is_dir()
                and not all(  # a run was killed making it, or a file of reflections or alerts was put there first
                    p.name.startswith(".lake.json.") or p.name in ("reflections.toml", "alerts.toml")
                    for p in path.iterdir()
                )
                and not (path / "landing").exists()
                and not (path / "locks").exists()
            ):
                raise GridError(f"lake {path}: the folder holds other things; give an empty or a new folder")
            try:
                path.mkdir(parents=True, exist_ok=True)
                write_atomically(
                    mark, {"format": FORMAT, "id": os.urandom(8).hex(), "created_at": utc_now().isoformat()}
                )
            except OSError as cause:
                raise GridError(
                    f"lake {path}: cannot be made ({cause.strerror}); give a folder you may write to"
                ) from cause
        try:
            found = read_json(mark).get("format")
        except (ValueError, AttributeError) as cause:
            raise GridError(f"lake {path}: lake.json is damaged ({cause})") from cause
        if not isinstance(found, int) or found > FORMAT:
            raise GridError(
                f"lake {path}: was written by a newer version (format {found}, this version knows {FORMAT}); "
                "update beam-grid"
            )
        return cls(path)

    @property
    def scratch(self) -> Path:
        """Where who holds the tables' lock puts what it needs for a while; what a killed one left goes with the next refine."""
        return self.path.resolve() / "tables" / ".scratch"

    @property
    def id(self) -> str:
        """Names the lake for ever; part of every Delta transaction id."""
        return str(read_json(self.path / "lake.json")["id"])

    @property
    def feeds(self) -> list[str]:
        """Feeds with at least one commit, by name."""
        return sorted(p.parent.parent.name for p in self.path.glob("landing/*/commits/0000000001.json"))

    def feed(self, name: str) -> FeedLog:
        return FeedLog(self, name)

    def landed(self, name: str) -> FeedLog:
        """The log of a feed that has landed; raises GridError, naming those that have."""
        if name not in self.feeds:
            raise GridError(
                f"feed {name!r}: nothing of it has landed in {self.path} (landed: {', '.join(self.feeds) or 'none yet'}); "
                f"`beam-grid land {name} --source S --lake {self.path}` lands it"
            )
        return self.feed(name)

    @contextmanager
    def lock(self, what: str, wait_s: float = 0) -> Iterator[None]:
        """Hold `land`, `follow` or `tables`, after waiting for it so long. The operating system frees it when the process
        ends, however it ends. Raises LakeBusy, and RunFailed for a lake that cannot be written. Who lands takes
        `visits.visiting`, who follows `visits.Lead`."""
        import filelock

        folder = self.path / "locks"
        lock = filelock.FileLock(folder / f"{what}.lock", timeout=wait_s, thread_local=False)
        with written_to(self):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except filelock.Timeout:
                stage = "another refine, run or maintain" if what == "tables" else "another land or run"
                raise LakeBusy(
                    f"lake {self.path}: {stage} is at work on it; wait for it to end and try again"
                ) from None
        try:
            yield
        finally:
            lock.release()


@contextmanager
def written_to(lake: Lake) -> Iterator[None]:
    """Raises RunFailed for a lake that cannot be written."""
    try:
        yield
    except OSError as cause:
        raise RunFailed(
            f"lake {lake.path}: cannot be written ({cause.strerror or cause}); nothing of this slice was "
            "committed: make room and run again"
        ) from cause


@dataclass(frozen=True)
class FeedLog:
    """One feed's part of the landing zone."""

    lake: Lake
    name: str

    @property
    def path(self) -> Path:
        return self.lake.path / "landing" / self.name

    @property
    def last(self) -> int:
        """Number of the newest commit, 0 before the first."""
        try:
            names = os.listdir(self.path / "commits")
        except FileNotFoundError:
            return 0
        return max((int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()), default=0)

    def last_after(self, number: int) -> int:
        """The same for who knows that this commit is there: they have no gap, and a log that grows is not listed."""
        if not number:
            return self.last
        while self._path(number + 1).exists():
            number += 1
        return number

    def _path(self, number: int) -> Path:
        return self.path / "commits" / f"{number:010d}.json"

    def commits(self, after: int = 0, upto: int | None = None) -> Iterator[Commit]:
        """Commits in order, those numbered above `after`."""
        for number in range(after + 1, (self.last if upto is None else upto) + 1):
            yield self.read(number)

    def read(self, number: int) -> Commit:
        """Raises GridError where a commit is missing, damaged or newer than this version."""
        where = self._path(number)
        try:
            return from_json(where.read_bytes())
        except (OSError, ValueError) as cause:
            raise GridError(
                f"lake {self.lake.path}: commit {number} of {self.name} cannot be read ({where}: {cause}); a commit never "
                "changes: put the file back as it was, from a copy of the lake, or land the sources into a new lake"
            ) from cause

    def append(self, commit: Commit) -> None:
        """Make a commit visible, all or nothing; raises GridError if its number is taken."""
        where = self._path(commit.number)
        where.parent.mkdir(parents=True, exist_ok=True)
        try:
            create_once(where, to_json(commit))
        except FileExistsError:
            raise GridError(f"lake {self.lake.path}: commit {commit.number} of {self.name} exists already") from None

    def remember(self, contract: Contract) -> None:
        """Keep the contract under its hash, so that refine and query need no --contract."""
        where = self.path / "contracts" / f"{contract.hash}.json"
        if not where.exists():
            where.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(where, contract.to_dict())

    def contract(self, digest: str | None = None) -> Contract:
        """The contract with this hash; without one, the newest commit's."""
        from data_sources.contract import parse_contract

        digest = digest or self.read(self.last).contract
        where = self.path / "contracts" / f"{digest}.json"
        raw = read_json(where)
        known = parse_contract(raw, str(where), conditions_are_checked=True)
        return known if known.hash == digest else parse_contract(raw, str(where))  # as it was when it landed, or not

    def outline(self, digest: str | None = None) -> Outline:
        """The same in outline, for a fraction of the time. Raises GridError where it cannot be read."""
        where = self.path / "contracts" / f"{digest or self.read(self.last).contract}.json"
        try:
            return _outline(where.read_bytes())
        except (OSError, ValueError) as cause:
            raise GridError(
                f"lake {self.lake.path}: {where} cannot be read ({cause}); put it back from a copy"
            ) from cause

    @property
    def sharding(self) -> Sharding | None:
        """Fixed before the first commit; None before that. Raises GridError where it cannot be read."""
        where = self.path / "feed.json"
        if not where.exists():
            return None
        try:
            return _sharding(where.read_bytes())
        except (OSError, ValueError) as cause:
            raise GridError(
                f"lake {self.lake.path}: {where} cannot be read ({cause}); remove it: the commits of {self.name} know their "
                "shards too"
            ) from cause

    def settle(self, sharding: Sharding) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "feed.json", encode(sharding, indent=1))

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    def new_attempt(self) -> str:
        """A folder name no other attempt has."""
        return f"{utc_now():%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"


def utc_now() -> datetime:
    return datetime.now(UTC)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def create_once(path: Path, content: dict[str, Any] | bytes) -> None:
    """Create `path`, JSON, whole or not at all; FileExistsError if it is there already."""
    durable.create_once(path, _encoded(content))


def write_atomically(path: Path, content: dict[str, Any] | bytes) -> None:
    """Replace `path`, JSON, whole or not at all."""
    durable.replace(path, _encoded(content))


def _encoded(content: dict[str, Any] | bytes) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content, indent=1, default=str).encode()
