"""Synthetic customer master data: one snapshot of all 1,000 customers, as Parquet.

Guaranteed: the same arguments give byte-identical files, whatever `scale` and `days`; with `messy` the file still
holds every row of the clean one. `truth.json` is counted from the generator's own labels.

Not guaranteed: the same bytes from another version of numpy or pyarrow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from data_sources.generators.output import check_arguments
from data_sources.generators.registry import customers
from data_sources.generators.truth import withdraw
from data_sources.transformers.generate import SNAPSHOT_DAY, versioned, write_masters

FEED = "customers"

_GIVEN = (
    "Aarav Aditi Amit Ananya Arjun Asha Deepak Divya Farah Gopal Ishaan Kavita Lakshmi Manoj Meera Mohan Nisha "
    "Pooja Rahul Ravi Rohan Sanjay Sita Sunita Vikram Zoya"
)
_FAMILY = (
    "Agarwal Banerjee Bose Chauhan Das Desai Fernandes Gupta Iyer Joshi Kapoor Khan Kulkarni Kumar Menon Mehta "
    "Mishra Nair Patel Rao Reddy Shah Sharma Singh Verma Yadav"
)
_TARIFFS = ["RESIDENTIAL", "COMMERCIAL", "INDUSTRIAL", "AGRICULTURAL"]
_LOADS_KW = np.array([[1, 10], [5, 50], [50, 500], [3, 15]])
"""From and to, by tariff."""


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `out/transformer_parquet/customer_master.parquet` and `out/truth.json`.

    Returns read, rejected, late, `landed - superseded`, `duplicates + superseded` and conflicts, in rows. Raises
    ValueError for an argument out of range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)
    return write_masters(
        out, FEED, {"customer_master": master(seed)}, np.random.default_rng([seed, 5]) if messy else None
    )


def master(seed: int) -> pl.DataFrame:
    """The 1,000 customers, version 1. Who may draw more than 10 kW has three phases."""
    rng = np.random.default_rng([seed, 4])
    known = customers()
    n = known.height
    given, family = _GIVEN.split(), _FAMILY.split()
    tariff = rng.choice(len(_TARIFFS), n, p=[0.78, 0.14, 0.03, 0.05])
    low, high = _LOADS_KW[tariff].T
    load = (low + rng.random(n) ** 2 * (high - low)).round(1)
    status = np.searchsorted([0.93, 0.98], rng.random(n))
    owed = np.where(rng.random(n) < 0.6, 0, rng.normal(1500, 2500, n) * 100).astype(np.int64)
    return known.select(
        "customer_id",
        (
            pl.Series("customer_name", given).gather(rng.integers(0, len(given), n))
            + " "
            + pl.Series(family).gather(rng.integers(0, len(family), n))
        ).alias("customer_name"),
        "meter_id",
        "transformer_id",
        "region",
        "state",
        pl.Series("tariff_category", _TARIFFS).gather(tariff),
        pl.Series("connection_type", ["SINGLE_PHASE", "THREE_PHASE"]).gather((load > 10).astype(np.int64)),
        pl.Series("sanctioned_load_kw", load),
        pl.Series("account_status", ["ACTIVE", "SUSPENDED", "CLOSED"]).gather(status),
        pl.Series("outstanding_balance", owed / 100).cast(pl.Decimal(18, 2)),
        *versioned(1, SNAPSHOT_DAY),
    )
