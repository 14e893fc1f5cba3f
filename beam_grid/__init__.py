"""Beam Grid from Python: open a lake, look at its tables, ask SQL, land and refine.

    >>> import beam_grid as bg
    >>> lake = bg.open("lake")
    >>> lake["gold.pump_hourly"].select("pump", "kwh").where("kwh > 2").arrow().to_pylist()
    [{'pump': 'P-1', 'kwh': 3.0}]

What goes wrong in a way you can mend is a GridError; LakeBusy and RunFailed are kinds of it. Names are imported when
they are asked for: `import beam_grid` loads neither Beam nor an engine. docs/python.md tells the rest.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_grid.errors import GridError, LakeBusy, RunFailed
    from beam_grid.python_api.features import Features
    from beam_grid.python_api.opened import OpenLake
    from beam_grid.python_api.plot import Plot
    from beam_grid.python_api.rows import Answer, LakeTable, Rows
    from beam_grid.python_api.runs import Done

    __version__: str

__all__ = [
    "Answer",
    "Done",
    "Features",
    "GridError",
    "LakeBusy",
    "LakeTable",
    "OpenLake",
    "Plot",
    "Rows",
    "RunFailed",
    "__version__",
    "open",
]

_HOMES = {
    "Answer": "python_api.rows",
    "Done": "python_api.runs",
    "Features": "python_api.features",
    "GridError": "errors",
    "LakeBusy": "errors",
    "LakeTable": "python_api.rows",
    "OpenLake": "python_api.opened",
    "Plot": "python_api.plot",
    "Rows": "python_api.rows",
    "RunFailed": "errors",
}


def open(path: str | Path, *, create: bool = False) -> OpenLake:
    """The lake in a folder, looked at as its newest version set has it.

    create: make an empty lake where there is none, for `land` or `run`. Raises GridError for a folder that holds no lake,
    or one that a newer version wrote.

    >>> open("lake")  # doctest: +ELLIPSIS
    <lake lake: version set 1 of ... UTC, 5 tables>
    >>> open("nowhere")
    Traceback (most recent call last):
    ...
    beam_grid.errors.GridError: lake nowhere: there is no lake here; `beam-grid land --lake nowhere` makes one
    """
    from beam_grid.python_api.opened import opened

    return opened(path, create)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("beam-grid")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
