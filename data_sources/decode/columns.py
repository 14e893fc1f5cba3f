"""Which columns of a file a contract's fields read, by the names in its header, schema or table.

    names      Meter | Reading Date | 00:00 | 00:30 | Usage | Usage        into = ["slot", "kwh"]
    meter      0                                                           source = "Meter"
    at                 1, "slot"                                           source = ["Reading Date", "slot"]
    unpivoted                         2       3
    used                                              5                    source = "Usage#2"

A name is found as it is written, else without the blanks around both and with blanks for line breaks; `NAME#2` is the second column of a name.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from data_sources.contract import Contract, FieldSpec
from data_sources.patterns import any_matching

MOST_COLUMNS = 9_999
"""Columns a row that is unpivoted may have: a record's position is that of its row times 10,000 plus its column."""

_NUMBERED = re.compile(r"(.*)#([1-9][0-9]*)", re.S)


@dataclass(frozen=True)
class Missing:
    """A field that no column of the file is for: the names looked for, and the nearest name the file has."""

    field: str
    wanted: tuple[str, ...]
    nearest: str | None

    def __str__(self) -> str:
        names = " or ".join(repr(name) for name in self.wanted)
        return f"no column {names} for field {self.field!r}" + (
            f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        )


@dataclass(frozen=True)
class Binding:
    """Per field the columns it reads: places (from 0), or the name of a field whose text stands for the column."""

    names: tuple[str, ...]
    columns: Mapping[str, tuple[int | str, ...]]
    missing: tuple[Missing, ...] = ()
    unpivoted: tuple[int, ...] = ()
    unknown: tuple[int, ...] = field(default=())

    @property
    def fits(self) -> bool:
        """Whether any column is the contract's."""
        return bool(self.unpivoted) or any(isinstance(at, int) for places in self.columns.values() for at in places)

    def absent(self, required: Collection[str]) -> list[str]:
        """What is missing for fields that may be null. Raises ValueError where it is for one that may not."""
        lost = [str(m) for m in self.missing if m.field in required]
        if lost:
            raise ValueError("; ".join(lost))
        return [str(m) for m in self.missing]

    def says_missing(self, _: int, spec: FieldSpec) -> str | None:
        """A sentence where the file has no column for the field."""
        wanted = [name for missing in self.missing if missing.field == spec.name for name in missing.wanted]
        return f"{spec.name} is missing: the file has no column {' or '.join(map(repr, wanted))}" if wanted else None


def bind(names: Sequence[str], contract: Contract) -> Binding:
    """Find each field's columns. Raises ValueError for a name that is there twice and asked for without its number."""
    return _bind(tuple(names), contract)


@functools.lru_cache(maxsize=256)
def _bind(names: tuple[str, ...], contract: Contract) -> Binding:
    into = contract.unpivot.into if contract.unpivot else []
    texts = {f.name for f in contract.fields if f.is_constant or any(w.startswith("$.") for w in f.wanted)}
    columns: dict[str, tuple[int | str, ...]] = {}
    missing: list[Missing] = []
    for spec in contract.fields:
        if spec.name in into or (spec.name in texts and not any(w in names for w in spec.wanted)):
            continue
        if isinstance(spec.source, list):
            places = [_part(name, spec, names, {*into, *texts}) for name in spec.source]
            absent = [name for name, at in zip(spec.source, places, strict=True) if at is None]
            missing += [_missing(spec, [name], names) for name in absent]
            if not absent:
                columns[spec.name] = tuple(at for at in places if at is not None)
            continue
        place = next((at for name in spec.wanted if (at := _find(name, names)) is not None), None)
        if place is None:
            missing.append(_missing(spec, spec.wanted, names))
        else:
            columns[spec.name] = (place,)
    used = {at for places in columns.values() for at in places if isinstance(at, int)}
    unpivoted: tuple[int, ...] = ()
    if contract.unpivot is not None:
        unpivoted = tuple(at for at in any_matching(names, contract.unpivot.columns) if at not in used)
        if not unpivoted:
            wanted = (f"matching {contract.unpivot.columns}",)
            missing += [Missing(name, wanted, None) for name in into]
        elif len(names) > MOST_COLUMNS:
            raise ValueError(f"{len(names):,} columns, more than the {MOST_COLUMNS:,} that [unpivot] takes")
    unknown = tuple(at for at in range(len(names)) if at not in used and at not in unpivoted)
    return Binding(names, columns, tuple(missing), unpivoted, unknown)


def headerless_names(contract: Contract) -> list[str]:
    """Names of the columns of a file without a header: those the fields ask for, in the contract's order."""
    names: list[str] = []
    for spec in contract.fields:
        asked = spec.source if isinstance(spec.source, list) else spec.wanted[:1]
        names += [name for name in asked if name not in names]
    return names


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, the second of one as NAME#2, so that each says which column it is."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found


def _part(name: str, spec: FieldSpec, names: tuple[str, ...], texts: set[str]) -> int | str | None:
    """A column of a list, or the field whose text stands for it."""
    if name in texts and name != spec.name:
        return name
    return _find(name, names)


def _find(name: str, names: tuple[str, ...]) -> int | None:
    """The column's place; None where there is none. Raises ValueError where two have the name."""
    for these, wanted in ((names, name), (tuple(map(_on_one_line, names)), _on_one_line(name))):
        places = [at for at, n in enumerate(these) if n == wanted]
        if len(places) > 1:
            raise ValueError(
                f"the header names {wanted!r} twice; say which column is meant with source = {wanted + '#1'!r} or "
                f"{wanted + '#2'!r}"
            )
        if places:
            return places[0]
    numbered = _NUMBERED.fullmatch(name.strip())
    if numbered is None:
        return None
    places = [at for at, n in enumerate(names) if n.strip() == numbered[1].strip()]
    return places[int(numbered[2]) - 1] if len(places) >= int(numbered[2]) else None


def _on_one_line(name: str) -> str:
    return " ".join(part.strip() for part in name.strip().splitlines())


def _missing(spec: FieldSpec, wanted: Sequence[str], names: tuple[str, ...]) -> Missing:
    for name in wanted:
        numbered = _NUMBERED.fullmatch(name)
        close = difflib.get_close_matches(numbered[1] if numbered else name, names, n=1, cutoff=0.5)
        folded = [n for n in names if n.strip().casefold() == name.strip().casefold()]
        if folded or close:
            return Missing(spec.name, tuple(wanted), (folded or close)[0])
    return Missing(spec.name, tuple(wanted), None)
