"""Fields that a file says once: in the lines above its header, at a document's root, in its name."""

from __future__ import annotations

import re

from beam_grid.first_contract.keys import subject_rank
from beam_grid.first_contract.model import Draft, FieldDraft, Sample
from beam_grid.first_contract.names import Taken, slug

_WORDS = "[Ss]ite|[Mm]eter|[Ss]ensor|[Ss]tation|[Zz]aehler|[Pp]lant|[Dd]evice|[Hh]ouse|[Hh]ousehold|[Aa]nlage|[Ff]eeder"


def add_beside(draft: Draft, names: Taken) -> None:
    """What a file says of all its records: lines above a header, values at a document's root."""
    sample = draft.sample
    for line in sample.preamble[:40]:
        label, mark, text = line.partition(str(sample.layout.get("delimiter", ";")))
        label, text = label.strip(' "\t'), text.strip(f' "\t{mark}')
        if not mark or not label or not text or mark in text or len(label) > 60:
            continue
        name = names.free(slug(label))
        pattern = rf"^\"?{_escaped(label)}\"?\s*{_escaped(mark)}\s*\"?([^{_escaped(mark)}\"]+)"
        pattern = pattern.replace(r"\"", '"')
        rank = subject_rank(slug(label))
        hidden = rank is None or rank > 4
        said = f"{text!r} in the lines above the header"
        draft.fields.append(FieldDraft(name, "string", {"from_preamble": pattern}, [said], hidden))
    for digits in _numbers_above(sample, draft):
        pattern = rf"(?:^|[^0-9])([0-9]{{{len(digits)}}})(?:[^0-9]|$)"
        said = f"{digits!r} in the lines above the header: does it name what is metered?"
        draft.fields.append(FieldDraft(names.free("meter"), "string", {"from_preamble": pattern}, [said]))
    for path, text in list(sample.roots.items())[:20]:
        name = names.free(slug(path.removeprefix("$.")))
        hidden = subject_rank(name) is None
        said = f"{text[:60]!r} at the document's root"
        draft.fields.append(FieldDraft(name, "string", {"source": path}, [said], hidden))
    if not any(subject_rank(f.name) is not None and not f.hidden for f in draft.fields):
        _from_name(draft, names)


def _from_name(draft: Draft, names: Taken) -> None:
    """A field for a long number in the files' names, or one behind a word such as site, where no other field names what
    is metered."""
    file = draft.sample.files[0] if draft.sample.files and not draft.sample.topic else ""
    long = re.search(r"(?:^|[^0-9A-Za-z])([A-Z]{0,4}[0-9]{8,33})(?:[^0-9A-Za-z]|$)", file)
    worded = re.search(rf"(?:^|[^A-Za-z])({_WORDS})[_-]?([0-9]+)(?:[^0-9A-Za-z]|$)", file)
    if long is not None and not re.fullmatch(r"(19|20)\d{6}(\d{4}|\d{6})?", long[1]):
        seen, name = long[1], "meter"
        pattern = rf"(?:^|[^0-9A-Za-z])([0-9A-Z]{{{len(seen)}}})(?:[^0-9A-Za-z]|$)"
    elif worded is not None:
        seen, name = worded[2], slug(worded[1])
        pattern = rf"(?:^|[^A-Za-z]){worded[1]}[_-]?([0-9]+)"
    else:
        return
    said = f"{seen!r} in the file's name: does it name what is metered?"
    draft.fields.append(FieldDraft(names.free(name), "string", {"from_name": pattern}, [said]))


def _numbers_above(sample: Sample, draft: Draft) -> list[str]:
    """A long number in the lines above a header, where no labelled one names what is metered."""
    if any("from_preamble" in f.words and not f.hidden for f in draft.fields):
        return []
    found = [m for line in sample.preamble[:40] for m in re.findall(r"(?<!\d)\d{8,33}(?!\d)", line)]
    return list(dict.fromkeys(found))[:1]


def _escaped(text: str) -> str:
    """The text as a regular expression of RE2 that finds itself."""
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)
