"""Scores of many readings, put together from those of chunks as they come, from several threads.

Arrays are made once and in large pieces, which cost the operating system less. What detectors share (most have the readings
as their value) is neither copied nor kept twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.detect.readings import Readings
from transforms.detect.scores import Scores

_FLOATS, _CODES = ("score", "probability", "value", "expected", "spread"), ("reason", "fallback")
_FIELDS = (*_FLOATS, *_CODES, "history")
_WORDS = ("detector", "reasons", "fallbacks", "version")


class Joined:
    """names: of the detectors; readings: all of them."""

    def __init__(self, names: Sequence[str], readings: Readings) -> None:
        self._value = readings.raw[0]
        self._words: list[dict[str, dict[str, Any]]] = []
        self._arrays: dict[tuple[str, str], npt.NDArray[Any]] = {}
        for fields, kind in ((_FLOATS, np.float64), (_CODES, np.int8), (("history",), np.int64)):
            block = np.empty((len(names), len(fields), len(readings)), kind)
            self._arrays |= {
                (name, field): block[n, m] for n, name in enumerate(names) for m, field in enumerate(fields)
            }
        self._shared: dict[tuple[str, str], list[tuple[slice, npt.NDArray[Any]]]] = {at: [] for at in self._arrays}

    def put(self, chunk: Readings, begin: int, part: dict[str, Scores]) -> None:
        """begin: the row that the chunk's first reading is of all."""
        rows = slice(begin, begin + len(chunk))
        held = {id(chunk.raw[0]): self._value}
        for (name, field), whole in self._arrays.items():
            array = getattr(part[name], field)
            same = held.setdefault(id(array), whole)
            if same is whole:
                whole[rows] = array
            else:
                self._shared[name, field].append((rows, same))
        self._words.append({name: {word: getattr(scores, word) for word in _WORDS} for name, scores in part.items()})

    def scores(self) -> dict[str, Scores]:
        """Of all chunks, when each has been put."""
        for at, shared in self._shared.items():
            if len(shared) == len(self._words) and len({id(same) for _, same in shared}) == 1:
                self._arrays[at] = shared[0][1]
            else:
                for rows, same in shared:
                    self._arrays[at][rows] = same[rows]
        return {name: self._whole(name, words) for name, words in self._words[0].items()}

    def _whole(self, name: str, words: dict[str, Any]) -> Scores:
        arrays: dict[str, Any] = {field: self._arrays[name, field] for field in _FIELDS}
        return Scores(**words, **arrays)
