"""Tables and answers as Arrow, polars, HTML and text: what is read, what is escaped, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import beam_grid as bg
from beam_grid.python_api.html import LONGEST_CELL
from beam_grid.python_api.rows import SHOWN, Answer
from tests.conftest import may_be_without

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = "<script>alert('P & 1')</script>"


def test_a_table_is_narrowed_down_before_it_is_read(lake: bg.OpenLake) -> None:
    table = lake["silver.pumps"].where("kwh > 1.3").where("pump = 'P-1' -- no more").select("kwh", "pump")
    raw = duckdb.sql("SELECT kwh, pump FROM 'data/may.csv' WHERE kwh > 1.3 AND pump = 'P-1'").to_arrow_table()
    assert pa.table(table) == raw.cast(table.schema)
    assert lake["silver.pumps"].head(1).polars().height == 1
    assert lake["silver.pumps"].head(2).head(9).polars().height == 2
    assert lake["silver.pumps"].columns[:3] == ["pump", "read_at", "kwh"]
    assert pl.DataFrame(lake["gold.pump_hourly"]).height == 2
    assert duckdb.from_arrow(lake["silver.pumps"].arrow()).sum("kwh").fetchall() == [(4.5,)]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda lake: lake["gold.pump_hourli"], "no table 'gold.pump_hourli' in version set 1; did you mean 'gold.pump_hourly'"),
        (lambda lake: lake["pumps"], "did you mean 'silver.pumps'"),
        (lambda lake: lake['silver.pumps"; DROP'], "there is no table"),
        (lambda lake: lake["silver.pumps"].select("kwh; DROP TABLE x"), "no column"),
        (lambda lake: lake["silver.pumps"].where("true) OR (true"), "not one condition"),
        (lambda lake: lake["silver.pumps"].where("kwh >").arrow(), "query: "),
        (lambda lake: lake["silver.pumps"].head(-1), "0 or more"),
        (lambda lake: lake.sql("COPY silver.pumps TO 'x.csv'"), "'COPY' is not allowed"),
        (lambda lake: lake.inspect("everything"), "not one of rejected, late"),
        (lambda lake: lake.as_of(set="1"), "set='1' is no number"),
        (lambda lake: lake.as_of(time="0001-01-01T00:00:00+14:00"), "before the year 1"),
        (lambda lake: lake.run("nowhere"), "nowhere"),
        (lambda lake: lake.run("data", "pomps", contract="pumps.toml"), "did you mean 'pumps'"),
        (lambda lake: lake.refine("pomps"), "nothing of it has landed"),
        (lambda lake: lake.refine(parameters={"nothing.as_of": "1"}), "nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_error_of_ours(ask, says: str, lake: bg.OpenLake) -> None:
    with pytest.raises(bg.GridError, match=says):
        ask(lake)


def test_names_are_text_in_a_notebook(lake: bg.OpenLake) -> None:
    answer = lake.sql(
        f"SELECT '{SCRIPT.replace(chr(39), chr(39) * 2)}' AS \"<b>name\", NULL AS nothing, 'x' AS \"<b>name2\""
    )
    html = answer._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "&lt;b&gt;name" in html and "<b>" not in html
    assert ">·</td>" in html
    lines = pa.table({"at": pa.array([0, 1, 2, 3], pa.timestamp("us", "UTC")), "kwh": [1.0, 2.0, 3.0, 4.0], "meter": [SCRIPT, "a$b$", SCRIPT, "a$b$"]})  # fmt: skip
    drawing = Answer(lines, SCRIPT).plot(by="meter")._repr_html_()
    assert "<script" not in drawing and "&lt;script&gt;" in drawing and "<svg" in drawing
    assert "a$b$" in drawing, "no mathematics"


def test_a_long_answer_is_shown_in_part(lake: bg.OpenLake) -> None:
    answer = lake.sql("SELECT * FROM generate_series(1, 50)")
    assert answer._repr_html_().count("<tr>") == SHOWN + 1 and "first 20 rows" in repr(answer) and len(answer) == 50
    text = Answer(pa.table({"text": ["x" * 10_000]}))
    assert "x" * (LONGEST_CELL - 1) + "…" in text._repr_html_() and "x" * LONGEST_CELL not in text._repr_html_()
    assert "silver.pumps: 3 rows, version set 1" in repr(lake["silver.pumps"])
    assert "version set 1" in lake._repr_html_() and "gold.pump_hourly" in lake._repr_html_()
    assert lake._ipython_key_completions_() == list(lake)


PANDAS = Path(sys.prefix) / "pandas"
"""Where `make setup` puts pandas: out of all other tests' way, since pyarrow loads it into every process that finds it."""


@pytest.mark.skipif(
    may_be_without(str(PANDAS) if PANDAS.exists() else None), reason=f"no {PANDAS}; `make setup` makes it"
)
def test_pandas_where_it_is_installed(lake: bg.OpenLake) -> None:
    code = (
        "import sys, beam_grid as bg; frame = bg.open(sys.argv[1])['silver.pumps'].pandas(); import pandas as pd; "
        "print(isinstance(frame, pd.DataFrame), pd.__file__.startswith(sys.argv[2]), frame['kwh'].sum(), frame['read_at'].dt.tz)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path("lake").resolve()), str(PANDAS)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PANDAS}"},
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True", "4.5", "UTC"], done.stderr


def test_pandas_where_it_is_not(lake: bg.OpenLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(bg.GridError, match="pip install pandas"):
        lake["silver.pumps"].pandas()


def test_problems_of_a_run_are_said_and_kept(
    lake: bg.OpenLake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "pumps.csv").write_text("pump,read_at,kwh\nP-1,2025-05-01T00:10:00Z,1\nP-1,2025-05-01T00")
    (tmp_path / "in" / "notes.xyz").write_text("what is this")
    own = bg.open(tmp_path / "own", create=True)
    told: list[str] = []
    done = own.run(tmp_path / "in", contract="pumps.toml", now="2025-06-01", progress=told.append)
    assert not done.ok and any("notes.xyz" in problem for problem in done.problems)
    assert all(problem in caplog.text for problem in done.problems), "logged as warnings, which Python shows"
    assert "pumps: read" in repr(done) and "notes.xyz" in done._repr_html_()
    assert any(line.startswith("pumps: ") for line in told)
    book = own.ledger.polars().row(0, named=True)
    assert book["read"] == book["landed"] + book["rejected"] and own.set == 1


def test_a_lake_without_tables_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(bg.GridError, match="there is no lake here"):
        bg.open(tmp_path / "none")
    lake = bg.open(tmp_path / "new", create=True)
    assert (
        lake.tables == [] and len(lake) == 0 and "nothing published" in repr(lake) and lake.ledger.arrow().num_rows == 0
    )
    assert "<table" in lake._repr_html_()
    for ask in (lambda: lake["silver.x"], lambda: lake.sql("SELECT 1")):
        with pytest.raises(bg.GridError, match="nothing was published when it was looked at"):
            ask()
    with pytest.raises(bg.GridError, match="none was published yet"):
        lake.as_of(set=1)


def test_importing_it_loads_no_engine(tmp_path: Path) -> None:
    """Nor does opening a lake: only what reads loads what it reads with."""
    heavy = ("apache_beam", "pyspark", "duckdb", "deltalake", "polars", "matplotlib", "fastapi", "pandas")
    code = (
        "import sys, beam_grid as bg; first = set(sys.modules); assert 'click' not in first and 'pyarrow' not in first; "
        "lake = bg.open(sys.argv[1], create=True); lake.tables; bg.GridError; assert bg.__version__[0].isdigit(); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "new")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_package_is_typed_and_names_what_it_has() -> None:
    for package in ("beam_grid", "transforms", "runners", "data_sources"):
        assert (ROOT / package / "py.typed").exists()
    for name in bg.__all__:
        assert getattr(bg, name) is not None
    assert not hasattr(bg, "opn")
