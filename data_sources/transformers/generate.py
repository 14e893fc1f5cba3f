"""Synthetic transformer master data: a snapshot of all 500 and a file of 30 changes, as Parquet.

Guaranteed: exactly two files, whatever `scale` and `days`; each change differs from the snapshot in a column the
contract tracks, some in the date of maintenance alone; the same arguments give byte-identical files; with `messy`
both files still hold every row of the clean ones. `truth.json` is counted from the generator's own labels.

Not guaranteed: the same bytes from another version of numpy or pyarrow.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_sources.generators.output import check_arguments, emptied, whole_file
from data_sources.generators.registry import transformers
from data_sources.generators.truth import record, withdraw

FEED = "transformers"
FOLDER = "transformer_parquet"
SNAPSHOT_DAY, CHANGE_DAY = date(2025, 1, 1), date(2025, 6, 1)
NO_END = date(9999, 12, 31)
CHANGED = 30

# With messy: rows on top of the good ones, by share of these.
COPY_SHARE, NULL_KEY_SHARE, NULL_DATE_SHARE, REMARK_SHARE = 0.03, 0.01, 0.005, 0.05

_CENTRE = {  # of each region, degrees; what stands in it lies within 2 degrees
    "NORTH": (28.6, 77.2),
    "SOUTH": (12.9, 77.6),
    "EAST": (22.6, 86.4),
    "WEST": (19.1, 74.9),
    "CENTRAL": (23.2, 79.4),
}
_MAKERS = ["BHEL", "Siemens", "Hitachi Energy", "CG Power", "Toshiba", "Schneider Electric"]
_RATINGS = [(6.3, "33/11", "ONAN"), (16.0, "66/11", "ONAN"), (50.0, "132/33", "ONAF"), (160.0, "220/132", "OFAF")]
_STATES = ["ACTIVE", "UNDER_MAINTENANCE", "DECOMMISSIONED"]

Ints = npt.NDArray[np.int64]


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `transformer_master.parquet`, `transformer_master_delta_20250601.parquet` and `truth.json` below `out`.

    The Parquet files stand in `out/transformer_parquet`. The grid has its 500 transformers and the delta its 30
    changes whatever `scale` and `days`.

    Returns read, rejected, late, `landed - superseded`, `duplicates + superseded` and conflicts, in rows. Raises
    ValueError for an argument out of range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)
    snapshot = master(seed)
    files = {"transformer_master": snapshot, "transformer_master_delta_20250601": delta(snapshot, seed)}
    return write_masters(out, FEED, files, np.random.default_rng([seed, 3]) if messy else None)


def master(seed: int) -> pl.DataFrame:
    """The 500 transformers, version 1. Those of a substation stand within 200 m of each other."""
    rng = np.random.default_rng([seed, 1])
    known = transformers()
    n = known.height
    sites = known["substation_id"].unique(maintain_order=True)
    offset = dict(zip(sites, rng.uniform(-2, 2, (len(sites), 2)).tolist(), strict=True))
    near = rng.uniform(-0.001, 0.001, (n, 2))
    place = (
        np.array([_CENTRE[r] for r in known["region"]]) + np.array([offset[s] for s in known["substation_id"]]) + near
    )
    rating = [_RATINGS[i] for i in rng.choice(len(_RATINGS), n, p=[0.4, 0.3, 0.2, 0.1])]
    installed = _days(date(1990, 1, 1), rng.integers(0, 33 * 365, n))
    age = (np.datetime64(SNAPSHOT_DAY) - installed).astype(np.int64) / 365.25
    health = np.clip(98 - 1.3 * age + rng.normal(0, 7, n), 5, 100).round(1)
    status = np.searchsorted([0.93, 0.99], rng.random(n))
    return known.with_columns(
        pl.Series("latitude", place[:, 0].round(5)),
        pl.Series("longitude", place[:, 1].round(5)),
        pl.Series("manufacturer", _MAKERS).gather(rng.integers(0, len(_MAKERS), n)),
        pl.Series("install_date", installed),
        pl.Series("capacity_mva", [r[0] for r in rating]),
        pl.Series("voltage_class_kv", [r[1] for r in rating]),
        pl.Series("cooling_type", [r[2] for r in rating]),
        pl.Series("health_index_score", health),
        pl.Series("status", _STATES).gather(status),
        pl.Series("last_maintenance_date", _days(date(2024, 1, 1), rng.integers(0, 360, n))),
        *versioned(1, SNAPSHOT_DAY),
    )


def delta(snapshot: pl.DataFrame, seed: int) -> pl.DataFrame:
    """30 transformers of the snapshot, changed, version 2: six of each kind.

    kind   health_index_score   status   last_maintenance_date
    0      better               -        in May
    1      worse                -        -
    2      -                    next     -
    3      -                    -        in May
    4      worse                next     in May
    """
    rng = np.random.default_rng([seed, 2])
    can_change = np.flatnonzero((snapshot["status"] != "DECOMMISSIONED").to_numpy())
    at = np.sort(rng.choice(can_change, CHANGED, replace=False))
    old = snapshot[at]
    kind = rng.permutation(CHANGED) % 5
    by = rng.uniform(2, 4.9, CHANGED)
    score = old["health_index_score"].to_numpy()
    better = np.where(score + by <= 100, score + by, score - by)
    score = np.select([kind == 0, (kind == 1) | (kind == 4)], [better, score - by], score).round(1)
    state = np.array([_STATES.index(s) for s in old["status"]]) + ((kind == 2) | (kind == 4))
    in_may = _days(date(2025, 5, 1), rng.integers(0, 31, CHANGED))
    maintained = np.where(np.isin(kind, [0, 3, 4]), in_may, old["last_maintenance_date"].to_numpy())
    return old.with_columns(
        pl.Series("health_index_score", score),
        pl.Series("status", _STATES).gather(state),
        pl.Series("last_maintenance_date", maintained.astype("datetime64[D]")),
        *versioned(2, CHANGE_DAY),
    )


def versioned(number: int, since: date) -> list[pl.Expr]:
    """The columns of a current version: record_effective_date, record_end_date, is_current, scd_version."""
    return [
        pl.lit(since).alias("record_effective_date"),
        pl.lit(NO_END).alias("record_end_date"),
        pl.lit(True).alias("is_current"),
        pl.lit(number, pl.Int64).alias("scd_version"),
    ]


def write_masters(
    out: Path, feed: str, files: dict[str, pl.DataFrame], rng: np.random.Generator | None
) -> dict[str, int]:
    """Write each of `files` (name without ending) and the feed's truth; with `rng` soiled. Returns the six counts."""
    folder = emptied(out / FOLDER)
    rows = copies = rejected = 0
    for name, good in files.items():
        rows += good.height
        written = good
        if rng is not None:
            written, more_copies, more_rejected = soiled(good, rng)
            copies, rejected = copies + more_copies, rejected + more_rejected
        with whole_file(folder / f"{name}.parquet") as file:
            pq.write_table(_plain(written), file)
    counts = {
        "read": rows + copies + rejected,
        "rejected": rejected,
        "late": 0,
        "landed - superseded": rows,
        "duplicates + superseded": copies,
        "conflicts": 0,
    }
    causes = {"undecodable": rejected, "rule_broken": 0, "from_the_future": 0}
    record(out, feed, {**counts, "rejected_by_cause": causes})
    return counts


def soiled(good: pl.DataFrame, rng: np.random.Generator) -> tuple[pl.DataFrame, int, int]:
    """The good rows in random order, with copies and rows that lack key or date, and a column nobody declared.

    Returns the rows, how many are copies and how many are to be rejected.
    """
    key = good.columns[0]
    parts = [good]
    counts = []
    for share, lacking in ((COPY_SHARE, None), (NULL_KEY_SHARE, key), (NULL_DATE_SHARE, "record_effective_date")):
        some = good[rng.integers(0, good.height, max(1, round(share * good.height)))]
        counts.append(some.height)
        parts.append(some if lacking is None else some.with_columns(pl.lit(None, good.schema[lacking]).alias(lacking)))
    rows = pl.concat(parts)
    remark = pl.when(pl.Series(rng.random(rows.height) < REMARK_SHARE)).then(pl.lit("to be surveyed"))
    rows = rows.with_columns(remark.alias("survey_remark"))
    return rows[rng.permutation(rows.height)], counts[0], counts[1] + counts[2]


def _days(first: date, offset: Ints) -> npt.NDArray[np.datetime64]:
    return np.datetime64(first) + offset


def _plain(rows: pl.DataFrame) -> pa.Table:
    """As Arrow, text in its plain form."""
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    text = [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(text))
