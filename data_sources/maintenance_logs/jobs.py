"""What a month of field maintenance looks like: jobs on the registry's transformers, with words as people type them."""

from __future__ import annotations

from calendar import monthrange
from datetime import date

import numpy as np
import polars as pl

from data_sources.generators.registry import transformers

COLUMNS = (
    "log_id",
    "transformer_id",
    "substation_id",
    "region",
    "state",
    "maintenance_type",
    "failure_type",
    "severity",
    "reported_date",
    "scheduled_date",
    "completed_date",
    "technician_id",
    "technician_name",
    "hours_spent",
    "parts_replaced",
    "cost_inr",
    "downtime_hours",
    "root_cause",
    "resolution_notes",
    "follow_up_required",
    "next_inspection_date",
)
TYPES = {"PREVENTIVE": 0.40, "CORRECTIVE": 0.30, "EMERGENCY": 0.10, "INSPECTION": 0.20}
SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
FAILURES = {
    "OIL_LEAK": ("gasket aged", "Gasket set"),
    "OVERHEATING": ("cooling fan seized", "Cooling fan, fan relay"),
    "BUSHING_FAILURE": ("moisture ingress", 'HV bushing 1"'),
    "WINDING_FAULT": ("insulation degraded", "Winding kit, insulation paper, transformer oil"),
    "TAP_CHANGER_FAULT": ("worn contacts, carbon deposits", "OLTC contacts"),
    "INSULATION_BREAKDOWN": ("lightning surge", "Surge arrester"),
    "COOLING_FAILURE": ("pump motor burnt", "Oil pump"),
    "LOOSE_CONNECTION": ("", ""),
}
EXPORTED_AFTER_DAYS = 5
"""After the month's end: what is not done by then is exported open."""

# {0} the transformer, {1} the technician; commas, quotes and line breaks as exports have them
_NOTES = (
    "Checked and tightened",
    "Oil topped up, sample sent to the lab",
    'Customer says: "it hums at night", could not reproduce',
    "Replaced parts, tested, back in service",
    "Isolated {0}.\nReplaced the part.\nBack on load at 16:40",
    '{1} noted 3" crack on the radiator, welded',
    "Thermal scan done; no hot spots",
    "Work done in two visits:\n1) drained, dried\n2) refilled, energised",
    "Awaiting spare - temporary fix, see mail of the shift lead",
    "ठीक किया गया, रिले बदला",
)
_GIVEN = ("Asha", "Ravi", "Meena", "Arjun", "Lakshmi", "Imran", "Deepa", "Vikram", "Zoë", "Joseph")
_FAMILY = ("Sharma", "Iyer", "Das", "Patel", "Verma", "Khan", "Nair", "Singh", "D'Souza", "Reddy")
_TECHNICIANS = 80


def jobs(rng: np.random.Generator, first: date, count: int) -> pl.DataFrame:
    """`count` jobs reported within the month that begins with `first`, by day; typed, in the columns of COLUMNS.

    PREVENTIVE and INSPECTION have no failure. A job not done by the export lacks all that is known only afterwards:
    completion, hours, parts, cost, notes and next inspection.
    """
    grid = transformers()[rng.integers(0, transformers().height, count)]
    begin, length = np.datetime64(first, "D"), monthrange(first.year, first.month)[1]
    reported = begin + np.sort(rng.integers(0, length, count))
    kind = np.searchsorted(np.cumsum(list(TYPES.values()))[:-1], rng.random(count), side="right")
    fails = (kind == 1) | (kind == 2)
    failure = rng.integers(0, len(FAILURES), count)
    severity = np.where(kind == 2, rng.integers(2, 4, count), np.where(fails, rng.integers(0, 4, count), 0))
    scheduled = reported + np.where(kind == 2, 0, rng.integers(0, 11, count))
    completed = scheduled + rng.integers(0, 4, count)
    is_open = completed >= begin + length + EXPORTED_AFTER_DAYS
    hours = (rng.gamma(2.0, 2.0, count) + 0.5 + 2 * severity).round(1)
    parts = pl.Series([p for _, p in FAILURES.values()]).gather(failure)
    has_parts = fails & (parts.str.len_bytes().to_numpy() > 0) & ~is_open
    cost = (hours * 850 + has_parts * rng.lognormal(9.5, 0.8, count)).round(2)
    downtime = np.where(kind == 3, 0.0, hours * rng.uniform(0.2, 1.5, count) * (1 + severity)).round(1)
    who = rng.integers(0, _TECHNICIANS, count)
    name = _names().gather(who)
    finished = pl.Series(~is_open)
    failed = pl.Series(fails)

    cause = pl.Series([c or None for c, _ in FAILURES.values()]).gather(failure)
    return pl.DataFrame(
        {
            "log_id": [f"ML-{first:%Y_%m}-{i + 1:04d}" for i in range(count)],
            "transformer_id": grid["transformer_id"],
            "substation_id": grid["substation_id"],
            "region": grid["region"],
            "state": grid["state"],
            "maintenance_type": pl.Series(list(TYPES)).gather(kind),
            "failure_type": _where(failed, pl.Series(list(FAILURES)).gather(failure)),
            "severity": pl.Series(SEVERITIES).gather(severity),
            "reported_date": pl.Series(reported),
            "scheduled_date": pl.Series(scheduled),
            "completed_date": _where(finished, completed),
            "technician_id": [f"TECH-{i + 1:03d}" for i in who],
            "technician_name": name,
            "hours_spent": _where(finished, hours),
            "parts_replaced": _where(pl.Series(has_parts), parts),
            "cost_inr": _where(finished, cost),
            "downtime_hours": downtime,
            "root_cause": _where(failed, cause),
            "resolution_notes": _where(finished, _notes(rng, grid["transformer_id"], name)),
            "follow_up_required": rng.random(count) < np.where(severity >= 2, 0.4, 0.1),
            "next_inspection_date": _where(finished, completed + rng.integers(30, 181, count)),
        }
    ).select(COLUMNS)


def as_lines(rows: pl.DataFrame) -> pl.Series:
    """Each row as CSV text without its line end; a value is quoted where it has to be, null is empty."""
    texts = []
    for name in COLUMNS:
        column = pl.col(name)
        if rows.schema[name] == pl.String:
            quoted = pl.lit('"') + column.str.replace_all('"', '""', literal=True) + pl.lit('"')
            text = pl.when(column.str.contains('[",\r\n]')).then(quoted).otherwise(column)
        elif rows.schema[name] == pl.Boolean:
            text = pl.when(column).then(pl.lit("True")).otherwise(pl.lit("False"))
        elif name == "cost_inr":
            text = column.cast(pl.Decimal(14, 2)).cast(pl.String)
        else:
            text = column.cast(pl.String)
        texts.append(text.fill_null(""))
    return rows.select(pl.concat_str(texts, separator=",").alias("line"))["line"]


def _where(mask: pl.Series, values: pl.Series | np.ndarray) -> pl.Series:
    """The values where the mask is, else null."""
    return pl.Series(values).set(~mask, None)


def _names() -> pl.Series:
    """The technicians' names, "Family, Given" for one in ten, as some exports have it."""
    people = [
        (_GIVEN[i % len(_GIVEN)], _FAMILY[(i * 3 + i // len(_GIVEN)) % len(_FAMILY)]) for i in range(_TECHNICIANS)
    ]
    return pl.Series([f"{f}, {g}" if i % 10 == 7 else f"{g} {f}" for i, (g, f) in enumerate(people)])


def _notes(rng: np.random.Generator, transformer: pl.Series, technician: pl.Series) -> pl.Series:
    note = pl.Series(_NOTES).gather(rng.integers(0, len(_NOTES), len(transformer)))
    words = pl.DataFrame({"note": note, "t": transformer, "w": technician})
    filled = pl.col("note").str.replace("{0}", pl.col("t"), literal=True)
    return words.select(filled.str.replace("{1}", pl.col("w"), literal=True))["note"]
