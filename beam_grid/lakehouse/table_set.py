"""A set of table versions that belong together, typed; docs/table-set.md, made from these types, tells it word by word.

One JSON file per set, LAKE/versions/0000000001.json and so on, created atomically and never changed. Readers (`query`,
`report`, `ledger`) see the tables as the newest set names them: a refine under way, or one that was killed between two
tables, is not seen.

Sets written before 26 Nov 2026 stay readable: they wrote out what is left out now.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct, field

from beam_grid.commit import FORMAT
from beam_grid.errors import GridError
from data_sources.typed_json import decoder, encode


class TableVersion(NamedTuple):
    """A list of two: a version of a table, as somebody saw it."""

    id: str
    """Delta's table id."""
    version: int
    """Delta's version."""


class Recipe(Struct, frozen=True, kw_only=True):
    """What an analysis is made from and how; the same recipe makes an equal table."""

    definition: str
    """Hash of the analysis: its SQL, order, key and expectations."""
    inputs: dict[str, str]
    """By table that decides its rows: what identifies the rows there."""
    parameters: dict[str, str]
    """By parameter: its value, as text."""


class Raw(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The newest rows of a table, as they are."""

    days: int
    """How many, before the hour of the newest row."""
    time: str
    """The column with the rows' time, a timestamp."""
    sort: tuple[str, ...] = ()
    """The order of rows within an hour; `time` unless given."""


class Reflection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What LAKE/reflections.toml says of one: partial aggregates of a table's rows, or its newest rows."""

    name: str
    """It is kept as the table reflection.NAME."""
    table: str
    """The table whose queries it answers, as silver.FEED or gold.WINDOW."""
    dimensions: tuple[str, ...] = ()
    """Columns, and of timestamps minute(x), hour(x), day(x) or month(x), in UTC."""
    measures: tuple[str, ...] = ()
    """count(), and count, sum, min, max, avg, distinct of a column, and quantile(x, rank)."""
    refresh: str = "commit"
    """When it is brought up: at each published commit, or at most so often, as 5m."""
    raw: Raw | None = None
    """Instead of dimensions and measures."""


class KeptReflection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reflection as it was last brought up."""

    declared: Reflection
    """What it is."""
    types: dict[str, str]
    """By column of the table: its type, as Delta calls it."""
    refreshed_at: datetime
    """In UTC."""
    seconds: float
    """How long the last refresh took."""
    since: int | None = None
    """Of a raw one: rows of this time on are in it, microseconds since the epoch."""


class PublishedTable(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Delta table at one version. One made of commits has feeds; a derived one has inputs."""

    path: str
    """Its folder, relative to the lake."""
    version: int
    """Delta's version that readers see."""
    id: str
    """Delta's table id: another one is another table, made anew."""
    feeds: dict[str, int] = {}
    """By id of Delta's transactions, LAKE/FEED/TABLE and of a window its definition's hash: the last commit looked at,
    written or not."""
    definition: str | None = None
    """Of an analysis: hash of its SQL, order, key and expectations."""
    inputs: dict[str, str | tuple[str, ...]] | None = None
    """Of a derived table: by table that decides its rows, what identifies the rows there. Of gold.quality: by
    TABLE/EXPECTATION, the expectation and what identifies the rows of the tables it looks at."""
    parameters: dict[str, str] = {}
    """Of an analysis: by parameter its value, as text."""
    read_at: dict[str, TableVersion] = {}
    """Of an analysis or reflection: by table that decides its rows, the version it was made or brought up from."""
    reflection: KeptReflection | None = None
    """Of a reflection: what it is, and when it was brought up."""

    @property
    def is_derived(self) -> bool:
        """Whether it is computed from other tables, not from commits: an analysis, or gold.quality."""
        return self.inputs is not None and self.reflection is None

    @property
    def at(self) -> TableVersion:
        return TableVersion(self.id, self.version)

    @property
    def signature(self) -> str:
        """Identifies the table's rows by what made them; an OPTIMIZE does not change it."""
        import hashlib  # who only reads a set does not wait for it

        parameters = None if self.definition is None else self.parameters
        parts = [self.id, self.feeds, self.definition, self.inputs, parameters]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def is_by(self, recipe: Recipe) -> bool:
        """Whether the recipe's SQL and parameters made it, of these or other rows."""
        return (self.definition, self.parameters) == (recipe.definition, recipe.parameters)

    def is_of(self, recipe: Recipe) -> bool:
        """Whether the recipe would make an equal table."""
        return self.is_by(recipe) and self.inputs == recipe.inputs


class View(Struct, frozen=True, kw_only=True):
    """A view that `query` looks through."""

    sql: str
    """Its SELECT."""
    reads: tuple[str, ...]
    """Tables it names."""
    description: str
    """What it shows, one sentence."""


class LeftOut(Recipe, frozen=True, kw_only=True):
    """An analysis whose SQL does not fit the lake's tables; tried again when its recipe changes."""

    reason: str
    """What the engine said."""

    def is_of(self, recipe: Recipe) -> bool:
        """Whether the recipe is the one that did not fit."""
        own = (self.definition, self.inputs, self.parameters)
        return own == (recipe.definition, recipe.inputs, recipe.parameters)


class TableSet(Struct, frozen=True, kw_only=True):
    """The versions of tables that belong together, all or nothing."""

    format: int
    """2. A reader refuses a format above those it knows."""
    number: int = field(name="set")
    """From 1 on."""
    created_at: datetime
    """In UTC."""
    commits: dict[str, int]
    """By feed the last commit that all its tables hold."""
    tables: dict[str, PublishedTable]
    """By name, as silver.FEED, gold.WINDOW, bronze.late."""
    views: dict[str, View] = {}
    """By name, as gold.VIEW."""
    left_out: dict[str, LeftOut] = {}
    """By name, as gold.ANALYSIS."""
    seconds: dict[str, float] = {}
    """What was done for this set: by `land FEED` and by table brought up, how long it took."""

    def check_is(self, name: str, id: str) -> None:
        """Raises MadeAnew where the table of this id, which stands under the name, is another than the set's: its versions
        are counted from 0 again."""
        if self.tables[name].id not in ("", id):
            raise MadeAnew(
                f"table {name}: was made anew since version set {self.number}, which can no longer be read; ask the newest"
            )


class MadeAnew(GridError):
    """The table that is there is not the set's any more."""


class _Head(Struct):
    format: int


_head, _table_set = decoder(_Head), decoder(TableSet)


def to_json(table_set: TableSet) -> bytes:
    """The file's content."""
    return encode(table_set, indent=1)


def from_json(text: bytes) -> TableSet:
    """The set that a file holds; raises ValueError where it holds none, GridError where a newer version wrote it."""
    written = _head(text).format
    if written > FORMAT:
        raise GridError(
            f"was written by a newer version (format {written}, this version knows {FORMAT}); update beam-grid"
        )
    return _table_set(text)
