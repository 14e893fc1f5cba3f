"""`beam-grid generate` with a spec, a rate, rows and kinds of files; mistakes end with code 2 and a remedy."""

import json

import pytest
from click.testing import CliRunner

from beam_grid.cli import cli
from beam_grid.errors import GridError
from data_sources.generators import truth
from tests.data_sources.generators.streams.specs import HEAD, TIME


def generate(*arguments):
    return CliRunner().invoke(cli, ["generate", *map(str, arguments)])


def lines(folder):
    return [len(p.read_text().splitlines()) for p in sorted(folder.glob("*.json"))]


def test_rows_and_records_per_file(tmp_path):
    assert generate("iot_events", "--out", tmp_path, "--rows", 2500, "--records-per-file", 1000).exit_code == 0
    assert lines(tmp_path / "iot_events") == [1000, 1000, 500]
    assert truth.read(tmp_path)["iot_events"]["read"] == 2500


def test_a_rate_for_a_while(tmp_path):
    told = generate("transactions", "--out", tmp_path, "--rate", 500, "--for", "1s")
    assert told.exit_code == 0
    assert 350 <= sum(lines(tmp_path / "transactions")) <= 500
    assert "records in 1." in told.stderr


def test_a_spec_of_ones_own_as_parquet(tmp_path):
    spec = tmp_path / "own.toml"
    spec.write_text(HEAD + TIME + '[[columns]]\nname = "x"\ntype = "int64"\nmin = 1\nmax = 6\n')
    assert generate("--spec", spec, "--out", tmp_path / "o", "--rows", 30, "--format", "parquet").exit_code == 0
    assert [p.name for p in (tmp_path / "o" / "made").iterdir()] == ["made_000000.parquet"]
    assert generate("--spec", spec, "--out", tmp_path / "p", "--scale", 0.001, "--days", 2).exit_code == 0
    assert lines(tmp_path / "p" / "made") == [172]


def test_a_stream_takes_back_the_truth_of_what_it_replaces(tmp_path):
    assert generate("energy_readings", "--out", tmp_path, "--scale", 0.1).exit_code == 0
    assert "energy_readings" in truth.read(tmp_path)
    assert generate("energy_readings", "--out", tmp_path, "--rows", 10, "--format", "parquet").exit_code == 0
    assert "energy_readings" not in truth.read(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ([], "give --out DIR"),
        (["iot_events", "--rate", "5"], "--out DIR or --kafka"),
        (["--rate", "5", "--out", "OUT"], "name a SOURCE that has a spec"),
        (["iot_event", "--rate", "5", "--out", "OUT"], "did you mean 'iot_events'"),
        (["iot_events", "--spec", "x.toml", "--out", "OUT"], "not both"),
        (["--spec", "x.toml", "--out", "OUT"], "spec x.toml: no such file"),
        (["iot_events", "--rows", "5", "--days", "0", "--out", "OUT"], "days is 0"),
        (["iot_events", "--rows", "5", "--seed", "-1", "--out", "OUT"], "seed is -1"),
        (["iot_events", "--kafka", "127.0.0.1:1", "--format", "json"], "are for files"),
    ],
)
def test_mistakes_are_told(tmp_path, arguments, seen):
    told = generate(*(str(tmp_path) if a == "OUT" else a for a in arguments))
    assert isinstance(told.exception, GridError)
    assert told.exception.exit_code == 2
    assert seen in str(told.exception)


def test_a_broken_spec_is_told_with_its_column(tmp_path):
    spec = tmp_path / "own.toml"
    spec.write_text(HEAD + TIME + '[[columns]]\nname = "x"\ntype = "int64"\nexpr = "x + 1"\n')
    told = generate("--spec", spec, "--out", tmp_path, "--rows", 3)
    assert isinstance(told.exception, GridError)
    assert "column 'x': is made of itself" in str(told.exception)
    assert not json.loads((tmp_path / "truth.json").read_text()) if (tmp_path / "truth.json").exists() else True
