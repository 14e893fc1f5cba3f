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

from beam_grid.lakehouse.tables import literal
from data_sources.contract.vee import ALONE, EDIT
from data_sources.durations import micros
from data_sources.faces import spark_type
from data_sources.identifiers import backticked

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.analyses import Analysis
    from beam_grid.analyses.detections import Batches
    from data_sources.contract import Contract
    from data_sources.contract.vee import VeeSpec


EDITS = "vee_edits"
"""The feed of edits by hand (beam_grid/edits.py)."""

_EDIT_KINDS, _EDIT_FROM = ("DOUBLE", "STRING", "STRING"), ("value", "author", "reason")


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
    """The analyses of the contracts with [[vee]]; with the edits of their intervals, where the lake has any."""
    known = list(contracts)
    has_edits = any(contract.name == EDITS for contract in known)
    return [_analysis(contract, spec, has_edits) for contract in known for spec in contract.vee]


def _analysis(contract: Contract, spec: VeeSpec, has_edits: bool) -> Analysis:
    from beam_grid.analyses import Analysis

    feed, time = f"silver.{contract.name}", contract.event_time
    named = dict.fromkeys(filter(None, [spec.series, time, spec.value, spec.register_, *contract.dedup.key]))
    picked = list(map(backticked, named))
    series, group = spec.series or ALONE, backticked(spec.series) if spec.series else literal(contract.name)
    if spec.series is None:
        picked.insert(0, f"{group} AS {series}")
    sql = f"SELECT {', '.join(picked)} FROM {feed} WHERE :touched"
    if has_edits:
        kinds = {name: spark_type(contract.field(name).arrow) for name in named} | (
            {} if spec.series else {ALONE: "STRING"}
        )
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS `_{name}`" for name, kind in zip(EDIT, _EDIT_KINDS, strict=True))
        given = {series: f"TRY_CAST(series AS {kinds[series]})", time: "interval_start"}
        of_edit = [f"{given.get(name, f'CAST(NULL AS {kind})')} AS {backticked(name)}" for name, kind in kinds.items()]
        edits = (
            f"SELECT *, row_number() OVER (PARTITION BY series, interval_start ORDER BY edited_at DESC, id DESC) AS newest "
            f"FROM silver.{EDITS} WHERE table_name = {literal(f'gold.{spec.name}')}"
        )
        chosen = ", ".join(
            [*of_edit, *(f"{column} AS `_{name}`" for name, column in zip(EDIT, _EDIT_FROM, strict=True))]
        )
        newest = f"SELECT {chosen} FROM ({edits}) every WHERE newest = 1 AND value IS NOT NULL"
        columns = [*map(backticked, kinds), *(f"`_{name}`" for name in EDIT)]
        sql = (
            f"SELECT {', '.join(columns)} FROM (SELECT {', '.join(picked)}, {nothing} FROM {feed}) readings WHERE :touched "
            f"UNION ALL SELECT {', '.join(columns)} FROM ({newest}) edits WHERE :touched"
        )
    return Analysis(
        f"gold.{spec.name}",
        f"Every interval of {contract.name}'s {spec.value or spec.register_}, checked, and estimated where there is no value to be trusted.",
        sql,
        (feed, f"silver.{EDITS}") if has_edits else (feed,),
        cluster_by=(series, "interval_start"),
        key=(series, "interval_start"),
        ties=tuple(contract.dedup.key),
        touched=group,
        by_series=Validation(
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
