"""One field of a contract: its name and type, and how its value is found and read in the input."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import pyarrow as pa
from pydantic import field_validator, model_validator

from data_sources.contract.parts import DECIMAL, TYPES, UNFIT, Part, Shift, TimeZone, meant
from data_sources.patterns import check_pattern
from data_sources.time_formats import EPOCH_UNITS, check_time_format, codes


class FieldSpec(Part):
    """One field: its name in the tables, its type and how it is read from the input."""

    name: str
    type: str
    nullable: bool = True
    unit: str | None = None
    since: str | None = None
    description: str = ""
    source: str | list[str] | None = None
    aliases: list[str] = []
    pattern: str | None = None
    from_name: str | None = None
    from_preamble: str | None = None
    format: str | None = None
    time_zone: TimeZone = "UTC"
    on_dst: Literal["reject", "earlier", "later", "in_order", "elapsed"] = "reject"
    shift: Shift | None = None

    @field_validator("name")
    @classmethod
    def _fit_for_a_column(cls, name: str) -> str:
        if not name or UNFIT.search(name):
            raise ValueError(
                f'{name!r} cannot name a column (empty, or has a blank or one of ,;{{}}()="`); '
                f"give the column a plain name and write source = {name!r}"
            )
        if name.startswith("_") and not name.startswith("__$"):  # SQL Server's own change columns
            raise ValueError(
                f"{name!r} begins with _, as only lineage columns do; choose another name and write source = {name!r}"
            )
        return name

    @field_validator("since", mode="before")
    @classmethod
    def _since_as_text(cls, since: Any) -> Any:
        return None if since is None else str(since)

    @field_validator("source", "aliases", mode="before")
    @classmethod
    def _names_of_columns(cls, names: Any, info: Any) -> Any:
        is_list = isinstance(names, list) and all(isinstance(n, str) for n in names)
        if not is_list and not (info.field_name == "source" and (names is None or isinstance(names, str))):
            example = '"Date" or ["Date", "Time"]' if info.field_name == "source" else '["Verbrauch", "kWh"]'
            raise ValueError(f"{names!r} does not name columns; write {example}")
        if is_list and info.field_name == "source" and len(names) < 2:
            raise ValueError(f'{names!r}: a list joins two columns or more; write one as source = "Date"')
        if is_list and not all(n.strip() for n in names):
            raise ValueError(f"{names!r}: a column's name is blank; leave it out")
        if info.field_name == "aliases" and len(set(names)) < len(names):
            raise ValueError(f"{names!r} names a column twice; once is enough")
        return names

    @field_validator("type")
    @classmethod
    def _known_type(cls, text: str) -> str:
        match = DECIMAL.fullmatch(text)
        if match:
            precision, scale = int(match[1]), int(match[2])
            if not 1 <= precision <= 38 or scale > precision:
                raise ValueError(f"{text!r} needs 1 <= p <= 38 and s <= p")
            return f"decimal({precision},{scale})"
        if text not in TYPES or text == "decimal(p,s)":
            raise ValueError(
                f"unknown type {text!r}" + meant(text, [t for t in TYPES if "(" not in t] + ["decimal(10,2)"])
            )
        return text

    @field_validator("pattern", "from_name", "from_preamble")
    @classmethod
    def _with_a_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_pattern(pattern)
        return pattern

    @model_validator(mode="after")
    def _read_from_one_place(self) -> FieldSpec:
        elsewhere = [word for word in ("from_name", "from_preamble") if getattr(self, word) is not None]
        if len(elsewhere) > 1:
            raise ValueError("from_name and from_preamble: a value comes from one place; leave one of them out")
        for word in ("source", "aliases", "pattern") if elsewhere else ():
            if getattr(self, word):
                remedy = f"give {elsewhere[0]} the whole pattern" if word == "pattern" else "leave one of them out"
                raise ValueError(f"{elsewhere[0]} and {word}: the value is no column's; {remedy}")
        if isinstance(self.source, list) and self.aliases:
            raise ValueError("aliases: are other names of one column, and source joins several; leave one of them out")
        return self

    @model_validator(mode="after")
    def _words_that_fit_the_type(self) -> FieldSpec:
        if self.format is not None and self.type not in ("timestamp", "date"):
            raise ValueError(f"`format` is for dates and timestamps, not for {self.type}")
        if self.format is not None:
            check_time_format(self.format)
        if self.on_dst in ("in_order", "elapsed"):
            self._check_hours()
        elif self.on_dst != "reject" and self.type not in ("timestamp", "date"):
            raise ValueError(f"`on_dst` is for timestamps, not for {self.type}; leave it out")
        if self.shift is None:
            return self
        if self.type not in ("timestamp", "date"):
            raise ValueError(f"`shift` is for dates and timestamps, not for {self.type}")
        if not self.shift:
            raise ValueError("`shift` of nothing changes nothing; leave it out")
        if self.type == "date" and self.shift % timedelta(days=1):
            raise ValueError("`shift` of a date must be whole days, as in -1d; make the field a timestamp")
        return self

    def _check_hours(self) -> None:
        where = f'on_dst = "{self.on_dst}"'
        if self.type != "timestamp":
            raise ValueError(f"{where} is for timestamps, not for {self.type}")
        if self.time_zone == "UTC":
            raise ValueError(f'{where} needs time_zone = "...", the zone whose clock goes back; UTC\'s never does')
        used = codes(self.format or "%Y-%m-%d %H:%M")
        if set(used) & {"z", "Z"}:
            raise ValueError(f"{where}: a time with its own offset (%z) is never ambiguous; leave on_dst out")
        if self.on_dst == "elapsed" and (self.epoch or "H" not in used):
            raise ValueError(f"{where} counts the hours of a local day; `format` must have %H")

    @property
    def input_name(self) -> str:
        """The input's own name of this field; of one that has several columns, or none, the field's."""
        return self.source if isinstance(self.source, str) else self.name

    @property
    def wanted(self) -> list[str]:
        """Names of columns, the first of which in the file is this field's; none of a field that joins columns or is
        read from elsewhere."""
        if isinstance(self.source, list) or self.is_constant:
            return []
        return [self.input_name, *self.aliases]

    @property
    def is_constant(self) -> bool:
        """Whether one value holds for the whole file."""
        return self.from_name is not None or self.from_preamble is not None

    @property
    def epoch(self) -> str | None:
        """`epoch_s` and so on, where the value counts from 1970."""
        return self.format if self.format in EPOCH_UNITS else None

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type rows of this field have once decoded; timestamps are UTC microseconds."""
        match = DECIMAL.fullmatch(self.type)
        if match:
            return pa.decimal128(int(match[1]), int(match[2]))
        return {
            "string": pa.string(),
            "int64": pa.int64(),
            "float64": pa.float64(),
            "bool": pa.bool_(),
            "date": pa.date32(),
            "timestamp": pa.timestamp("us", "UTC"),
        }[self.type]

    @property
    def is_numeric(self) -> bool:
        return self.type in ("int64", "float64") or self.type.startswith("decimal")
