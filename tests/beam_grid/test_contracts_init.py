"""`contracts init`: what it writes of a layout, what it asks, and that the product takes the rows of the sample."""

from __future__ import annotations

import io
import json
import sqlite3
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import closing as closed
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from beam_grid.cli import cli
from beam_grid.first_contract import first_contract
from beam_grid.first_contract.toml_text import assignment, comment
from beam_grid.first_contract.trial import trial
from data_sources.contract import ContractError, load_contract
from data_sources.errors import UserError
from data_sources.sources import SourceError, kafka
from tests.docs.examples import Example, examples
from tests.docs.examples import _write as write
from tests.waiting import PATIENCE_S

HERE = Path(__file__).parents[2]
START = datetime(2024, 1, 1)  # noqa: DTZ001
QUARTERS = [f"{h:02}:{m:02}" for h in range(24) for m in (0, 15, 30, 45)]


def each(count: int, minutes: int, form: str) -> list[str]:
    return [(START + timedelta(minutes=minutes * n)).strftime(form) for n in range(count)]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Grid:
    """The command line, in this process; an error that a user can mend as it is printed."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> Ran:
        self._capture.readouterr()
        code, error = 0, ""
        try:
            cli.main(list(arguments), standalone_mode=False)
        except SystemExit as end:
            code = int(end.code or 0)
        except UserError as cause:
            code, error = cause.exit_code, str(cause)
        out, err = self._capture.readouterr()
        return Ran(code, out, err + error)


@pytest.fixture
def grid(capsys: pytest.CaptureFixture[str]) -> Grid:
    return Grid(capsys)


class Made:
    """A contract of a sample: its data, its fields by name, and what the product makes of the sample."""

    def __init__(self, path: Path, zone: str | None = "Europe/Berlin") -> None:
        self.first = first_contract(str(path), zone=zone)
        self.raw: dict[str, Any] = tomllib.loads(self.first.text)
        self.fields = {f["name"]: f for f in self.raw["fields"]}
        self.path = path

    def taken(self) -> tuple[int, int]:
        assert self.first.contract is not None, self.first.questions
        found = trial(self.first.contract, str(self.path), 10_000)
        assert not found.problems, found.problems
        return found.taken, found.rejected

    @property
    def at(self) -> dict[str, Any]:
        return self.fields[self.raw["event_time"]]


def made(tmp_path: Path, name: str, text: str | bytes, zone: str | None = "Europe/Berlin") -> Made:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Made(path, zone)


def test_decimal_comma_thousands_and_the_unit_in_brackets(tmp_path: Path) -> None:
    rows = "".join(f"M1;{t};1.20{n},5\n" for n, t in enumerate(each(8, 15, "%d.%m.%Y %H:%M")))
    found = made(tmp_path, "a.csv", "Meter;Zeitpunkt;Zählerstand (kWh)\n" + rows)
    assert found.raw["csv"] == {"delimiter": ";", "decimal": ",", "thousands": "."}
    assert found.fields["zaehlerstand"] == {
        "name": "zaehlerstand", "source": "Zählerstand (kWh)", "type": "float64", "unit": "kWh",
    }  # fmt: skip
    assert found.at == {"name": "zeitpunkt", "source": "Zeitpunkt", "type": "timestamp",
                        "format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin"}  # fmt: skip
    assert found.raw["dedup"]["key"] == ["meter", "zeitpunkt"] and found.taken() == (8, 0)
    assert "8 of 8 rows that differ are told apart" in found.first.text


def test_numbers_that_could_be_either_are_asked(tmp_path: Path) -> None:
    rows = "".join(f"M1;{t};1{n},000\n" for n, t in enumerate(each(8, 15, "%Y-%m-%dT%H:%M:%SZ")))
    found = made(tmp_path, "a.csv", "meter;t;kwh\n" + rows)
    assert found.raw["csv"]["decimal"] == "?"
    assert [q.split(":")[0] for q in found.first.questions] == ["csv.decimal"]


@pytest.mark.parametrize(
    ("encoding", "word"), [("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("cp1252", "cp1252"),
                           ("cp850", "cp850"), ("utf-8-sig", None)],
)  # fmt: skip
def test_encodings(tmp_path: Path, encoding: str, word: str | None) -> None:
    rows = "".join(f"Größe;{t};{n}.5\n" for n, t in enumerate(each(9, 15, "%Y-%m-%dT%H:%M:%SZ")))
    found = made(tmp_path, "a.csv", ("Zähler;Zeit;kWh\n" + rows).encode(encoding))
    assert found.raw["csv"].get("encoding") == word
    assert found.fields["zaehler"]["source"] == "Zähler" and found.taken() == (9, 0)


def test_a_header_below_a_preamble(tmp_path: Path) -> None:
    above = "Zählpunkt;AT0010000000000000000000000000001\nKunde;Ä. Müller\n\n"
    rows = "".join(f"{t};0,{n}25\n" for n, t in enumerate(each(9, 15, "%d.%m.%Y %H:%M:%S")))
    found = made(tmp_path, "a.csv", above + "Datum;Wert\n" + rows)
    assert found.raw["csv"]["header"] == "Datum;" and found.raw["csv"]["decimal"] == ","
    assert found.raw["dedup"]["key"] == ["zaehlpunkt", "datum"] and found.taken() == (9, 0)
    assert '# from_preamble = \'^"?Kunde"?' not in found.first.text or "kunde" in found.fields


def test_a_preamble_as_wide_as_the_table(tmp_path: Path) -> None:
    rows = "".join(f"{t};{n}.25;ok\n" for n, t in enumerate(each(9, 15, "%Y-%m-%dT%H:%M:%SZ")))
    found = made(tmp_path, "a.csv", "Export;of;yesterday\nName;X;\nTime;Value;State\n" + rows)
    assert found.raw["csv"]["header"] == "Time;" and list(found.fields)[:3] == ["time", "value", "state"]
    assert found.taken() == (9, 0)


def test_a_row_of_units_below_the_header_and_a_sum_at_the_end(tmp_path: Path) -> None:
    rows = "".join(f"{t};0,{n:03};1,5\n" for n, t in enumerate(each(40, 15, "%d.%m.%Y;%H:%M")))
    found = made(tmp_path, "a.csv", "Datum;Zeit;Bezug;Lieferung\n;;kWh;kWh\n" + rows + "Summe;;9,5;60\n")
    assert list(found.fields) == ["at", "bezug", "lieferung"] and found.at["source"] == ["Datum", "Zeit"]
    assert found.fields["bezug"]["type"] == "float64" and found.taken() == (40, 2)
    assert "'Summe': those rows will be rejected" in found.first.text


def test_months_are_dates(tmp_path: Path) -> None:
    found = made(tmp_path, "a.csv", "meter;month;kwh\n" + "".join(f"M1;2024-{m:02};{m}.5\n" for m in range(1, 13)))
    assert found.at["type"] == "date" and found.at["format"] == "%Y-%m" and found.taken() == (12, 0)


def test_no_header_at_all(tmp_path: Path) -> None:
    found = made(tmp_path, "a.csv", "".join(f"M1,{t},{n}.5\n" for n, t in enumerate(each(9, 15, "%Y-%m-%dT%H:%M:%SZ"))))
    assert found.raw["csv"]["header"] is False and found.raw["dedup"]["key"] == ["column_1", "column_2"]
    assert found.taken() == (9, 0)


def test_date_and_time_in_two_columns_and_what_stands_for_no_value(tmp_path: Path) -> None:
    times = zip(each(9, 60, "%d/%m/%Y"), each(9, 60, "%H:%M:%S"), strict=True)
    rows = "".join(f"{d};{t};{'?' if n == 4 else f'{n}.5'};x\n" for n, (d, t) in enumerate(times))
    found = made(tmp_path, "a.txt", "Date;Time;Power;Note\n" + rows.replace("01/01/2024", "31/01/2024"))
    assert found.at["source"] == ["Date", "Time"] and found.at["format"] == "%d/%m/%Y %H:%M:%S"
    assert found.raw["csv"]["null"] == ["", "?"] and found.taken() == (9, 0)


def test_labels_at_the_end_and_hours_beyond_the_day(tmp_path: Path) -> None:
    days = [("2024/10/26", 24), ("2024/10/27", 25)]
    rows = "".join(f"C1;{day};{hour:02}:00;0,{hour:03}\n" for day, last in days for hour in range(1, last + 1))
    found = made(tmp_path, "a.csv", "cups;fecha;hora;consumo_kWh\n" + rows, "Europe/Madrid")
    assert found.at["on_dst"] == "elapsed" and found.at["shift"] == "-1h" and found.taken() == (49, 0)


def test_an_autumn_hour_that_comes_twice(tmp_path: Path) -> None:
    clock = [h for h in QUARTERS if h < "03:00"] + [h for h in QUARTERS if h >= "02:00"]
    rows = "".join(f"M1;26.10.2025 {t};{n}.5\n" for n, t in enumerate(clock))
    found = made(tmp_path, "a.csv", "meter;read_at;kwh\n" + rows, None)
    assert found.at["on_dst"] == "in_order" and "Europe/Berlin" in found.first.text
    assert found.at["time_zone"] == "?" and len(found.first.questions) == 1
    assert made(tmp_path, "b.csv", "meter;read_at;kwh\n" + rows).taken() == (100, 0)
    plain = "".join(f"M1;27.10.2025 {t};{n}.5\n" for n, t in enumerate(QUARTERS))
    assert "on_dst" not in made(tmp_path, "c.csv", "meter;read_at;kwh\n" + plain).at


def test_ends_of_intervals_come_twice_where_their_beginnings_do(tmp_path: Path) -> None:
    clock = [h for h in QUARTERS if h < "03:00"] + [h for h in QUARTERS if h >= "02:00"]
    spans = zip(clock, [*clock[1:], "24:00"], strict=True)
    rows = "".join(f"29.10.2023 {a};29.10.2023 {b};0,{n:03}\n" for n, (a, b) in enumerate(spans))
    found = made(tmp_path, "a.csv", "Datum von;Datum bis;kWh\n" + rows)
    assert found.fields["datum_bis"]["on_dst"] == "in_order" and found.taken() == (100, 0)


def test_two_times_in_one_text(tmp_path: Path) -> None:
    form, hour = "%d.%m.%Y %H:%M", timedelta(hours=1)
    spans = [START + hour * n for n in range(30)]
    rows = "".join(f'"{t:{form}} - {t + hour:{form}}","{n}.25"\n' for n, t in enumerate(spans))
    found = made(tmp_path, "a.csv", '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]"\n' + rows)
    assert found.at["pattern"] == "^(.+?) *- " and found.at["format"] == form
    assert found.fields["day_ahead_price"]["unit"] == "EUR/MWh" and found.taken() == (30, 0)


def test_day_or_month_first_is_asked_where_one_day_cannot_tell(tmp_path: Path) -> None:
    one_day = "".join(f"M1,03/04/2024 {t},1.5\n" for t in QUARTERS)
    found = made(tmp_path, "a.csv", "meter,when,kwh\n" + one_day)
    assert found.at["format"] == "? %d/%m/%Y %H:%M or %m/%d/%Y %H:%M"
    days = "".join(f"M1,{d:02}/04/2024 10:00,1.5\n" for d in range(1, 12))
    assert made(tmp_path, "b.csv", "meter,when,kwh\n" + days).at["format"] == "%d/%m/%Y %H:%M"
    american = "".join(f"M1,04/{d:02}/2024 10:00 PM,1.5\n" for d in range(1, 12))
    assert made(tmp_path, "c.csv", "meter,when,kwh\n" + american).at["format"] == "%m/%d/%Y %I:%M %p"


@pytest.mark.parametrize(
    ("names", "at", "count"),
    [
        (QUARTERS, {"format": "%d/%m/%Y %H:%M"}, 96),
        ([f"{a}-{b}" for a, b in zip(QUARTERS, [*QUARTERS[1:], "24:00"], strict=True)],
         {"format": "%d/%m/%Y %H:%M", "pattern": "^(.+?) *[-–] *[0-9]{1,2}:[0-9]{2}$"}, 96),
        ([f"{h:02}:{m:02}" for h in range(25) for m in (0, 30)][1:49], {"format": "%d/%m/%Y %H:%M", "shift": "-30m"}, 48),
        ([f"HE{h:02}" for h in range(1, 25)], {"format": "%d/%m/%Y HE%H", "shift": "-1h"}, 24),
    ],
)  # fmt: skip
def test_a_row_that_holds_a_day(tmp_path: Path, names: list[str], at: dict[str, str], count: int) -> None:
    rows = "".join(f"M{d % 2};{d:02}/05/2024;" + ";".join(["0,25"] * count) + ";24\n" for d in range(10, 30))
    found = made(tmp_path, "a.csv", "Meter;Day;" + ";".join(names) + ";Total\n" + rows)
    assert found.raw["unpivot"]["into"] == ["slot", "value"] and at.items() <= found.at.items()
    assert found.at["source"] == ["Day", "slot"] and "total" not in found.fields
    assert found.raw["dedup"]["key"] == ["meter", "at"] and found.taken() == (20 * count, 0)


def test_intervals_by_number_have_the_day_alone(tmp_path: Path) -> None:
    rows = "".join(f"M1,2024-05-{d:02}," + ",".join(["0.25"] * 48) + "\n" for d in range(10, 30))
    found = made(tmp_path, "a.csv", "NMI,Day," + ",".join(map(str, range(1, 49))) + "\n" + rows)
    assert found.at["type"] == "date" and found.raw["dedup"]["key"] == ["nmi", "day", "slot"]
    assert found.taken() == (960, 0) and "no format reads them" in found.first.text


def test_names_that_repeat_values_in_dress_and_padded_times(tmp_path: Path) -> None:
    rows = "".join(
        f'="00{n}1", {t}, {n}.5, {n}.7, $0.{n}5\n' for n, t in enumerate(each(9, 30, "%Y-%m-%dT%H:%M:%S+00:00"))
    )
    found = made(tmp_path, "a.csv", "EAN, Start, Usage, Usage, Cost\n" + rows)
    assert found.fields["usage"]["source"] == "Usage#1" and found.fields["usage_2"]["source"] == "Usage#2"
    assert found.fields["ean"] == {"name": "ean", "source": "EAN", "type": "string", "pattern": '="([^"]*)"'}
    assert found.fields["cost"]["type"] == "float64" and found.fields["cost"]["pattern"]
    assert "time_zone" not in found.at and found.taken() == (9, 0)


def test_the_last_row_has_no_line_end_and_some_are_short(tmp_path: Path) -> None:
    found = made(tmp_path, "a.csv", "meter;at;kwh;note\nM1;2024-01-01T00:00:00Z;1;x\nM1;2024-01-01T01:00:00Z;2")
    assert found.raw["csv"]["last_line"] == "whole" and found.raw["csv"]["short_rows"] == "null"
    assert found.taken() == (2, 0)


def test_columns_that_files_name_otherwise_are_aliases(tmp_path: Path) -> None:
    for month in (6, 7):
        rows = "".join(f"2023-0{month}-08 00:{m}:00;0.219;ok\n" for m in (15, 30, 45))
        (tmp_path / f"{month}.csv").write_text(f"Zeit;Last ({month},350 kWh);Status\n{rows}", encoding="utf-8")
    found = Made(tmp_path)
    assert found.fields["last"]["source"] == "Last (6,350 kWh)" and found.fields["last"]["aliases"] == [
        "Last (7,350 kWh)"
    ]
    assert found.taken() == (6, 0)


def test_epochs_in_lines_of_json(tmp_path: Path) -> None:
    for name, unit, per in (
        ("ts", "epoch_s", 1),
        ("t", "epoch_ms", 1_000),
        ("ts", "epoch_us", 10**6),
        ("t", "epoch_ns", 10**9),
    ):
        rows = [json.dumps({"meter": "E1", name: (1_735_686_000 + n) * per, "w": n}) for n in range(9)]
        found = made(tmp_path, f"{unit}.jsonl", "\n".join(rows) + "\n", None)
        assert found.at["format"] == unit and not found.first.questions and found.taken() == (9, 0)


def test_records_within_a_document_and_what_its_root_says(tmp_path: Path) -> None:
    values = [{"date": t, "value": {"wh": n}, "tags": ["a"]} for n, t in enumerate(each(9, 15, "%Y-%m-%d %H:%M:%S"))]
    document = {"site": {"id": 7}, "energy": {"unit": "Wh", "values": values, "few": [{"a": 1}]}}
    found = made(tmp_path, "a.json", json.dumps(document, indent=1))
    assert found.raw["json"] == {"records": "energy.values"} and found.fields["value_wh"]["source"] == "value.wh"
    assert found.raw["dedup"]["key"] == ["site_id", "date"] and found.fields["site_id"]["source"] == "$.site.id"
    assert "tags" not in found.fields and found.taken() == (9, 0)
    assert made(tmp_path, "b.json", json.dumps(values)).raw["json"] == {"records": "."}


def test_lines_that_are_documents(tmp_path: Path) -> None:
    times = each(9, 15, "%Y-%m-%dT%H:%M:%SZ")
    lines = [
        {"unit": "kWh", "batch": n, "values": [{"meter": f"m{i}", "at": t, "kwh": i} for i in range(3)]}
        for n, t in enumerate(times)
    ]
    found = made(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)) + "\n")
    assert found.raw["json"] == {"records": "values"} and found.raw["files"] == ["*.jsonl"]
    assert found.raw["dedup"]["key"] == ["meter", "at"] and found.taken() == (27, 0)


def test_numbers_that_json_writes_as_text(tmp_path: Path) -> None:
    rows = [
        json.dumps({"meter": "1", "utc": t, "kwh": f"{n}.5"}) for n, t in enumerate(each(9, 15, "%Y-%m-%d %H:%M:%S"))
    ]
    found = made(tmp_path, "a.jsonl", "\n".join(rows) + "\n")
    assert found.fields["meter"]["type"] == "string" and found.fields["kwh"]["type"] == "float64"
    assert found.at["time_zone"] == "UTC" and found.taken() == (9, 0)


def test_parquet_and_sqlite(tmp_path: Path) -> None:
    times = [START + timedelta(hours=n) for n in range(9)]
    table = pa.table({"meter": ["a"] * 9, "local": pa.array(times, pa.timestamp("us")), "kwh": [0.5] * 9})
    pq.write_table(table, tmp_path / "a.parquet")
    found = Made(tmp_path / "a.parquet")
    assert found.at["time_zone"] == "Europe/Berlin" and found.raw["dedup"]["key"] == ["meter", "local"]
    assert found.taken() == (9, 0)
    with closed(sqlite3.connect(tmp_path / "b.db")) as connection:
        connection.execute("CREATE TABLE readings (metadata_id INTEGER, start_ts REAL, sum REAL)")
        connection.execute("CREATE TABLE names (id INTEGER)")
        rows = [(1, 1_735_686_000.0 + 3600 * n, n / 2) for n in range(9)]
        connection.executemany("INSERT INTO readings VALUES (?, ?, ?)", rows)
        connection.commit()
    found = Made(tmp_path / "b.db", None)
    assert found.raw["sqlite"] == {"table": "readings"} and found.at["format"] == "epoch_s" and found.taken() == (9, 0)
    assert "names (0 rows)" in found.first.text


def test_archives_and_folders_of_several_kinds(tmp_path: Path) -> None:
    rows = "meter,at,kwh\nM1,2024-01-01T00:00:00Z,0.5\nM2,2024-01-01T00:00:00Z,0.7\n"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.csv", rows)
        archive.writestr("two.csv", rows.replace("01-01", "01-02"))
    (tmp_path / "c.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    (tmp_path / "d.xml").write_text("<?xml version='1.0'?><a/>", encoding="utf-8")
    (tmp_path / "e.csv").write_text("x,y\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:00Z,2\n", encoding="utf-8")
    found = first_contract(str(tmp_path))
    assert found.sample.files == ["a.zip/one.csv", "a.zip/two.csv"]
    assert len(found.sample.left) == 3 and "d.xml: is XML" in found.text and "c.jsonl: is json" in found.text
    assert "e.csv: has other columns than a.zip/one.csv" in found.text


def test_changes_that_debezium_tells_of(tmp_path: Path) -> None:
    def change(n: int, op: str) -> str:
        source = {"lsn": 1000 + n, "ts_ms": 1_749_974_400_000 + n}
        return json.dumps({"op": op, "before": None, "after": {"tariff_id": f"T{n}", "price": 1.5}, "source": source})

    found = made(tmp_path, "a.json", "\n".join(change(n, "c") for n in range(9)) + "\n")
    assert found.raw["lake"] == {"load": "cdc", "key": ["tariff_id"], "operation": "op_code", "sequence_by": ["lsn"],
                                 "envelope": "debezium"}  # fmt: skip
    assert found.fields["lsn"]["source"] == "$.source.lsn" and found.raw["event_time"] == "changed_at"


HOSTILE = [
    'a"b',
    "a\\",
    "a\u0000b",
    "]] [[fields]]",
    "'''",
    "\u202eevil",
    'name = "x"',
    "#",
    "ü" * 300,
    "a\u2028b",
    "\x7f",
]


def test_names_of_the_sample_stay_within_their_quotes(tmp_path: Path) -> None:
    records = [{**dict.fromkeys(HOSTILE, i), "at": t} for i, t in enumerate(each(5, 15, "%Y-%m-%dT%H:%M:%SZ"))]
    found = made(tmp_path, "a.jsonl", "\n".join(map(json.dumps, records)) + "\n")
    assert {f.get("source", f["name"]) for f in found.raw["fields"]} == {*HOSTILE, "at"}
    assert len({f["name"].lower() for f in found.raw["fields"]}) == len(HOSTILE) + 1
    names = ";".join('"' + n.replace('"', '""').replace("\0", "") + '"' for n in HOSTILE) + ';"two\nlines";at\n'
    rows = "".join("1;" * (len(HOSTILE) + 1) + t + "\n" for t in each(5, 15, "%Y-%m-%dT%H:%M:%SZ"))
    tomllib.loads(made(tmp_path, "b.csv", names + rows).first.text)


@pytest.mark.parametrize("text", [*HOSTILE, "a\nb", "a\tb", "\ud800", "\r", "é\u0085"])
def test_text_is_toml_whatever_it_holds(text: str) -> None:
    wanted = text.encode("utf-8", "replace").decode()
    assert tomllib.loads(assignment("a", text)) == {"a": wanted}
    assert tomllib.loads("\n".join([*comment(text * 40), "b = 1"])) == {"b": 1}


def test_check_asks_what_init_left_open(tmp_path: Path, grid: Grid) -> None:
    rows = "".join(f"M1;{t};0.5\n" for t in each(9, 15, "%Y-%m-%d %H:%M:%S"))
    given, out = tmp_path / "given.csv", tmp_path / "c.toml"
    given.write_text("meter;at;kwh\n" + rows, encoding="utf-8")
    done = grid("contracts", "init", str(given), "--name", "mine", "--out", str(out))
    assert done.code == 0 and not done.out and "contracts check" in done.err and "takes" not in done.err
    asked = grid("contracts", "check", str(out))
    assert asked.code == 2 and "field 'at', time_zone: is a question still" in asked.err
    again = grid("contracts", "init", str(given), "--out", str(out))
    assert again.code == 2 and "is there already" in again.err
    out.write_text(out.read_text(encoding="utf-8").replace('time_zone = "?"', 'time_zone = "UTC"'), encoding="utf-8")
    assert load_contract(out).name == "mine" and grid("contracts", "check", str(out)).code == 0
    answered = grid("contracts", "init", str(given), "--time-zone", "Europe/Vienna")
    assert answered.code == 0 and "takes 9 of 9 rows" in answered.err
    assert "beam-grid land --contract" in answered.err and tomllib.loads(answered.out)["name"] == "given"


@pytest.mark.parametrize(
    ("case", "zone", "landed", "total"),
    [
        ("csv-autumn-hour/given", "Europe/Berlin", 100, ("kwh", 5.05)),
        ("csv-decimal-comma/given", "Europe/Berlin", 4, ("kwh", 2474.75)),
        ("datadis/given", "Europe/Madrid", 49, ("consumo_kwh", 13.2)),
        ("epoch-times/given/sqlite", None, 4, None),
        ("epoch-times/given/csv", "Europe/Amsterdam", 4, None),
        ("epoch-times/given/jsonl", None, 3, ("w", 1203)),
        ("lcl-null/given", "UTC", 8, ("kwh_hh", 2.4250001)),
        ("local-day-windows/given", None, 292, ("kwh", 292)),
        ("salzburg-renamed-column/given", "Europe/Vienna", 6, ("lastgaenge", 2.279)),
        ("timestamp-9999-in-tables/given", None, 3, None),
        ("uci-split-time/given", "UTC", 5, ("global_active_power", 14.921)),
        ("wide-half-hours/given", "Europe/London", 96, ("value", 202.84)),
        ("cdc-command-id/given", None, 6, None),
        ("cdc-update-changes-key/given", None, None, None),
        ("debezium-9999-sentinel/given", "UTC", 4, None),
        ("debezium-decimal-base64/given", None, 2, ("total_amount", -25641.34)),
        ("debezium-local-datetime/given", "Asia/Kolkata", 2, None),
        ("debezium-postgres-lsn/given", None, 7, None),
        ("csv-no-last-newline/given", "Europe/Berlin", 3, ("kwh", 6)),
        ("enedis-preamble/given", None, 8, ("valeur", 2030)),
        ("json-document/given/solaredge", "Europe/Amsterdam", 4, ("value", 343.75)),
        ("json-document/given/octopus", None, 3, ("consumption", 0.243)),
        ("json-document/given/array", None, None, None),
        ("json-document/given/array_lines", None, 3, ("consumption", 0.243)),
        ("register-rollover/given", "Europe/Amsterdam", 6, None),
        ("utf16-vorarlberg/given/le", "Europe/Vienna", 3, ("messwert_in_kwh", 1.425)),
        ("utf16-vorarlberg/given/bom", "Europe/Vienna", 3, ("kwh", 1.425)),
        ("zip-xlsx-xml/given/2024_01.zip", None, None, None),
        ("zip-xlsx-xml/given_xlsx", "UTC", None, None),
    ],
)
def test_what_is_written_for_a_case_lands_at_least_what_a_person_wrote(
    tmp_path: Path, grid: Grid, case: str, zone: str | None, landed: int | None, total: tuple[str, float] | None
) -> None:
    source, out, lake = HERE / "tests" / "cases" / case, tmp_path / "c.toml", tmp_path / "lake"
    zoned = ["--time-zone", zone] if zone else []
    made = grid("contracts", "init", str(source), "--name", "mine", "--out", str(out), *zoned)
    assert made.code == 0 and "question:" not in made.err and "rejects" not in made.err, made.err
    done = grid("land", "--contract", str(out), "--source", str(source), "--lake", str(lake))
    assert done.code == 0, done.err
    (fates,) = json.loads(grid("ledger", "--lake", str(lake), "--format", "json").out)
    assert fates["balanced"] and fates["rejected"] == fates["conflicts"] == 0
    assert fates["landed"] == (landed if landed is not None else fates["read"])
    if total is not None:
        files = sorted(lake.glob("landing/mine/data/*/rows-*.parquet"))
        rows = pa.concat_tables([pq.read_table(file, columns=[total[0]]) for file in files])
        assert pc.sum(rows.column(0).cast(pa.float64())).as_py() == pytest.approx(total[1])


RECIPES = examples(HERE / "docs" / "recipes.md")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.words["name"])
def test_each_layout_of_the_recipes_lands_whole(tmp_path: Path, recipe: Example) -> None:
    for info, text in recipe.files:
        write(tmp_path, info.split(), text)
    zone = next((f["time_zone"] for f in recipe.words["fields"] if "time_zone" in f), "UTC")
    taken, rejected = Made(tmp_path, zone).taken()
    assert taken >= len(recipe.rows) and rejected == 0


def test_master_rows_of_two_extracts_are_asked_about(grid: Grid) -> None:
    done = grid("contracts", "init", str(HERE / "tests" / "cases" / "scd2-same-date-correction" / "given"))
    assert done.code == 0 and "question: dedup.key" in done.err and "built-in feed customers" in done.err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b" \n\n", "is empty"),
        ("a.csv", b"meter;at;kwh\n", "header only"),
        ("a.csv", b"words\nand words\n", "one column only"),
        ("a.bin", b"\x00\x01\x02\xff" * 99, "binary data"),
        ("a.csv", b"PK\x03\x04" + b"\0" * 60, "zip archive"),
        ("a.xlsx", b"PK\x03\x04" + b"\0" * 60, "no Excel workbook"),
        ("a.parquet", b"PAR1 and no more", "damaged Parquet"),
        ("a.parquet", b"meter;at\n1;2\n", "is no parquet"),
        ("a.db", b"SQLite format 3\0" + b"\1" * 99, "SQLite says"),
        ("a.json", b'{"a": [{"b": 1}', "is not JSON"),
        ("a.json", b'{"a": [1, 2, 3]\n}', "without an array of objects"),
        ("a.json", b"[]", "without an array of objects"),
        ("a.xml", b"<?xml version='1.0'?><a/>", "is XML"),
    ],
)
def test_what_no_contract_can_be_told_from(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=said):
        first_contract(str(tmp_path / name))


def test_no_such_file_and_a_zone_or_name_that_no_contract_can_have(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        first_contract(str(tmp_path / "missing.csv"))
    (tmp_path / "a.csv").write_text("meter;at;kwh\nM1;2024-01-01 00:00:00;0.5\n", encoding="utf-8")
    with pytest.raises(ContractError, match="unknown time zone 'Mars'"):
        first_contract(str(tmp_path / "a.csv"), zone="Mars")
    with pytest.raises(ContractError, match="cannot name a table"):
        first_contract(str(tmp_path / "a.csv"), name="My Feed", zone="UTC")


def test_no_times_and_no_key(tmp_path: Path) -> None:
    found = made(tmp_path, "a.csv", "a;b\n" + "".join(f"x{n};{n}.5\n" for n in range(9)))
    assert found.raw["event_time"] == "?" and found.raw["dedup"]["key"] == ["?"]
    assert [q.split(":")[0] for q in found.first.questions] == ["event_time", "dedup.key"]
    rows = "".join(f"2024-01-0{1 + n % 3}T00:00:00Z;{n}.5\n" for n in range(60))
    found = made(tmp_path, "b.csv", "at;kwh\n" + rows)
    assert found.raw["dedup"]["key"] == ["? at"] and "3 of 60 rows that differ are told apart" in found.first.text


def workbook(rows: list[list[str | float]]) -> bytes:
    """The least that is a workbook: one sheet, texts inline."""
    cells = "".join(
        f"<row r='{r}'>" + "".join(
            f"<c r='{chr(65 + c)}{r}' t='inlineStr'><is><t>{v}</t></is></c>" if isinstance(v, str)
            else f"<c r='{chr(65 + c)}{r}'><v>{v}</v></c>" for c, v in enumerate(row)
        ) + "</row>" for r, row in enumerate(rows, 1)
    )  # fmt: skip
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'>"
        f"<Default Extension='rels' ContentType='application/vnd.openxmlformats-package.relationships+xml'/>"
        f"<Override PartName='/xl/workbook.xml' ContentType='{kinds}.sheet.main+xml'/>"
        f"<Override PartName='/xl/worksheets/sheet1.xml' ContentType='{kinds}.worksheet+xml'/></Types>",
        "_rels/.rels": "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>"
        f"<Relationship Id='r1' Type='{office}/officeDocument' Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": f"<workbook xmlns='{main}' xmlns:r='{office}'><sheets>"
        "<sheet name='S' sheetId='1' r:id='r1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>"
        f"<Relationship Id='r1' Type='{office}/worksheet' Target='worksheets/sheet1.xml'/></Relationships>",
        "xl/worksheets/sheet1.xml": f"<worksheet xmlns='{main}'><sheetData>{cells}</sheetData></worksheet>",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return stream.getvalue()


def test_a_sheet_of_a_workbook(tmp_path: Path) -> None:
    rows: list[list[str | float]] = [["Readings of", "the house", ""], ["Meter", "Zeit", "Wert in kWh"]]
    rows += [["M1", t, n + 0.5] for n, t in enumerate(each(9, 15, "%Y-%m-%d %H:%M:%S"))]
    found = made(tmp_path, "a.xlsx", workbook(rows))
    assert found.raw["files"] == ["*.xlsx"] and found.raw["csv"]["header"] == "Meter,"
    assert found.raw["dedup"]["key"] == ["meter", "zeit"] and found.taken() == (9, 0)


def test_the_sheet_that_holds_a_table(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Readings of the house"])
    sheet = book.create_sheet("Data")
    sheet.append(["Meter", "Zeit", "kWh"])
    for n in range(9):
        sheet.append(["M1", START + timedelta(hours=n), n + 0.5])
    book.save(tmp_path / "a.xlsx")
    found = Made(tmp_path / "a.xlsx")
    assert found.raw["csv"]["sheet"] == "Data" and found.taken() == (9, 0)


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[Producer, str]]:
    """librdkafka's own mock of a broker, on loopback: a producer, and its address."""
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
    server = next(iter(producer.list_topics(timeout=PATIENCE_S).brokers.values()))
    yield producer, f"kafka://{server.host}:{server.port}"
    producer.flush(10)


def test_messages_of_a_topic(broker: tuple[Producer, str], grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_topic_id", lambda *_: None)  # the mock, as brokers before 2.8, never answers with one
    producer, address = broker
    for n, t in enumerate(each(20, 1, "%Y-%m-%dT%H:%M:%SZ")):
        producer.produce("meters.raw", json.dumps({"meter": f"m{n % 3}", "ts": t, "kwh": n / 2}).encode())
        producer.produce(
            "documents", json.dumps({"site": {"id": n}, "values": [{"at": t, "w": n}, {"at": t, "w": 1}]}).encode()
        )
        producer.produce("binary", b"\x00\x00\x00\x00\x07avro")
    producer.flush(10)
    done = grid("contracts", "init", f"{address}/meters.raw")
    found = tomllib.loads(done.out)
    assert found["topic"] == "meters.raw" and found["name"] == "meters_raw" and found["dedup"]["key"] == ["meter", "ts"]
    assert "takes 20 of 20 rows" in done.err and f"--source {address}/meters.raw" in done.err
    nested = first_contract(f"{address}/documents")
    assert tomllib.loads(nested.text)["json"] == {"records": "values"}
    with pytest.raises(SourceError, match="20 of 20 messages are not JSON objects"):
        first_contract(f"{address}/binary")
    with pytest.raises(SourceError, match="check the name"):
        first_contract(f"{address}/missing")
    with pytest.raises(SourceError, match="write it as kafka://host:port/topic"):
        first_contract(address)


def test_bytes_of_any_kind_are_a_contract_or_an_error_with_a_reason(tmp_path: Path) -> None:
    given = (
        "meter;at;kwh\n" + "".join(f"M1;{t};1.2{n},5\n" for n, t in enumerate(each(9, 15, "%d.%m.%Y %H:%M")))
    ).encode()
    chance, told = Random(3), 0
    for n in range(60):
        bytes_ = bytearray(given)
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(len(bytes_))
            bytes_[at : at + chance.randrange(6)] = chance.choice(
                [b";", b'"', b"\n", b"\0", b"\xff", b"24:00", b"", b"?"]
            )
        path = tmp_path / f"{n}.csv"
        path.write_bytes(bytes_)
        try:
            tomllib.loads(first_contract(str(path)).text)
            told += 1
        except SourceError as cause:
            assert path.name in str(cause)
    assert told > 30
