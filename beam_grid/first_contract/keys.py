"""Which columns tell the records apart: the event time, then names of what is metered, then whatever else helps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SUBJECTS = (
    r"event_?id|record_?id|reading_?id|transaction_?id|message_?id|uuid|guid",
    r"meter|zaehler|zahler|compteur|contador|contatore|teller",
    r"ean|mpan|mprn|prm|pdl|pod|cups|nmi|lclid|zaehlpunkt|messpunkt|metering_?point|malo|melo|metadata_id",
    r"entity_id|entity|sensor|device|geraet|inverter|station|substation|feeder|transformer|asset|unit_id|register|obis|channel|point",
    r"site|konto|account|customer|kunde|anlage|household|building|plant|zone|area|region|location",
    r"(.*_)?id|serial|nummer|number|(.*_)?no|(.*_)?nr|code|name|type|typ|direction|series|status_type",
)


_STATES = re.compile("statu|state|qualit|valid|ersatz|estimat|comment|note|bemerkung")
"""Names of what is said of a record: a correction has another, and would be a second record beside the first."""


@dataclass(frozen=True)
class Key:
    """fields: names; apart: how many of the `of` records that differ they tell apart; copies: rows equal in all."""

    fields: tuple[str, ...]
    apart: int
    of: int
    copies: int

    @property
    def is_whole(self) -> bool:
        return self.apart == self.of


def subject_rank(name: str) -> int | None:
    """How likely a field names what is metered: 0 the likeliest, None not at all."""
    if name == "id":
        return 4
    for rank, pattern in enumerate(_SUBJECTS):
        if re.fullmatch(rf"(?:.*_)?(?:{pattern})(?:_.*)?" if 0 < rank < 5 else rf"(?:.*_)?(?:{pattern})", name):
            return rank
    return None


def key_of(
    time: str, columns: dict[str, Sequence[str | None]], measures: set[str], times: frozenset[str] = frozenset()
) -> Key:
    """The fewest fields that tell the records apart: `time`, and of `columns` (by field name) what is no measure,
    and of other `times` none before all else."""
    names = [time, *(n for n in columns if n != time)]
    rows = list(zip(*(columns[n] for n in names), strict=True))
    distinct = list(dict.fromkeys(rows))
    place = {n: at for at, n in enumerate(names)}

    def apart(chosen: Sequence[str]) -> int:
        at = [place[n] for n in chosen]
        return len({tuple(row[i] for i in at) for row in distinct})

    def is_full(name: str) -> bool:
        return all((row[place[name]] or "").strip() for row in distinct)

    ranked = sorted((r, place[n], n) for n in names[1:] if (r := subject_rank(n)) is not None and n not in measures)
    usable = [n for _, _, n in ranked if is_full(n)]
    chosen = [time]
    if usable and subject_rank(usable[0]) != 5:
        chosen.append(usable[0])
    if not usable and len(distinct) > 2:
        names_of_records = (n for n in names[1:] if n not in measures | times and apart([n]) == len(distinct))
        chosen += [n for n in names_of_records if is_full(n)][:1]
    best = apart(chosen)
    others = [n for n in names[1:] if n not in measures and n not in usable and n not in chosen and is_full(n)]
    for rest in ([n for n in usable if n not in chosen], sorted(others, key=lambda n: bool(_STATES.search(n)))):
        while best < len(distinct) and rest and len(chosen) < 5:
            better = max(rest, key=lambda n: (apart([*chosen, n]), -rest.index(n)))
            if (count := apart([*chosen, better])) == best:
                break
            chosen.append(better)
            rest.remove(better)
            best = count
    return Key((*chosen[1:], time), best, len(distinct), len(rows) - len(distinct))
