"""From a spec to rows: one function makes any stretch of rows, a column at a time, arrays at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from data_sources.durations import micros
from data_sources.generators.streams import expr
from data_sources.generators.streams.column import ColumnSpec
from data_sources.generators.streams.distributions import norm_cdf, norm_ppf, quantile
from data_sources.generators.streams.draws import Chance, Floats, Ints, entity, permuted
from data_sources.generators.streams.load import load_spec, parent_of
from data_sources.generators.streams.series import series
from data_sources.generators.streams.spec import StreamSpec

_KINDS = {"string": pl.String, "int64": pl.Int64, "float64": pl.Float64, "bool": pl.Boolean}


class Maker:
    """The rows of one stretch: numbers, times and chance given, columns made as they are asked for."""

    def __init__(self, spec: StreamSpec, chance: Chance, rows: Ints, time_us: Ints, begin_us: int) -> None:
        self.spec, self.chance, self.rows, self.time_us = spec, chance, rows, time_us
        self._begin_us = begin_us
        self._uniform: dict[str, Floats] = {}
        self.made: dict[str, pl.Series] = {expr.ROW_NUMBER: pl.Series(expr.ROW_NUMBER, rows)}

    def frame(self, only: set[str] | None = None) -> pl.DataFrame:
        """The columns that are not omitted, in the spec's order, then the labels of anomalies."""
        wanted = self.spec.lasting | (only or set())
        for step in self.spec.steps:
            for name in step.plain:
                column = self.spec.column(name)
                made = self._column(column)
                self.made[name] = _without(made, self._draw(f"{name}#null") < column.nulls) if column.nulls else made
            told = [{n: _told(self.spec.column(n)) for n in level} for level in step.told]
            self.made |= expr.evaluate(told, self.made, self._draw, wanted.__contains__)
        labels = self._anomalies()
        kept = [c.name for c in self.spec.columns if not c.omit] if only is None else list(only)
        return pl.DataFrame([self.made[n].alias(n) for n in [*kept, *(labels if only is None else [])]])

    def _draw(self, purpose: str) -> Floats:
        return self.chance.uniform(purpose, len(self.rows))

    def _column(self, column: ColumnSpec) -> pl.Series:
        make: dict[str, Callable[[ColumnSpec], pl.Series]] = {
            "values": self._values,
            "share": lambda c: pl.Series(c.name, self._draw(c.name) < (c.share or 0.0)),
            "begin": self._time,
            "unique": self._unique,
            "series": self._series,
            "references": self._references,
            "min": self._drawn,
        }
        return make[column.way](column)

    def _values(self, column: ColumnSpec) -> pl.Series:
        values = column.values or []
        ends = np.cumsum(column.weights or [1.0] * len(values))
        picked = np.searchsorted(ends[:-1] / ends[-1], self._draw(column.name), side="right")
        return _typed(column, pl.Series(column.name, values, strict=False).gather(picked))

    def _time(self, column: ColumnSpec) -> pl.Series:
        if column.name == self.spec.event_time:
            return pl.Series(column.name, self.time_us).cast(pl.Datetime("us"))
        if column.begin is None or column.interval is None:
            raise AssertionError(column.name)
        start = int(column.begin.timestamp() * 1_000_000)
        return pl.Series(column.name, start + self.rows * micros(column.interval)).cast(pl.Datetime("us"))

    def _unique(self, column: ColumnSpec) -> pl.Series:
        purpose = f"{self.spec.name}.{column.name}"
        start = int(column.min or 0)
        return _typed(
            column, pl.Series(column.name, start + permuted(self.chance.seed, purpose, self.rows, column.unique or 1))
        )

    def _series(self, column: ColumnSpec) -> pl.Series:
        told = column.series
        if told is None:
            raise AssertionError(column.name)
        who = entity(self.made[told.by]) if told.by else None
        purpose = f"{self.spec.name}.{column.name}"
        return _typed(
            column,
            pl.Series(column.name, series(told, self.chance.seed, purpose, self.time_us, self._begin_us, who)),
        )

    def _drawn(self, column: ColumnSpec) -> pl.Series:
        u = self._draw(column.name)
        if column.correlate is not None:
            r = column.correlate.strength
            z = r * norm_ppf(self._uniform[column.correlate.to]) + np.sqrt(1 - r * r) * norm_ppf(u)
            u = np.clip(norm_cdf(z), 0, 1 - 2.0**-53)
        self._uniform[column.name] = u
        return _typed(column, pl.Series(column.name, quantile(column, u)))

    def _references(self, column: ColumnSpec) -> pl.Series:
        parents = _parents(*parent_of(self.spec, column), self.chance.seed)
        picked = (self._draw(column.name) * len(parents)).astype(np.int64)
        return parents.gather(picked).alias(column.name)

    def _anomalies(self) -> list[str]:
        labels: dict[str, pl.Series] = {}
        for anomaly in self.spec.anomalies:
            if anomaly.share is not None:
                hit = pl.Series(self._draw(f"{anomaly.name}#hit") < anomaly.share)
            else:
                told = {anomaly.name: expr.Told(anomaly.when or "", "bool")}
                hit = expr.evaluate([told], self.made, self._draw)[anomaly.name].fill_null(False)
            before = labels.get(anomaly.label)
            labels[anomaly.label] = hit if before is None else hit | before
            self.made |= {n: s.alias(n) for n, s in labels.items()}
            change = {f"{anomaly.name}.{n}": expr.Told(t, self.spec.column(n).type) for n, t in anomaly.set.items()}
            for name, values in expr.evaluate([change], self.made, self._draw).items():
                name = name.removeprefix(f"{anomaly.name}.")
                self.made[name] = values.zip_with(hit, self.made[name]).alias(name)
        return list(labels)


@functools.lru_cache(maxsize=16)
def _parents(path: Path, field: str, seed: int) -> pl.Series:
    """A whole column of the spec referred to, as a stream of the same seed has it on its first day."""
    from data_sources.generators.streams.stream import Stream

    spec = load_spec(path)
    stream = Stream(spec, seed, total=spec.rows_per_day)
    return pl.concat([stream.maker(n).frame({field}) for n in range(stream.count)])[field].drop_nulls()


def _told(column: ColumnSpec) -> expr.Told:
    return expr.Told(column.expr or "", column.type, column.nulls)


def _typed(column: ColumnSpec, numbers: pl.Series) -> pl.Series:
    """Numbers as the column's type; with a format, as text."""
    if column.format is not None:
        before, _, rest = column.format.partition("%")
        width, _, after = rest.partition("d")
        text = numbers.cast(pl.Int64).cast(pl.String)
        padded = text.str.zfill(int(width)) if width.startswith("0") else text.str.pad_start(int(width or 0))
        frame = pl.select(pl.concat_str(pl.lit(before), padded, pl.lit(after)).alias(column.name))
        return frame[column.name]
    if column.digits is not None:
        precision = int(column.type[8:].split(",")[0])
        return numbers.cast(pl.Float64).round(column.digits).cast(pl.Decimal(precision, column.digits))
    return numbers.cast(_KINDS[column.type]) if column.type in _KINDS else numbers


def _without(series: pl.Series, lost: np.ndarray) -> pl.Series:
    name = series.name
    return pl.select(pl.when(pl.lit(pl.Series(~lost))).then(series).alias(name))[name]
