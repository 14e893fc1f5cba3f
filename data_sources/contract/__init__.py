"""A feed's contract: the one place where its fields, times, keys, windows and rules are declared.

`load_contract(path)` reads a TOML file and either returns a `Contract` or raises `ContractError`
that names the file, the field and the remedy. Everything else about a feed (Arrow schema, Spark DDL,
Markdown, decoder, rules) derives from the object returned here; see `data_sources/faces.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from data_sources.cdc import checks as cdc_checks
from data_sources.cdc import is_beside_row, order_warning
from data_sources.contract.detections import DetectionSpec as DetectionSpec
from data_sources.contract.detections import check_detection
from data_sources.contract.features import FeatureSpec as FeatureSpec
from data_sources.contract.features import check_features
from data_sources.contract.fields import FieldSpec as FieldSpec
from data_sources.contract.layout import CsvSpec as CsvSpec
from data_sources.contract.layout import JsonSpec as JsonSpec
from data_sources.contract.layout import SqliteSpec as SqliteSpec
from data_sources.contract.layout import UnpivotSpec as UnpivotSpec
from data_sources.contract.now import NowSpec as NowSpec
from data_sources.contract.now import check_now, with_window
from data_sources.contract.parts import TYPES as TYPES
from data_sources.contract.parts import UNFIT, Duration, Part, TimeZone, meant
from data_sources.contract.questions import questions
from data_sources.contract.vee import VeeCheck, check_vee
from data_sources.contract.vee import VeeSpec as VeeSpec
from data_sources.contract.words import check_words
from data_sources.durations import micros
from data_sources.errors import UserError
from data_sources.expectations import Expectation, parse_expectation
from data_sources.expressions import ExpressionError, check_condition
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

MEASURES = ("count", "count_if", "sum", "min", "max", "avg", "stddev", "first", "last", "quantile", "distinct")
"""Functions of a measure; what each does is said in transforms/measures.py."""

MEASURE_PARTS = ("n", "sum", "mean", "m2", "time", "key")
"""What a measure m may need tile columns m__PART for; no column beside it may be called so."""


_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


class ContractError(UserError, ValueError):
    """A contract that cannot be used: says which file and field, what was seen and what to write instead."""


def _table_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a table; use lower-case letters, digits and _, a letter first")
    return name


TableName = Annotated[str, BeforeValidator(lambda v: _table_name(v) if isinstance(v, str) else v)]


class DedupSpec(Part):
    """Which records are copies of each other and which of them stays."""

    key: list[str] = Field(min_length=1)
    keep: Literal["first", "latest"] = "first"
    order_by: list[str] = []
    horizon: Duration | None = None


class Measure(Part):
    """One measure of a window: `function(argument)` under the column name `name`; a quantile also has its rank, 0 to 1."""

    name: str
    function: str
    argument: str | None
    rank: float | None = None


CALENDARS = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=365.2425 / 12),
    "year": timedelta(days=365.2425),
}
"""How long a calendar's windows are on average."""


class WindowSpec(Part):
    """A window table: half-open windows of a `size`, aligned to the epoch plus `offset`, in UTC; or a `calendar`'s, local
    days, weeks, months or years of a `time_zone`."""

    name: TableName
    size: Duration | None = None
    calendar: Literal["day", "week", "month", "year"] | None = None
    time_zone: TimeZone | None = None
    every: Duration | None = None
    offset: Duration = timedelta(0)
    by: list[str] = []
    measures: dict[str, str] = Field(min_length=1)

    @property
    def length(self) -> timedelta:
        """Its size; of a calendar's windows how long they are on average."""
        return CALENDARS[self.calendar] if self.calendar is not None else self.size or timedelta(0)

    @property
    def step(self) -> timedelta:
        """From the start of a window to the next; of a calendar's on average."""
        return self.length if self.every is None else self.every

    @property
    def cell(self) -> timedelta:
        """The greatest common divisor of size, step and offset: what tiles of windows of a size are made of."""
        return timedelta(microseconds=math.gcd(micros(self.length), micros(self.step), micros(self.offset)))

    @property
    def overlap(self) -> bool:
        """Whether an instant lies in several windows."""
        return self.length > self.step

    @property
    def of_utc_days(self) -> bool:
        """Whether its windows are whole days, in UTC, one after the other."""
        return self.calendar is None and not self.overlap and not self.length % timedelta(days=1)

    @property
    def parsed(self) -> list[Measure]:
        return [parse_measure(name, text) for name, text in self.measures.items()]

    @model_validator(mode="after")
    def _times_that_make_windows(self) -> WindowSpec:
        if self.calendar is not None:
            return self._of_a_calendar(self.calendar)
        if self.time_zone is not None:
            raise ValueError(
                "time_zone: windows of a size are aligned in UTC; leave it out, "
                'or write calendar = "day" (or week, month, year) instead of size'
            )
        if self.size is None:
            raise ValueError(
                'size: is missing; add size = "1h", or calendar = "day" (or week, month, year) with time_zone for local days'
            )
        if not self.size or not self.step:
            raise ValueError(f"window {self.name!r}: size and every must be longer than 0s")
        if micros(self.size) // micros(self.cell) > 10_000:
            raise ValueError(
                f"window {self.name!r}: one window would be made of {micros(self.size) // micros(self.cell)} cells; "
                "choose size, every and offset with a greater common divisor"
            )
        return self

    def _of_a_calendar(self, calendar: str) -> WindowSpec:
        for word in ("size", "every", "offset"):
            if word in self.model_fields_set and getattr(self, word) is not None:
                raise ValueError(
                    f'{word}: calendar = "{calendar}" says how long windows are and when they begin; leave it out'
                )
        if self.time_zone is None:
            raise ValueError(
                f'time_zone: calendar = "{calendar}" needs one, such as time_zone = "Europe/Berlin" (or "UTC")'
            )
        return self


class RuleSpec(Part):
    """A quality rule: a DuckDB condition over the fields; NULL passes, as in a CHECK."""

    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.:$-]+$")
    check: str
    on_fail: Literal["reject", "warn"] = "reject"
    description: str = ""


class ExpectationSpec(Part):
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


class LakeSpec(Part):
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


class Contract(Part):
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
    document: JsonSpec | None = Field(default=None, alias="json")
    sqlite: SqliteSpec | None = None
    unpivot: UnpivotSpec | None = None
    dedup: DedupSpec
    lake: LakeSpec = LakeSpec()
    windows: list[WindowSpec] = []
    now: NowSpec | None = None
    detections: list[DetectionSpec] = []
    vee: list[VeeSpec] = []
    features: list[FeatureSpec] = []
    rules: list[RuleSpec] = []
    expectations: list[ExpectationSpec] = []
    fields: list[FieldSpec] = Field(min_length=1)

    def __hash__(self) -> int:
        return hash(self.name)  # looked up many times a slice; what else differs, == tells

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

    @model_validator(mode="before")
    @classmethod
    def _window_of_now(cls, raw: Any) -> Any:
        return with_window(raw) if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Contract:
        are_new = not (info.context or {}).get("conditions_are_checked")
        names = [f.name for f in self.fields]
        _unique("field", [n.lower() for n in names])
        _unique(
            "input field",
            [n for f in self.fields if f.pattern is None for n in f.wanted],
            "give one of the fields that read it pattern = '(.*)'",
        )
        _unique("window", [w.name for w in self.windows])
        _unique("rule", [r.id for r in self.rules])
        _unique("expectation", [e.id for e in self.expectations])
        for expectation in self.expectations:
            _known(f"expectation {expectation.id!r}", list(expectation.parsed.columns), names)
        if (self.format == "sqlite") != (self.sqlite is not None):
            raise ValueError(
                '[sqlite]: format = "sqlite", and no other, has [sqlite] with table = "...", the table to read'
            )
        check_words(self)
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
        if self.now is not None:
            self._check_now(self.now, names)
        self._check_series(are_new)
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

    def _check_now(self, now: NowSpec, names: list[str]) -> None:
        for word, used in (("sensor", [now.sensor]), ("values", now.values), ("beside", now.beside)):
            _known(f"now.{word}", used, names)
        if self.field(self.event_time).type != "timestamp":
            raise ValueError(f"now: event time {self.event_time!r} is a date, and hours are compared; leave [now] out")
        for table in now.tables:
            if any(window.name == table for window in self.windows):
                raise ValueError(f"window {table!r}: [now] makes gold.{table}; rename one of them")
        (window,) = (window for window in self.windows if window.name == now.hourly)
        check_now(now, {f.name: f.is_numeric for f in self.fields}, self.event_time, window)

    def _check_series(self, are_new: bool) -> None:
        """[[detections]], [[vee]] and [[features]]: what each may read, and that no two tables of gold have one name."""
        kinds = {f.name: f.type for f in self.fields}
        arrow = {f.name: f.arrow for f in self.fields} if are_new else None
        taken = {*(w.name for w in self.windows), *(self.now.tables if self.now is not None else ())}
        given = kinds, self.event_time, self.dedup.key, self.lake.load
        for detection in self._named_once("detection", self.detections, taken):
            check_detection(detection, *given)
        for vee in self._named_once("vee", self.vee, taken):
            check_vee(vee, *given)
        for features in self._named_once("feature", self.features, taken):
            check_features(features, *given, arrow)

    @staticmethod
    def _named_once(what: str, specs: Sequence[Any], taken: set[str]) -> Iterator[Any]:
        """Each of the specs, whose tables `taken` then has."""
        _unique(what, [spec.name for spec in specs])
        for spec in specs:
            tables = getattr(spec, "tables", (spec.name,))
            if both := taken.intersection(tables):
                raise ValueError(f"{what} {spec.name!r}: gold.{min(both)} is made already; rename one of them")
            taken |= {*tables}
            yield spec

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
        if UNFIT.search(measure.name) or measure.name.startswith("_"):
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
        if measure.function in ("sum", "avg", "stddev", "quantile") and not self.field(measure.argument).is_numeric:
            kind = self.field(measure.argument).type
            raise ValueError(f"{where}: {measure.function} needs a number, {measure.argument!r} is a {kind}")

    def field(self, name: str) -> FieldSpec:
        """The field called `name`; KeyError where there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @cached_property
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

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the contract's own columns, in the contract's order."""
        return pa.schema([pa.field(f.name, f.arrow, nullable=f.name not in self.required) for f in self.fields])

    @cached_property
    def landed_schema(self) -> pa.Schema:
        """Arrow schema of a landed row: the contract's columns, then the lineage."""
        return pa.schema([*self.schema, *(pa.field(n, t) for n, t in LINEAGE.items())])

    @property
    def content(self) -> list[str]:
        """Of a change, the fields that say what the source's row is: all but its place in the log, its operation, its
        time, the columns that SQL Server's change tables have beside the row's own, and what is read from Debezium's
        message beside the row (`$.ts_ms`, `$.source.table`; `$.before.price`, too, which is of the row before).
        """
        lake = self.lake
        beside = {*lake.sequence_by, lake.operation, self.event_time} - {*lake.key}
        beside |= {f.name for f in self.fields if f.input_name.startswith("__$") or is_beside_row(f, self)}
        return [f.name for f in self.fields if f.name not in beside]

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
        zone = self.field(self.event_time).time_zone
        for window in self.windows:
            if window.of_utc_days and (zone != "UTC" or window.offset % timedelta(days=1)):
                found.append(
                    f"window {window.name!r}: days of 24 hours in UTC, shifted by the offset the whole year; for local days write "
                    f'calendar = "day" (or week, month, year), time_zone = "{zone if zone != "UTC" else "Europe/Berlin"}" instead of size'
                )
        if not self.windows:
            found.append("no [[windows]]: rows land, but no windowed table is made")
        return found

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, without what was worked out from other fields."""
        copy = super().model_copy(update=update, deep=deep)
        for name in ("required", "schema", "landed_schema"):
            copy.__dict__.pop(name, None)
        return copy

    def to_dict(self) -> dict[str, Any]:
        """Plain data, durations as seconds, the way a lake remembers the contract."""
        return json.loads(self.model_dump_json(exclude_defaults=True, by_alias=True))

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
            f"measure {name!r}: {text!r} is not one of " + ", ".join(f"{m}()" for m in MEASURES) + meant(seen, MEASURES)
        )
    argument, rank = match[2].strip() or None, None
    if match[1] == "quantile":
        argument, rank = _ranked(name, text, argument or "")
    if argument == "*" and match[1] == "count":
        argument = None
    if argument is None and match[1] != "count":
        raise ValueError(f"measure {name!r}: {match[1]}() needs a field, as in {match[1]}(kwh)")
    if argument and match[1] != "count_if" and len(argument) > 1 and argument[0] == argument[-1] == '"':
        argument = argument[1:-1]
    return Measure(name=name, function=match[1], argument=argument, rank=rank)


def _ranked(name: str, text: str, arguments: str) -> tuple[str, float]:
    """The field and the rank of a quantile."""
    field, _, rank = (part.strip() for part in arguments.rpartition(","))
    if not field or not re.fullmatch(r"0(\.\d+)?|1(\.0+)?|\.\d+", rank):
        raise ValueError(
            f"measure {name!r}: {text!r}: quantile() needs a field and a rank from 0 to 1, as in quantile(kwh, 0.95)"
        )
    return field, float(rank)


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
    if asked := questions(raw):
        raise ContractError("\n".join(f"contract {where}, {question}" for question in asked))
    try:
        return Contract.model_validate(raw, context={"conditions_are_checked": conditions_are_checked})
    except ValidationError as cause:
        raise ContractError("\n".join(_explain(where, raw, e) for e in cause.errors())) from cause


def _explain(where: str, raw: dict[str, Any], error: Any) -> str:
    """One line for one mistake: `contract energy.toml, field 'kwh': ...`."""
    place, spot = "", error["loc"]
    if (
        len(spot) >= 2
        and spot[0] in ("fields", "windows", "detections", "vee", "features", "rules", "expectations")
        and isinstance(spot[1], int)
    ):
        item = raw[spot[0]][spot[1]]
        label = item.get("name") or item.get("id") if isinstance(item, dict) else None
        one = str(spot[0]).removesuffix("s")
        place = f", {one} {label!r}" if label else f", {one} number {spot[1] + 1}"
        spot = spot[2:]
    place += f", {'.'.join(str(s) for s in spot)}" if spot else ""
    if error["type"] == "missing":
        return f"contract {where}{place}: is missing; add it"
    if error["type"] == "extra_forbidden":
        model = _model_at(error["loc"][:-1])
        return f"contract {where}{place}: unknown word{meant(str(error['loc'][-1]), list(model.model_fields))}"
    text = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"])
    if error["type"] == "literal_error":
        text = f"{error['input']!r} is not one of {error['ctx']['expected']}" + meant(
            str(error["input"]), re.findall(r"'([^']+)'", error["ctx"]["expected"])
        )
    elif not error["type"].startswith("value_error"):
        text = f"{error['input']!r}: {text}"
    return f"contract {where}{place}: {text}"


def _model_at(path: tuple[Any, ...]) -> type[BaseModel]:
    parts: dict[Any, type[BaseModel]] = {
        "fields": FieldSpec,
        "windows": WindowSpec,
        "detections": DetectionSpec,
        "vee": VeeSpec,
        "features": FeatureSpec,
        "rules": RuleSpec,
        "expectations": ExpectationSpec,
        "dedup": DedupSpec,
        "lake": LakeSpec,
        "csv": CsvSpec,
        "json": JsonSpec,
        "sqlite": SqliteSpec,
        "unpivot": UnpivotSpec,
        "now": NowSpec,
    }
    if path[:1] == ("vee",) and "checks" in path:
        return VeeCheck
    return parts.get(path[0], Contract) if path else Contract


def _known(where: str, used: list[str], names: list[str]) -> None:
    for name in used:
        if name not in names:
            raise ValueError(f"{where}: there is no field {name!r}{meant(name, names)}")


def _unique(what: str, names: list[str], remedy: str = "names count once, in upper or lower case") -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} is declared twice; {remedy}")
