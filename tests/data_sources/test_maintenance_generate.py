"""The maintenance generator's promises, checked on the files it wrote, and its truth against a run."""

import csv
import io
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from data_sources.generators.registry import transformers
from data_sources.maintenance_logs.generate import generate
from tests.landed_truth import landed_rows, landed_truth, truth_of

FEED = "maintenance_logs"
COLUMNS = [
    "log_id",
    "transformer_id",
    "substation_id",
    "region",
    "state",
    "maintenance_type",
    "failure_type",
    "severity",
    "reported_date",
    "scheduled_date",
    "completed_date",
    "technician_id",
    "technician_name",
    "hours_spent",
    "parts_replaced",
    "cost_inr",
    "downtime_hours",
    "root_cause",
    "resolution_notes",
    "follow_up_required",
    "next_inspection_date",
]
FILES = [f"maintenance_logs_2025_{month}.csv" for month in ("04", "05", "06")]


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "maintenance_csv").iterdir())}


def rows_of(data: bytes) -> list[dict[str, str]]:
    header, *rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    assert header == COLUMNS
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    out = tmp_path_factory.mktemp("clean")
    generate(out, seed=4, scale=4)
    return {name: rows_of(data) for name, data in files_of(out).items()}


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("seed", "messy", "slice_rows"), [(1, True, 500_000), (2, True, 97), (3, True, 71), (1, False, 97)]
)
def test_truth_is_what_a_run_counts(tmp_path, seed, messy, slice_rows):
    counts = generate(tmp_path / "data", seed=seed, messy=messy)
    truth = truth_of(tmp_path / "data", FEED)
    assert landed_truth(tmp_path / "data", FEED, tmp_path / "lake", slice_rows) == truth
    assert counts == {name: value for name, value in truth.items() if name != "rejected_by_cause"}
    if messy:
        assert counts["late"] == 0
        assert all(value > 0 for name, value in counts.items() if name != "late")
        assert all(value > 0 for value in truth["rejected_by_cause"].values())
    else:
        assert counts["read"] == counts["landed - superseded"] == 450


def test_three_months_of_21_columns(clean):
    assert list(clean) == FILES
    assert len(COLUMNS) == 21
    for name, rows in clean.items():
        month = name[17:24]
        assert [row["log_id"] for row in rows] == [f"ML-{month}-{i:04d}" for i in range(1, 601)]
        assert {row["reported_date"][:7].replace("-", "_") for row in rows} == {month}
        assert [row["reported_date"] for row in rows] == sorted(row["reported_date"] for row in rows)
    assert {row["reported_date"][-2:] for row in clean[FILES[1]]} >= {"01", "31"}


def test_jobs_are_on_the_registrys_transformers_and_make_sense(clean):
    pairs = {(t["transformer_id"], t["substation_id"], t["region"], t["state"]) for t in transformers().to_dicts()}
    rows = [row for month in clean.values() for row in month]
    for row in rows:
        assert tuple(row[n] for n in ("transformer_id", "substation_id", "region", "state")) in pairs
        assert row["severity"] in {"LOW", "MEDIUM", "HIGH", "CRITICAL"}
        assert row["follow_up_required"] in {"True", "False"}
        assert bool(row["failure_type"]) == (row["maintenance_type"] in {"CORRECTIVE", "EMERGENCY"})
        assert row["maintenance_type"] != "EMERGENCY" or row["severity"] in {"HIGH", "CRITICAL"}
        afterwards = ("completed_date", "hours_spent", "cost_inr", "resolution_notes", "next_inspection_date")
        assert len({bool(row[name]) for name in afterwards}) == 1
        assert float(row["downtime_hours"]) >= 0
        if row["completed_date"]:
            days = [date.fromisoformat(row[n]) for n in COLUMNS if n.endswith("_date")]
            assert days == sorted(days)
            assert float(row["hours_spent"]) > 0 and float(row["cost_inr"]) > 0
    kinds = Counter(row["maintenance_type"] for row in rows)
    for kind, share in {"PREVENTIVE": 0.4, "CORRECTIVE": 0.3, "EMERGENCY": 0.1, "INSPECTION": 0.2}.items():
        assert kinds[kind] / len(rows) == pytest.approx(share, abs=0.04)
    assert 0.02 < sum(not row["completed_date"] for row in rows) / len(rows) < 0.2


def test_notes_have_commas_quotes_and_line_breaks(clean):
    notes = [row["resolution_notes"] for month in clean.values() for row in month]
    for mark in (",", '"', "\n"):
        assert sum(mark in note for note in notes) > 50
    assert not any("{" in note for note in notes)
    assert any(not note.isascii() for note in notes)


@pytest.mark.pipeline
def test_text_lands_as_it_was_written(tmp_path, clean):
    generate(tmp_path / "data", seed=4, scale=4)
    landed_truth(tmp_path / "data", FEED, tmp_path / "lake", slice_rows=700)
    landed = {row["log_id"]: row for row in landed_rows(tmp_path / "lake", FEED)}
    for month in clean.values():
        for row in month:
            found = landed[row["log_id"]]
            for name in ("technician_name", "parts_replaced", "root_cause", "resolution_notes"):
                assert (found[name] or "") == row[name]
            assert str(found["cost_inr"] or "") == row["cost_inr"]
            assert str(found["completed_date"] or "") == row["completed_date"]
            assert str(found["follow_up_required"]) == row["follow_up_required"]
    assert {row["_warnings"] for row in landed.values()} == {None}


def test_messy_exports_have_the_marks_of_their_tools(tmp_path):
    generate(tmp_path, seed=1, messy=True)
    april, may, june = files_of(tmp_path).values()
    assert b"\r" not in april and b"\r" not in june
    assert may.count(b"\r\n") > 150 and may.replace(b"\r\n", b"").count(b"\n") > 10, "breaks inside quotes stay LF"
    assert june.startswith(b"\xef\xbb\xbflog_id,") and not april.startswith(b"\xef\xbb\xbf")
    assert june.splitlines()[-1].count(b'"') % 2 == 1, "the last export breaks off inside a quote"
    for data in (april, may, june):
        with pytest.raises(UnicodeDecodeError):
            data.decode()
        assert b"checked by A. Iyer" in data and b'"Checked, ok"' in data


@pytest.mark.pipeline
def test_a_later_export_closes_a_job_and_wins(tmp_path):
    generate(tmp_path / "data", seed=3, messy=True)
    truth = truth_of(tmp_path / "data", FEED)
    landed_truth(tmp_path / "data", FEED, tmp_path / "lake", slice_rows=75)
    by_key: dict[tuple, list[dict]] = {}
    for row in landed_rows(tmp_path / "lake", FEED):
        by_key.setdefault((row["log_id"], row["reported_date"]), []).append(row)
    assert len(by_key) == truth["landed - superseded"]
    revised = [rows for rows in by_key.values() if len(rows) > 1]
    assert revised, "some were superseded in a later slice"
    for rows in revised:
        last = max(rows, key=lambda row: row["completed_date"] or date.min)
        assert last["resolution_notes"].startswith("Reopened")


def test_more_days_add_months_and_old_files_go(tmp_path):
    generate(tmp_path, scale=0.1, days=17)
    assert list(files_of(tmp_path)) == [*FILES, "maintenance_logs_2025_07.csv"]
    generate(tmp_path, scale=0.1, days=16)
    assert list(files_of(tmp_path)) == FILES


@pytest.mark.parametrize("messy", [False, True])
def test_same_seed_same_bytes_and_another_seed_others(tmp_path, messy):
    for name, seed in (("a", 9), ("b", 9), ("c", 10)):
        generate(tmp_path / name, seed=seed, messy=messy)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") != files_of(tmp_path / "c")
    assert (tmp_path / "a/truth.json").read_bytes() == (tmp_path / "b/truth.json").read_bytes()


@pytest.mark.parametrize("arguments", [{"scale": 0}, {"scale": -2}, {"days": 0}, {"days": 10**7}, {"seed": -1}])
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
