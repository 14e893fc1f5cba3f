"""The newest row of each series of a table of features, held in memory and found by key: what a model is served from.

    gold.NAME_latest, a version ─► rows in order of the series ─► by binary search, some microseconds a key

The server and Python hold it alike; a version never changes, so what is held of it is right as long as it is asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from beam_grid.errors import GridError
from beam_grid.lakehouse import duck, scan
from data_sources.identifiers import double_quoted

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from beam_grid.lakehouse.table_set import TableSet, TableVersion
    from beam_grid.landing import Lake
    from data_sources.contract import FeatureSpec


class NoFeatures(GridError):
    """The lake, or the version set, has no table of features of this name."""


@dataclass(frozen=True)
class Declared:
    """A table of features as its feed's contract declares it."""

    feed: str
    spec: FeatureSpec
    time: str
    key: tuple[str, ...]

    @property
    def table(self) -> str:
        return f"gold.{self.spec.name}"

    @property
    def latest(self) -> str:
        return f"gold.{self.spec.latest}"


def declared(lake: Lake, name: str, found: TableSet) -> Declared:
    """What the lake's contracts say of gold.NAME, or NAME, which is in the set. Raises NoFeatures that names those there are."""
    wanted = name.removeprefix("gold.")
    contracts = [lake.feed(feed).contract() for feed in lake.feeds]
    known = {spec.name: (contract, spec) for contract in contracts for spec in contract.features}
    if wanted in known and {f"gold.{table}" for table in known[wanted][1].tables} <= {*found.tables}:
        contract, spec = known[wanted]
        return Declared(contract.name, spec, contract.event_time, tuple(contract.dedup.key))
    if wanted in known:
        raise NoFeatures(f"features {name}: gold.{wanted} is not in version set {found.number} yet; run refine")
    there = ", ".join(f"gold.{one}" for one in known) or "none: add [[features]] to a feed's contract and land it"
    raise NoFeatures(f"there are no features {name!r}; the lake has {there}")


@dataclass(frozen=True)
class Held:
    """rows: of one version, in order of `series`, whose values are each there once."""

    rows: pa.Table
    series: str
    at: TableVersion

    def find(self, keys: Sequence[Any]) -> pa.Table:
        """A row for each key, in the order of the keys; of a key that has none all is null but the key. Keys may be text,
        whatever the series is. Raises GridError for one that the series' type does not have."""
        import pyarrow as pa

        named = self.rows[self.series].chunk(0) if self.rows.num_rows else self.rows[self.series]
        values = [self._value(key) for key in keys]
        places: list[int | None] = []
        for value in values:
            place = bisect_left(range(len(named)), value, key=lambda row: named[row].as_py())
            places.append(place if place < len(named) and named[place].as_py() == value else None)
        found = self.rows.take(pa.array(places, pa.int64()))
        at = found.schema.get_field_index(self.series)
        return found.set_column(at, found.schema.field(at), pa.array(values, found.schema.field(at).type))

    def _value(self, key: Any) -> Any:
        import pyarrow as pa

        kind = self.rows.schema.field(self.series).type
        try:
            if key is None or isinstance(key, float):
                raise ValueError
            if isinstance(key, str) and not pa.types.is_string(kind):
                return pa.scalar(key).cast(kind).as_py()
            if not isinstance(key, str) and pa.types.is_string(kind):
                raise ValueError
            return pa.scalar(key, kind).as_py()
        except (ValueError, pa.ArrowException, TypeError) as cause:
            shown = key.isoformat() if isinstance(key, date | datetime) else repr(key)[:100]
            raise GridError(f"{self.series}: {shown} is no {kind}; give a value of {self.series}") from cause


def load(lake: Lake, found: TableSet, of: Declared, scratch: Path) -> Held:
    """What the set has of it. Raises GridError where a file of it is gone, or the table was made anew."""
    import duckdb

    table = found.tables[of.latest]
    with duck.connect(scratch) as engine:
        try:
            rows = scan.of_set(engine, lake.path.resolve(), found, of.latest)
            told = engine.sql(f"FROM {rows} ORDER BY {double_quoted(of.spec.series)}").to_arrow_table()
        except (duckdb.IOException, OSError) as cause:
            raise GridError(f"{of.latest}: version {table.version} can no longer be read; look at the newest set") from cause  # fmt: skip
    return Held(told.combine_chunks(), of.spec.series, table.at)
