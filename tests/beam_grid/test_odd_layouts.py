"""Layouts of files that people have and nobody here had seen: what lands of them, through the product's own `land`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_grid.land import Options, land
from beam_grid.landing import Lake
from data_sources.contract import parse_contract

NOW = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
METER = {"name": "meter", "type": "string", "source": "ZP"}
KWH = {"name": "kwh", "type": "decimal(10,3)", "source": "kWh"}
AT = {
    "name": "at",
    "type": "timestamp",
    "source": "Datum",
    "format": "%d.%m.%Y %H:%M",
    "time_zone": "Europe/Vienna",
}


@dataclass(frozen=True)
class Outcome:
    """rows by file and position; rejects as (position, rule); what a person was told."""

    rows: list[dict[str, Any]]
    rejected: list[tuple[int, str]]
    told: list[str]
    counts: dict[str, int]


def landed(
    folder: Path, fields: list[dict[str, Any]], form: str = "csv", slice_rows: int = 500_000, **words: Any
) -> Outcome:
    """Land what lies in `folder`/in once more."""
    raw = {
        "name": "t",
        "format": form,
        "event_time": "at",
        "dedup": {"key": ["meter", "at"]},
        "fields": fields,
        **words,
    }
    contract, lake = parse_contract(raw, "t.toml"), Lake.open(str(folder / "lake"))
    with lake.lock("land"):
        done = land(lake, contract, Options(source=str(folder / "in"), slice_rows=slice_rows, now=NOW))
    rows = sorted(of_kind(lake, "rows"), key=lambda row: (row["_source"], row["_position"]))
    rejected = sorted((row["_position"], row["rule"]) for row in of_kind(lake, "rejected"))
    return Outcome(rows, rejected, list(done.problems), done.fates.by_name())


def of_kind(lake: Lake, kind: Any) -> list[dict[str, Any]]:
    log = lake.feed("t")
    return [
        row
        for commit in log.commits()
        for file in commit.listed(kind)
        for row in pq.read_table(log.path / file.path).to_pylist()
    ]


def write(folder: Path, **files: str | bytes) -> None:
    """`a_csv="..."` becomes in/a.csv."""
    (folder / "in").mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / "in" / ".".join(name.rsplit("_", 1))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


# --- a row a day, with the columns of the longest day


WIDE = [
    METER,
    {"name": "slot", "type": "string"},
    {**AT, "source": ["Datum", "slot"], "on_dst": "elapsed"},
    {"name": "kwh", "type": "decimal(10,3)"},
]
UNPIVOT = {"columns": r"^\d\d:\d\d$", "into": ["slot", "kwh"]}


def half_hours(first: int, count: int) -> list[str]:
    return [f"{n // 2:02d}:{n % 2 * 30:02d}" for n in range(first, first + count)]


def a_day(day: str, count: int) -> list[str]:
    return ["M", day, *(f"{n + 1},5" for n in range(count)), *[""] * (50 - count)]


DAYS = [("29.03.2025", 48), ("30.03.2025", 46), ("31.03.2025", 48), ("26.10.2025", 50), ("27.10.2025", 48)]


def wide(first: int) -> list[list[str]]:
    return [["ZP", "Datum", *half_hours(first, 50)], *(a_day(day, count) for day, count in DAYS)]


@pytest.mark.parametrize("slice_rows", [1, 500])
@pytest.mark.parametrize(("first", "shift"), [(0, None), (1, "-30m")])
def test_columns_that_a_short_day_leaves_empty_are_no_records(
    tmp_path: Path, first: int, shift: str | None, slice_rows: int
) -> None:
    """24:00, empty on most days, is the instant at which the next day's 00:00 has its value: that must not be lost."""
    write(tmp_path, a_csv="".join(";".join(row) + "\n" for row in wide(first)))
    fields = [{**field, "shift": shift} if shift and field["name"] == "at" else field for field in WIDE]
    csv = {"delimiter": ";", "decimal": ","}
    found = landed(tmp_path, fields, slice_rows=slice_rows, csv=csv, unpivot=UNPIVOT)
    assert not found.rejected and not found.told
    assert {k: found.counts[k] for k in ("read", "landed", "conflicts")} == {"read": 240, "landed": 240, "conflicts": 0}
    values = {row["at"]: row["kwh"] for row in found.rows}
    for day, count in DAYS:
        begin = datetime.strptime(day, "%d.%m.%Y").replace(tzinfo=UTC) - timedelta(
            hours=2 if day in ("31.03.2025", "26.10.2025") else 1
        )
        expected = [Decimal(n + 1) + Decimal("0.5") for n in range(count)]
        assert [values[begin + timedelta(minutes=30 * n)] for n in range(count)] == expected
    assert Counter(row["_position"] % 10_000 for row in found.rows)[3] == len(DAYS)


def test_an_empty_cell_of_the_day_itself_is_a_null_and_one_beyond_it_with_a_value_is_a_reject(tmp_path: Path) -> None:
    first, last = half_hours(0, 50), half_hours(1, 50)
    gap, beyond = a_day("27.10.2025", 48), a_day("28.10.2025", 50)
    gap[2 + 7] = gap[2 + 47] = ""
    write(tmp_path, a_csv="".join(";".join(row) + "\n" for row in (["ZP", "Datum", *first], gap, beyond)))
    csv = {"delimiter": ";", "decimal": ","}
    found = landed(tmp_path, WIDE, csv=csv, unpivot=UNPIVOT)
    assert [row["slot"] for row in found.rows if row["kwh"] is None] == ["03:30", "23:30"]
    assert found.rejected == [(30_052, "time:at")]  # 24:30 of a day of 24 hours has a value
    (tmp_path / "ends").mkdir()
    write(tmp_path / "ends", a_csv="".join(";".join(row) + "\n" for row in (["ZP", "Datum", *last], gap)))
    found = landed(tmp_path / "ends", WIDE, csv=csv, unpivot=UNPIVOT)  # 24:00 is the day's own last label
    assert [row["slot"] for row in found.rows if row["kwh"] is None] == ["04:00", "24:00"] and not found.rejected


def test_an_hour_that_the_clock_skips_may_stay_empty(tmp_path: Path) -> None:
    row = a_day("30.03.2025", 48)[:50]
    row[2 + 4] = row[2 + 5] = ""
    write(tmp_path, a_csv=";".join(["ZP", "Datum", *half_hours(0, 48)]) + "\n" + ";".join(row) + "\n")
    fields = [METER, WIDE[1], {**WIDE[2], "on_dst": "earlier"}, WIDE[3]]
    found = landed(tmp_path, fields, csv={"delimiter": ";", "decimal": ","}, unpivot=UNPIVOT)
    assert found.counts["read"] == found.counts["landed"] == 46 and not found.rejected


def test_days_as_columns_keep_their_empty_cells(tmp_path: Path) -> None:
    """A row a month: its empty days are nulls of theirs, but the 30th and 31st of February are none."""
    fields = [METER, WIDE[1], {**AT, "source": ["Monat", "slot"], "format": "%m.%Y %d"}, WIDE[3]]
    head = ["ZP", "Monat", *(f"{n:02d}" for n in range(1, 32))]
    row = ["M", "02.2025", *("" if n in (3, 28) or n > 28 else str(n) for n in range(1, 32))]
    write(tmp_path, a_csv=";".join(head) + "\n" + ";".join(row) + "\n")
    found = landed(tmp_path, fields, csv={"delimiter": ";"}, unpivot={**UNPIVOT, "columns": r"^\d\d$"})
    assert found.counts["read"] == 28 and not found.rejected
    assert [row["slot"] for row in found.rows if row["kwh"] is None] == ["03", "28"]


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_other_formats_have_such_rows_too(tmp_path: Path, form: str) -> None:
    slots = half_hours(0, 50)
    rows = [
        {"ZP": "M", "Datum": day, **{slot: n + 0.5 if n < count else None for n, slot in enumerate(slots)}}
        for day, count in DAYS
    ]
    write(tmp_path)
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / "a.parquet")
    else:
        import json

        write(tmp_path, a_json="".join(json.dumps(row) + "\n" for row in rows))
    found = landed(tmp_path, WIDE, form, unpivot=UNPIVOT)
    assert found.counts["read"] == found.counts["landed"] == 240 and not found.rejected
    assert all(row["kwh"] is not None for row in found.rows)


# --- headers


def test_a_quoted_name_in_the_header_may_go_over_lines(tmp_path: Path) -> None:
    body = 'Kunde;X\n"ZP";"Datum";"Verbrauch\n(kWh)";"a"\nA;01.01.2025 00:00;1,5;x\nB;01.01.2025 00:00;2,5;"y\nz"\n'
    csv = {"delimiter": ";", "decimal": ",", "header": '"ZP'}
    for n, (name, ends) in enumerate((("Verbrauch\n(kWh)", "\n"), ("Verbrauch (kWh)", "\r\n"))):
        folder = tmp_path / str(n)
        folder.mkdir()
        write(folder, a_csv=body.replace("\n", ends))
        found = landed(folder, [METER, AT, {**KWH, "source": name}], csv=csv, slice_rows=1)
        assert [(row["kwh"], row["_position"]) for row in found.rows] == [(Decimal("1.5"), 4), (Decimal("2.5"), 5)]
        assert not found.told and not found.rejected


def test_a_header_that_begins_otherwise_is_shown_as_the_contract_must_write_it(tmp_path: Path) -> None:
    write(tmp_path, a_csv='"Kunde";"X"\n"ZP";"Datum";"kWh"\n"A";"01.01.2025 00:00";"1"\n')
    found = landed(tmp_path, [METER, AT, KWH], csv={"delimiter": ";", "header": "ZP;"})
    (told,) = found.told
    assert "no line begins with 'ZP;'; line 2 names them: write header = '\"ZP\";' into [csv]" in told


# --- values that a file says once


def test_what_a_file_does_not_say_of_its_records_is_told(tmp_path: Path) -> None:
    above = "Zaehlpunkt;AT1\n\nDatum;kWh\n01.01.2025 00:00;1\n"
    write(tmp_path, AT7_csv=above, other_csv=above.replace("Zaehlpunkt", "Kunde").replace(";1\n", ";2\n"))
    fields = [
        {"name": "meter", "type": "string", "from_preamble": r"Zaehlpunkt;(\w+)"},
        {"name": "grid", "type": "string", "from_name": r"(AT\d)"},
        AT,
        KWH,
    ]
    csv = {"delimiter": ";", "header": "Datum;"}
    found = landed(tmp_path, fields, csv=csv, dedup={"key": ["at", "kwh"]})
    assert [(row["meter"], row["grid"]) for row in found.rows] == [("AT1", "AT7"), (None, None)]
    assert sorted(found.told) == [
        "other.csv: its name has nothing that from_name of field 'grid' finds; it is null in all its rows",
        "other.csv: the lines above its header hold nothing that from_preamble of field 'meter' finds; it is null in all its "
        "rows",
    ]
    again = landed(tmp_path, fields, csv=csv, dedup={"key": ["at", "kwh"]})
    assert not again.told and again.counts["read"] == 0
    write(tmp_path, latin_csv="Straße;5\n".encode("latin-1") + above.replace(";1\n", ";3\n").encode())
    assert landed(tmp_path, fields, csv=csv, dedup={"key": ["at", "kwh"]}).told == [
        "latin.csv: left out: byte 4 of the lines above its header is not utf-8, and field 'meter' reads them; write the "
        "file's encoding into [csv]"
    ]


def test_a_value_at_the_root_that_is_no_json_or_no_text_costs_its_document(tmp_path: Path) -> None:
    values = {"half": r'"S\ud800"', "nan": "NaN", "infinite": "-Infinity", "good": r'"S\u00e4"', "number": "1.10"}
    files = {f"{n}_json": f'{{"site": {v}, "v": [{{"at": "2025-07-01T00:00Z"}}]}}' for n, v in values.items()}
    write(tmp_path, **files)
    fields = [{"name": "site", "type": "string", "source": "$.site"}, {"name": "at", "type": "timestamp"}]
    found = landed(tmp_path, fields, "json", json={"records": "v"}, dedup={"key": ["site"]})
    assert [row["site"] for row in found.rows] == ["Sä", "1.10"] and not found.rejected
    assert found.told == [
        f"{name}.json: left out: has {values[name].encode()!r} where a value is due"
        for name in ("half", "infinite", "nan")
    ]


def test_paths_from_a_documents_root_join_with_the_records_own(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_json='{"values": [{"h": "00:15", "kwh": 1.5}, {"h": "24:00", "kwh": 2}], "day": "31.12.2025", "site": {"id": 7}}',
    )
    fields = [
        {"name": "meter", "type": "string", "source": "$.meter.id", "aliases": ["$.site.id"]},
        {**AT, "source": ["$.day", "h"]},
        {"name": "kwh", "type": "decimal(10,3)"},
        {"name": "grid", "type": "string", "source": "$.site.grid"},
    ]
    found = landed(tmp_path, fields, "json", slice_rows=1, json={"records": "values"})
    assert [(row["meter"], row["at"]) for row in found.rows] == [
        ("7", datetime(2025, 12, 30, 23, 15, tzinfo=UTC)),
        ("7", datetime(2025, 12, 31, 23, tzinfo=UTC)),
    ]
    found = landed(tmp_path, fields, "json", json={"records": "values"})
    assert found.counts["read"] == 0 and not found.told
    (tmp_path / "b").mkdir()
    write(tmp_path / "b", a_json='{"values": [{"h": "00:15", "kwh": 1.5}], "day": "31.12.2025", "site": [{"id": 7}]}')
    found = landed(tmp_path / "b", [{**fields[0], "nullable": True}, *fields[1:]], "json", json={"records": "values"},
                   dedup={"key": ["at"]})  # fmt: skip
    assert found.told == [
        "a.json: has nothing at $.meter.id or $.site.id, where field 'meter' is read; it is null in all its records",
        "a.json: has nothing at $.site.grid, where field 'grid' is read; it is null in all its records",
    ]


def test_line_ends_of_two_kinds_are_told(tmp_path: Path) -> None:
    write(tmp_path, a_csv="ZP;Datum;kWh\rA;01.01.2025 00:00;1\rB;01.01.2025 00:00;2\n")
    (told,) = landed(tmp_path, [METER, AT, KWH], csv={"delimiter": ";"}).told
    assert "lone carriage return" in told
