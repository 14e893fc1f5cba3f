"""A feed's contract: the one place where its fields, times, keys, windows and rules are declared.

`load_contract(path)` reads a TOML file and either returns a `Contract` or raises `ContractError`
that names the file, the field and the remedy. Everything else about a feed (Arrow schema, Spark DDL,
Markdown, decoder, rules) derives from the object returned here; see `data_sources/faces.py`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from data_sources.cdc import checks as cdc_checks
from data_sources.cdc import order_warning
from data_sources.durations import format_duration, micros, parse_duration
from data_sources.expectations import Expectation, parse_expectation
from data_sources.expressions import ExpressionError, check_condition, check_format
from data_sources.lake_tables import check_tables
from data_sources.snapshots import parse_as_of

LINEAGE = {
    "_source": pa.string(),
    "_partition": pa.int32(),
    "_position": pa.int64(),
    "_ingested_at": pa.timestamp("us", "UTC"),
    "_commit": pa.int64(),
    "_extra": pa.string(),
    "_warnings": pa.string(),
}
"""Columns every landed row carries beside the contract's own: where it came from, when and in which commit
it landed, what it held beyond the contract (JSON), and the ids of the rules that warned (comma-separated)."""

TYPES = ("string", "int64", "float64", "decimal(p,s)", "bool", "date", "timestamp")
MEASURES = ("count", "count_if", "sum", "min", "max", "avg", "stddev", "first", "last")
"""Functions of a measure; what each does is said in transforms/measures.py."""

MEASURE_PARTS = ("n", "sum", "mean", "m2", "time", "key")
"""What a measure m may need tile columns m__PART for; no column beside it may be called so."""


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_ASCII = bytes(range(32, 127)) + b"~{ab~}+AGE-\\x41\x1b$B!!"
"""Text that encodings with shifts and escapes read as something else."""
_UNFIT = re.compile(r"[ ,;{}()\n\t=`\"]")


class ContractError(ValueError):
    """A contract that cannot be used: says which file and field, what was seen and what to write instead."""


def _table_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a table; use lower-case letters, digits and _, a letter first")
    return name


TableName = Annotated[str, BeforeValidator(lambda v: _table_name(v) if isinstance(v, str) else v)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSpec(_Part):
    """One field: its name in the tables, its type and how it is read from the input."""

    name: str
    type: str
    nullable: bool = True
    unit: str | None = None
    since: str | None = None
    description: str = ""
    source: str | None = None
    format: str | None = None
    time_zone: str = "UTC"
    on_dst: Literal["reject", "earlier", "later"] = "reject"

    @field_validator("name")
    @classmethod
    def _fit_for_a_column(cls, name: str) -> str:
        if not name or _UNFIT.search(name):
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

    @field_validator("type")
    @classmethod
    def _known_type(cls, text: str) -> str:
        match = _DECIMAL.fullmatch(text)
        if match:
            precision, scale = int(match[1]), int(match[2])
            if not 1 <= precision <= 38 or scale > precision:
                raise ValueError(f"{text!r} needs 1 <= p <= 38 and s <= p")
            return f"decimal({precision},{scale})"
        if text not in TYPES or text == "decimal(p,s)":
            raise ValueError(
                f"unknown type {text!r}" + _meant(text, [t for t in TYPES if "(" not in t] + ["decimal(10,2)"])
            )
        return text

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
            pc.assume_timezone(pa.scalar(0, pa.timestamp("us")), zone)
        except Exception as cause:
            raise ValueError(f"unknown time zone {zone!r}; use a name like UTC or Europe/Berlin") from cause
        return zone

    @model_validator(mode="after")
    def _words_that_fit_the_type(self) -> FieldSpec:
        if self.format is not None and self.type not in ("timestamp", "date"):
            raise ValueError(f"`format` is for dates and timestamps, not for {self.type}")
        if self.format is not None:
            check_format(self.format)
        return self

    @property
    def input_name(self) -> str:
        """The input's own name of this field."""
        return self.source or self.name

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type rows of this field have once decoded; timestamps are UTC microseconds."""
        match = _DECIMAL.fullmatch(self.type)
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


class CsvSpec(_Part):
    """How a CSV input is written."""

    delimiter: str = ","
    encoding: str = "utf-8"
    header: bool = True
    quote: str = '"'
    null: str | list[str] = ""

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_character(cls, text: str) -> str:
        if len(text) != 1 or ord(text) > 127 or text in "\r\n":
            raise ValueError(f"{text!r} is not one plain character, such as , or ;")
        return text

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            _ASCII.decode(name)
        except LookupError:
            raise ValueError(f"unknown encoding {name!r}; try utf-8, latin-1 or cp1252") from None
        except UnicodeError:
            pass
        # records are cut by bytes: each ASCII byte must stand for its character, whatever stands before it
        ends = (bytes([before]) + b"\n" for before in range(128, 256))
        columns = (bytes([before]) + b"|" for before in range(128, 256))
        if not all(b.decode(name, "replace")[-1:] == chr(b[-1]) for b in (_ASCII, *ends, *columns)) or (
            _ASCII.decode(name, "replace") != _ASCII.decode("ascii")
        ):
            raise ValueError(
                f"{name!r} does not write line ends and delimiters as one byte; convert the files to utf-8"
            )
        return name

    @model_validator(mode="after")
    def _told_apart(self) -> CsvSpec:
        if self.delimiter == self.quote:
            raise ValueError(f"delimiter and quote are both {self.quote!r}; they must differ")
        return self

    @property
    def nulls(self) -> list[str]:
        return [self.null] if isinstance(self.null, str) else self.null


class SqliteSpec(_Part):
    """Which table of an SQLite file holds the feed's records."""

    table: str = Field(min_length=1)


class DedupSpec(_Part):
    """Which records are copies of each other and which of them stays."""

    key: list[str] = Field(min_length=1)
    keep: Literal["first", "latest"] = "first"
    order_by: list[str] = []
    horizon: Duration | None = None


class Measure(_Part):
    """One measure of a window: `function(argument)` under the column name `name`."""

    name: str
    function: str
    argument: str | None


class WindowSpec(_Part):
    """A window table: half-open, aligned to the epoch plus `offset`, in UTC."""

    name: TableName
    size: Duration
    every: Duration | None = None
    offset: Duration = timedelta(0)
    by: list[str] = []
    measures: dict[str, str] = Field(min_length=1)

    @property
    def step(self) -> timedelta:
        return self.every or self.size

    @property
    def cell(self) -> timedelta:
        """The greatest common divisor of size, step and offset: what tiles are made of."""
        return timedelta(microseconds=math.gcd(micros(self.size), micros(self.step), micros(self.offset)))

    @property
    def parsed(self) -> list[Measure]:
        return [parse_measure(name, text) for name, text in self.measures.items()]

    @model_validator(mode="after")
    def _times_that_make_windows(self) -> WindowSpec:
        if not self.size or not self.step:
            raise ValueError(f"window {self.name!r}: size and every must be longer than 0s")
        if micros(self.size) // micros(self.cell) > 10_000:
            raise ValueError(
                f"window {self.name!r}: one window would be made of {micros(self.size) // micros(self.cell)} cells; "
                "choose size, every and offset with a greater common divisor"
            )
        return self


class RuleSpec(_Part):
    """A quality rule: a DuckDB condition over the fields; NULL passes, as in a CHECK."""

    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.:$-]+$")
    check: str
    on_fail: Literal["reject", "warn"] = "reject"
    description: str = ""


class ExpectationSpec(_Part):
    """What the feed's silver table is expected to hold, as `data_sources/expectations.py` writes it."""

    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.:$-]+$")
    expect: str
    on_fail: Literal["warn", "fail"] = "warn"
    description: str = ""

    @property
    def parsed(self) -> Expectation:
        return parse_expectation(self.id, self.expect, self.on_fail)

    @model_validator(mode="after")
    def _readable(self) -> ExpectationSpec:
        if self.parsed.kind == "check":
            raise ValueError(
                'check() is for analyses; a condition on a row is a rule: [[rules]] with check = "..." and on_fail'
            )
        return self


class LakeSpec(_Part):
    """How the lake loads and clusters the feed."""

    load: Literal["append", "cdc", "scd2"] = "append"
    cluster_by: list[str] = Field(default=[], max_length=4)
    key: list[str] = []
    track: list[str] = []
    ignore: list[str] = []
    operation: str | None = None
    sequence_by: list[str] = []
    envelope: Literal["auto", "none", "debezium"] = "auto"
    effective_from: str | None = None
    snapshot_files: list[str] = []
    delta_files: list[str] = []
    as_of: str | None = None

    @property
    def tells_snapshots(self) -> bool:
        """Whether some of the feed's files may be full snapshots."""
        return bool(self.snapshot_files or self.delta_files)


class Contract(_Part):
    """A feed, declared once. Build it with `load_contract`."""

    name: TableName
    description: str = ""
    version: str = "1"
    format: Literal["json", "csv", "parquet", "sqlite"]
    topic: str | None = None
    event_time: str
    out_of_orderness: Duration = timedelta(0)
    allowed_lateness: Duration = timedelta(0)
    max_future: Duration | None = None
    idle_timeout: Duration | None = None
    files: list[str] = []
    file_order: Literal["none", "name"] = "none"
    csv: CsvSpec = CsvSpec()
    sqlite: SqliteSpec | None = None
    dedup: DedupSpec
    lake: LakeSpec = LakeSpec()
    windows: list[WindowSpec] = []
    rules: list[RuleSpec] = []
    expectations: list[ExpectationSpec] = []
    fields: list[FieldSpec] = Field(min_length=1)

    def __hash__(self) -> int:
        return hash(self.hash)

    @field_validator("version", mode="before")
    @classmethod
    def _version_as_text(cls, version: Any) -> str:
        return str(version)

    @model_validator(mode="before")
    @classmethod
    def _copies_of_changes(cls, raw: Any) -> Any:
        """Changes and master rows are copies of each other where all their fields are equal."""
        lake = raw.get("lake") if isinstance(raw, dict) else None
        if not isinstance(lake, dict) or lake.get("load") not in ("cdc", "scd2"):
            return raw
        fields = raw.get("fields")
        names = [f["name"] for f in fields if isinstance(f, dict) and "name" in f] if isinstance(fields, list) else []
        derived = {"key": names}
        if raw.get("dedup", derived) != derived:
            raise ValueError(
                f'[dedup]: load = "{lake["load"]}" has none (copies are equal in all declared fields); leave it out'
            )
        return {**raw, "dedup": derived}

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Contract:
        are_new = not (info.context or {}).get("conditions_are_checked")
        names = [f.name for f in self.fields]
        _unique("field", [n.lower() for n in names])
        _unique("input field", [f.input_name for f in self.fields])
        _unique("window", [w.name for w in self.windows])
        _unique("rule", [r.id for r in self.rules])
        _unique("expectation", [e.id for e in self.expectations])
        for expectation in self.expectations:
            _known(f"expectation {expectation.id!r}", list(expectation.parsed.columns), names)
        if (self.format == "sqlite") != (self.sqlite is not None):
            raise ValueError(
                '[sqlite]: format = "sqlite", and no other, has [sqlite] with table = "...", the table to read'
            )
        _known("event_time", [self.event_time], names)
        _known("dedup.key", self.dedup.key, names)
        _known("dedup.order_by", self.dedup.order_by, names)
        _known("lake.cluster_by", self.lake.cluster_by, names)
        _unique("entry of lake.cluster_by:", self.lake.cluster_by)
        self._check_lake(names)
        if self.field(self.event_time).type not in ("timestamp", "date"):
            raise ValueError(
                f"event_time: field {self.event_time!r} is a {self.field(self.event_time).type}, not a time"
            )
        if self.dedup.keep == "latest":
            if not self.dedup.order_by:
                raise ValueError('dedup.keep: "latest" needs order_by = ["..."], the fields that tell the newer record')
            if self.dedup.horizon is not None:
                raise ValueError('dedup.horizon: cannot be combined with keep = "latest"; leave one of them out')
        elif self.dedup.order_by:
            raise ValueError('dedup.order_by: is for keep = "latest"; leave it out or set keep')
        for window in self.windows:
            where = f"window {window.name!r}"
            _known(f"{where}, by", window.by, names)
            _unique(
                f"column of {where}",
                [c.lower() for c in [*window.by, *window.measures, "window_start", "window_end", "final", "revision"]],
            )
            for measure in window.parsed:
                self._check_measure(where, measure, are_new)
                parts = {f"{measure.name}__{part}" for part in MEASURE_PARTS}
                if taken := parts.intersection([*window.by, *window.measures]):
                    raise ValueError(f"{where}: {min(taken)!r} is needed for {measure.name!r}; choose another name")
        if are_new:  # what landed before has to be read, whatever it was called
            check_tables(self)
        for rule in self.rules if are_new else []:
            try:
                check_condition(rule.check, {f.name: f.arrow for f in self.fields})
            except ExpressionError as cause:
                raise ValueError(f"rule {rule.id!r}: {cause}") from cause
        return self

    def _check_lake(self, names: list[str]) -> None:
        lake = self.lake
        for word in ("key", "track", "ignore", "sequence_by"):
            _known(f"lake.{word}", getattr(lake, word), names)
            _unique(f"entry of lake.{word}:", getattr(lake, word))
        for word in ("operation", "effective_from"):
            if (name := getattr(lake, word)) is not None:
                _known(f"lake.{word}", [name], names)
        words = {
            "cdc": {"key", "operation", "sequence_by", "envelope", "snapshot_files", "delta_files"},
            "scd2": {"key", "track", "ignore", "effective_from", "snapshot_files", "delta_files", "as_of"},
        }
        for word in sorted(set().union(*words.values()) - words.get(lake.load, set())):
            if word in lake.model_fields_set and not (lake.load == "append" and word == "key"):
                kinds = " or ".join(f'"{k}"' for k, has in words.items() if word in has)
                raise ValueError(f'lake.{word}: is for load = {kinds}, not for "{lake.load}"; leave it out')
        if lake.load == "append":
            return
        if not lake.key:
            raise ValueError(
                f'lake.key: load = "{lake.load}" needs key = ["..."], the fields that name a row of the table'
            )
        if lake.load == "cdc":
            if not lake.sequence_by:
                raise ValueError(
                    'lake.sequence_by: load = "cdc" needs the fields that order changes, as in ["__$start_lsn"]'
                )
            if lake.operation is None:
                raise ValueError('lake.operation: load = "cdc" needs the field that holds the operation codes 1 to 4')
            if self.field(lake.operation).type != "int64":
                raise ValueError(f"lake.operation: field {lake.operation!r} must be an int64 that holds codes 1 to 4")
            return
        if lake.effective_from is not None and self.field(lake.effective_from).type not in ("date", "timestamp"):
            raise ValueError(f"lake.effective_from: field {lake.effective_from!r} is not a date or timestamp")
        if both := set(lake.track) & set(lake.ignore):
            raise ValueError(f"lake.track: {min(both)!r} is also in lake.ignore; keep it in one of them")
        if lake.as_of is not None:
            kind, name, _ = parse_as_of(lake.as_of)
            if kind == "column":
                _known("lake.as_of", [name], names)
                if self.field(name).type not in ("date", "timestamp"):
                    raise ValueError(f"lake.as_of: field {name!r} is not a date or timestamp")

    def _check_measure(self, where: str, measure: Measure, is_new: bool) -> None:
        where = f"{where}, measure {measure.name!r}"
        if _UNFIT.search(measure.name) or measure.name.startswith("_"):
            raise ValueError(f"{where}: cannot name a column")
        if measure.argument is None:
            return
        if measure.function == "count_if":
            try:
                if is_new:
                    check_condition(measure.argument, {f.name: f.arrow for f in self.fields})
            except ExpressionError as cause:
                raise ValueError(f"{where}: {cause}") from cause
            return
        _known(where, [measure.argument], [f.name for f in self.fields])
        if measure.function in ("sum", "avg", "stddev") and not self.field(measure.argument).is_numeric:
            kind = self.field(measure.argument).type
            raise ValueError(f"{where}: {measure.function} needs a number, {measure.argument!r} is a {kind}")

    def field(self, name: str) -> FieldSpec:
        """The field called `name`; KeyError where there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def required(self) -> list[str]:
        """Fields whose null rejects the record: declared so, or part of the key (the table's, of changes and master
        rows), or the event time."""
        always = {self.event_time, *self.prune_by}
        return [f.name for f in self.fields if not f.nullable or f.name in always]

    @property
    def prune_by(self) -> list[str]:
        """Fields whose bounds tell which landed files may hold a copy of a record."""
        return self.dedup.key if self.lake.load == "append" else self.lake.key

    @property
    def all_rules(self) -> list[RuleSpec]:
        """The declared rules, after those that every feed of its kind has."""
        return [*(RuleSpec(id=i, check=c) for i, c in cdc_checks(self).items()), *self.rules]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the contract's own columns, in the contract's order."""
        return pa.schema([pa.field(f.name, f.arrow, nullable=f.name not in self.required) for f in self.fields])

    @property
    def landed_schema(self) -> pa.Schema:
        """Arrow schema of a landed row: the contract's columns, then the lineage."""
        return pa.schema([*self.schema, *(pa.field(n, t) for n, t in LINEAGE.items())])

    @property
    def content(self) -> list[str]:
        """Of a change, the fields that say what the source's row is: all but its place in the log, its operation, its
        time, and the columns that SQL Server's change tables have beside the row's own.
        """
        lake = self.lake
        beside = {*lake.sequence_by, lake.operation, self.event_time} - {*lake.key}
        return [f.name for f in self.fields if f.name not in beside and not f.input_name.startswith("__$")]

    @property
    def sort_by(self) -> list[str]:
        """The order of rows in a landed file: the cluster columns, else the event time."""
        return self.lake.cluster_by or [self.event_time]

    @property
    def lateness(self) -> timedelta:
        """How far behind the greatest event time a record may be and still be on time."""
        return self.out_of_orderness + self.allowed_lateness

    @property
    def warnings(self) -> list[str]:
        """Things that are allowed and yet deserve a second thought, for `contracts check`."""
        found = []
        if self.max_future is None:
            found.append("max_future is not set: a clock that runs years ahead would be believed")
        elif self.max_future > self.lateness and (self.file_order == "name" or self.topic):
            found.append(
                "max_future exceeds out_of_orderness + allowed_lateness: one fast clock could make "
                "the rest of its partition late"
            )
        if (unordered := order_warning(self)) is not None:
            found.append(unordered)
        if not self.windows:
            found.append("no [[windows]]: rows land, but no windowed table is made")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data, durations as seconds, the way a lake remembers the contract."""
        return json.loads(self.model_dump_json(exclude_defaults=True))

    @property
    def hash(self) -> str:
        """Identifies the declaration, whatever the file's layout or comments."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def parse_measure(name: str, text: str) -> Measure:
    """`sum(kwh)` to a Measure; raises ValueError that names the measure and what may be written."""
    match = re.fullmatch(r"\s*([a-z_]+)\s*\((.*)\)\s*", text, re.S)
    if match is None or match[1] not in MEASURES:
        seen = match[1] if match else text
        raise ValueError(
            f"measure {name!r}: {text!r} is not one of "
            + ", ".join(f"{m}()" for m in MEASURES)
            + _meant(seen, MEASURES)
        )
    argument = match[2].strip() or None
    if argument == "*" and match[1] == "count":
        argument = None
    if argument is None and match[1] != "count":
        raise ValueError(f"measure {name!r}: {match[1]}() needs a field, as in {match[1]}(kwh)")
    if argument and match[1] != "count_if" and len(argument) > 1 and argument[0] == argument[-1] == '"':
        argument = argument[1:-1]
    return Measure(name=name, function=match[1], argument=argument)


def load_contract(path: Path | str, *, conditions_are_checked: bool = False) -> Contract:
    """Read and check a contract file; raises ContractError naming file, field and remedy."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ContractError(f"contract {path}: no such file; give the path of a TOML contract") from None
    except IsADirectoryError:
        raise ContractError(f"contract {path}: is a folder; give the path of the TOML file in it") from None
    except OSError as cause:
        raise ContractError(f"contract {path}: cannot be read ({cause.strerror})") from cause
    except UnicodeDecodeError as cause:
        raise ContractError(f"contract {path}: is not UTF-8 text (byte {cause.start}); save it as UTF-8") from cause
    except tomllib.TOMLDecodeError as cause:
        raise ContractError(f"contract {path}: is not TOML: {cause}") from cause
    return parse_contract(raw, str(path), conditions_are_checked=conditions_are_checked)


def parse_contract(raw: dict[str, Any], where: str, *, conditions_are_checked: bool = False) -> Contract:
    """Check plain data against the contract's model; raises ContractError.

    conditions_are_checked: leave out what takes longest, of a contract whose rules were checked before as they stand.
    """
    try:
        return Contract.model_validate(raw, context={"conditions_are_checked": conditions_are_checked})
    except ValidationError as cause:
        raise ContractError("\n".join(_explain(where, raw, e) for e in cause.errors())) from cause


def _explain(where: str, raw: dict[str, Any], error: Any) -> str:
    """One line for one mistake: `contract energy.toml, field 'kwh': ...`."""
    place, spot = "", error["loc"]
    if len(spot) >= 2 and spot[0] in ("fields", "windows", "rules", "expectations") and isinstance(spot[1], int):
        item = raw[spot[0]][spot[1]]
        label = item.get("name") or item.get("id") if isinstance(item, dict) else None
        place = f", {spot[0][:-1]} {label!r}" if label else f", {spot[0][:-1]} number {spot[1] + 1}"
        spot = spot[2:]
    place += f", {'.'.join(str(s) for s in spot)}" if spot else ""
    if error["type"] == "missing":
        return f"contract {where}{place}: is missing; add it"
    if error["type"] == "extra_forbidden":
        model = _model_at(error["loc"][:-1])
        return f"contract {where}{place}: unknown word{_meant(str(error['loc'][-1]), list(model.model_fields))}"
    text = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"])
    if error["type"] == "literal_error":
        text = f"{error['input']!r} is not one of {error['ctx']['expected']}" + _meant(
            str(error["input"]), re.findall(r"'([^']+)'", error["ctx"]["expected"])
        )
    elif not error["type"].startswith("value_error"):
        text = f"{error['input']!r}: {text}"
    return f"contract {where}{place}: {text}"


def _model_at(path: tuple[Any, ...]) -> type[BaseModel]:
    parts: dict[Any, type[BaseModel]] = {
        "fields": FieldSpec,
        "windows": WindowSpec,
        "rules": RuleSpec,
        "expectations": ExpectationSpec,
        "dedup": DedupSpec,
        "lake": LakeSpec,
        "csv": CsvSpec,
        "sqlite": SqliteSpec,
    }
    return parts.get(path[0], Contract) if path else Contract


def _meant(seen: str, known: Any) -> str:
    close = difflib.get_close_matches(seen, list(known), n=1, cutoff=0.5)
    starts = [k for k in known if k.startswith(seen) or seen.startswith(k)]
    if close or starts:
        return f" (did you mean {(close or starts)[0]!r}?)"
    return f" (known: {', '.join(known)})"


def _known(where: str, used: list[str], names: list[str]) -> None:
    for name in used:
        if name not in names:
            raise ValueError(f"{where}: there is no field {name!r}{_meant(name, names)}")


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} is declared twice; names count once, in upper or lower case")
