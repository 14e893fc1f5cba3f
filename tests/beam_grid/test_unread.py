"""What lies at a source and is not read is told with the reason, archives and files of several feeds included."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from beam_grid import feeds
from beam_grid.asked import asked
from beam_grid.cli.steps import _not_read
from beam_grid.errors import GridError
from beam_grid.service.unread import Unread
from data_sources.contract import parse_contract
from data_sources.sources.errors import SourceError
from data_sources.sources.finding import list_files

TEXT = "id,at\na,2025-06-15T12:00:00Z\n"
TOML = """name = "NAME"
format = "csv"
event_time = "at"
dedup = { key = ["id", "at"] }
fields = [{ name = "id", type = "string" }, { name = "at", type = "timestamp" }]
"""


def contract(folder: Path, name: str, more: str = "") -> str:
    path = folder / f"{name}{len(more)}.toml"
    path.write_text(TOML.replace("NAME", name) + more)
    return str(path)


def archive(path: Path, *members: str) -> None:
    with zipfile.ZipFile(path, "w") as made, pytest.MonkeyPatch.context() as quiet:
        quiet.setattr("warnings.warn", lambda *a, **k: None)  # of a name given twice
        for member in members:
            made.writestr(member, TEXT)


def told(source: Path, *contracts: str) -> dict[str, str]:
    chosen = feeds.chosen((), contracts, str(source))
    lines = feeds.unread(str(source), chosen, feeds.by_their_globs(chosen, str(source), named=True))
    return dict(line.split(": ", 1) for line in lines)


def test_archives_say_why(tmp_path: Path) -> None:
    (source := tmp_path / "in").mkdir()
    archive(source / "empty.zip")
    archive(source / "good.zip", "./a.csv", "../b.csv", "x/.hidden.csv", "__MACOSX/c.csv", "in.zip", "read.me")
    (source / "broken.zip").write_bytes(b"PK\x03\x04")
    found = told(source, contract(tmp_path, "f"))
    assert set(found) == {"broken.zip", "empty.zip", "good.zip/in.zip", "good.zip/read.me"}
    assert "damaged" in found["broken.zip"] and found["empty.zip"] == "is an archive without files"
    assert "unpack it" in found["good.zip/in.zip"]
    assert set(told(source / "empty.zip", contract(tmp_path, "f"))) == {"empty.zip"}


@pytest.mark.parametrize("right", ["list", "enter"])
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str) -> None:
    """Root may read all: the system's refusal is played."""
    for name in ("a.csv", "sub/b.csv", "known/c.csv"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(TEXT)
    (tmp_path / "in" / ".beamgridignore").write_text("known\n")
    closed = {str(tmp_path / "in" / "sub"), str(tmp_path / "in" / "known")}
    scan, access = os.scandir, os.access

    def scandir(path: str) -> object:
        if right == "list" and path in closed:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and not (right == "enter" and path in closed)
    )
    found = told(tmp_path / "in", contract(tmp_path, "f"))
    assert set(found) == {"sub"} and "may not list or enter" in found["sub"]
    closed.add(str(tmp_path / "in"))
    with pytest.raises(SourceError, match="may not list or enter the folder"):
        list_files(str(tmp_path / "in"))


def test_files_that_any_of_several_feeds_could_take(tmp_path: Path) -> None:
    (source := tmp_path / "in").mkdir()
    for name in ("a.csv", "b.tsv", "c.xml"):
        (source / name).write_text(TEXT)
    one, two = contract(tmp_path, "f"), contract(tmp_path, "g", 'files = ["*.tsv"]\n')
    found = told(source, one, two)
    assert set(found) == {"a.csv", "c.xml"}
    assert "could be of f or g" in found["a.csv"] and "files" in found["a.csv"]
    assert found["c.xml"] == "no feed's format or `files` takes it"
    assert set(told(source, one)) == {"b.tsv", "c.xml"}


def test_two_contracts_of_one_name(tmp_path: Path) -> None:
    one, two = contract(tmp_path, "f"), contract(tmp_path, "f", 'files = ["*.tsv"]\n')
    assert [c.name for c in feeds.chosen((), (one, one), str(tmp_path))] == ["f"]
    with pytest.raises(GridError, match=r"another contract given is called 'f', too; rename one"):
        feeds.chosen((), (one, two), str(tmp_path))


def test_json_that_is_called_a_sample_is_data(tmp_path: Path) -> None:
    raw = {"name": "j", "format": "json", "event_time": "at", "dedup": {"key": ["id"]},
           "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}]}  # fmt: skip
    (tmp_path / "sample_message.json").write_text('{"id": "a", "at": "2025-06-15T12:00:00Z"}\n')
    assert not feeds.unread(str(tmp_path), [parse_contract(raw, "j.toml")], own_globs=False)


def test_a_run_that_follows_names_what_comes_later_once(tmp_path: Path) -> None:
    """Files that no feed reads, and feeds of ours that were not there when all that are were asked for."""
    said: list[str] = []
    for folder in ("readings", "iot_events"):
        (tmp_path / folder).mkdir()
    (tmp_path / "read.me").write_text("x")
    (tmp_path / "readings" / "a.json").touch()
    given: dict[str, Any] = {"feeds": (), "contracts": (), "source": str(tmp_path)}
    each, unread = asked((), (), str(tmp_path))
    assert [contract.name for contract, _ in each] == ["half_hourly_readings"] and len(unread) == 1
    later = Unread(lambda: _not_read(each, **given), unread, 0.0, said.append)
    later.look()
    assert said == []
    (tmp_path / "iot_events" / "iot_events_1.json").touch()
    (tmp_path / "x.me").write_text("x")
    for _ in range(2):
        later._due = 0.0
        later.look()
    assert [line.split(":")[1] for line in said] == [" iot_events/iot_events_1.json", " x.me"]
    assert "a file of feed iot_events" in said[0] and "start the run again to take it in" in said[0]
    named = {**given, "feeds": ("half_hourly_readings",)}
    assert len(_not_read(each, **named)) == 2, "where a feed is named, no other is missed"
