"""How records are written: in lines of JSON or CSV, in one JSON document, in Parquet, in a table of SQLite.

Each is one class with the same face (`Format`), made from the contract; nothing outside this room asks which it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pyarrow as pa

from data_sources.contract import Contract
from data_sources.records import Records
from data_sources.splits import FileEnd, FileSplit, Segment

if TYPE_CHECKING:
    from data_sources.decode.rejects import Decoded

Block = Records | tuple[pa.Table, int]
"""Records not yet decoded; of Parquet, rows and the position of the first."""


class Planned(NamedTuple):
    """What of a file to read next, None where nothing is new; what a person should be told of the file; and why its
    last record waits for more, where it does."""

    split: FileSplit | None
    notes: tuple[str, ...] = ()
    waits: str | None = None


class Format(Protocol):
    """One way of writing records."""

    @property
    def endings(self) -> tuple[str, ...]:
        """How names of its files end, in lower case, before that of a compression."""

    @property
    def grows(self) -> bool:
        """Whether more may be appended to a file that was read."""

    @property
    def is_text(self) -> bool:
        """Whether it is read as a stream of bytes, and so also out of an archive."""

    def plan(self, split: FileSplit, before: FileEnd | None, rows: int) -> Planned:
        """`split` says where the file is and where to begin; at most `rows` records. Raises ValueError for a file that
        cannot be read."""

    def cut(self, split: FileSplit, rows: int) -> list[FileSplit]:
        """The split in parts that read the same records, each of about so many; as one, where that cannot be cut."""

    def read(self, split: FileSplit) -> Iterator[Block | FileEnd]:
        """The split's blocks, and last where it ended."""

    def decode(self, block: Block, header: tuple[str, ...] | None, constants: Mapping[str, str | None]) -> Decoded:
        """Rows and rejects of a block. header: column names of the file, where it has any; constants: per field the
        text that the file says of all its records."""

    def messages(self, records: Records) -> Records:
        """Of messages, each whole, the records in them. Raises ValueError where a message cannot be of this format."""


@lru_cache(maxsize=32)
def format_of(contract: Contract) -> Format:
    """How the feed's records are written."""
    match contract.format:
        case "csv":
            from data_sources.formats.csv_lines import Csv

            return Csv(contract)
        case "parquet":
            from data_sources.formats.parquet import Parquet

            return Parquet(contract)
        case "sqlite":
            from data_sources.formats.sqlite import Sqlite

            return Sqlite(contract)
        case _ if contract.document is not None:
            from data_sources.formats.json_document import JsonDocument

            return JsonDocument(contract)
        case _:
            from data_sources.formats.json_lines import JsonLines

            return JsonLines(contract)


def ended(
    split: FileSplit, offset: int, line: int, *, done: bool, segments: tuple[Segment, ...] = (), open_line: bool = False
) -> FileEnd:
    """Where reading of a split stopped."""
    return FileEnd(
        path=split.path, name=split.name, source=split.source, offset=offset, line=line, size=split.size, mtime=split.mtime,
        digest=split.digest, segments=segments, done=done, open_line=open_line, role=split.role,
        twice=split.twice,
    )  # fmt: skip
