"""Sentences with `code` in them as HTML, by markdown-it: backticks become <code>, all else is text and escaped."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup


def prose(text: str) -> Markup:
    """One paragraph's HTML. No other Markdown is read: no links, no emphasis, no HTML."""
    return Markup(_reader().renderInline(text))


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt("zero", {"html": False}).enable("backticks")
