"""Which feeds there are: the built-in contracts, a user's contract file, and those a lake remembers."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path

import data_sources
from beam_grid.errors import GridError
from data_sources.contract import Contract, load_contract
from data_sources.sources import SourceError, finding, kafka, source_at

BUILT_IN = Path(data_sources.__file__).parent
"""Folder that holds one folder a source, named as the feed, with its contract.toml."""

MOST_UNREAD = 20
"""Files that no feed reads are named one by one up to so many."""


def built_in() -> dict[str, Contract]:
    """The contracts that come with Beam Grid, by feed name; a test checks their conditions."""
    return dict(_built_in())


@functools.lru_cache(maxsize=1)
def _built_in() -> dict[str, Contract]:
    return {
        p.parent.name: load_contract(p, conditions_are_checked=True) for p in sorted(BUILT_IN.glob("*/contract.toml"))
    }


def source_of(contract: Contract, source: str) -> str:
    """Where a feed's records are: of a broker without a topic, the contract's own topic. Raises GridError without one."""
    if not kafka.is_broker(source):
        return source
    if contract.topic is None:
        raise GridError(
            f'feed {contract.name}: its contract names no topic; write kafka://host:port/topic, or add topic = "..."'
        )
    return f"{source.rstrip('/')}/{contract.topic}"


def chosen(
    names: tuple[str, ...], contract_files: tuple[str, ...], source: str, kafka_config: str | None = None
) -> list[Contract]:
    """The feeds a `land` is about: those named, else those of --contract, else all built-in ones whose source is there.

    Raises GridError for an unknown name, with the nearest known one, and for two contracts of one name.
    """
    known = built_in()
    given: dict[str, Contract] = {}
    for path, contract in zip(contract_files, map(load_contract, contract_files), strict=True):
        if given.setdefault(contract.name, contract) != contract:
            raise GridError(f"--contract {path}: another contract given is called {contract.name!r}, too; rename one")
    known |= given
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}; or give --contract FILE"
            raise GridError(f"feed {name!r}: is not known; {hint}")
    if names:
        return [known[name] for name in names]
    if given:
        return list(given.values())
    try:
        place = source_at(source, kafka_config=kafka_config)
        return [contract for contract in known.values() if place.holds(contract)]
    except SourceError as cause:
        raise GridError(str(cause)) from cause


def by_their_globs(chosen: list[Contract], source: str, named: bool) -> bool:
    """Whether the contracts' `files` alone say which files are whose: of several feeds, and of a feed of ours that finds
    its files there. A user's own feed reads every file of its format."""
    if len(chosen) > 1 or not named:
        return True
    (contract,) = chosen
    return built_in().get(contract.name) == contract and not kafka.is_kafka(source) and _holds(contract, source)


def _holds(contract: Contract, source: str) -> bool:
    try:
        return source_at(source).holds(contract)
    except SourceError:  # it is met, and told, when the slice is planned
        return False


def unread(source: str, chosen: list[Contract], own_globs: bool) -> list[str]:
    """Files under a source of files that none of these feeds reads, and that no built-in one names as its own."""
    if kafka.is_kafka(source):
        return []
    feeds = {name: (contract, True) for name, contract in built_in().items()}
    feeds |= {contract.name: (contract, own_globs) for contract in chosen}
    try:
        files = finding.unread(source, feeds.values())
    except SourceError:
        return []
    told = [f"{file.name}: {finding.why_unread(file, chosen)}" for file in files[:MOST_UNREAD]]
    return told + ([f"{len(files) - MOST_UNREAD:,} more files"] if len(files) > MOST_UNREAD else [])


def not_followed(source: str, chosen: list[Contract]) -> list[str]:
    """The built-in feeds whose files have come to a source of files since these were chosen, being all that were there."""
    if kafka.is_kafka(source):
        return []
    others = built_in().keys() - {contract.name for contract in chosen}
    try:
        files = finding.list_files(source)
    except SourceError:
        return []
    first = {
        name: next((f for f in files if finding.is_of(f, built_in()[name], own_globs=True)), None) for name in others
    }
    return [
        f"{file.name}: is a file of feed {name}, which came after this run began; start the run again to take it in"
        for name, file in sorted(first.items())
        if file is not None
    ]
