"""A stream's spec as a model: its columns, anomalies, pace and chaos.

A spec that passes here has columns that are each told in exactly one way, with weights, bounds and shares that can
be drawn from. What one column says of another (expressions, references) is checked by `load.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field, PrivateAttr, model_validator

from data_sources.generators.streams.column import ColumnSpec
from data_sources.generators.streams.dials import ChaosSpec, PaceSpec
from data_sources.generators.streams.words import Name, Part, Share


class AnomalySpec(Part):
    """Rows that are changed once all columns are made: a share of them, or those for which `when` holds."""

    name: Name
    label: Name
    share: Share | None = None
    when: str | None = None
    set: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_choice(self) -> AnomalySpec:
        if (self.share is None) == (self.when is None):
            raise ValueError("give either share = 0.03 or when = '<condition>'")
        return self


class Step(NamedTuple):
    """Columns to make next: first `plain`, which need earlier steps and each other in this order, then expressions
    by level, which need earlier steps, `plain` and earlier levels."""

    plain: list[str]
    told: list[list[str]]


class StreamSpec(Part):
    """A stream, declared once. Build it with `load_spec`."""

    name: Name
    description: str = ""
    rows_per_day: int = Field(ge=1)
    rate: float = Field(default=1000.0, gt=0)
    partitions: int = Field(default=1, ge=1, le=1024)
    batch_rows: int = Field(default=10_000, ge=1, le=1_000_000)
    records_per_file: int = Field(default=10_000, ge=1)
    topic: str | None = None
    key: str | None = None
    event_time: str
    columns: list[ColumnSpec] = Field(min_length=1)
    anomalies: list[AnomalySpec] = []
    pace: PaceSpec | None = None
    chaos: ChaosSpec = ChaosSpec()

    _path: Path = PrivateAttr(default=Path())
    _steps: list[Step] = PrivateAttr(default_factory=list)
    _lasting: set[str] = PrivateAttr(default_factory=set)

    def column(self, name: str) -> ColumnSpec:
        """The column called `name`; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._path

    @property
    def steps(self) -> list[Step]:
        """The columns in the order to make them."""
        return self._steps

    @property
    def lasting(self) -> set[str]:
        """Columns that are asked for after their step: those not omitted, and what later ones read."""
        return self._lasting
