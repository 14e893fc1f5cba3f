"""`beam-grid` itself: the options before the command, and which commands there are."""

from __future__ import annotations

import importlib
from collections import UserDict
from typing import Any

import click

from beam_grid.cli.options import CONTEXT
from beam_grid.console import set_up_logs


class _Commands(UserDict[str, Any]):
    """Commands by name, written MODULE:ATTRIBUTE; a module is imported when one of its commands is asked for."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = self.data[name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"beam_grid.cli.{module}"), attribute)
        return command


COMMANDS = _Commands(
    {
        "land": "landing:land",
        "refine": "landing:refine",
        "run": "landing:run",
        "maintain": "landing:maintain",
        "plan": "dry_runs:plan_feed",
        "preview": "dry_runs:preview_feed",
        "optimize-window": "dry_runs:optimize_window",
        "query": "looking:query",
        "reflections": "looking:reflections",
        "status": "looking:status",
        "ledger": "looking:ledger",
        "inspect": "looking:inspect",
        "report": "looking:report",
        "reinject": "reinject:reinject",
        "edit": "edits:edit",
        "alerts": "alerts:alerts",
        "serve": "serving:serve_lake",
        "keys": "serving:keys",
        "run-lakes": "serving:run_lakes",
        "evaluate": "evaluating:evaluate",
        "contracts": "contracts:contracts",
        "generate": "first_steps:generate",
        "demo": "first_steps:demo",
        "doctor": "first_steps:doctor",
    }
)


@click.group(context_settings=CONTEXT, commands=COMMANDS)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", envvar="BEAM_GRID_LOG_FORMAT", show_envvar=True
)
@click.option(
    "--debug", is_flag=True, envvar="BEAM_GRID_DEBUG", show_envvar=True, help="Libraries' logs and tracebacks."
)
@click.version_option(package_name="beam-grid", prog_name="beam-grid")
def cli(log_format: str, debug: bool) -> None:
    """Event-time dataflow for electricity grids: files and Kafka to tables you can trust, and a report."""
    set_up_logs(log_format, debug)
