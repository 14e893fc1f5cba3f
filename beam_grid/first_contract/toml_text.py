"""Words of a contract as TOML. Whatever a file's names hold, it stays within its quotes, or behind its #."""

from __future__ import annotations

import re

from beam_grid.first_contract.model import Word

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def value(word: Word) -> str:
    """`"a \\"text\\""`, `true`, `["a", "b"]`."""
    if isinstance(word, bool):
        return "true" if word else "false"
    if isinstance(word, list):
        return "[" + ", ".join(map(value, word)) + "]"
    return _text(word)


def _text(text: str) -> str:
    text = _encodable(text)
    if re.search(r'[\\"]', text) and "'" not in text and not _CONTROLS.search(text):
        return f"'{text}'"  # a regular expression reads better as it is
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\t", "\\t")
    return '"' + _CONTROLS.sub(lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'


def assignment(name: str, word: Word) -> str:
    """`name = value` on a line."""
    return f"{name if _PLAIN_KEY.fullmatch(name) else _text(name)} = {value(word)}"


def comment(text: str, width: int = 116) -> list[str]:
    """Lines behind #, at most so wide where words allow."""
    lines = [""]
    for word in _CONTROLS.sub(lambda m: f"\\u{ord(m[0]):04x}", _encodable(text)).split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return [f"# {line}".rstrip() for line in lines]


def _encodable(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode()
