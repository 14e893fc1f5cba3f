"""Columns by name: exact, stripped, numbered, by other names; what is missing is named with the nearest name."""

from __future__ import annotations

from typing import Any

import pytest

from data_sources.contract import Contract
from data_sources.decode.columns import bind, headerless_names, unique_names
from tests.data_sources.decode.cases import contract


def feed(*fields: dict[str, Any], **more: Any) -> Contract:
    given = [{"name": "at", "type": "timestamp"}, *({"type": "string", **field} for field in fields)]
    return contract("csv", given, dedup={"key": ["at"]}, **more)


def test_each_field_finds_its_columns() -> None:
    words = feed(
        {"name": "a", "source": "A "}, {"name": "b", "aliases": ["B", "C"]}, {"name": "d", "source": ["A", "x"]}, {"name": "e", "source": "x#2"}
    )  # fmt: skip
    with pytest.raises(ValueError, match="names 'x' twice"):
        bind(["at", " A", "C", "B", "x", "x"], words)
    found = bind(["at", " A", "C", "B", "x", "q"], words)
    assert dict(found.columns) == {"at": (0,), "a": (1,), "b": (3,), "d": (1, 4)}
    assert [m.field for m in found.missing] == ["e"] and found.unknown == (2, 5) and found.fits


def test_missing_columns_are_named_with_the_nearest() -> None:
    words = feed(
        {"name": "kwh", "source": "Verbrauch", "aliases": ["kWh"]}, {"name": "x"}, {"name": "y", "source": ["Q", "at"]}
    )
    found = bind(["at", "Verbrauch [kWh]", "q"], words)
    assert [(m.field, m.wanted, m.nearest) for m in found.missing] == [
        ("kwh", ("Verbrauch", "kWh"), "Verbrauch [kWh]"), ("x", ("x",), None), ("y", ("Q",), "q")]  # fmt: skip
    assert str(found.missing[0]) == "no column 'Verbrauch' or 'kWh' for field 'kwh' (did you mean 'Verbrauch [kWh]'?)"
    assert bind(["at", "kwh"], feed({"name": "kwh", "source": "kWh"})).missing[0].nearest == "kwh"


def test_fields_from_elsewhere_are_never_missing() -> None:
    words = feed(
        {"name": "m", "from_name": "(x)"}, {"name": "s"}, {"name": "v"}, unpivot={"columns": ":", "into": ["s", "v"]}
    )
    found = bind(["at", "00:00", "Sum"], words)
    assert not found.missing and found.unpivoted == (1,) and found.unknown == (2,)
    assert [m.field for m in bind(["at", "Sum"], words).missing] == ["s", "v"]
    with pytest.raises(ValueError, match="10,000 columns"):
        bind(["at", *(f"{n}:" for n in range(9_999))], words)


def test_repeated_names_nobody_asks_for_are_harmless() -> None:
    assert bind(["at", "x", "x", ""], feed()).unknown == (1, 2, 3) and unique_names(["x", "y", "x", "x"]) == [
        "x",
        "y",
        "x#2",
        "x#3",
    ]


def test_no_column_at_all_fits() -> None:
    assert not bind(["x", "y"], feed()).fits


def test_names_of_a_file_without_a_header() -> None:
    words = feed(
        {"name": "t", "source": ["D", "T"]},
        {"name": "v", "source": "V", "aliases": ["W"]},
        {"name": "f", "from_name": "(x)"},
    )
    assert headerless_names(words) == ["at", "D", "T", "V"]
