"""A file of JSON as a sample: an object a line, or one document with its records in an array somewhere inside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from beam_grid.first_contract.events import is_epoch
from beam_grid.first_contract.look import ROWS, head_of
from beam_grid.first_contract.model import Sample
from beam_grid.first_contract.records import of_records
from beam_grid.first_contract.times import time_of
from data_sources.sources import SourceError
from data_sources.sources.finding import Found

MOST_DOCUMENT = 64 << 20
"""Bytes a document may have to be looked at."""


def of_json(file: Found, address: str, most: int) -> Sample:
    """The file's sample. Raises SourceError for what holds no records."""
    data = head_of(file.path, MOST_DOCUMENT + 1)
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode(
            "utf-8", "surrogateescape" if len(data) > MOST_DOCUMENT else "strict"
        )
    except UnicodeDecodeError as cause:
        raise SourceError(f"is not UTF-8 (byte {cause.start}), as JSON must be; write it again") from None
    records = _lines(text, most)
    if records is not None and not (len(records) == 1 and _arrays(records[0])):
        sample = of_records(records[:ROWS], address)
        if sample.changes is None and not has_times(sample) and any(map(_arrays, records[:10])):
            sample = of_documents(records, address)
        sample.files = [file.name]
        return sample
    if len(data) > MOST_DOCUMENT:
        raise SourceError(
            f"is one JSON document of more than {MOST_DOCUMENT >> 20} MB; give init a smaller one of its kind"
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise SourceError(f"is not JSON ({cause}); neither one document nor an object a line") from None
    sample = of_documents([document], address)
    sample.files = [file.name]
    return sample


def has_times(sample: Sample) -> bool:
    """Whether a column of the records themselves holds times."""
    found = ((column, time_of(column)) for column in sample.columns if "nested" not in column.kinds)
    return any(time is not None and is_epoch(column, time) for column, time in found)


def of_documents(documents: Sequence[Any], address: str, *, is_each: bool = False) -> Sample:
    """The sample of documents of one kind: the records are their largest array of objects. Raises SourceError without
    any. is_each: each has its own values at the root, as messages have; in a file the records of all share them."""
    arrays: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        for path, array in _arrays(document).items():
            arrays.setdefault(path, []).extend(array)
    if not arrays:
        raise SourceError("is one JSON document without an array of objects: records are the objects of an array")
    path = max(arrays, key=lambda p: len(arrays[p]))
    sample = of_records(arrays[path][:ROWS], address)
    sample.layout["records"] = path
    joined = sum(sum(p == path for p, _ in _parts(document)) for document in documents[:1])
    others = [f"{p} ({len(found):,})" for p, found in arrays.items() if p != path]
    sample.notes["records"] = f"The largest array of objects, {len(arrays[path]):,} of them" + (
        f"; others: {', '.join(others)}" if others else ""
    )
    if joined > 1:
        sample.notes["records"] += (
            f". They are of {joined:,} arrays, joined: what the objects around each array say of it is in no record"
        )
    roots = [dict(_scalars(d, "$")) for d in documents[:100] if isinstance(d, dict)]
    sample.roots = (
        {path: text for path, text in roots[0].items() if is_each or len({r.get(path) for r in roots}) == 1}
        if roots
        else {}
    )
    return sample


def _lines(text: str, most: int) -> list[dict[str, Any]] | None:
    """The objects, where each line is one; None for a document. Lines that are none are the decoder's to reject."""
    found, bad, size = [], 0, 0
    for line in text.splitlines() if len(text) < 1 << 20 else text[: most + (1 << 20)].splitlines()[:-1]:
        if not line.strip():
            continue
        size += len(line)
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            found.append(value)
        else:
            bad += 1
        if (bad > 2 and bad > len(found)) or len(found) >= ROWS or size > most:
            break
    return found if found and bad <= len(found) else None


def _arrays(value: Any) -> dict[str, list[dict[str, Any]]]:
    """The arrays of objects in a document, by path; the arrays at one path together, as the reader has them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, array in _parts(value):
        found.setdefault(path, []).extend(array)
    return found


def _parts(value: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each array of objects, with its path."""
    for path, array in _walk(value, ()):
        if array and all(isinstance(one, dict) for one in array):
            yield ".".join(path) or ".", array


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    if isinstance(value, list):
        yield path, value
        for one in value:
            yield from _walk(one, path)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name and "." not in name:
                yield from _walk(one, (*path, name))


def _scalars(value: dict[str, Any], at: str) -> Iterator[tuple[str, str]]:
    for name, one in value.items():
        if not name.strip() or "." in name:
            continue
        if isinstance(one, dict):
            yield from _scalars(one, f"{at}.{name}")
        elif isinstance(one, str | int | float) and not isinstance(one, bool):
            yield f"{at}.{name}", str(one)
