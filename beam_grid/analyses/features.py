"""`[[features]]` of contracts: analyses whose rows are features of readings, and the newest of each series; docs/features.md.

    silver.FEED ─► gold.NAME, a row per reading ─► gold.NAME_latest, a row per series

A row depends on the readings of its series only, so what is made anew are series, as with detections.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from data_sources.durations import micros
from data_sources.identifiers import backticked

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.analyses import Analysis
    from beam_grid.analyses.detections import Batches
    from data_sources.contract import Contract, FeatureSpec
    from transforms.features import Definition, Since


@dataclass(frozen=True)
class Told:
    """How rows become features."""

    definition: Definition
    latest: str
    """The table with the newest row of each series."""

    @property
    def series(self) -> str:
        return self.definition.series

    @property
    def time(self) -> str:
        return self.definition.time

    @property
    def function(self) -> Batches:
        """From batches sorted by series, time and key to the table's rows."""
        return self.since(None)

    def since(self, since: Since | None) -> Batches:
        """The same of the rows from a time on."""
        from transforms.features import feature_rows

        return partial(feature_rows, definition=self.definition, since=since)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """The table's, where the SELECT's is `rows`; raises UserError for a column that does not fit."""
        from transforms.features import feature_schema

        return feature_schema(rows, self.definition)

    @property
    def version(self) -> str:
        """Of what the words mean."""
        return "features/1"


def tables(contracts: Iterable[Contract]) -> list[Analysis]:
    """The analyses of the contracts with [[features]]."""
    of = [(contract, spec) for contract in contracts for spec in contract.features]
    return [table for contract, spec in of for table in (_analysis(contract, spec), _latest(contract, spec))]


def _definition(contract: Contract, spec: FeatureSpec) -> Definition:
    from transforms.features import Definition

    return Definition(
        spec.series, contract.event_time, tuple(contract.dedup.key), spec.parsed, spec.version, spec.history.days,
        micros(spec.recent), spec.time_zone,
    )  # fmt: skip


def _analysis(contract: Contract, spec: FeatureSpec) -> Analysis:
    from beam_grid.analyses import Analysis

    feed, definition = f"silver.{contract.name}", _definition(contract, spec)
    series, time = backticked(spec.series), backticked(contract.event_time)
    picked = dict.fromkeys([*definition.named, *spec.reads([field.name for field in contract.fields])])
    return Analysis(
        f"gold.{spec.name}",
        f"Features of each {spec.series} at each reading of {contract.name}, version {spec.version}.",
        f"SELECT {', '.join(map(backticked, picked))} FROM {feed} WHERE :touched AND {series} IS NOT NULL "
        f"AND {time} IS NOT NULL",
        (feed,),
        cluster_by=(spec.series, contract.event_time),
        key=tuple(dict.fromkeys([*contract.dedup.key, contract.event_time])),
        touched=series,
        by_series=Told(definition, f"gold.{spec.latest}"),
        at_commit=True,
    )


def _latest(contract: Contract, spec: FeatureSpec) -> Analysis:
    from beam_grid.analyses import Analysis

    made = f"gold.{spec.name}"
    series = backticked(spec.series)
    order = ", ".join(f"{backticked(name)} DESC" for name in dict.fromkeys([contract.event_time, *contract.dedup.key]))
    columns = ", ".join(map(backticked, [*_definition(contract, spec).named, *spec.columns, "feature_version"]))
    return Analysis(
        f"gold.{spec.latest}",
        f"The newest row of gold.{spec.name} for each {spec.series}.",
        f"SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY {series} ORDER BY {order}) AS __newest "
        f"FROM {made} WHERE :touched) WHERE __newest = 1",
        (made,),
        cluster_by=(spec.series,),
        key=(spec.series,),
        touched=series,
        newest_by=contract.event_time,
        at_commit=True,
    )
