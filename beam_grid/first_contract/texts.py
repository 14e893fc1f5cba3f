"""The encoding of a file, told by its bytes: a mark, zeros between the letters, or what its letters would be."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder

_WESTERN = ("cp1252", "cp850", "mac_roman")
_LETTERS = set("äöüÄÖÜßéèêëàâáãåæçñíìîïóòôõøúùûýÉÈÀÁÇÑÍÓÚØÅÆ°€²³µ§£–’")


def encoding_of(data: bytes) -> tuple[str, str]:
    """(Python's name of the encoding, on what that rests); `data` may be cut off anywhere."""
    if data.startswith(BOM_UTF8):
        return "utf-8", "The file begins with UTF-8's mark"
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16", "The file begins with UTF-16's byte order mark"
    head = data[:4096]
    zeros_odd, zeros_even = head[1::2].count(0), head[::2].count(0)
    if max(zeros_odd, zeros_even) > len(head) // 8 and max(zeros_odd, zeros_even) > 4 * min(zeros_odd, zeros_even):
        order = "le" if zeros_odd > zeros_even else "be"
        return f"utf-16-{order}", "Every other byte is zero, and no byte order mark stands in front"
    try:
        decoded(data, "utf-8")
        return "utf-8", ""
    except UnicodeDecodeError as cause:
        at = cause.start
    scores = {name: _score(data, name) for name in _WESTERN}
    best = max(_WESTERN, key=lambda name: scores[name])
    begin = max(data.rfind(b"\n", 0, at) + 1, at - 12)
    word = data[begin : at + 12].decode(best, "replace").splitlines()[0]
    return best, f"Byte {at} (0x{data[at]:02x}) is not UTF-8; in {best} the text there reads {word!r}: is that right?"


def decoded(data: bytes, encoding: str) -> str:
    """The text; a character that is cut off at the end is left out. Raises UnicodeDecodeError."""
    return getincrementaldecoder(encoding)("strict").decode(data).removeprefix("\ufeff")


def _score(data: bytes, encoding: str) -> float:
    """How many of the bytes above ASCII would be letters of Western Europe; -1 where some cannot be read at all."""
    try:
        high = [c for c in data.decode(encoding) if ord(c) > 127]
    except UnicodeDecodeError:
        return -1.0
    return sum(c in _LETTERS for c in high) / max(len(high), 1)
