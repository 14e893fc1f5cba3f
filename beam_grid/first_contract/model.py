"""What a sample is, and what is guessed of it: plain values between looking, guessing and writing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

BLANKS, APOSTROPHES = "[ \u00a0\u202f\u2009]", "['\u2019]"
NUMBER = re.compile(rf"[+-]?(\d[\d.,]*|[.,]\d+|\d{{1,3}}(({BLANKS}|{APOSTROPHES})\d{{3}})+([.,]\d+)?)([eE][+-]?\d+)?")
DOTTED = re.compile(r"\d{1,2}\.\d{1,2}\.(\d{4}|\d{2})|\d{4}\.\d{1,2}\.\d{1,2}\.?")
"""A date such as 26.10.2025, which is no number."""

Word = str | bool | list[str]
"""A value of a contract's word. A text that begins with ? is a question to the person who reads the contract."""


@dataclass
class Column:
    """A column of the sample: its name in the input, its values as text (None: null or not there), and of inputs with
    types the kinds seen: text, int, float, bool, date, time (with an offset or of UTC), local (without), nested."""

    name: str
    values: list[str | None]
    kinds: frozenset[str] = frozenset({"text"})
    aliases: list[str] = field(default_factory=list)
    type: str | None = None
    """The contract type that the input itself declares."""

    @cached_property
    def seen(self) -> Counter[str]:
        """Values that are neither null nor blank, without the blanks around them, and how often each came."""
        return Counter(v.strip() for v in self.values if v is not None and v.strip())

    @cached_property
    def numbers(self) -> list[str]:
        """Of the texts seen, those that may be numbers, whatever their marks."""
        return [
            text
            for text in self.seen
            if NUMBER.fullmatch(text) and not (text.count(".") == 2 and DOTTED.fullmatch(text))
        ]

    def forget(self) -> None:
        """What was counted of its values, where these have changed."""
        for name in ("seen", "numbers"):
            self.__dict__.pop(name, None)

    @property
    def count(self) -> int:
        return sum(self.seen.values())


@dataclass
class Sample:
    """Rows of the user's data, by column, and how they are written.

    layout: words of [csv], [json] or [sqlite]; notes: on what those rest, by word; preamble: lines above a CSV's
    header; roots: scalars of a JSON document outside its records, by path `$.a.b`; files: those looked at; left: those
    that were not, and why; globs: what of `files` is needed for them to be read.
    """

    address: str
    format: str
    columns: list[Column]
    layout: dict[str, Word] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    preamble: list[str] = field(default_factory=list)
    roots: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    globs: list[str] = field(default_factory=list)
    changes: Changes | None = None
    topic: str | None = None

    @property
    def rows(self) -> int:
        return max((len(column.values) for column in self.columns), default=0)


@dataclass(frozen=True)
class Changes:
    """What tells that the records are changes of a table: Debezium's envelopes, rows of SQL Server's change tables."""

    envelopes: int
    native: int
    places: tuple[str, ...]
    """Names in Debezium's `source` that say the place in the log."""
    schemas: int = 0
    """Envelopes that carry their schema."""


@dataclass
class FieldDraft:
    """A field to be written: words in their order, comments above it. hidden: written as a comment, for the taking."""

    name: str
    type: str
    words: dict[str, Word] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    hidden: bool = False


@dataclass
class Draft:
    """A contract to be written. words: of the top, the layout and the lake, by table name ("" the top)."""

    name: str
    sample: Sample
    fields: list[FieldDraft]
    event_time: str
    key: list[str]
    unpivot: dict[str, Word] = field(default_factory=dict)
    lake: dict[str, Word] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)
    """Comments by the word they stand above: event_time, key, files, unpivot, lake ..."""
    max_future: str | None = None
    windows: list[str] = field(default_factory=list)
    """Lines of a window for the taking."""
