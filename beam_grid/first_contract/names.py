"""Names for columns: a plain word of letters, digits and _ from a header's text, and the unit that stands in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SPELT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa", "œ": "oe", "ł": "l", "đ": "d",
     "ð": "d", "þ": "th", "€": "eur", "²": "2", "³": "3", "°": "deg", "%": "pct", "µ": "u", "μ": "u"}
)  # fmt: skip
_UNITS = {
    "kwh": "kWh", "wh": "Wh", "mwh": "MWh", "gwh": "GWh", "kw": "kW", "mw": "MW", "w": "W", "va": "VA", "kva": "kVA",
    "var": "var", "kvar": "kvar", "kvarh": "kvarh", "v": "V", "kv": "kV", "a": "A", "ma": "mA", "hz": "Hz", "°c": "°C",
    "m³": "m³", "m3": "m³", "l": "l", "%": "%", "€": "€", "eur": "EUR", "ct": "ct", "kg": "kg", "bar": "bar", "pa": "Pa",
    "eur/mwh": "EUR/MWh", "€/mwh": "€/MWh", "ct/kwh": "ct/kWh", "eur/kwh": "EUR/kWh", "€/kwh": "€/kWh", "j": "J",
    "kj": "kJ", "mj": "MJ", "gj": "GJ", "kwh/h": "kWh/h", "m³/h": "m³/h", "w/m2": "W/m²", "w/m²": "W/m²", "m/s": "m/s",
}  # fmt: skip
_BRACKETS = re.compile(r"[(\[<]\s*([^()\[\]<>]*?)\s*[)\]>]")
_WORDY = ("kwh", "mwh", "wh", "kw", "mw", "kvarh", "kvar", "kva", "eur")


def is_unit(text: str) -> bool:
    """Whether a text is a unit of what grids measure."""
    return text.lower() in _UNITS


def unit_of(name: str) -> str | None:
    """The unit in brackets of a column's name, behind an `in`, or its last part."""
    last = name.split(".")[-1] if "/" not in name else name
    for inside in _BRACKETS.findall(name):
        for word in (inside, inside.split()[-1] if inside.split() else ""):
            if (unit := _UNITS.get(word.lower())) is not None:
                return unit
    tail = re.split(r"\bin\s+|[_\s]", last.strip())[-1].lower()
    if re.search(r"\bin\s+\S+$", last.strip()) and tail in _UNITS:
        return _UNITS[tail]
    is_rate = re.search(r"(?:\bper|/)[_\s]*\S*$", last.strip().lower()) or re.search(r"_per_[^_]*$", last.lower())
    return _UNITS[tail] if tail in _WORDY and not is_rate else None


def slug(name: str) -> str:
    """`Zählerstand (kWh)` to zaehlerstand: what names the column, without what stands in brackets."""
    bare = _BRACKETS.sub(" ", name)
    return _plain(bare) or _plain(name) or "field"


def _plain(text: str) -> str:
    spelt = text.casefold().translate(_SPELT)
    ascii_only = unicodedata.normalize("NFKD", spelt).encode("ascii", "ignore").decode()
    word = re.sub(r"[^a-z0-9]+", "_", ascii_only).strip("_")[:60].strip("_")
    return f"f_{word}" if word[:1].isdigit() else word


class Taken:
    """Names that are given out once, whatever their case. reserved: those that tables have columns of their own by."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._reserved = frozenset(reserved)

    def free(self, wanted: str) -> str:
        """`wanted`, or wanted_2 and so on; source_wanted for a reserved one."""
        wanted = f"source_{wanted}" if wanted in self._reserved else wanted
        name, number = wanted, 2
        while name.lower() in self._names:
            name, number = f"{wanted}_{number}", number + 1
        self._names.add(name.lower())
        return name
