"""What a file is, told by its first bytes: for messages about files that are not what their ending says."""

from __future__ import annotations

_MARKS = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "Parquet"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"%PDF", "PDF"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)


def kind_of(head: bytes) -> str | None:
    """What the first bytes of a file say it is; None for plain text, and where they say nothing."""
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"<?xml", b"<!DOCTYPE", b"<html", b"<feed")):
        return "HTML" if b"<html" in text[:200].lower() else "XML"
    if text[:1] == b"<" and b">" in text[:200]:
        return "XML or HTML"
    sample = head[:512]
    zeros = sample.count(0)
    if zeros >= len(sample) // 3 > 0:
        return "UTF-16 text without a mark" if set(sample[1::2]) == {0} or set(sample[::2]) == {0} else "binary data"
    return "binary data" if zeros else None
