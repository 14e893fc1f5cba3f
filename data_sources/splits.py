"""What a slice reads: splits of sources, decided and written down before reading, and the ends at which reading stopped.

    [ split of slice 1 )[ split of slice 2 )            a file's lines, a topic partition's offsets
                      end                 end           where the next slice goes on

All are plain values: they travel between workers as JSON, and stand in the commit log as they are here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct, field


class Segment(NamedTuple):
    """Bytes of a file that one slice read, or several one after another, so that a file that changed is told from one that
    grew."""

    start: int
    """First byte."""
    end: int
    """First byte behind."""
    digest: str
    """xxh3 of the bytes, hexadecimal."""


Role = Literal["snapshot", "delta"]


class FileSplit(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="file"):
    """A part of a file: lines from a byte on, whole row groups of Parquet, or rows of an SQLite table from a rowid on."""

    path: str
    """Absolute."""
    name: str
    """The path relative to the source, `/` between its parts."""
    source: str | None = None
    """What `_source` of its rows is, where that is not the name: FILE:TABLE of an SQLite file."""
    start: int
    """Byte, row group or rowid to begin with; of a compressed file the byte is that of its content."""
    line: int
    """Line, row group's number or rowid at `start`."""
    rows: int = 0
    """At most so many records."""
    groups: int = 0
    """Row groups to read, of Parquet."""
    size: int
    """Bytes of the file when the slice was planned."""
    mtime: int
    """Nanoseconds since the epoch, when the slice was planned."""
    digest: str | None = None
    """xxh3 of a file that cannot grow: compressed, Parquet, SQLite."""
    segments: tuple[Segment, ...] = ()
    """What slices before this one read."""
    open_line: bool = False
    """Whether the record before `start` was read without its line end, which may have come since."""
    returns: bool = False
    """Whether lines of a CSV file end with a lone carriage return."""
    header: tuple[str, ...] | None = None
    """Column names of a CSV file that has a header."""
    constants: tuple[tuple[str, str | None], ...] = ()
    """(field, text) of the fields whose value the file's name, its preamble or its document says once for all records."""
    twice: str = ""
    """Of local times that come twice, which have come once before `start`: see FileEnd."""
    role: Role | None = None
    """What the file says of keys it lacks; of feeds that tell snapshots from changes."""
    poison: str | None = None
    """Why its records are rejects of cause `poison`, undecoded: no slice that decoded them could be landed."""
    number: int = field(name="part", default=0)
    """Its place among the splits of the slice."""

    @property
    def key(self) -> str:
        return self.path

    @property
    def lineage(self) -> str:
        """`_source` of its rows."""
        return self.source or self.name

    @property
    def partition(self) -> None:
        """`_partition` of its rows."""
        return None

    @property
    def is_log(self) -> bool:
        """Whether its records are in the order in which they came; of files the contract says."""
        return False


class KafkaSplit(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="kafka"):
    """Offsets [start, end) of a topic's partition."""

    topic: str
    bootstrap: str
    """Servers, as the source names them."""
    partition: int
    """Its number in the topic."""
    start: int
    """First offset."""
    end: int
    """First offset behind."""
    topic_id: str | None = None
    """What the broker calls the topic; one that is made anew under the same name has another."""
    poison: str | None = None
    """Why its records are rejects of cause `poison`, undecoded: no slice that decoded them could be landed."""
    number: int = field(name="part", default=0)
    """Its place among the splits of the slice."""

    @property
    def key(self) -> str:
        return f"{self.topic}/{self.partition}"

    @property
    def lineage(self) -> str:
        """`_source` of its rows."""
        return self.topic

    @property
    def rows(self) -> int:
        """At most so many records."""
        return self.end - self.start

    @property
    def is_log(self) -> bool:
        """Whether its records are in the order in which they came."""
        return True

    @property
    def header(self) -> None:
        """Messages have no header."""
        return None

    @property
    def constants(self) -> tuple[tuple[str, str | None], ...]:
        """What is said once for all records: nothing."""
        return ()

    @property
    def role(self) -> None:
        """A topic holds changes, no snapshots."""
        return None


class LateSplit(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="late"):
    """A landed file of late rows, which is taken in again."""

    path: str = field(name="late")
    """Relative to LAKE/landing/FEED."""
    commit: int
    """The commit that kept it."""
    rows: int
    """How many it holds."""
    number: int = field(name="part", default=0)
    """Its place among the splits of the slice."""

    @property
    def key(self) -> str:
        return self.path


class Origin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decoding rejects of a source needs besides their bytes: what the file said once for all its records."""

    source: str
    """`_source` of the rejects."""
    name: str | None = None
    """The file's path relative to the source; null for a topic."""
    header: tuple[str, ...] | None = None
    """Column names of a CSV file that has a header."""
    constants: tuple[tuple[str, str | None], ...] = ()
    """(field, text) of the fields whose value the file's name, its preamble or its document said once for all records."""


class JudgedBy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A commit that judged rejects, and how its contract numbered records."""

    commit: int
    """Its number."""
    unpivot: bool = False
    """Whether it had [unpivot]: positions are those of rows times 10,000 plus a column."""
    document: bool = False
    """Whether it had [json] records: positions of messages are offsets times 1,000,000 plus a number."""


class RejectedSplit(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="rejected"):
    """A landed file of rejects, some or all of which are judged again; the others go into the new commit's file."""

    path: str = field(name="rejected")
    """Relative to LAKE/landing/FEED."""
    commit: int
    """The commit that kept it."""
    rows: int
    """How many it holds."""
    rule: str | None = None
    """Judged again are those of this rule only, RULE or CAUSE/RULE; null: of any but those of cause `poison`."""
    judged: tuple[JudgedBy, ...] = ()
    """Judged again are those that these commits were the last to judge: under another contract than that of now."""
    origins: tuple[Origin, ...] = ()
    """Judged again are those of these sources."""
    number: int = field(name="part", default=0)
    """Its place among the splits of the slice."""

    @property
    def key(self) -> str:
        return self.path


Split = FileSplit | KafkaSplit | LateSplit | RejectedSplit


class FileEnd(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="file"):
    """Where reading of a file stopped, and all that tells whether there is more, or the file was changed."""

    path: str
    """Absolute."""
    name: str
    """The path relative to the source, `/` between its parts."""
    source: str | None = None
    """What `_source` of its rows is, where that is not the name."""
    offset: int
    """Byte, row group or rowid to go on at."""
    line: int
    """Line, row group's number or rowid at `offset`."""
    size: int
    """Bytes of the file when the slice was planned."""
    mtime: int
    """Nanoseconds since the epoch, when the slice was planned."""
    digest: str | None = None
    """xxh3 of a file that cannot grow: compressed, Parquet, SQLite."""
    segments: tuple[Segment, ...] = ()
    """What was read of a file that may grow."""
    done: bool = False
    """Whether nothing of what was there then is left to read."""
    open_line: bool = False
    """Whether the last record was read without its line end, which may come yet."""
    role: Role | None = None
    """What the file says of keys it lacks."""
    twice: str = ""
    """Of local times that come twice, in a feed whose `on_dst` is "in_order": which have come once, as base64 of 64-bit
    hashes."""

    @property
    def key(self) -> str:
        return self.path

    @property
    def lineage(self) -> str:
        """`_source` of its rows."""
        return self.source or self.name


class KafkaEnd(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="kafka"):
    """Where reading of a topic's partition stopped."""

    topic: str
    partition: int
    """Its number in the topic."""
    offset: int
    """Offset to go on at."""
    topic_id: str | None = None
    """What the broker called the topic."""

    @property
    def key(self) -> str:
        return f"{self.topic}/{self.partition}"


End = FileEnd | KafkaEnd


class PartitionPlan(Struct, frozen=True, kw_only=True):
    """One partition's part of a slice. A partition is read by one worker, its splits in their order.

    A Kafka partition is a partition; a file is one, or the files in the order of their names form one together.
    """

    key: str
    """TOPIC/NUMBER, a file's path, `files` for those that form one log, `late` for late rows taken in again,
    `rejected` for rejects judged again."""
    max_event_time: int | None = field(name="greatest", default=None)
    """M before the slice, microseconds since the epoch; null before the first record, and for files that are whole in
    themselves."""
    newest_arrival: int | None = None
    """Newest arrival before the slice, microseconds since the epoch; null for files."""
    splits: tuple[Split, ...] = field(name="parts")
    """What to read of it, in this order."""
