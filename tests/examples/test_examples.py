"""The examples, run as they are: the pipeline as a script, compared with SQL over its input; the notebook cell by cell."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

import beam_grid as bg
from data_sources.smart_meter_readings.generate import generate

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "look_at_a_lake.ipynb"

READINGS = [
    {"pump": "P-1", "read_at": "2025-05-01T00:10:00Z", "kwh": 1.25, "power_kw": 3.0},
    {"pump": "P-1", "read_at": "2025-05-01T00:50:00Z", "kwh": 1.5, "power_kw": 4.0},
    {"pump": "P-1", "read_at": "2025-05-01T00:50:00Z", "kwh": 1.5, "power_kw": 4.0},
    {"pump": "P-2", "read_at": "2025-05-01T01:10:00Z", "kwh": 2.0, "power_kw": None},
    {"pump": "P-2", "read_at": "2025-05-01T01:20:00Z", "kwh": -2.0, "power_kw": 1.0},
    {"pump": "P-7", "read_at": "2025-05-01T01:20:00Z", "kwh": 9.0, "power_kw": 9.0},
]


def test_a_pipeline_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = [json.dumps(reading) for reading in READINGS]
    (tmp_path / "in" / "may.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "own_pipeline.py"), "--source", "in", "--out", "out", "--service", "P-7"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    valid = tmp_path / "valid.jsonl"
    valid.write_text("\n".join(lines))
    oracle = duckdb.sql(
        "SELECT pump, date_trunc('hour', read_at::TIMESTAMP) AS hour, count(*), sum(kwh), max(power_kw) FROM "
        f"(SELECT DISTINCT * FROM read_json('{valid}', columns = {{pump: 'VARCHAR', read_at: 'VARCHAR', kwh: 'DOUBLE', "
        "power_kw: 'DOUBLE'}, format = 'nd')) WHERE kwh >= 0 AND pump <> 'P-7' GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    windows = [json.loads(line) for line in (tmp_path / "out" / "windows.jsonl").read_text().splitlines()]
    found = sorted((w["pump"], w["window_start"], w["readings"], w["kwh"], w["peak_kw"]) for w in windows)
    assert found == [(pump, f"{hour:%Y-%m-%dT%H:%M:%S}+00:00", *rest) for pump, hour, *rest in oracle]
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert sorted((r["cause"], r["_position"]) for r in rejects) == [("rule_broken", 5), ("undecodable", 7)]


def cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell as Jupyter does; the value of its last line, where that is an expression."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def test_the_notebook_runs_and_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small lake in the demo's place; each cell that ends in a value draws it."""
    monkeypatch.chdir(tmp_path)
    generate(tmp_path / "data", scale=0.02, messy=True)
    bg.open("demo/lake", create=True).run("data", "smart_meter_readings")
    names: dict[str, Any] = {}
    displays = [value._repr_html_() for cell in cells() if (value := shown(cell, names)) is not None]
    assert len(displays) == 7 and all("<table" in html or "<svg" in html or "<div" in html for html in displays)
    assert sum("<svg" in html for html in displays) == 1


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
    assert notebook["nbformat"] == 4 and len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
