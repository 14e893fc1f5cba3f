"""Each case lands through the command line and gives the right values; README.md says what a case is made of."""

from __future__ import annotations

import json
import math
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import grid

HERE = Path(__file__).parent
CASES = sorted(p.name for p in HERE.iterdir() if (p / "expected.json").is_file())
COUNTS = {"read", "landed", "duplicates", "late", "rejected", "superseded", "conflicts"}


@pytest.mark.spark
@pytest.mark.parametrize("case", CASES)
def test_case(case: str, tmp_path: Path) -> None:
    folder, lake = HERE / case, tmp_path / "lake"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert set(expected) <= {"runs", "ledger", "queries"}
    runs = expected.get("runs", [{}])
    for run in runs:
        assert set(run) <= {"contract", "feeds", "source", "options", "exit", "says"}
        contract = run.get("contract", "contract.toml")
        chosen = run.get("feeds", []) if contract is None else ["--contract", str(folder / contract)]
        source = folder / run.get("source", "given")
        done = grid("run", *chosen, "--source", str(source), "--lake", str(lake), *run.get("options", []))
        assert done.returncode == run.get("exit", 0), done.stdout + done.stderr
        for text in run.get("says", []):
            assert text in done.stdout + done.stderr
    claims = expected.get("ledger"), expected.get("queries")
    assert all(claims) or all(run.get("exit", 0) for run in runs), "a case claims a ledger and a query"
    if expected.get("ledger"):
        ledger = {row["feed"]: row for row in answers("ledger", "--lake", str(lake))}
        assert set(ledger) >= set(expected["ledger"])
        for feed, counts in expected["ledger"].items():
            assert set(counts) <= COUNTS and {name: ledger[feed][name] for name in counts} == counts
        assert all(row["balanced"] for row in ledger.values())
    for sql, rows in expected.get("queries", {}).items():
        found = [list(row.values()) for row in answers("query", sql, "--lake", str(lake))]
        assert len(found) == len(rows) and all(map(same_row, found, rows)), f"{sql}: {found}"


def answers(*arguments: str) -> Any:
    done = grid(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def same_row(found: list[Any], wanted: list[Any]) -> bool:
    return len(found) == len(wanted) and all(map(same, found, wanted))


def same(found: Any, wanted: Any) -> bool:
    """Numbers as numbers, whatever writes them; the rest as it is."""
    if found is None or wanted is None or isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    try:
        a, b = Decimal(str(found)), Decimal(str(wanted))
    except InvalidOperation:
        return bool(found == wanted)
    return a == b or math.isclose(a, b, rel_tol=1e-9)


def test_the_runner_can_tell_values_apart() -> None:
    assert same("12.250", 12.25) and same(None, None) and same("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z")
    assert not same("12.250", 12.251) and not same(None, 0) and not same(True, 1) and not same("a", "b")
    assert not same_row([1], [1, 2])
