"""`[[detections]]` of a contract: which detectors score the feed's readings into a table of gold; docs/detectors.md."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator, model_validator

from data_sources.contract.parts import Part, TimeZone, meant
from data_sources.contract.series import check_columns, check_readings, is_number

DETECTORS = (
    "z", "seasonal_z", "rate_of_change", "mahalanobis", "mahalanobis_robust", "composite", "median_mad", "flatline",
    "gap", "spike", "level_shift", "fused", "energy_balance",
)  # fmt: skip
"""What transforms/detect/ has; their names stand here so that a contract is read without loading them."""

COLUMNS = (
    "detector", "score", "probability", "is_anomaly", "reason", "value", "expected", "spread", "history", "fallback",
    "model_version",
)  # fmt: skip
"""What the table says of a reading, beside what names it."""


class DetectionSpec(Part):
    """gold.NAME: each reading of a feed, scored against its own series."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,89}$")
    series: str
    values: list[str] = Field(min_length=1)
    detectors: list[str] = Field(default=["fused"], min_length=1)
    beside: list[str] = []
    time_zone: TimeZone = "UTC"
    resolution: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    threshold: float | None = Field(default=None, gt=0, lt=1)

    @field_validator("detectors")
    @classmethod
    def _known(cls, given: list[str]) -> list[str]:
        for name in given:
            if name not in DETECTORS:
                raise ValueError(f"there is no detector {name!r}{meant(name, DETECTORS)}")
            if given.count(name) > 1:
                raise ValueError(f"{name!r} is named twice; once is enough")
        return given

    @model_validator(mode="after")
    def _enough_values(self) -> DetectionSpec:
        if "energy_balance" in self.detectors and not 2 <= len(self.values) <= 4:
            raise ValueError(
                'energy_balance takes values = ["SUPPLIED", "TAKEN"], and after them, where known, how many meters are '
                "stuck and what customers of another transformer took too much"
            )
        return self

    def columns(self, event_time: str, key: list[str]) -> list[str]:
        """What of a reading stands in the table beside `COLUMNS`: all but its first value, which is `value` there."""
        return list(dict.fromkeys([self.series, event_time, *key, *self.beside, *self.values[1:]]))


def check_detection(spec: DetectionSpec, kinds: Mapping[str, str], event_time: str, key: list[str], load: str) -> None:
    """Raise ValueError, with the remedy, for a detection that does not fit its contract. kinds: the type by field."""
    where = f"detection {spec.name!r}"
    check_readings(where, "detections", spec.series, kinds, load)
    for word, used in (("values", spec.values), ("beside", spec.beside)):
        for name in used:
            if name not in kinds:
                raise ValueError(f"{where}, {word}: there is no field {name!r}{meant(name, kinds)}")
            if used.count(name) > 1:
                raise ValueError(f"{where}, {word}: {name!r} is named twice; once is enough")
    for name in spec.values:
        if not is_number(kinds[name]):
            raise ValueError(f"{where}, values: {name!r} is a {kinds[name]}, not a number; name fields that are")
    if kinds[event_time] != "timestamp":
        raise ValueError(f"{where}: event time {event_time!r} is a date, and moments are compared; leave it out")
    check_columns(where, spec.name, spec.columns(event_time, key), COLUMNS)
