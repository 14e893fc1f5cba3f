"""Command line manners: exit codes, hints, where output goes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_grid.cli import cli
from data_sources.sources import kafka
from tests.beam_grid.service.small import contract, write
from tests.command_line import grid
from tests.waiting import PATIENCE_S


def process(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beam_grid", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "BEAM_GRID_DEBUG": "", **env},
    )


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small source and its lake, landed once."""
    base = tmp_path_factory.mktemp("cli")
    assert (
        grid("generate", "smart_meter_readings", "--out", str(base / "data"), "--scale", "0.02", "--messy").returncode
        == 0
    )
    done = grid("land", "--source", str(base / "data"), "--lake", str(base / "lake"))
    assert done.returncode == 0, done.stderr
    return base / "data", base / "lake"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["lnd"], "land"),
        (["land", "smart_meter", "--source", ".", "--lake", "LAKE"], "did you mean 'smart_meter_readings'"),
        (["land", "smart_meter_readings", "--source", "/no/such/folder", "--lake", "LAKE"], "no such file or folder"),
        (["land", "smart_meter_readings", "--source", "kafka://nowhere", "--lake", "LAKE"], "kafka://host:port/topic"),
        (["land", "smart_meter_readings", "--source", "kafka://u:secret@h:1/t", "--lake", "LAKE"], "--kafka-config"),
        (
            ["land", "smart_meter_readings", "--source", "kafka://127.0.0.1:9/t", "--lake", "LAKE"],
            "is the broker running",
        ),
        (["land", "--source", "DATA", "--lake", __file__], "is a file"),
        (["land", "--source", "DATA", "--lake", "LAKE", "--slice-rows", "0"], "x>=1"),
        (["land", "--source", "DATA", "--lake", "LAKE", "--now", "yesterday"], "2025-06-15T14:00:00Z"),
        (["land", "--source", "DATA", "--lake", "LAKE", "--every", "5x"], "10s, 15m"),
        (["land", "--source", "DATA", "--lake", "LAKE", "--follow", "--every", "0s"], "the shortest is 1s"),
        (["land", "--source", "DATA", "--lake", "LAKE", "--follow", "--every", "-1"], "10s, 15m"),
        (["run", "--source", "DATA", "--lake", "LAKE", "--follow", "--refine-every", "abc"], "10s, 15m"),
        (["run", "--source", "DATA", "--lake", "LAKE", "--engine", "flink"], "'auto', 'embedded', 'spark'"),
        (["refine", "--lake", "LAKE", "--spark-master", "spark//x"], "try local[*] or spark://HOST:7077"),
        (["land", "--contract", "none.toml", "--source", "DATA", "--lake", "LAKE"], "no such file"),
        (["ledger", "--lake", "/no/lake"], "there is no lake here"),
        (["query", "SELECT 1", "--lake", "LAKE"], "refine"),
        (["inspect", "rejects", "--lake", "LAKE"], "rejected"),
        (["inspect", "late", "--feed", "other", "--lake", "LAKE"], "nothing of it has landed"),
        (["generate", "smart_meters", "--out", "OUT"], "did you mean 'smart_meter_readings'"),
        (["generate", "smart_meter_readings", "--out", "OUT", "--days", "0"], "at least 1"),
        (["generate", "smart_meter_readings", "--out", "OUT", "--scale", "-1"], "scale"),
        (
            ["generate", "customers", "--out", "OUT", "--faults", "3"],
            "name the source it is for: smart_meter_readings, transformer_energy",
        ),
        (["contracts", "check", "none.toml"], "no such file"),
        (["report", "--lake", "LAKE", "--out", "/proc/report.html"], "cannot be written"),
    ],
)
def test_a_mistake_ends_with_2_a_hint_and_no_traceback(arguments, hint, landed, tmp_path, monkeypatch):
    monkeypatch.setattr(kafka, "TIMEOUT_S", 3.0)
    data, lake = landed
    words = {"DATA": str(data), "LAKE": str(lake), "OUT": str(tmp_path)}
    done = grid(*(words.get(a, a) for a in arguments))
    assert done.returncode == 2
    assert hint in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == "" and "secret" not in done.stderr


def test_ledger_is_json_on_stdout_and_balances(landed):
    data, lake = landed
    (row,) = json.loads(grid("ledger", "--lake", str(lake), "--format", "json").stdout)
    assert list(row) == [
        "feed",
        "read",
        "landed",
        "duplicates",
        "late",
        "rejected",
        "superseded",
        "conflicts",
        "balanced",
    ]
    assert row["balanced"] is True and row["read"] == json.loads((data / "truth.json").read_text())[row["feed"]]["read"]


def test_an_unbalanced_ledger_ends_with_1(landed, tmp_path):
    import shutil

    lake = tmp_path / "lake"
    shutil.copytree(landed[1], lake)
    commit = next(lake.glob("landing/*/commits/*.json"))
    broken = json.loads(commit.read_text())
    broken["fates"]["late"] += 1
    commit.write_text(json.dumps(broken))
    done = grid("ledger", "--lake", str(lake), "--format", "json")
    assert done.returncode == 1 and json.loads(done.stdout)[0]["balanced"] is False


def test_nothing_new_is_no_failure_and_loads_no_engine(landed):
    data, lake = landed
    done = process("land", "--source", str(data), "--lake", str(lake))
    assert done.returncode == 0 and "nothing new" in done.stderr
    code = (
        "import sys; sys.argv[1:] = sys.argv[1:]\nfrom beam_grid.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint('apache_beam' in sys.modules, 'pyspark' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, "land", "--source", str(data), "--lake", str(lake)], capture_output=True, text=True
    )
    assert told.stdout.split() == ["False", "False"]


_LOOKS = """
import sys
from contextlib import suppress
from beam_grid.cli import cli
for command in (["status"], ["query", "SELECT count(*) FROM silver.meters"], ["ledger"]):
    with suppress(SystemExit):
        cli([*command, "--lake", sys.argv[1]], standalone_mode=False)
    print("loaded", *sys.modules)
"""


def test_who_looks_at_a_lake_loads_what_that_takes(tmp_path):
    """Each is a process of its own, and libraries that it does not use would be most of its time."""
    write(tmp_path / "in", "a.csv")
    source, lake = ("--contract", str(contract(tmp_path)), "--source", str(tmp_path / "in")), str(tmp_path / "lake")
    assert grid("run", *source, "--lake", lake).returncode == 0
    done = subprocess.run([sys.executable, "-c", _LOOKS, lake], capture_output=True, text=True, check=True)
    status, query, ledger = (set(line.split()) for line in done.stdout.splitlines() if line.startswith("loaded"))
    needless = {"pydantic", "pyarrow.compute", "pyarrow.dataset", "numpy.ma", "duckdb", "polars", "sqlglot", "difflib"}
    needless |= {"apache_beam", "pyspark"}
    assert "true" in done.stdout and "deltalake" in ledger, "it looked into the table"
    assert not status & (needless | {"pyarrow", "numpy", "deltalake", "tomllib"})
    assert not query & needless
    assert not ledger & needless


def test_inspect_names_place_and_bytes_of_each_reject(landed):
    data, lake = landed
    rows = json.loads(grid("inspect", "rejected", "--lake", str(lake), "--format", "json").stdout)
    assert len(rows) == json.loads((data / "truth.json").read_text())["smart_meter_readings"]["rejected"]
    for row in rows[:50]:
        lines = (data / row["_source"]).read_bytes().split(b"\n")
        assert lines[row["_position"] - 1].decode("utf-8", "backslashreplace") == row["raw"]


def test_logs_may_be_json(landed):
    data, lake = landed
    done = process("--log-format", "json", "land", "--source", str(data), "--lake", str(lake))
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["smart_meter_readings: nothing new"]
    assert process("land", "--source", str(data), "--lake", str(lake), BEAM_GRID_LOG_FORMAT="json").stderr.startswith(
        "{"
    )


def test_an_interrupt_ends_with_130_and_a_rerun_mends_it(tmp_path):
    data, lake = tmp_path / "data", tmp_path / "lake"
    assert grid("generate", "smart_meter_readings", "--out", str(data), "--scale", "1").returncode == 0
    arguments = ["land", "--source", str(data), "--lake", str(lake), "--slice-rows", "4000"]
    running = subprocess.Popen([sys.executable, "-m", "beam_grid", *arguments], stderr=subprocess.PIPE, text=True)
    commits = lake / "landing" / "smart_meter_readings" / "commits"
    until = time.monotonic() + PATIENCE_S
    while not list(commits.glob("0*.json")) and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=PATIENCE_S)[1]
    assert running.returncode == 130, told
    assert "interrupted" in told and "Traceback" not in told
    partly = len(list(commits.glob("0*.json")))
    assert 0 < partly < 24
    assert grid("land", "--source", str(data), "--lake", str(lake)).returncode == 0
    (row,) = json.loads(grid("ledger", "--lake", str(lake), "--format", "json").stdout)
    assert row["balanced"] and row["landed"] == 96_500


def test_a_second_run_on_one_lake_is_refused(landed):
    import filelock

    data, lake = landed
    with filelock.FileLock(lake / "locks" / "land.lock"):
        done = process("land", "--source", str(data), "--lake", str(lake))
    assert done.returncode == 2 and "at work" in done.stderr
    assert grid("land", "--source", str(data), "--lake", str(lake)).returncode == 0


def test_contracts_have_faces():
    assert "| `reading_kwh` | float64 |" in grid("contracts", "show", "smart_meter_readings").stdout
    assert (
        "CLUSTER BY (`meter_id`, `timestamp`)"
        in grid("contracts", "show", "smart_meter_readings", "--format", "ddl").stdout
    )
    assert "timestamp[us, tz=UTC]" in grid("contracts", "show", "smart_meter_readings", "--format", "arrow").stdout
    listed = [r["feed"] for r in json.loads(grid("contracts", "list", "--format", "json").stdout)]
    assert "smart_meter_readings" in listed and listed == sorted(set(listed))


def test_doctor_says_what_is_there():
    done = process("doctor")
    assert done.returncode == 0 and "java" in done.stdout and "apache-beam    2.77.0" in done.stdout


def test_each_command_is_the_one_that_its_name_says():
    assert all(command.name == name for name, command in cli.commands.items())


def test_help_names_every_command():
    told = process("--help").stdout
    for command in (
        "land",
        "refine",
        "run",
        "query",
        "ledger",
        "inspect",
        "generate",
        "maintain",
        "report",
        "demo",
        "doctor",
        "contracts",
        "reinject",
    ):
        assert command in told
