"""`[[vee]]` of contracts: analyses whose rows are the validated intervals of a feed; docs/vee.md.

An interval's row depends on the readings of its series only, so what is made anew are whole series, as with detections:
a reading that comes late takes the place of its estimate, and of those that were made between others for want of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from beam_grid.lakehouse.duck import literal
from data_sources.contract.vee import ALONE
from data_sources.durations import micros
from data_sources.identifiers import backticked

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.analyses import Analysis
    from beam_grid.analyses.detections import Batches
    from data_sources.contract import Contract
    from data_sources.contract.vee import VeeSpec


@dataclass(frozen=True)
class Validation:
    """How rows become intervals: the arguments of `transforms.vee.rows.validated_rows`."""

    series: str
    time: str
    value: str | None
    width: int
    checks: tuple[dict[str, Any], ...]
    linear_up_to: int
    zone: str
    holidays: tuple[date, ...]
    register: str | None
    register_at: str
    rolls_over_at: float | None

    @property
    def function(self) -> Batches:
        """From batches sorted by series and time to the table's rows."""
        from transforms.vee.rows import validated_rows

        return partial(validated_rows, **asdict(self))

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """The table's, where the SELECT's is `rows`; raises UserError for a column that does not fit."""
        from transforms.vee.rows import validated_schema

        return validated_schema(rows, series=self.series, time=self.time, value=self.value, register=self.register)

    @property
    def version(self) -> str:
        """Of the checks and estimates."""
        from transforms.vee import VERSION

        return VERSION


def tables(contracts: Iterable[Contract]) -> list[Analysis]:
    """The analyses of the contracts with [[vee]]."""
    return [_analysis(contract, spec) for contract in contracts for spec in contract.vee]


def _analysis(contract: Contract, spec: VeeSpec) -> Analysis:
    from beam_grid.analyses import Analysis

    feed, time = f"silver.{contract.name}", contract.event_time
    named = dict.fromkeys(filter(None, [spec.series, time, spec.value, spec.register_, *contract.dedup.key]))
    picked = list(map(backticked, named))
    series, group = spec.series, backticked(spec.series) if spec.series else literal(contract.name)
    if series is None:
        series = ALONE
        picked.insert(0, f"{group} AS {series}")
    return Analysis(
        f"gold.{spec.name}",
        f"Every interval of {contract.name}'s {spec.value or spec.register_}, checked, and estimated where there is no value to be trusted.",
        f"SELECT {', '.join(picked)} FROM {feed} WHERE :touched",
        (feed,),
        cluster_by=(series, "interval_start"),
        key=(series, "interval_start"),
        touched=group,
        detect=Validation(
            series,
            time,
            spec.value,
            micros(spec.interval),
            tuple(check.settings for check in spec.checks),
            micros(spec.linear_up_to),
            spec.time_zone,
            tuple(spec.holidays),
            spec.register_,
            spec.register_at,
            spec.rolls_over_at,
        ),
    )
