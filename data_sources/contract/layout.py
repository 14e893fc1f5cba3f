"""How a feed's files are written: CSV, JSON documents, SQLite tables, rows that hold several records."""

from __future__ import annotations

import codecs
import functools
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from data_sources.contract.parts import Part
from data_sources.patterns import check_pattern

_ASCII = bytes(range(32, 127)) + b"~{ab~}+AGE-\\x41\x1b$B!!"
"""Text that encodings with shifts and escapes read as something else."""

_NO_FILES = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}
"""Encodings of Python that no file has."""


class CsvSpec(Part):
    """How a CSV input is written."""

    delimiter: str = ","
    encoding: str = "utf-8"
    header: bool | str = True
    quote: str = '"'
    null: str | list[str] = ""
    decimal: str = "."
    thousands: str | None = None
    last_line: Literal["waits", "whole"] = "waits"
    short_rows: Literal["reject", "null"] = "reject"
    sheet: str | None = None

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_character(cls, text: str) -> str:
        if len(text) != 1 or ord(text) > 127 or text in "\r\n":
            raise ValueError(f"{text!r} is not one plain character, such as , or ;")
        return text

    @field_validator("decimal", "thousands")
    @classmethod
    def _mark(cls, text: str | None, info: Any) -> str | None:
        spaced = info.field_name == "thousands"
        if text is not None and (
            len(text) != 1 or text.isalnum() or text in '+-"\r\n\t' or (text.isspace() and not spaced)
        ):
            example = '"." or "\'" or " "' if spaced else '"," or "."'
            raise ValueError(f"{text!r} is not one mark of a number; write {example}")
        return text

    @field_validator("header", mode="before")
    @classmethod
    def _beginning_of_a_line(cls, header: Any) -> Any:
        if isinstance(header, str) and (not header.strip() or "\n" in header or "\r" in header):
            raise ValueError(f'{header!r} begins no header line; write its first characters, as in header = "Datum;"')
        if not isinstance(header, bool | str):
            raise ValueError(f'{header!r}: write true, false, or what the header line begins with, as in "Datum;"')
        return header

    @field_validator("sheet")
    @classmethod
    def _named(cls, sheet: str | None) -> str | None:
        if sheet is not None and not sheet.strip():
            raise ValueError(f"{sheet!r} names no sheet; leave it out for the first")
        return sheet

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            known = codecs.lookup(name).name
            if known.replace("-", "_") in _NO_FILES:
                raise ValueError(f"{name!r} is no encoding of files; try utf-8, latin-1, cp1252 or utf-16")
            b"ab".decode(name, "replace")  # raises LookupError of what makes no text
        except (LookupError, UnicodeError):
            raise ValueError(f"unknown encoding {name!r}; try utf-8, latin-1, cp1252 or utf-16") from None
        return name

    @model_validator(mode="after")
    def _told_apart(self) -> CsvSpec:
        if self.delimiter == self.quote:
            raise ValueError(f"delimiter and quote are both {self.quote!r}; they must differ")
        if self.thousands == self.decimal:
            other = '","' if self.decimal == "." else '"."'
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; write decimal = {other}")
        for word in ("decimal", "thousands"):
            if getattr(self, word) == self.quote:
                raise ValueError(f"{word} and quote are both {self.quote!r}; they must differ")
        if self.decimal == self.delimiter:
            remedy = 'delimiter = ";"' if self.decimal == "," else 'decimal = ","'
            raise ValueError(f"decimal and delimiter are both {self.decimal!r}; they must differ, as in {remedy}")
        return self

    @property
    def nulls(self) -> list[str]:
        return [self.null] if isinstance(self.null, str) else self.null

    @property
    def is_transcoded(self) -> bool:
        """Whether files are turned into UTF-8 before they are cut: their line ends or delimiters are not one byte."""
        return not _cuts_by_bytes(self.encoding)

    @property
    def writes_numbers_plainly(self) -> bool:
        """Whether numbers are written as programs write them."""
        return self.decimal == "." and self.thousands is None


@functools.lru_cache(maxsize=64)
def _cuts_by_bytes(name: str) -> bool:
    """Whether each ASCII byte stands for its character, whatever stands before it."""
    if _ASCII.decode(name, "replace") != _ASCII.decode("ascii"):
        return False
    ends = (bytes([before]) + b"\n" for before in range(128, 256))
    columns = (bytes([before]) + b"|" for before in range(128, 256))
    return all(b.decode(name, "replace")[-1:] == chr(b[-1]) for b in (_ASCII, *ends, *columns))


class JsonSpec(Part):
    """Where the records of a JSON document are."""

    records: str

    @field_validator("records")
    @classmethod
    def _a_path(cls, path: str) -> str:
        if path == "$" or (path != "." and not all(part.strip() for part in path.removeprefix("$.").split("."))):
            raise ValueError(
                f'{path!r} is not a path; write names with dots, as in "energy.values", or "." where the document '
                "is the array"
            )
        return path


class SqliteSpec(Part):
    """Which table of an SQLite file holds the feed's records."""

    table: str = Field(min_length=1)


class UnpivotSpec(Part):
    """Which columns of a row are records of their own, and the fields that take their name and their value."""

    columns: str
    into: list[str]

    @field_validator("columns")
    @classmethod
    def _readable(cls, pattern: str) -> str:
        check_pattern(pattern, needs_group=False)
        return pattern

    @field_validator("into")
    @classmethod
    def _name_and_value(cls, into: list[str]) -> list[str]:
        if len(into) != 2 or into[0] == into[1]:
            raise ValueError(
                f'{into!r}: name two fields, for the column\'s name and for its value, as in ["slot", "kwh"]'
            )
        return into
