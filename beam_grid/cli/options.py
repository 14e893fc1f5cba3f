"""Options that several commands take, and the kinds of their values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
LAKE = click.option(
    "--lake", required=True, metavar="DIR", help="The lake's folder.", envvar="BEAM_GRID_LAKE", show_envvar=True
)
FORMAT = click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
CONTRACTS = click.option(
    "--contract", "contracts", multiple=True, metavar="FILE", help="Contract of a feed of your own."
)
RUNNER = click.option("--runner", type=click.Choice(["direct", "spark"]), default="direct", show_default=True)
SLICE_ROWS = click.option(
    "--slice-rows", type=click.IntRange(1), default=500_000, show_default=True, help="Records a commit."
)
ENGINE = click.option(
    "--engine",
    type=click.Choice(["auto", "embedded", "spark"]),
    default="auto",
    show_default=True,
    help="Where windows and analyses are computed; auto is in this process unless a Spark master is named. Changes "
    "(cdc) and master data (scd2) are Spark's in any case, with embedded too.",
)
MASTER = click.option(
    "--spark-master",
    metavar="URL",
    default=None,
    help="Where Spark runs, whatever needs it; the default is this machine. With --runner spark it is landing's.",
)
METRICS_PORT = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    envvar="BEAM_GRID_METRICS_PORT",
    show_envvar=True,
    help="Of a run that follows: answer /metrics (Prometheus), /healthz and /readyz on this port; 0 is not at all.",
)
METRICS_HOST = click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    envvar="BEAM_GRID_METRICS_HOST",
    show_envvar=True,
    help="The address to listen on. There is no login: mind who reaches it.",
)


class Time(click.ParamType):
    """An ISO 8601 time, UTC where it names no zone; the value is microseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time; write it as 2025-06-15T14:00:00Z", param, ctx)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        since = found - datetime(1970, 1, 1, tzinfo=UTC)
        return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


class Duration(click.ParamType):
    """A duration such as 10s or 90d, no shorter than `least_s`; the value is seconds."""

    name = "duration"

    def __init__(self, least_s: float = 0) -> None:
        self._least_s = least_s

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        from data_sources.durations import parse_duration

        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(value).total_seconds()
        except ValueError as cause:
            self.fail(str(cause), param, ctx)
        if seconds < self._least_s:
            self.fail(f"{value!r} is too short; the shortest is {self._least_s:g}s", param, ctx)
        return seconds


class Share(click.ParamType):
    """A share such as 0.1% or 0.001, from 0 up to but not including all; the value is from 0 to 1."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        text = value.strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is not a share; write it as 0.1% or 0.001", param, ctx)
        if not 0 <= share < 1:
            self.fail(f"{value!r} is not from 0 up to less than all; write it as 0.1% or 0.001", param, ctx)
        return share
