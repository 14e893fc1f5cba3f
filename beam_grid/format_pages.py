"""docs/commit-log.md and docs/table-set.md, made from the types: docstrings, fields and what is said beneath each.

python -m beam_grid.format_pages commit-log > docs/commit-log.md
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from beam_grid.commit import Commit, Fates, PartitionStatistics
from beam_grid.lakehouse.table_set import (
    KeptReflection,
    LeftOut,
    PublishedTable,
    Raw,
    Reflection,
    TableSet,
    TableVersion,
    View,
)
from data_sources.splits import (
    FileEnd,
    FileSplit,
    JudgedBy,
    KafkaEnd,
    KafkaSplit,
    LateSplit,
    Origin,
    PartitionPlan,
    RejectedSplit,
    Segment,
)
from transforms.manifest import Bound, LandedFile

COMMIT_LOG: dict[type, str] = {
    Commit: "commit",
    Fates: "fates",
    PartitionPlan: "partition plan",
    FileSplit: "file split",
    KafkaSplit: "Kafka split",
    LateSplit: "late split",
    RejectedSplit: "rejected split",
    JudgedBy: "judged by",
    Origin: "origin",
    PartitionStatistics: "partition statistics",
    FileEnd: "file end",
    KafkaEnd: "Kafka end",
    Segment: "segment",
    LandedFile: "landed file",
}
"""What is described, in this order, and by which name; the first is the file as a whole."""

TABLE_SET: dict[type, str] = {
    TableSet: "table set",
    PublishedTable: "published table",
    TableVersion: "table version",
    View: "view",
    LeftOut: "analysis left out",
    KeptReflection: "kept reflection",
    Reflection: "reflection",
    Raw: "raw reflection",
}

PAGES = {"commit-log": ("The commit log", COMMIT_LOG), "table-set": ("The set of table versions", TABLE_SET)}

_NAMES = COMMIT_LOG | TABLE_SET
_MODULES = {kind.__module__ for kind in _NAMES}

_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    datetime: "time, ISO 8601",
    NoneType: "null",
}


def page(name: str) -> str:
    """One of PAGES, Markdown. It begins with the docstring of the first type's module, but for the first paragraph."""
    title, sections = PAGES[name]
    note = f"<!-- Made from the types: python -m beam_grid.format_pages {name} > docs/{name}.md -->"
    *files, last = dict.fromkeys(f"`{kind.__module__.replace('.', '/')}.py`" for kind in sections)
    where = (
        f"The types are in {', '.join(files)}{' and ' if files else ''}{last}. A field with a default is left out where it "
        "has that value."
    )
    told = (inspect.getdoc(sys.modules[next(iter(sections)).__module__]) or "").split("\n\n")[1:]
    return "\n\n".join([f"# {title}", note, *map(_one_line, told), where, *map(_section, sections)]) + "\n"


def _section(kind: type) -> str:
    rows = ["| word | type | default | meaning |", "|---|---|---|---|", *_rows(kind)]
    return f"## {_title(kind)}\n\n{_paragraph(kind)}\n\n" + "\n".join(rows)


def _rows(kind: type) -> list[str]:
    told = _told(kind)
    if not issubclass(kind, msgspec.Struct):  # a NamedTuple is a list in JSON
        return [f"| {name} | {_type(of)} | | {told.get(name, '')} |" for name, of in get_type_hints(kind).items()]
    tag = kind.__struct_config__.tag
    rows = [f'| `kind` | "{tag}" | | |'] if tag else []
    for field in msgspec.structs.fields(kind):
        default = _default(field) if kind.__struct_config__.omit_defaults else ""
        rows.append(f"| `{field.encode_name}` | {_type(field.type)} | {default} | {told.get(field.name, '')} |")
    return rows


def _default(field: Any) -> str:
    if field.required:
        return ""
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return msgspec.json.encode(value).decode()


def _type(kind: Any) -> str:
    """A type in words, with a link where it has a section."""
    if kind in _NAMES:
        return f"[{_NAMES[kind]}](#{_NAMES[kind].lower().replace(' ', '-')})"
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == Bound:
        return "value"
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_type, arguments))
    if get_origin(kind) is Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if get_origin(kind) is tuple:
        return f"list of {_type(arguments[0])}"
    assert get_origin(kind) is dict, kind
    return f"object: name to {_type(arguments[1])}"


def _told(kind: type) -> dict[str, str]:
    """What stands beneath each field, base classes first."""
    told: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__ not in _MODULES:
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                told[field.target.id] = _one_line(ast.literal_eval(text.value))
    return told


def _title(kind: type) -> str:
    name = _NAMES[kind]
    return name[0].upper() + name[1:]


def _paragraph(kind: type) -> str:
    return _one_line(inspect.getdoc(kind) or "")


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.stdout.write(page(sys.argv[1]))
