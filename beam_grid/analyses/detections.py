"""What detectors score: `-- detect:` of an analysis, and `[[detections]]` of contracts, which are such analyses.

    SELECT of a series' rows ─► sorted by series and time ─► transforms/detect/by_series.py ─► the table's rows

A score depends on the rows of its series up to it only, so the groups that are made anew are series: those with new,
changed or removed rows. Of [[detections]] rows are replaced from the earliest of these on, and where the detectors tell how far
they look back (transforms/detect/reach.py) series are not read from their first reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from data_sources.identifiers import backticked

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.analyses import Analysis
    from data_sources.contract import Contract, DetectionSpec
    from transforms.detect.reach import Reach
    from transforms.detect.readings import Ints

Batches = Callable[[Iterable["pa.RecordBatch"]], Iterator["pa.RecordBatch"]]

_WORDS = {"by": "series", "value": "values", "time": "time", "zone": "time_zone", "resolution": "resolution", "threshold": "threshold"}  # fmt: skip


@dataclass(frozen=True)
class Detect:
    """How rows are scored. series, time, values: columns of the SELECT; the rest as in a contract's [[detections]]."""

    series: str
    time: str
    values: tuple[str, ...]
    detectors: tuple[str, ...]
    time_zone: str = "UTC"
    resolution: float | None = None
    threshold: float | None = None

    @property
    def function(self) -> Batches:
        """From batches sorted by series and time to the table's rows."""
        from transforms.detect import scored

        return partial(scored, **asdict(self))

    def since(self, names: pa.Array, since: Ints) -> Batches:
        """The same of the rows of the named series from a time on, microseconds since the epoch, and of all without a series."""
        from transforms.detect.by_series import scored_since

        return partial(scored_since, names=names, since=since, **asdict(self))

    @property
    def reach(self) -> Reach | None:
        """How far back a score looks; None where that is to the first reading."""
        from transforms.detect.reach import reach_of

        return reach_of(self.detectors)

    def schema(self, rows: pa.Schema) -> pa.Schema:
        """The table's, where the SELECT's is `rows`; raises UserError for a column that is not there or does not fit."""
        from transforms.detect.by_series import scored_schema

        return scored_schema(rows, series=self.series, time=self.time, values=self.values)

    @property
    def version(self) -> str:
        """Of the formulas."""
        from transforms.detect.scores import VERSION

        return VERSION


def parse_detect(said: str) -> Detect:
    """Of `fused,gap value=kwh time=at by=meter zone=Asia/Kolkata`; raises ValueError that names the word and the remedy."""
    from pydantic import ValidationError  # here: most files say nothing of the kind

    from data_sources.contract.detections import DetectionSpec
    from data_sources.contract.parts import meant

    detectors, *words = said.split() or [""]
    given: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _WORDS:
            raise ValueError(f"detect: unknown word {name!r}{meant(name, _WORDS)}")
        if name in given:
            raise ValueError(f"detect: {name} is said twice; say it once")
        given[name] = value
    for name in ("value", "time", "by"):
        if not given.get(name):
            raise ValueError(f"detect: {name} is missing; add {name}=COLUMN")
    raw = {_WORDS[name]: value for name, value in given.items() if name != "time"}
    try:
        spec = DetectionSpec.model_validate(
            {**raw, "name": "x", "detectors": detectors.split(","), "values": given["value"].split(",")}
        )
    except ValidationError as cause:
        first = cause.errors()[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise ValueError(f"detect: {place}{first['msg'].removeprefix('Value error, ')}") from cause
    return _detect(spec, given["time"])


def tables(contracts: Iterable[Contract]) -> list[Analysis]:
    """The analyses of the contracts with [[detections]]."""
    return [_analysis(contract, spec) for contract in contracts for spec in contract.detections]


def _detect(spec: DetectionSpec, time: str) -> Detect:
    return Detect(
        spec.series, time, tuple(spec.values), tuple(spec.detectors), spec.time_zone, spec.resolution, spec.threshold
    )


def _analysis(contract: Contract, spec: DetectionSpec) -> Analysis:
    from beam_grid.analyses import Analysis

    feed, time = f"silver.{contract.name}", contract.event_time
    named = [*spec.columns(time, contract.dedup.key), spec.values[0]]
    return Analysis(
        f"gold.{spec.name}",
        f"Each reading of {contract.name} against its own {spec.series}: {', '.join(spec.detectors)} on "
        f"{', '.join(spec.values)}.",
        f"SELECT {', '.join(map(backticked, dict.fromkeys(named)))} FROM {feed} WHERE :touched",
        (feed,),
        cluster_by=(spec.series, time),
        key=tuple(dict.fromkeys([*contract.dedup.key, time, "detector"])),
        touched=backticked(spec.series),
        since=time if contract.field(time).type == "timestamp" else "",
        by_series=_detect(spec, time),
        at_commit=True,
    )
