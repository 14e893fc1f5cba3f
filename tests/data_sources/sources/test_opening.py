"""What a file is packed in makes no difference to the bytes that are read of it."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import openpyxl
import pytest

from data_sources.contract import Contract
from data_sources.sources.errors import SourceError
from data_sources.sources.kinds import kind_of
from data_sources.sources.opening import Place, digest, is_packed, opened, place
from tests.data_sources.decode.cases import contract

TEXT = "Zählpunkt;kWh\nAT1;0,25\nAT2;1,5\n"


def csv(**words: object) -> Contract:
    return contract("csv", files=["*.xlsx"], csv={"delimiter": ";", **words})


def everything(path: Path | str, contract: Contract, skip: int = 0) -> bytes:
    with opened(str(path), contract, skip) as stream:
        return b"".join(iter(lambda: stream.read(7), b""))


@pytest.mark.parametrize("skip", [0, 5, 15, 1000])
def test_plain_packed_and_transcoded_text_is_the_same(tmp_path: Path, skip: int) -> None:
    (tmp_path / "a.csv").write_bytes(TEXT.encode())
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.csv", TEXT.encode())
        archive.writestr("in/a.csv.gz", gzip.compress(TEXT.encode()))
    for name in ("a.csv", "a.csv.gz", "a.zip/in/a.csv", "a.zip/in/a.csv.gz"):
        assert everything(f"{tmp_path}/{name}", csv(), skip) == TEXT.encode()[skip:], name
        assert is_packed(f"{tmp_path}/{name}", csv()) == (name != "a.csv")
    for encoding in ("utf-16-le", "utf-16", "utf-16-be", "utf-32"):
        (tmp_path / "u.csv").write_bytes(TEXT.encode(encoding))
        assert everything(tmp_path / "u.csv", csv(encoding=encoding), skip) == TEXT.encode()[skip:], encoding


def test_lines_of_a_transcoded_file_are_read_to_their_end(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_bytes(TEXT.encode("utf-16"))
    with opened(str(tmp_path / "u.csv"), csv(encoding="utf-16")) as stream:
        first = stream.read(3)
        assert first + stream.readline(1 << 20) == "Zählpunkt;kWh\n".encode()
        assert stream.readline(4) == b"AT1;" and stream.readline(99) == b"0,25\n"


def test_bytes_that_are_no_text_of_the_encoding_are_told(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_bytes(TEXT.encode("utf-16-le")[:-1])
    with pytest.raises(SourceError, match="is not utf-16-le text"):
        everything(tmp_path / "u.csv", csv(encoding="utf-16-le"))


def test_a_folder_called_zip_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "b.zip").mkdir()
    (tmp_path / "b.zip" / "a.csv").write_text(TEXT, encoding="utf-8")
    assert place(f"{tmp_path}/b.zip/a.csv") == Place(f"{tmp_path}/b.zip/a.csv", None)
    assert everything(tmp_path / "b.zip" / "a.csv", csv()) == TEXT.encode()


def test_an_archive_made_to_fill_a_disk_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_sources.sources import opening

    monkeypatch.setattr(opening, "MOST_UNPACKED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"0" * (3 << 20))
    with pytest.raises(SourceError, match=r"unpacks to 3,145,728 bytes of \d,\d+: not opened"):
        everything(f"{tmp_path}/bomb.zip/a.csv", csv())


def test_a_damaged_and_a_changed_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", "x")
    before = digest(f"{tmp_path}/a.zip/a.csv")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"AT1;0,25", b"AT1;9,25"))
    with pytest.raises(SourceError, match="is a damaged archive"):
        everything(f"{tmp_path}/a.zip/a.csv", csv())
    with pytest.raises(SourceError, match="is not in the archive any more"):
        everything(f"{tmp_path}/a.zip/c.csv", csv())
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("other.csv", "y")
        archive.writestr("a.csv", TEXT)
    assert digest(f"{tmp_path}/a.zip/a.csv") == before, "the member is what it was, packed otherwise"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_does_not_unpack_is_told_however_it_was_packed(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.csv", "".join(f"AT{n};{n * 7919 % 1000}\n" for n in range(5000)))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[3000:3010] = b"\xff" * 10
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises((SourceError, OSError)):  # what a listing names and leaves out
        everything(f"{tmp_path}/a.zip/a.csv", csv())


def workbook(path: Path, rows: list[list[object]], merge: str | None = None, sheet: str = "Tabelle1") -> Path:
    book = openpyxl.Workbook()
    book.active.title = sheet
    for row in rows:
        book.active.append(row)
    if merge:
        book.active.merge_cells(merge)
    book.create_sheet("Notizen").append(["nichts"])
    book.save(path)
    return path


def test_a_sheet_is_csv_in_the_contracts_own_writing(tmp_path: Path) -> None:
    from datetime import UTC, date, datetime

    rows = [["Datum", "Zeit", "kWh\n(netto)", "ok"], [date(2025, 1, 2), datetime(2025, 1, 2, 3, 15, tzinfo=UTC).replace(tzinfo=None), 0.25, True], [None] * 4, ["a;b", "", 12, None]]  # fmt: skip
    path = workbook(tmp_path / "a.xlsx", rows)
    found = everything(path, csv(decimal=",")).decode().splitlines()
    assert found[0] == "Datum;Zeit;kWh (netto);ok"
    assert found[1].split(";")[1:] == ["2025-01-02T03:15:00", "0,25", "true"] and found[1].startswith("2025-01-02")
    assert found[2] == ";;;" and found[3] == '"a;b";;12;'
    assert everything(path, csv(sheet="Notizen")) == b"nichts\n"
    with pytest.raises(SourceError, match="has no sheet 'Werte'; its sheets: 'Tabelle1', 'Notizen'"):
        everything(path, csv(sheet="Werte"))


def test_a_formula_that_was_never_computed_is_told_and_merged_cells_have_one_value(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["a", "b"], [1, "=A2*2"]])
    with pytest.raises(SourceError, match="has a formula without a value in cell B2"):
        everything(path, csv())
    path = workbook(tmp_path / "m.xlsx", [["t", "kWh"], ["x", 1], ["y", 2]], merge="A2:A3")
    assert everything(path, csv()) == b"t;kWh\nx;1\n;2\n"
    (tmp_path / "no.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(SourceError, match="is no Excel workbook that can be read"):
        everything(tmp_path / "no.xlsx", csv())


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04..", "a zip archive or an Excel workbook"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "XML"),
        (b"<feed xmlns='x'>", "XML"),
        (b"<!DOCTYPE html><html>", "HTML"),
        ("a;b\n1;2".encode("utf-16"), "UTF-16 text"),
        ("a;b\n1;2".encode("utf-16-le"), "UTF-16 text without a mark"),
        (b"a;b\n1;2\n", None),
        (b"<20;kWh\n", None),
        ("Zähler;kWh\n".encode("latin-1"), None),
        (bytes(range(200)), "binary data"),
        (b"", None),
    ],
)
def test_what_a_file_is_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind


def test_excel_in_an_archive(tmp_path: Path) -> None:
    inner = io.BytesIO(workbook(tmp_path / "a.xlsx", [["a", "b"], [1, 2]]).read_bytes())
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.xlsx", inner.getvalue())
    assert everything(f"{tmp_path}/z.zip/a.xlsx", csv()) == b"a;b\n1;2\n"
