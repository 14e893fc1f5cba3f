"""What a feed's tables in the lake are called and which columns they have of their own: what a contract may not say.

load        tables                                  columns beside the contract's
append      silver.F                                -
cdc         silver.F, F_deleted, G_history          in the history: valid_from, valid_to, known_from, known_to, ...
scd2        silver.F                                record_effective_date, record_end_date, is_current, scd_version

G is F without `_transactions`. Lineage columns begin with `_`, as no field does. Names of columns are told apart by more
than upper and lower case: Delta's are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_sources.contract import Contract

HISTORY_COLUMNS = ("valid_from", "valid_to", "known_from", "known_to", "is_current_knowledge")
"""Of a feed of changes: until when a version was so, and when that was known."""

VERSION_COLUMNS = ("record_effective_date", "record_end_date", "is_current", "scd_version")
"""Of master data: made by the lake. A field of exactly such a name is the source's opinion, and is not shown."""


def history_name(feed: str) -> str:
    return f"silver.{feed.removesuffix('_transactions')}_history"


def silver_names(contract: Contract) -> list[str]:
    """The silver tables of a feed in the order they are written."""
    name = contract.name
    if contract.lake.load == "cdc":
        return [f"silver.{name}_deleted", f"silver.{name}", history_name(name)]
    return [f"silver.{name}"]


def gold_names(contract: Contract) -> list[str]:
    """What the feed's own tables and views in gold are called: windows, and what [now], [[detections]], [[vee]] and
    [[features]] make."""
    now = contract.now.tables if contract.now is not None else ()
    declared = [*(one.name for one in contract.detections), *(one.name for one in contract.vee)]
    declared += [table for one in contract.features for table in one.tables]
    return [*(window.name for window in contract.windows), *now, *declared]


def check_tables(contract: Contract) -> None:
    """Raise ValueError, with field and remedy, for what no table could be made of."""
    lake = contract.lake
    if lake.load == "cdc":
        check_history_columns(contract)
        for name in lake.sequence_by:
            if (said := unordered(contract, name)) is not None:
                raise ValueError(said)
        if lake.operation in lake.key:
            raise ValueError(f"lake.key: {lake.operation!r} is the operation, which does not name a row; leave it out")
    elif lake.load == "scd2":
        _check_version_columns(contract)


def check_history_columns(contract: Contract) -> None:
    """Raise ValueError for a field that has the name of a column the history makes."""
    table = history_name(contract.name)
    for field in contract.fields:
        if field.name.lower() in HISTORY_COLUMNS:
            remedy = _renamed(field.name, field.input_name)
            raise ValueError(f"field {field.name!r}: {table} has a column of its own with this name; {remedy}")


def unordered(contract: Contract, name: str) -> str | None:
    """Why a field cannot order changes; None where it can. Fractions have no place in a log."""
    kind = contract.field(name).type
    is_fraction = kind == "float64" or (kind.startswith("decimal") and not kind.endswith(",0)"))
    if not is_fraction:
        return None
    return (
        f"lake.sequence_by: field {name!r} is a {kind}, which cannot order changes; use whole numbers, LSNs or times "
        "(a whole number that the source writes as 1.0 may be a decimal(38,0))"
    )


def _check_version_columns(contract: Contract) -> None:
    """A field may have a made column's very name, but no key may, nor may a name differ from one in its case alone."""
    lake, table = contract.lake, f"silver.{contract.name}"
    for field in contract.fields:
        if field.name in VERSION_COLUMNS:
            if field.name in lake.key:
                raise ValueError(
                    f"lake.key: {table} makes {field.name!r} itself; {_renamed(field.name, field.input_name)}"
                )
        elif field.name.lower() in VERSION_COLUMNS:
            made = field.name.lower()
            raise ValueError(
                f"field {field.name!r}: {table} has a column of its own, {made!r}, and names do not differ by case alone; "
                f"call it {made!r} (it is then the source's opinion, and not shown), or {_renamed(field.name, field.input_name)}"
            )


def _renamed(name: str, source: str) -> str:
    return f'choose another name, such as "source_{name.lower()}", and write source = "{source}"'


def clash(contract: Contract, others: Iterable[Contract]) -> str | None:
    """Which of another feed's tables this one would write too, were both in one lake; None for none.

    A feed of the same name is the same feed, declared otherwise.
    """
    tables = {*silver_names(contract), *(f"gold.{name}" for name in gold_names(contract))}
    for other in others:
        if other.name != contract.name:
            theirs = [*silver_names(other), *(f"gold.{name}" for name in gold_names(other))]
            if (both := next((name for name in theirs if name in tables), None)) is not None:
                return (
                    f"{both} is a table of the built-in feed {other.name}, too: the two cannot share a lake; rename "
                    + ("the window" if both.startswith("gold.") else "the feed")
                )
    return None
