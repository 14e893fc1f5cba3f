"""Elements of the array at a path of a JSON text, cut out as they stand, while the text comes in blocks.

    {"site": {"id": 7}, "energy": {"values": [ {..} , {..} ]}}      path energy.values: two elements
                                              ^^^^   ^^^^

Names of the path lead through arrays (`series.values` is the values of all series). The text around the elements is
checked as far as its brackets, names and commas go; the elements are their decoder's business. Texts that follow each
other are read one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|"', re.S)
_QUOTE, _OPEN, _CLOSE, _OPEN_ARRAY, _CLOSE_ARRAY, _COMMA, _COLON = b'"{}[],:'
_BLANKS = b" \t\r\n\xef\xbb\xbf"
_MAY_PRECEDE = {None, _COLON, _COMMA, _OPEN_ARRAY}
MOST_WAITING = 64 << 20
"""Bytes an element, or a text without any bracket, may have."""

Path = tuple[str, ...]


class ScanError(ValueError):
    """A text that is not JSON, is cut off, or whose path leads nowhere."""


@dataclass
class _Frame:
    """An object or array that is open. level: how many names of the path have led here, -1 off the path."""

    kind: int
    level: int
    name: str | None = None


class Scanner:
    """Feed it blocks, take elements; `finish` when the text is at its end. Raises ScanError.

    path: names that lead to the array, () where the text is the array, None for no array at all. wanted: paths of
    names, from the text's root through objects, whose scalars are to be kept in `values` (as JSON text).
    """

    def __init__(self, path: Path | None, wanted: Collection[Path] = ()) -> None:
        self._path, self._wanted = path, frozenset(wanted)
        self._frames: list[_Frame] = []
        self._data, self._at, self._begun = b"", 0, 0
        self._inner, self._breaks = -1, False
        self._previous: int | None = None
        self._string = b""
        self._capture: tuple[Path, int] | None = None
        self.values: dict[Path, bytes] = {}
        self.arrays = self.texts = 0
        self.led_to_object = False

    @property
    def is_within(self) -> bool:
        """Whether an object or array is open."""
        return bool(self._frames)

    def feed(self, block: bytes) -> list[bytes]:
        """The elements that end in this block; line breaks around their names and values are blanks."""
        keep = self._at
        if self._inner >= 0:
            keep = self._begun
        elif self._capture is not None:
            keep = min(keep, self._capture[1])
        self._data = self._data[keep:] + block
        self._at, self._begun = self._at - keep, self._begun - keep
        if self._capture is not None:
            self._capture = (self._capture[0], self._capture[1] - keep)
        if len(self._data) - len(block) > MOST_WAITING:
            raise ScanError(f"has an element of more than {MOST_WAITING:,} bytes")
        found: list[bytes] = []
        for match in _TOKEN.finditer(self._data, self._at):
            token = match.group()
            if token == b'"':
                self._at = match.start()
                return found
            if self._inner >= 0:
                self._within_element(token, match.start(), match.end(), found)
            else:
                self._around(token, match.start(), match.end())
            self._at = match.end()
        return found

    def finish(self) -> None:
        """Raises ScanError for a text that is not whole."""
        if self._frames or self._data[self._at :].strip(_BLANKS):
            raise ScanError("is cut off, or not JSON: its brackets are not closed" if self._frames else "is not JSON")
        if not self.texts:
            raise ScanError("is not a JSON object or array")

    def _within_element(self, token: bytes, start: int, end: int, found: list[bytes]) -> None:
        mark = token[0]
        if mark == _QUOTE:
            self._breaks |= b"\n" in token
        elif mark in (_OPEN, _OPEN_ARRAY):
            self._inner += 1
        elif mark == _COMMA:
            if self._inner == 0:
                self._take(start, found, even_blank=True)
                self._begun, self._previous = end, _COMMA
        elif mark != _COLON:
            if self._inner == 0:
                if mark != _CLOSE_ARRAY:
                    raise ScanError("is not JSON: an array is closed by a }")
                self._take(start, found, even_blank=self._previous == _COMMA)
                self._inner = -1
                self._close(mark)
            else:
                self._inner -= 1

    def _take(self, end: int, found: list[bytes], even_blank: bool) -> None:
        element = self._data[self._begun : end].strip()
        if element or even_blank:
            found.append(element if self._breaks else element.replace(b"\r", b" ").replace(b"\n", b" "))
        self._breaks = False

    def _around(self, token: bytes, start: int, end: int) -> None:
        mark = token[0]
        frame = self._frames[-1] if self._frames else None
        if mark in (_OPEN, _OPEN_ARRAY):
            is_due = self._previous in _MAY_PRECEDE and not (frame and frame.kind == _OPEN and self._previous != _COLON)
            if not is_due or self._data[self._at : start].strip(_BLANKS):
                raise ScanError("is not JSON: a value stands where a comma or a name is due")
            self._capture = None
            self._open(mark, end)
        elif mark in (_CLOSE, _CLOSE_ARRAY):
            if frame is None:
                raise ScanError("is not JSON: a bracket is closed that was not opened")
            self._keep(start)
            self._close(mark)
        elif mark == _QUOTE:
            if frame is None:
                raise ScanError("is a JSON text, not an object or array")
            self._string, self._previous = (b"", _CLOSE) if self._previous == _COLON else (token, _QUOTE)
        elif mark == _COLON:
            if frame is None or frame.kind != _OPEN or not self._string:
                raise ScanError("is not JSON: a : stands where none is due")
            frame.name, self._string, self._previous = _text(self._string), b"", _COLON
            if self._wanted and all(f.kind == _OPEN for f in self._frames):
                path = tuple(f.name or "" for f in self._frames)
                self._capture = (path, end) if path in self._wanted else None
        else:
            if frame is None:
                raise ScanError("is not JSON: a comma stands outside all brackets")
            self._keep(start)
            self._string, self._previous = b"", _COMMA

    def _keep(self, end: int) -> None:
        if self._capture is None:
            return
        path, start = self._capture
        value = self._data[start:end].strip()
        if self.values.setdefault(path, value) != value:
            raise ScanError(f"has two values at $.{'.'.join(path)}; its records cannot all have one")
        self._capture = None

    def _open(self, mark: int, end: int) -> None:
        frame = self._frames[-1] if self._frames else None
        level = -1
        if self._path is not None:
            if frame is None:
                level = 0
            elif frame.level >= 0 and frame.kind == _OPEN_ARRAY:
                level = frame.level
            elif 0 <= frame.level < len(self._path) and frame.name == self._path[frame.level]:
                level = frame.level + 1
        self._frames.append(_Frame(mark, level))
        self._previous, self._string = (_OPEN_ARRAY if mark == _OPEN_ARRAY else _OPEN), b""
        if self._path is None or level != len(self._path):
            return
        if mark == _OPEN_ARRAY:
            self.arrays += 1
            self._inner, self._begun, self._breaks = 0, end, False
        else:
            self.led_to_object = True

    def _close(self, mark: int) -> None:
        frame = self._frames.pop()
        if (frame.kind == _OPEN) != (mark == _CLOSE):
            raise ScanError("is not JSON: a bracket is closed by one of the other kind")
        self._previous, self._string = _CLOSE, b""
        if not self._frames:
            self.texts, self._previous = self.texts + 1, None


def _text(token: bytes) -> str:
    try:
        return str(json.loads(token))
    except ValueError as cause:
        raise ScanError("is not JSON: a name is no text") from cause
