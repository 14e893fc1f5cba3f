"""What a contract's tables of whole series, [[detections]] and [[vee]], ask of it alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from data_sources.contract.parts import meant


def check_readings(where: str, table: str, series: str | None, kinds: Mapping[str, str], load: str) -> None:
    """Raise ValueError for a feed that keeps no readings, and a series that names nothing. where: begins the message;
    table: [[TABLE]] of the contract; kinds: the type by field."""
    if load != "append":
        raise ValueError(f'{where}: load = "{load}" keeps changes, not readings; leave [[{table}]] out')
    if series is not None and series not in kinds:
        raise ValueError(f"{where}, series: there is no field {series!r}{meant(series, kinds)}")
    if series is not None and kinds[series] == "float64":
        raise ValueError(f"{where}, series: {series!r} is a float64, which names nothing; name the meter's field")


def check_columns(where: str, name: str, fields: Iterable[str], own: Iterable[str]) -> None:
    """Raise ValueError for a field that would stand in gold.NAME under a name which the table has of its own."""
    taken = set(own)
    for field in fields:
        if field.lower() in taken:
            raise ValueError(
                f"{where}: gold.{name} has a column {field.lower()!r} of its own; give the field another name, and "
                "the input's in source"
            )


def is_number(kind: str) -> bool:
    """Whether a field of this type can be reckoned with."""
    return kind.startswith(("int64", "float64", "decimal"))
