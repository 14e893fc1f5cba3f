"""`beam-grid contracts init`: a first contract from a sample of the user's own data.

    look    what the sample is: kind, encoding, layout, rows by column      look, csv_files, json_files, typed_files
    guess   what each column is, and what tells the records apart           guess, numbers, times, events, wide, keys
    write   TOML, with a comment at each guess and ? at each question       write
    trial   how many of the sampled records the contract takes              trial

Guarantees: what is written is TOML whatever the sample holds, and `contracts check` either takes it or names the
questions that are left. Not guaranteed: that a guess is right; each says on what it rests.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass

from beam_grid.first_contract.guess import draft_of
from beam_grid.first_contract.look import ROWS, look_at
from beam_grid.first_contract.model import Sample
from beam_grid.first_contract.names import slug
from beam_grid.first_contract.write import toml
from data_sources.contract import Contract, parse_contract
from data_sources.contract.questions import questions

__all__ = ["ROWS", "First", "first_contract"]


@dataclass(frozen=True)
class First:
    """A first contract. contract: None while questions are open; alike: a built-in feed that the sample looks like."""

    text: str
    sample: Sample
    questions: list[str]
    contract: Contract | None
    alike: str | None


def first_contract(
    address: str, name: str | None = None, zone: str | None = None, kafka_config: str | None = None
) -> First:
    """The first contract of a file, folder, glob or topic. Raises SourceError where there is no sample, ContractError
    for a name or zone that no contract can have."""
    sample = look_at(address, kafka_config)
    text = toml(draft_of(sample, name if name is not None else _free(_name(address)), zone))
    raw = tomllib.loads(text)
    asked = questions(raw)
    contract = None if asked else parse_contract(raw, "of the sample")
    return First(text, sample, asked, contract, _alike(sample))


def _name(address: str) -> str:
    """The feed's name, from that of the file, folder or topic."""
    last = re.split(r"[/\\]", re.sub(r"[*?\[\]]+", "", address).rstrip("/\\"))[-1] or os.path.basename(os.getcwd())
    stem = last.split(".")[0] if not address.startswith("kafka://") else last
    words = re.sub(r"(?:^|_)\d{3,}(?=_|$)", "", slug(stem))  # dates and meters of one file do not name a feed
    return re.sub(r"__+", "_", words).strip("_") or slug(stem) or "feed"


def _free(name: str) -> str:
    """`name`, or my_name where a built-in feed is called so."""
    from beam_grid.feeds import built_in

    return f"my_{name}" if name in built_in() else name


def _alike(sample: Sample) -> str | None:
    """A built-in feed that has all the sample's columns, or nearly."""
    from beam_grid.feeds import built_in

    names = {column.name for column in sample.columns}
    for feed, contract in built_in().items():
        wanted = {field.input_name for field in contract.fields}
        if contract.format == sample.format and len(names & wanted) >= max(4, 0.8 * len(names)):
            return feed
    return None
