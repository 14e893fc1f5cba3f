"""How many of the sampled records a contract takes: planned, read and decoded as `land` would, without a lake."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from data_sources.contract import Contract
from data_sources.formats import format_of
from data_sources.sources import read, source_at
from data_sources.splits import FileEnd, FileSplit, KafkaEnd


@dataclass
class Trial:
    """taken and rejected: records; rules: of the rejects, by rule; reasons: one a rule; problems: what `land` would tell
    of files."""

    taken: int = 0
    rejected: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def trial(contract: Contract, address: str, rows: int, kafka_config: str | None = None) -> Trial:
    """At most `rows` records of the address under the contract. Raises SourceError where it cannot be read at all."""
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    listing = source_at(address, kafka_config=kafka_config).plan(contract, {}, rows)
    found, kind = Trial(problems=listing.problems), format_of(contract)
    for split in listing.splits:
        file = split if isinstance(split, FileSplit) else None
        header = file.header if file else None
        constants = dict(file.constants) if file else {}
        for block in read(split, contract, now, kafka_config):
            if isinstance(block, FileEnd | KafkaEnd):
                continue
            decoded = kind.decode(block, header, constants)
            rejects = decoded.rejecting.table()
            found.taken += decoded.rows.num_rows
            found.rejected += rejects.num_rows
            for rule, reason in zip(rejects["rule"].to_pylist(), rejects["reason"].to_pylist(), strict=True):
                found.rules[rule] += 1
                found.reasons.setdefault(rule, reason)
    return found
