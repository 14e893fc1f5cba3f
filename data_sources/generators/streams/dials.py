"""The words of `[chaos]` and `[pace]`: shares, delays, clocks, busy hours and bursts."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from data_sources.generators.streams.words import Part, Share, Span


class Dial(Part):
    """A share of the rows and the range of delays they get."""

    share: Share
    delay: tuple[Span, Span]

    @model_validator(mode="after")
    def _forwards(self) -> Dial:
        if self.delay[0] > self.delay[1]:
            raise ValueError("delay is [least, most]: the first is longer than the second; swap them")
        return self


class SkewDial(Part):
    """The share of `by`'s values whose clocks are off, and by how much at most, either way."""

    share: Share
    by: str
    offset: Span


class DstDial(Part):
    """The share of `by`'s values whose clocks follow a zone's summer time as if it were none."""

    share: Share
    by: str
    zone: str

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except Exception as cause:
            raise ValueError(f"unknown time zone {zone!r}; use a name like Europe/Berlin") from cause
        return zone


class ChaosSpec(Part):
    """What goes wrong between the source and its reader; in force with `--messy` only."""

    duplicates: Dial | None = None
    disorder: Dial | None = None
    late: Dial | None = None
    clock_skew: SkewDial | None = None
    dst: DstDial | None = None
    broken: Share = 0.0
    broken_columns: list[str] = []


class Burst(Part):
    """A time of day, UTC, from which on for a while there are `times` as many rows as at that hour otherwise."""

    at: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    last: Span
    times: float = Field(gt=0)

    @property
    def start_us(self) -> int:
        return (int(self.at[:2]) * 60 + int(self.at[3:])) * 60_000_000


class PaceSpec(Part):
    """How a day's rows spread over it: weights of its 24 hours, UTC, and bursts. The day's number stays."""

    hours: list[float] = [1.0] * 24
    bursts: list[Burst] = []

    @field_validator("hours")
    @classmethod
    def _a_day(cls, hours: list[float]) -> list[float]:
        if len(hours) != 24 or not all(0 < h < float("inf") for h in hours):
            raise ValueError("hours are 24 weights above 0, one an hour from midnight, UTC")
        return hours
