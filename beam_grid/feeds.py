"""Which feeds there are: the built-in contracts, a user's contract file, and those a lake remembers."""

from __future__ import annotations

import difflib
from pathlib import Path

from beam_grid.errors import GridError
from data_sources import files, kafka
from data_sources.contract import Contract, load_contract

BUILT_IN = Path(files.__file__).parent
"""Folder that holds one folder a source, named as the feed, with its contract.toml."""


def built_in() -> dict[str, Contract]:
    """The contracts that come with Beam Grid, by feed name; a test checks their conditions."""
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

    Raises GridError for an unknown name, with the nearest known one.
    """
    known = built_in()
    given = {c.name: c for c in map(load_contract, contract_files)}
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
        if kafka.is_broker(source):
            there = kafka.topics(source, kafka_config)
            return [c for c in known.values() if c.topic in there]
        return [c for c in known.values() if _is_there(c, source)]
    except files.SourceError as cause:
        raise GridError(str(cause)) from cause


def _is_there(contract: Contract, source: str) -> bool:
    if kafka.is_kafka(source):
        return kafka.parse_source(source)[1] == contract.topic
    return bool(files.find_files(source, contract, own_globs=True))
