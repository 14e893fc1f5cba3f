"""Numbers of a CSV as people write them, `1.204,5`, as programs do, `1204.5`; what is written otherwise is refused.

With `thousands`, digits before the decimal mark stand in groups of three or without any mark: `12.34` is no number
where the dot groups thousands, and neither is `1.2,5`, nor `0.125`, which somebody wrote the other way round. A blank as the mark is any blank (the no-break ones too), an
apostrophe also the typographic one. Signs of currencies and units are not taken off; `pattern` does that.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import CsvSpec
from data_sources.decode.kernels import NONE

_BLANKS, _APOSTROPHES = " \u00a0\u202f\u2009", "'\u2019"


def plain_numbers(values: pa.Array, csv: CsvSpec) -> tuple[pa.Array, np.ndarray]:
    """The numbers with a dot and no grouping, null where they are written otherwise, and the indices of those."""
    if csv.writes_numbers_plainly:
        return values, NONE
    stray = [] if csv.decimal == "." else ["."]
    marks = _alike(csv.thousands)
    if not any(pc.any(pc.match_substring(values, mark)).as_py() for mark in {*stray, *marks}):
        return _with_dots(values, csv.decimal), NONE
    mark, point = f"[{re.escape(marks)}]" if marks else "", re.escape(csv.decimal)
    grouped = rf"[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+|" if marks else ""
    form = rf"^\s*[+-]?(?:{grouped}[0-9]*)(?:{point}[0-9]*)?(?:[eE][+-]?[0-9]+)?\s*$"
    fits = pc.match_substring_regex(values, form)
    bad = np.flatnonzero(~fits.fill_null(True).to_numpy(zero_copy_only=False))
    if len(bad):
        values = pc.if_else(fits, values, pa.scalar(None, pa.string()))
    if marks:
        values = pc.utf8_trim_whitespace(values) if marks[0] == " " else values
        for each in marks:
            values = pc.replace_substring(values, each, "")
    return _with_dots(values, csv.decimal), bad


def _with_dots(values: pa.Array, decimal: str) -> pa.Array:
    return values if decimal == "." else pc.replace_substring(values, decimal, ".")


def _alike(mark: str | None) -> str:
    """The characters that stand for the mark."""
    if mark is None:
        return ""
    return next((alike for alike in (_BLANKS, _APOSTROPHES) if mark in alike), mark)
