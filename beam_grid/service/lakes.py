"""The file that `beam-grid run-lakes` reads: lakes that one process keeps up to date, each with its source and its limits.

    [[lakes]]
    lake = "/data/north"                    # its folder
    source = "kafka://broker:9092"          # as of `run --source`
    feeds = ["smart_meter_readings"]        # all that are there unless given
    every = "5s"
    max_rows_per_s = 20000
    max_memory_mib = 2048

docs/operations.md has the table of words, made from these types.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
from msgspec import Struct

from beam_grid.errors import GridError
from data_sources.durations import parse_duration


class ServedLake(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of [[lakes]]. Paths are relative to the file."""

    lake: str
    """Its folder, made where it is missing."""
    source: str
    """Where records come from, as of `run --source`."""
    name: str = ""
    """What lines of the log and metrics call it; the folder's name unless given."""
    feeds: tuple[str, ...] = ()
    """Names of feeds; all that the source holds unless given."""
    contracts: tuple[str, ...] = ()
    """Contract files of feeds of your own."""
    kafka_config: str | None = None
    """Connection settings, a file of key=value lines."""
    every: str = "10s"
    """How often it looks for new records."""
    refine_every: str = "60s"
    """How often changes, master data, clustering and analyses are brought up."""
    standby: bool = False
    """Whether it waits, ready, where another process follows the lake; else it is tried again and again."""
    slice_rows: int = 500_000
    """Limit: records per commit, which bounds the memory that a slice takes."""
    max_rows_per_s: int | None = None
    """Limit: records read per second, all feeds of the lake together; none unless given."""
    max_memory_mib: int | None = None
    """Limit: resident MiB of its process and what that starts; above it is ended in order and started anew."""
    cpus: int | None = None
    """Limit: how many of the machine's cores it may use; all unless given."""

    def command(self) -> list[str]:
        """What follows `beam-grid`."""
        words = ["run", *self.feeds, "--follow", "--source", self.source, "--lake", self.lake]
        for contract in self.contracts:
            words += ["--contract", contract]
        words += ["--every", self.every, "--refine-every", self.refine_every, "--slice-rows", str(self.slice_rows)]
        if self.standby:
            words.append("--standby")
        if self.kafka_config is not None:
            words += ["--kafka-config", self.kafka_config]
        if self.max_rows_per_s is not None:
            words += ["--max-rows-per-s", str(self.max_rows_per_s)]
        return words


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    lakes: list[ServedLake]


def served_lakes(path: str) -> list[ServedLake]:
    """The lakes of a file; raises GridError that names the word and what was seen."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise GridError(f"{path}: cannot be read ({getattr(cause, 'strerror', None) or cause})") from cause
    try:
        found = msgspec.convert(tomllib.loads(text), _File).lakes
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as cause:
        raise GridError(
            f"{path}: {cause}; write [[lakes]] with lake, source and what docs/operations.md lists"
        ) from cause
    if not found:
        raise GridError(f"{path}: has no [[lakes]]; write one for each lake")
    lakes = [_placed(lake, Path(path).resolve().parent) for lake in found]
    for word in ("lake", "name"):
        seen: set[str] = set()
        for lake in lakes:
            value = getattr(lake, word)
            if value in seen:
                raise GridError(f"{path}: two [[lakes]] have {word} = {value!r}; each needs its own")
            seen.add(value)
    for lake in lakes:
        _check(lake, path)
    return lakes


def _placed(lake: ServedLake, beside: Path) -> ServedLake:
    """With paths that hold wherever the process stands."""

    def at(value: str) -> str:
        return str((beside / value).resolve())

    return msgspec.structs.replace(
        lake,
        lake=at(lake.lake),
        name=lake.name or Path(at(lake.lake)).name,
        source=lake.source if "://" in lake.source else str(beside / lake.source),
        contracts=tuple(map(at, lake.contracts)),
        kafka_config=None if lake.kafka_config is None else at(lake.kafka_config),
    )


def _check(lake: ServedLake, path: str) -> None:
    for word in ("slice_rows", "max_rows_per_s", "max_memory_mib", "cpus"):
        value = getattr(lake, word)
        if value is not None and value < 1:
            raise GridError(f"{path}: {lake.name}: {word} = {value}; it must be at least 1")
    for word in ("every", "refine_every"):
        try:
            seconds = parse_duration(getattr(lake, word)).total_seconds()
        except ValueError as cause:
            raise GridError(f"{path}: {lake.name}: {word}: {cause}") from cause
        if seconds < 1:
            raise GridError(f"{path}: {lake.name}: {word} = {getattr(lake, word)!r}; the shortest is 1s")
