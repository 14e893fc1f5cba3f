"""`[[vee]]` of a contract: validation and estimation of interval readings into a table of gold; docs/vee.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from data_sources.contract.parts import Duration, Part, TimeZone, meant
from data_sources.contract.series import check_columns, check_readings, is_number

Kind = Literal["gap", "negative", "zero_run", "spike", "low", "high", "register", "clock"]
"""What transforms/vee/checks.py has; the names stand here so that a contract is read without loading it."""

_TAKES: dict[str, tuple[str, ...]] = {
    "gap": (), "negative": ("least",), "zero_run": ("rows",), "spike": ("factor", "least"), "low": ("factor", "least"),
    "high": ("factor", "least"), "register": ("tolerance",), "clock": (),
}  # fmt: skip
_FACTORS = {"spike": 5.0, "low": 0.1, "high": 5.0}

COLUMNS = ("interval_start", "value", "status", "rules", "method", "read", "edited_by", "reason")
"""What the table says of an interval, beside the series and what names the reading."""

ALONE = "series"
"""The column with the feed's name, where all of it is one series."""

EDIT = ("edited", "edited_by", "edited_because")
"""Columns, behind an underscore, that a row has which is no reading but an edit of its interval: value, author, reason."""

MOST_LINEAR = timedelta(days=1)


class VeeCheck(Part):
    """One check; which settings it takes depends on its kind."""

    kind: Kind
    estimate: bool = False
    factor: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    rows: int | None = Field(default=None, ge=2)
    tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    least: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _fits(self) -> VeeCheck:
        for name in ("factor", "rows", "tolerance", "least"):
            if getattr(self, name) is not None and name not in _TAKES[self.kind]:
                takes = " and ".join(_TAKES[self.kind])
                raise ValueError(f"{self.kind} takes no {name}" + (f", but {takes}" if takes else "; leave it out"))
        if self.estimate and self.kind == "register":
            raise ValueError("register says that a sum is wrong, not which value: leave estimate out")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """For `transforms.vee.Check`."""
        given = {"factor": self.factor or _FACTORS.get(self.kind), "rows": self.rows}
        given |= {"tolerance": self.tolerance, "least": self.least}
        return {"kind": self.kind, "estimate": self.estimate, **{k: v for k, v in given.items() if v is not None}}


class VeeSpec(Part):
    """gold.NAME: every interval of every series, checked, and estimated where it has no value to be trusted."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,89}$")
    series: str | None = None
    value: str | None = None
    interval: Duration
    checks: list[VeeCheck] = Field(min_length=1)
    time_zone: TimeZone = "UTC"
    linear_up_to: Duration = timedelta(hours=2)
    holidays: list[date] = []
    register_: str | None = Field(default=None, alias="register")
    register_at: Literal["start", "end"] = "end"
    rolls_over_at: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @field_validator("interval")
    @classmethod
    def _of_a_day(cls, given: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= given <= timedelta(days=1) or timedelta(days=1) % given:
            raise ValueError('must divide a day, 1s to 1d, as in interval = "15m"')
        return given

    @field_validator("linear_up_to")
    @classmethod
    def _short(cls, given: timedelta) -> timedelta:
        if not timedelta(0) <= given <= MOST_LINEAR:
            raise ValueError('must be 0s to 1d: how long a gap a straight line may bridge, as in linear_up_to = "2h"')
        return given

    @field_validator("checks")
    @classmethod
    def _each_once(cls, given: list[VeeCheck]) -> list[VeeCheck]:
        kinds = [check.kind for check in given]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise ValueError(f"{kind!r} is there twice; once is enough")
        return given

    @model_validator(mode="after")
    def _with_register(self) -> VeeSpec:
        if self.register_ is None and any(check.kind == "register" for check in self.checks):
            raise ValueError('checks: "register" adds values up to a register; name its field in register')
        if self.register_ is None and self.rolls_over_at is not None:
            raise ValueError("rolls_over_at is a register's: name its field in register")
        if self.register_ is None and self.value is None:
            raise ValueError("name the field of the intervals' values in value, the register's in register, or both")
        if self.value is None and any(check.kind == "register" for check in self.checks):
            raise ValueError('checks: "register" compares values with a register, and there is only the register')
        return self


def check_vee(spec: VeeSpec, kinds: Mapping[str, str], event_time: str, key: list[str], load: str) -> None:
    """Raise ValueError, with the remedy, for one that does not fit its contract. kinds: the type by field."""
    where = f"vee {spec.name!r}"
    check_readings(where, "vee", spec.series, kinds, load)
    for word, name in (("value", spec.value), ("register", spec.register_)):
        if name is not None and name not in kinds:
            raise ValueError(f"{where}, {word}: there is no field {name!r}{meant(name, kinds)}")
        if name is not None and not is_number(kinds[name]):
            raise ValueError(f"{where}, {word}: {name!r} is a {kinds[name]}, not a number; name a field that is")
    if spec.series == event_time:
        raise ValueError(
            f"{where}, series: {spec.series!r} is the event time; leave series out where all is one meter's"
        )
    if kinds[event_time] != "timestamp":
        raise ValueError(f"{where}: event time {event_time!r} is a date; intervals begin at moments")
    own = COLUMNS if spec.series else (*COLUMNS, ALONE)
    check_columns(where, spec.name, filter(None, (spec.series, *key)), own)
