"""Words of a contract that need, or exclude, one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_sources.contract.layout import CsvSpec
from data_sources.contract.parts import meant

if TYPE_CHECKING:
    from data_sources.contract import Contract


_OF_CSV = ("encoding", "header", "decimal", "thousands", "last_line", "short_rows", "sheet")
"""Words that other formats would pass over, and somebody would read numbers or letters wrong."""


def check_words(contract: Contract) -> None:
    """Raise ValueError, naming the word and the remedy, where two words of the contract contradict."""
    _check_layout(contract)
    _check_fields(contract)
    _check_unpivot(contract)
    _check_order(contract)


def _check_layout(contract: Contract) -> None:
    csv = contract.csv
    for glob in contract.files:
        if not glob.strip() or glob.startswith(("/", "./", "../")):
            raise ValueError(
                f"files: {glob!r} matches no file; write a glob of the names below the source, as in "
                '"*.tsv" or "meters/*.csv"'
            )
    if contract.format != "csv":
        for word in _OF_CSV:
            if getattr(csv, word) != CsvSpec.model_fields[word].default:
                raise ValueError(f'csv.{word}: is for format = "csv", not for "{contract.format}"; leave it out')
    if contract.document is not None and contract.format != "json":
        raise ValueError(f'json.records: is for format = "json", not for "{contract.format}"; leave [json] out')
    if csv.sheet is not None and not any(".xlsx" in glob.lower() for glob in contract.files):
        raise ValueError('csv.sheet: is for workbooks; name them as in files = ["*.xlsx"], or leave sheet out')
    if csv.thousands == csv.delimiter and csv.quote in ("", "\0"):
        raise ValueError("csv.thousands: equals the delimiter, and no value can be quoted; leave it out")


def _check_fields(contract: Contract) -> None:
    for field in contract.fields:
        where = f"field {field.name!r}"
        if field.from_preamble is not None and not (contract.format == "csv" and isinstance(contract.csv.header, str)):
            raise ValueError(
                f"{where}, from_preamble: only a CSV file whose header is named has lines above it; write "
                '[csv] header = "..." with what the header line begins with'
            )
        if field.aliases and contract.format == "csv" and contract.csv.header is False:
            raise ValueError(
                f"{where}, aliases: are names of a header, and csv.header is false; leave aliases out, or header"
            )
        rooted = [name.startswith("$.") for name in field.wanted]
        if contract.document is not None and any(rooted) and not all(rooted):
            raise ValueError(
                f"{where}, aliases: a path from the document's root and a name of its records cannot stand for each "
                "other; begin all of them with $. or none"
            )
        sources = [*field.wanted, *(field.source if isinstance(field.source, list) else [])]
        for source in sources:
            if not source.startswith("$.") and source != "$":
                continue
            if contract.format != "json":
                raise ValueError(f'{where}, source: {source!r} is a path of JSON; format is "{contract.format}"')
            if not all(part.strip() for part in source[2:].split(".")):
                raise ValueError(f'{where}, source: {source!r} is not a path; write names with dots, as in "$.site.id"')


def _check_unpivot(contract: Contract) -> None:
    unpivot = contract.unpivot
    if unpivot is None:
        return
    names = [field.name for field in contract.fields]
    for name in unpivot.into:
        if name not in names:
            raise ValueError(f"unpivot.into: there is no field {name!r}{meant(name, names)}")
        field = contract.field(name)
        for word in ("source", "aliases", "from_name", "from_preamble"):
            if getattr(field, word):
                raise ValueError(
                    f"field {name!r}, {word}: the field takes what [unpivot] finds; leave {word} out, or name "
                    "another field in into"
                )
    if contract.format == "csv" and contract.csv.header is False:
        raise ValueError("unpivot: columns are known by the header's names, and csv.header is false; leave one out")
    if contract.lake.load != "append":
        raise ValueError(f'unpivot: is for readings, not for load = "{contract.lake.load}"; leave [unpivot] out')


def _check_order(contract: Contract) -> None:
    in_order = [field.name for field in contract.fields if field.on_dst == "in_order"]
    if not in_order:
        return
    where = f"field {in_order[0]!r}, on_dst"
    if contract.lake.load != "append":
        raise ValueError(
            f'{where}: "in_order" counts records of one dedup key, and load = "{contract.lake.load}" has none; '
            "write earlier or later"
        )
    key = [contract.field(n) for n in contract.dedup.key if n in {field.name for field in contract.fields}]
    if not any(field.type in ("timestamp", "date") for field in key):
        raise ValueError(
            f'{where}: "in_order" tells records of one dedup key apart by their time; add {in_order[0]!r} to dedup.key'
        )
    if contract.format == "sqlite":
        raise ValueError(f'{where}: rows of a table have no order of their own; write earlier or later for "in_order"')
