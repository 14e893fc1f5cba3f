"""A draft as the text of a contract."""

from __future__ import annotations

from beam_grid.first_contract.model import Draft, FieldDraft, Word
from beam_grid.first_contract.toml_text import assignment, comment


def toml(draft: Draft) -> str:
    """The contract's TOML, with a comment at each guess."""
    sample = draft.sample
    out = comment(
        f"First contract of {_files(sample.files)}, from {sample.rows:,} sampled rows. Each comment says on what a guess "
        'rests; decide, then remove it. A "?" is a question that beam-grid contracts check asks.'
    )
    for line in sample.left[:10]:
        out += comment(f"Not looked at: {line}")
    if len(sample.left) > 10:
        out += comment(f"Not looked at: {len(sample.left) - 10:,} more")
    out += ["", assignment("name", draft.name), assignment("format", sample.format)]
    if sample.topic is not None:
        out.append(assignment("topic", sample.topic))
    out += _said(draft, "event_time", draft.event_time)
    if draft.max_future is not None:
        out += [
            f"{assignment('max_future', draft.max_future)}  # later times than the run's clock and this are rejected"
        ]
    if sample.topic is not None:
        out += [
            'out_of_orderness = "10m"  # how far messages overtake each other; decide',
            'allowed_lateness = "1h"  # how much later than that one still counts; decide',
        ]
    if sample.globs:
        out += _said(draft, "files", sample.globs)
    if sample.layout:
        out += ["", f"[{sample.format}]"]
        for word, given in sample.layout.items():
            out += comment(sample.notes[word]) if sample.notes.get(word) else []
            out.append(assignment(word, given))
    if draft.unpivot:
        out += ["", *_comments(draft, "unpivot"), "[unpivot]"]
        out += [assignment(word, given) for word, given in draft.unpivot.items()]
    if draft.lake:
        out += ["", *_comments(draft, "lake"), "[lake]"]
        for word, given in draft.lake.items():
            out += _said(draft, word, given)
    else:
        out += ["", *_comments(draft, "dedup"), "[dedup]", *_said(draft, "key", draft.key)]
    for field in draft.fields:
        out += ["", *_field(field)]
    if draft.windows:
        out += ["", *comment("A window table, for the taking:"), *(f"# {line}" for line in draft.windows)]
    return "\n".join(out) + "\n"


def _field(field: FieldDraft) -> list[str]:
    out = [line for text in field.comments for line in comment(text)]
    lines = ["[[fields]]", assignment("name", field.name)]
    words: dict[str, Word] = {}
    if "source" in field.words:
        words["source"] = field.words["source"]
    words["type"] = field.type
    words |= {word: given for word, given in field.words.items() if word != "source"}
    lines += [assignment(word, given) for word, given in words.items()]
    return out + ([f"# {line}" for line in lines] if field.hidden else lines)


def _said(draft: Draft, word: str, given: Word) -> list[str]:
    return [*_comments(draft, word), assignment(word, given)]


def _comments(draft: Draft, word: str) -> list[str]:
    return [line for text in draft.comments.get(word, []) for line in comment(text)]


def _files(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more files" if len(names) > 3 else "")
