"""What a person is told at the end: files left out, questions or how many of the sampled rows land, the next command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from beam_grid.first_contract import ROWS, First
from beam_grid.first_contract.trial import trial
from data_sources.errors import UserError


def closing(first: First, out: str | None, kafka_config: str | None = None) -> Iterator[str]:
    """Lines for stderr. out: the contract's file, None where it went to stdout."""
    sample = first.sample
    yield f"{sample.address}: {sample.format}, {sample.rows:,} rows of {_few(sample.files)}"
    for line in sample.left:
        yield f"  not looked at: {line}"
    if first.alike is not None:
        yield f"  it looks like the built-in feed {first.alike}, which needs no contract: beam-grid run {first.alike} --source ..."
    for question in first.questions:
        yield f"  question: {question}"
    file = out or f"{_feed(first)}.toml"
    if first.contract is not None:
        yield from _taken(first, kafka_config)
    if out is None:
        yield f"write it to a file with --out {file}; then"
    if first.questions:
        yield f"answer the questions in {file}; next: beam-grid contracts check {shlex.quote(file)}, and then"
    lake = "--lake lake"
    yield f"next: beam-grid land --contract {shlex.quote(file)} --source {shlex.quote(sample.address)} {lake}"


def _taken(first: First, kafka_config: str | None) -> Iterator[str]:
    """How many of the rows the contract takes, by the product's own planning and decoding."""
    assert first.contract is not None
    try:
        found = trial(first.contract, first.sample.address, ROWS, kafka_config)
    except UserError as cause:
        yield f"  could not be tried: {cause}"
        return
    yield f"takes {found.taken:,} of {found.taken + found.rejected:,} rows"
    for rule, count in found.rules.most_common(5):
        yield f"  rejects {count:,} by {rule}: {found.reasons[rule]}"
    for problem in found.problems:
        yield f"  land would say: {problem}"


def _feed(first: First) -> str:
    import tomllib

    return str(tomllib.loads(first.text)["name"])


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
