"""Publish: the tables of append feeds, windows and bronze, in the driver's process, without Spark or a JVM.

    commits ─┬► silver   landed files become the table's (silver.py)
             ├► gold     tiles merged in DuckDB (gold.py)
             └► bronze   rejects, late rows, conflicts (bronze.py)

Cost follows the number of files and touched windows, not of rows landed, so it holds on a cluster too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from beam_grid.crash import point
from beam_grid.errors import GridError, RunFailed
from beam_grid.lakehouse import bronze, compact, delta_log, gold, silver
from beam_grid.lakehouse.steps import BRONZE, Step
from beam_grid.lakehouse.tables import Batch, Table
from data_sources.contract import Contract, WindowSpec
from transforms.manifest import Kind


def publish(steps: Iterable[Step], scratch: Path, say: Callable[[str], None]) -> dict[str, float]:
    """Bring each step's table up to its batch's last commit; returns the seconds it took, by table.

    Raises GridError for a table that cannot be written as it is, RunFailed when a step fails; what was done stays.
    """
    seconds: dict[str, float] = {}
    for step in steps:
        began = time.monotonic()
        point(f"refine:before-{step.table.name}")
        try:
            _publish(step, scratch / step.batch.contract.name / step.table.name)
        except GridError:
            raise
        except Exception as cause:
            is_system = isinstance(cause, OSError)
            why = _unwritten(step.table, cause) if is_system else failed(step, cause, str(cause))
            raise (_lost(step.table) or _unlanded(step.batch) or why) from cause
        point(f"refine:after-{step.table.name}")
        seconds[step.table.name] = seconds.get(step.table.name, 0.0) + time.monotonic() - began
        tell(step, began, say)
    return seconds


def _publish(step: Step, scratch: Path) -> None:
    table, batch = step.table, step.batch
    if step.window is not None:
        gold.prepare(table, step.state, batch.contract, step.window)
        point(f"refine:made-{table.name}")
        gold.publish(table, batch, step.window, scratch)
    elif table.name in BRONZE:
        bronze.prepare(table)
        point(f"refine:made-{table.name}")
        bronze.publish(table, batch)
    else:
        silver.prepare(table, batch.contract)
        point(f"refine:made-{table.name}")
        silver.publish(table, batch)


def compacted(table: Table, scratch: Path) -> int:
    """Put the table's small files together where there are many; returns how many went. Raises as `publish` does."""
    return _rewritten(table, lambda: compact.compact(table, scratch))


def by_group(table: Table, contract: Contract, window: WindowSpec, watermark: int | None, scratch: Path) -> int:
    """Put a run of files of final windows in order of their groups, where there is one; returns how many went. Raises as
    `publish` does."""
    before = gold.final_before(contract, window, watermark)
    return _rewritten(table, lambda: compact.by_group(table, window.by, before, scratch))


def _rewritten(table: Table, work: Callable[[], int]) -> int:
    try:
        return work()
    except GridError:
        raise
    except Exception as cause:
        raise (_lost(table) or _unwritten(table, cause)) from cause


def _unwritten(table: Table, cause: Exception) -> RunFailed:
    reason = cause.strerror or str(cause) if isinstance(cause, OSError) else f"{type(cause).__name__}: {cause}"
    return RunFailed(
        f"table {table.name}: {table.path} cannot be written ({reason}); what was done before stays: make room and run it "
        "again"
    )


def _lost(table: Table) -> GridError | None:
    """What to say where a data file of the table is gone; asked when something failed."""
    at = delta_log.read(table.path)
    for file in at.files if at is not None else []:
        if not (table.path / file.path).exists():
            return GridError(
                f"table {table.name}: its data file {file.path} is gone; move {table.path} away and run refine, which "
                "makes the table anew from the commits"
            )
    return None


def _unlanded(batch: Batch) -> GridError | None:
    """The same where a landed file is gone."""
    kinds: tuple[Kind, ...] = ("rows", "tiles", "superseded", "rejected", "late", "conflicts")
    for landed in (*batch.landed(*kinds), *batch.landed(*kinds, new_only=False)):
        if not Path(batch.path(landed)).exists():
            return GridError(
                f"{batch.path(landed)}, which a commit of {batch.contract.name} lists, is gone: put the file back, from a "
                "copy of the lake, or land the sources into a new lake"
            )
    return None


def failed(step: Step, cause: BaseException, reason: str) -> RunFailed:
    """The error of a step that did not take its commits in."""
    batch = step.batch
    return RunFailed(
        f"refine: {step.table.name} could not take in commits {batch.applied + 1} to {batch.target} of "
        f"{batch.contract.name} ({type(cause).__name__}: {reason}); what was done before stays, run it again"
    )


def tell(step: Step, began: float, say: Callable[[str], None]) -> None:
    """Say what a step did and how long it took."""
    count = step.batch.target - step.batch.applied
    say(f"{step.table.name}: {count} commit{'s' if count != 1 else ''} in {time.monotonic() - began:.2f} s")
