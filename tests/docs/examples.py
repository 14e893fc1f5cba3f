"""Examples in the documentation, read out of a page's text and run by the product.

An example is a run of fenced blocks and the table that follows them:

    ```csv a.csv           an input file; words after its name: an encoding, `no-line-end`, `sheet=NAME` of a workbook
    ```toml                its contract; without a `name` the page's block ```toml common comes before it
    ```text says           lines that stand in what `beam-grid run` prints; the exit code is then 1
    ```text rejects        a line a reject, found in its reason
    | at | kwh |           the rows of silver that come out, in the order of the input; of gold with `window_start`

A cell that is empty is null.
"""

from __future__ import annotations

import io
import re
import sqlite3
import tomllib
import zipfile
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
import openpyxl
import pytest

from beam_grid.cli import cli
from beam_grid.lakehouse.query import query
from beam_grid.landing import Lake

_PART = re.compile(r"^```(\w+)(.*)\n((?:.*\n)*?)```$|^((?:\|.*\n)+)|^#+ (.*)$", re.M)


@dataclass
class Example:
    """One example of a page: where it stands, its files (info string, text), contract, and what it says comes out."""

    heading: str
    files: list[tuple[str, str]] = field(default_factory=list)
    contract: str = ""
    says: list[str] = field(default_factory=list)
    rejects: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    @property
    def words(self) -> dict[str, Any]:
        return tomllib.loads(self.contract)


def examples(page: Path) -> list[Example]:
    """The page's examples, in order. Raises AssertionError for a file whose example lacks contract or rows."""
    found: list[Example] = []
    heading, common, now = "", "", None
    for match in _PART.finditer(page.read_text(encoding="utf-8") + "\n"):
        language, info, body, table, title = match.groups()
        words = (info or "").split()
        if title is not None:
            assert now is None, f"{page.name}, {heading}: an example without its rows"
            heading = title
        elif language == "toml" and words == ["common"]:
            common = body
        elif language == "toml":
            if now is not None and not now.contract:
                now.contract = body if "name" in tomllib.loads(body) else _placed(common, body, now)
        elif language == "text" and words in (["says"], ["rejects"]):
            assert now is not None, f"{page.name}, {heading}: says of no example"
            getattr(now, words[0]).extend(body.splitlines())
        elif language is not None and words:
            now = now if now is not None and not now.contract else Example(heading)
            now.files.append((" ".join(words), body))
        elif table is not None and now is not None:
            assert now.contract, f"{page.name}, {heading}: an example without its contract"
            cells = [
                [cell.strip().strip("`") for cell in row.strip().strip("|").split("|")] for row in table.splitlines()
            ]
            now.columns, now.rows = cells[0], cells[2:]
            found.append(now)
            now = None
    assert now is None, f"{page.name}, {heading}: an example without its rows"
    return found


def _placed(common: str, body: str, example: Example) -> str:
    """The example's lines below those that all of the page have, in its own format."""
    is_json = all(info.split()[0].endswith((".json", ".jsonl")) for info, _ in example.files)
    return (common.replace('"csv"', '"json"') if is_json else common) + "\n" + body


def check(example: Example, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run it through the command line, and compare."""
    given, lake = folder / "given", folder / "lake"
    given.mkdir()
    for info, text in example.files:
        _write(given, info.split(), text)
    (folder / "contract.toml").write_text(example.contract, encoding="utf-8")
    code, said = _command(
        capsys, "run", "--contract", str(folder / "contract.toml"), "--source", str(given), "--lake", str(lake)
    )
    assert code == (1 if example.says else 0), said
    for line in example.says:
        assert line in said
    feed = example.words["name"]
    table, order = f"silver.{feed}", "_source, _position"
    if "window_start" in example.columns:
        table, order = f"gold.{example.words['windows'][0]['name']}", "window_start"
    names = ", ".join(f'"{name}"' for name in example.columns)
    answer = query(Lake.open(lake, create=False), f"SELECT {names} FROM {table} ORDER BY {order}").to_pylist()
    rows = [[_text(value) for value in row.values()] for row in answer]
    assert rows == example.rows, said
    reasons = query(Lake.open(lake, create=False), "SELECT reason FROM bronze.rejected ORDER BY _position").to_pylist()
    found = [str(row["reason"]) for row in reasons]
    assert len(found) == len(example.rejects), found
    assert all(wanted in reason for wanted, reason in zip(example.rejects, found, strict=True)), found


def _command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    try:
        code = cli.main(arguments, standalone_mode=False) or 0
    except SystemExit as left:
        code = left.code
    except click.ClickException as cause:
        cause.show()
        code = cause.exit_code
    said = capsys.readouterr()
    return int(code), said.out + said.err


def _write(folder: Path, info: list[str], text: str) -> None:
    name, *words = info
    encoding = next((w for w in words if "=" not in w and w != "no-line-end"), "utf-8")
    data = (text.removesuffix("\n") if "no-line-end" in words else text).encode(encoding)
    sheet = next((w.removeprefix("sheet=") for w in words if w.startswith("sheet=")), None)
    if sheet is not None:
        data = _workbook(sheet, text)
    if name.endswith(".db"):
        with closing(sqlite3.connect(folder / name)) as database:
            database.executescript(text)
        return
    archive, slash, member = name.partition(".zip/")
    path = folder / (archive + ".zip" if slash else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if slash:
        with zipfile.ZipFile(path, "a") as packed:
            packed.writestr(member, data)
    else:
        path.write_bytes(data)


def _workbook(sheet: str, text: str) -> bytes:
    """A workbook whose last sheet has the text's rows; numbers and times of it are cells of their type."""
    book, data = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["another sheet"])
    page = book.create_sheet(sheet)
    for line in text.splitlines():
        page.append([_cell(cell.strip()) for cell in line.split(";")])
    book.save(data)
    return data.getvalue()


def _cell(text: str) -> Any:
    for kind in (float, datetime.fromisoformat):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case bool():
            return "true" if value else "false"
        case date():
            return value.isoformat()
        case _:
            return str(value)
