"""The grid that all generated sources speak of: one set of keys, so that every join finds its partner.

customer 1--1 meter      customer n--1 transformer      transformer n--1 substation      region n--1 state
"""

from __future__ import annotations

from functools import lru_cache

import polars as pl

STATES = {
    "NORTH": ("Delhi", "Punjab", "Haryana", "Uttar Pradesh", "Rajasthan"),
    "SOUTH": ("Karnataka", "Tamil Nadu", "Kerala", "Telangana", "Andhra Pradesh"),
    "EAST": ("West Bengal", "Bihar", "Odisha", "Jharkhand", "Assam"),
    "WEST": ("Maharashtra", "Gujarat", "Goa"),
    "CENTRAL": ("Madhya Pradesh", "Chhattisgarh"),
}

METERS_PER_REGION, TRANSFORMERS_PER_REGION, SUBSTATIONS_PER_REGION, PLANTS_PER_TYPE = 200, 100, 50, 30
PLANT_TYPES = ("SOLAR", "WIND", "HYDRO")


@lru_cache(maxsize=1)
def meters() -> pl.DataFrame:
    """The 1,000 meters, the same for every seed: meter_id, customer_id, region, state, grid_zone (strings).

    200 a region (NORTH, SOUTH, EAST, WEST, CENTRAL). Each customer has exactly one meter and each meter one customer.
    """
    count = METERS_PER_REGION * len(STATES)
    rows = [
        {
            "meter_id": f"SM-{region[0]}-{i + 1:05d}",
            # 389 and 1,000 share no factor, so every customer comes exactly once.
            "customer_id": f"CUST-{(r * METERS_PER_REGION + i) * 389 % count + 1:06d}",
            "region": region,
            "state": states[i // 5 % len(states)],
            "grid_zone": f"ZONE-{i % 5 + 1}",
        }
        for r, (region, states) in enumerate(STATES.items())
        for i in range(METERS_PER_REGION)
    ]
    return pl.DataFrame(rows)


@lru_cache(maxsize=1)
def transformers() -> pl.DataFrame:
    """The 500 transformers: transformer_id, substation_id, region, state (strings); two stand in each substation."""
    rows = [
        {
            "transformer_id": f"TRF-{region[0]}-{i + 1:04d}",
            "substation_id": f"SUB-{region[0]}-{i % SUBSTATIONS_PER_REGION + 1:03d}",
            "region": region,
            "state": states[i % SUBSTATIONS_PER_REGION % len(states)],
        }
        for region, states in STATES.items()
        for i in range(TRANSFORMERS_PER_REGION)
    ]
    return pl.DataFrame(rows)


@lru_cache(maxsize=1)
def customers() -> pl.DataFrame:
    """The 1,000 customers by id: customer_id, meter_id, transformer_id, region, state, grid_zone (strings).

    A customer's transformer stands in the customer's region.
    """
    at = meters().with_columns(pl.int_range(pl.len()).over("region").alias("_n"))
    number = (pl.col("_n") % TRANSFORMERS_PER_REGION + 1).cast(pl.String).str.zfill(4)
    named = at.with_columns(pl.format("TRF-{}-{}", pl.col("region").str.slice(0, 1), number).alias("transformer_id"))
    return named.select("customer_id", "meter_id", "transformer_id", "region", "state", "grid_zone").sort("customer_id")


@lru_cache(maxsize=1)
def plants() -> pl.DataFrame:
    """The 90 plants: plant_id, plant_type, region, state (strings), capacity_mw (float64)."""
    regions = list(STATES)
    rows = []
    for t, kind in enumerate(PLANT_TYPES):
        for i in range(PLANTS_PER_TYPE):
            region = regions[(i + t) % len(regions)]
            rows.append(
                {
                    "plant_id": f"REN-{kind}-{i + 1:03d}",
                    "plant_type": kind,
                    "region": region,
                    "state": STATES[region][i % len(STATES[region])],
                    "capacity_mw": float((5, 10, 25, 50, 100)[(i * 7 + t) % 5]),
                }
            )
    return pl.DataFrame(rows)
