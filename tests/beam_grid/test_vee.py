"""Tables of validated intervals that a contract declares: as if made at once from the raw lines, however these came."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from beam_grid.cli.group import cli
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake
from beam_grid.refine import refine
from data_sources.contract import Contract, ContractError, parse_contract
from data_sources.contract.vee import COLUMNS
from tests.beam_grid.both_engines import assert_both_engines_agree
from tests.beam_grid.growing import Feed, assert_equal_rows, in_parts
from transforms.vee import Check, intervals_of, validated

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday, four weeks before Amsterdam's clocks go forward."""

HALF = timedelta(minutes=30)
CHECKS: list[dict[str, Any]] = [
    {"kind": "gap", "estimate": True},
    {"kind": "negative", "estimate": True},
    {"kind": "spike", "factor": 4, "least": 0.5, "estimate": True},
    {"kind": "zero_run", "rows": 6},
    {"kind": "high", "factor": 3},
    {"kind": "register", "tolerance": 0.001},
    {"kind": "clock"},
]


def contract(number: str = "float64", **vee: Any) -> Contract:
    one = {"name": "validated", "series": "meter", "value": "kwh", "interval": "30m", "checks": CHECKS}
    one |= {"time_zone": "Europe/Amsterdam", "register": "count", "rolls_over_at": 1000, **vee}
    kinds = {"id": "string", "at": "timestamp", "meter": "string", "kwh": number, "count": number}
    return parse_contract(
        {
            "name": "readings", "format": "json", "event_time": "at", "dedup": {"key": ["id"]}, "vee": [one],
            "fields": [{"name": name, "type": kind} for name, kind in kinds.items()],
        },
        "the test",
    )  # fmt: skip


def lines(draw: random.Random) -> list[dict[str, Any]]:
    """Five weeks of half hours of four meters with gaps short and long, spikes, zeros, readings off the grid and twice,
    registers that roll over; and one meter that reads once."""
    rows: list[dict[str, Any]] = []
    for meter in "ABCD":
        count, gone = 990.0, 0
        for n in range(5 * 7 * 48):
            at = START + n * HALF
            kwh = round(0.2 + 0.3 * (at.hour > 16) + draw.random() / 10, 3)
            count = (count + kwh) % 1000
            if gone or draw.random() < 0.004:
                gone = gone - 1 if gone else draw.choice([1, 2, 3, 30, 60])
                continue
            dice, read = draw.random(), kwh
            if dice < 0.002:
                read = kwh * 20
            elif dice < 0.004:
                read = -kwh
            elif dice < 0.006 or (meter == "D" and 800 < n < 810):
                read = 0.0
            shift = timedelta(minutes=7) if 0.006 < dice < 0.008 else timedelta()
            row = {"at": (at + shift).isoformat(), "meter": meter, "kwh": read, "count": None}
            row["count"] = round(count, 3) if n % 48 == 47 else None
            rows.append({"id": f"r{len(rows):05d}", **row})
            if 0.008 < dice < 0.010:
                rows.append({"id": f"r{len(rows):05d}", **row, "at": (at + timedelta(minutes=1)).isoformat()})
    rows.append({"id": "once", "at": START.isoformat(), "meter": "E", "kwh": 1.0, "count": None})
    return rows


class Validated(Feed):
    def intervals(self, where: str = "true") -> list[dict[str, Any]]:
        return self.rows("gold.validated", where, "meter, interval_start")


def at_once(rows: list[dict[str, Any]], feed: Contract) -> list[dict[str, Any]]:
    """The same from the raw lines."""
    raw = pa.Table.from_pylist(rows)  # noqa: F841
    typed = duckdb.sql('SELECT * REPLACE ("at"::TIMESTAMPTZ AS "at") FROM raw ORDER BY meter, 2, id').to_arrow_table()
    laid = intervals_of(
        typed, series="meter", time="at", value="kwh", width=1_800_000_000, register="count", zone="Europe/Amsterdam"
    )
    checks = [Check(**check.settings) for check in feed.vee[0].checks]
    found = validated(laid, checks, linear_up_to=7_200_000_000, rolls_over_at=1000).to_pylist()
    ids = typed["id"].to_pylist()
    return [
        {"meter": row["series"], "id": None if row["place"] is None else ids[row["place"]], **_told(row)}
        for row in found
    ]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in COLUMNS}  # of edits there are none


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert_equal_rows(found, sorted(wanted, key=lambda row: (row["meter"], row["interval_start"])))


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(seed=st.integers(0, 1 << 30), pieces=st.integers(1, 4))
def test_any_order_and_slicing_of_the_commits_gives_the_intervals_of_the_whole(
    seed: int, pieces: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draw = random.Random(seed)
    rows = lines(draw)
    feed = Validated(tmp_path_factory.mktemp("any"), contract())
    for part in in_parts(draw, rows, pieces):
        feed.add(part)
    assert_same(feed.intervals(), at_once(rows, feed.feed))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Validated:
    feed = Validated(tmp_path_factory.mktemp("made"), contract())
    feed.add(lines(random.Random(5)))
    return feed


def test_all_that_was_read_and_found_good_stands_as_it_was_read(made: Validated) -> None:
    rows = lines(random.Random(5))
    found = made.intervals()
    assert list(found[0]) == ["meter", *COLUMNS, "id"]
    assert {row["status"] for row in found} >= {"valid", "warned", "estimated"}
    assert {name for row in found for name in (row["rules"] or "").split(",")} >= {
        "", "gap", "negative", "spike", "zero_run", "clock",
    }  # fmt: skip
    raw = {row["id"]: row for row in rows}
    for row in found:
        if row["id"] is not None:
            assert row["read"] == raw[row["id"]]["kwh"] and row["meter"] == raw[row["id"]]["meter"]
        assert (row["status"] in ("valid", "warned")) == (row["method"] is None and row["value"] is not None)
        if row["status"] in ("valid", "warned"):
            assert row["value"] == row["read"]
    meters = duckdb.sql(f"SELECT meter, date_diff('minute', min(s), max(s)) // 30 + 1 AS n FROM (SELECT meter, time_bucket(INTERVAL 30 MINUTE, \"at\"::TIMESTAMPTZ) AS s FROM read_json('{made.source}/*.json')) GROUP BY meter").fetchall()  # fmt: skip
    assert {meter: sum(row["meter"] == meter for row in found) for meter, _ in meters} == dict(meters)


def test_a_day_between_two_counts_of_the_register_adds_up_to_it(made: Validated) -> None:
    rows = made.intervals("meter = 'A'")
    counts = {row["id"]: row["count"] for row in lines(random.Random(5)) if row["count"] is not None}
    at = [n for n, row in enumerate(rows) if row["id"] in counts]
    scaled = 0
    for before, after in itertools.pairwise(at):
        part = rows[before + 1 : after + 1]
        if any("scaled" in (row["method"] or "") for row in part):
            used = (counts[rows[after]["id"]] - counts[rows[before]["id"]]) % 1000
            assert sum(row["value"] for row in part) == pytest.approx(used, abs=1e-6)
            scaled += 1
    assert scaled > 2


def test_a_reading_that_comes_late_takes_the_place_of_its_estimate(tmp_path: Path) -> None:
    rows = [
        {"id": f"{n}", "at": (START + n * HALF).isoformat(), "meter": "A", "kwh": v, "count": None}
        for n, v in enumerate([75.0, 0, 0, 0, 0, 100.0])
    ]
    late = {**rows[2], "kwh": 60.0}
    feed = Validated(tmp_path, contract(linear_up_to="3h", checks=[{"kind": "gap", "estimate": True}]))
    feed.add([rows[0], rows[5]])
    assert [row["value"] for row in feed.intervals()] == [75, 80, 85, 90, 95, 100]
    feed.add([late])
    found = feed.intervals()
    assert [row["value"] for row in found] == [75, 67.5, 60, pytest.approx(73 + 1 / 3), pytest.approx(86 + 2 / 3), 100]
    assert [row["status"] for row in found] == ["valid", "estimated", "valid", "estimated", "estimated", "valid"]


def test_of_decimals_and_two_readings_of_one_time_the_digits_and_the_key_count(tmp_path: Path) -> None:
    """The good values add up to the count: 0.1 + 0.2 of 1000.3 - 1000, 1.4 of 101.7 - 100.3, which floats miss."""
    read = {"A": [(0, 0.5, 1000.0), (1, 0.1, None), (3, 0.2, 1000.3)], "B": [(0, 0.7, 100.3), (1, 0.7, None), (3, 0.7, 101.7)]}  # fmt: skip
    rows = [
        {"id": f"{meter}{n}", "at": (START + n * HALF).isoformat(), "meter": meter, "kwh": kwh, "count": count}
        for meter, some in read.items()
        for n, kwh, count in some
    ]
    rows.insert(0, {**rows[1], "id": "A1b"})
    rows[2]["kwh"] = 0.9
    for name, order in {"one": rows, "other": rows[::-1]}.items():
        feed = Validated(tmp_path / name, contract("decimal(10,3)", checks=[{"kind": "gap", "estimate": True}]))
        for part in order[:2], order[2:]:
            feed.add(part)
        found = feed.intervals()
        assert [row["value"] for row in found] == [0.5, 0.1, 0, 0.2, 0.7, 0.7, 0, 0.7]
        assert [row["rules"] for row in found] == [None, None, "gap", None] * 2
        assert [row["id"] for row in found] == ["A0", "A1b", None, "A3", "B0", "B1", None, "B3"]


def test_an_interval_of_which_nothing_was_read_is_missing_where_gaps_are_not_to_be_estimated(tmp_path: Path) -> None:
    checks = [{"kind": "gap"}, {"kind": "negative", "estimate": True}]
    feed = Validated(tmp_path, contract(checks=checks, linear_up_to="3h"))
    feed.add(
        {"id": str(n), "at": (START + n * HALF).isoformat(), "meter": "A", "kwh": kwh, "count": count}
        for n, kwh, count in [(0, 2.0, 10.0), (2, -1.0, None), (4, 6.0, 30.0), (6, 7.0, None)]
    )
    found = [(row["value"], row["status"], row["rules"]) for row in feed.intervals()]
    gap = (None, "missing", "gap")
    assert found == [
        (2, "valid", None), gap, (4, "estimated", "negative"), gap, (6, "valid", None), gap, (7, "valid", None),
    ]  # fmt: skip


def test_an_hour_of_a_register_that_rolls_over_by_the_contract(tmp_path: Path) -> None:
    feed = contract(register_at="start", rolls_over_at=100_000, interval="15m", checks=CHECKS[:1], time_zone="UTC")
    spec = feed.vee[0].model_copy(update={"value": None})
    counts = [99998.271, 99998.905, 99999.510, 0.214, 0.900, 1.000]
    lake = Validated(tmp_path, feed.model_copy(update={"vee": [spec]}))
    quarter = timedelta(minutes=15)
    lake.add(
        {"id": str(n), "at": (START + n * quarter).isoformat(), "meter": "A", "count": count}
        for n, count in enumerate(counts)
    )
    sql = (
        "SELECT date_trunc('hour', interval_start) AS hour, sum(value) AS kwh FROM gold.validated GROUP BY 1 ORDER BY 1"
    )
    hours = query(lake.lake, sql).to_pylist()
    lake.feed = lake.feed.model_copy(update={"vee": [spec.model_copy(update={"series": None})]})
    lake.add([{"id": "last", "at": (START + 6 * quarter).isoformat(), "meter": "B", "count": 1.2}])
    (alone,) = query(
        lake.lake, "SELECT series, count(*) AS n, sum(value) AS kwh FROM gold.validated GROUP BY 1"
    ).to_pylist()
    assert alone == {"series": "readings", "n": 6, "kwh": pytest.approx(2.929)}
    assert [row["kwh"] for row in hours] == pytest.approx([2.629, 0.1])
    assert sum(row["kwh"] for row in hours) == pytest.approx(2.729)


def edit(lake: Lake, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        cli, ["edit", *arguments, "--author", "jan", "--reason", "read on <site>", "--lake", str(lake.path)]
    )
    return done.exit_code, done.output + str(done.exception or "")


def test_an_edit_by_hand_stands_with_who_and_why_and_is_taken_back(tmp_path: Path) -> None:
    rows = [
        {"id": f"{n}", "at": (START + n * HALF).isoformat(), "meter": meter, "kwh": v, "count": None}
        for meter in "AB"
        for n, v in enumerate([1.0, 2.0, 90.0, 3.0, None, 5.0])
    ]
    for n, row in enumerate(rows):
        row["id"] = f"r{n}"
    feed = Validated(tmp_path, contract(checks=CHECKS[:3]))
    feed.add(rows)
    plain = feed.intervals()
    assert [row["value"] for row in plain if row["meter"] == "A"] == [1, 2, 2.5, 3, 4, 5]
    of_b = ["gold.validated", "--series", "B", "--interval"]
    for at, value in ((2, "80"), (4, "7"), (2, "85.5")):
        code, said = edit(feed.lake, *of_b, (START + at * HALF).isoformat(), "--value", value)
        assert code == 0, said
    refine(feed.lake, engine="embedded")
    found = feed.intervals()
    assert [row for row in found if row["meter"] == "A"] == [row for row in plain if row["meter"] == "A"]
    edited = [row for row in found if row["meter"] == "B"]
    assert [row["value"] for row in edited] == [1, 2, 85.5, 3, 7, 5]
    assert [row["status"] for row in edited] == ["valid", "valid", "edited", "valid", "edited", "valid"]
    assert [row["read"] for row in edited] == [1, 2, 90, 3, None, 5]
    assert (edited[2]["edited_by"], edited[2]["reason"], edited[2]["id"]) == ("jan", "read on <site>", "r8")
    kept = query(feed.lake, "SELECT series, value, author FROM silver.vee_edits ORDER BY edited_at").to_pylist()
    assert [(row["series"], row["value"], row["author"]) for row in kept] == [
        ("B", 80, "jan"),
        ("B", 7, "jan"),
        ("B", 85.5, "jan"),
    ]
    late = {"id": "late", "at": (START + 6 * HALF).isoformat(), "meter": "B", "kwh": 6.0, "count": None}
    feed.add([late])
    assert [row["value"] for row in feed.intervals("meter = 'B'")] == [1, 2, 85.5, 3, 7, 5, 6]
    for at in (2, 4):
        code, said = edit(feed.lake, *of_b, (START + at * HALF).isoformat(), "--withdraw")
        assert code == 0, said
    refine(feed.lake, engine="embedded")
    assert [row["value"] for row in feed.intervals("meter = 'B'")] == [1, 2, 2.5, 3, 4, 5, 6]
    assert {row["status"] for row in feed.intervals()} == {"valid", "estimated"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gold.other", "--series", "A", "--interval", "2026-03-02T00:30Z", "--value", "1"], "no table of validated intervals (there are: gold.validated)"),
        (["gold.validated", "--series", "Z'", "--interval", "2026-03-02T00:30Z", "--value", "1"], "has no series"),
        (["gold.validated", "--series", "A", "--interval", "2026-03-02T00:31Z", "--value", "1"], "it has every 30m from 2026-03-02T00:00:00Z to"),
        (["gold.validated", "--interval", "2026-03-02T00:30Z", "--value", "1"], "name the meter with --series"),
        (["gold.validated", "--series", "A", "--interval", "2026-03-02T00:30Z"], "give --value V, or --withdraw"),
        (["gold.validated", "--series", "A", "--interval", "2026-03-02T00:30Z", "--value", "nan"], "finite"),
    ],
)  # fmt: skip
def test_an_edit_that_cannot_be_says_why(made: Validated, arguments: list[str], said: str) -> None:
    code, told = edit(made.lake, *arguments)
    assert code != 0 and said in told, told
    assert "vee_edits" not in made.lake.feeds


@pytest.mark.spark
def test_both_engines_validate_alike_edits_included(made: Validated, tmp_path: Path) -> None:
    code, said = edit(made.lake, "gold.validated", "--series", "A", "--interval", START.isoformat(), "--value", "0.75")
    assert code == 0, said
    refine(made.lake, engine="embedded")
    assert [row["value"] for row in made.intervals("status = 'edited'")] == [0.75]
    assert_both_engines_agree(made.lake, tmp_path)


@pytest.mark.parametrize(
    ("vee", "said"),
    [
        ({"value": "kw"}, "vee 'validated', value: there is no field 'kw'"),
        ({"value": "id"}, "vee 'validated', value: 'id' is a string, not a number"),
        ({"interval": "7m"}, "must divide a day"),
        ({"register": None}, "register"),
        ({"register": None, "checks": CHECKS[:1]}, "rolls_over_at is a register's"),
        ({"checks": [{"kind": "gaps"}]}, "gap"),
        ({"checks": [{"kind": "gap", "factor": 3}]}, "gap takes no factor; leave it out"),
        ({"checks": [{"kind": "spike", "rows": 3}]}, "spike takes no rows, but factor and least"),
        ({"checks": [{"kind": "register", "estimate": True}]}, "leave estimate out"),
        ({"checks": []}, "checks"),
        ({"series": "at"}, "leave series out where all is one meter's"),
        ({"value": None}, "there is only the register"),
        ({"value": None, "register": None, "rolls_over_at": None, "checks": CHECKS[:1]}, "name the field"),
        ({"name": "No name"}, "name"),
        ({"time_zone": "Europe/Amsterdm"}, "time_zone: unknown time zone 'Europe/Amsterdm'"),
    ],
)
def test_what_does_not_fit_is_said_with_what_to_do(vee: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError, match=r"(?s).*") as told:
        contract(**vee)
    assert said in str(told.value), str(told.value)
