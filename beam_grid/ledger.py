"""The ledger: what became of every record, per feed, and whether it balances.

`read = landed + duplicates + late + rejected` must hold in each commit; the landed files must hold as many rows as
the commits say; and, where the tables stand at the last commit, silver of a feed that appends must hold
`landed - superseded` rows (changes and master rows become states and versions there).
"""

from __future__ import annotations

import pyarrow as pa

from beam_grid.commit import FATES
from beam_grid.lakehouse.table_set import TableSet
from beam_grid.lakehouse.versions import newest
from beam_grid.landing import Lake
from beam_grid.state import FeedState

SCHEMA = pa.schema([("feed", pa.string()), *((f, pa.int64()) for f in FATES), ("balanced", pa.bool_())])


def ledger(lake: Lake) -> pa.Table:
    """One row a feed: SCHEMA."""
    known = newest(lake)
    published = known.commits if known else {}
    rows = []
    for name in lake.feeds:
        feed = lake.feed(name)
        state = FeedState.of(feed, landed=False)
        totals, balanced = state.totals, not state.unbalanced
        if known is not None and published.get(name) == state.last and feed.outline().lake.load == "append":
            balanced &= _in_silver(lake, known, name) == totals.landed - totals.superseded
        rows.append({"feed": name, **totals.by_name(), "balanced": balanced})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _in_silver(lake: Lake, known: TableSet, feed: str) -> int:
    """Rows of the set whose commits were looked at: a refine beside this one may have published more."""
    from beam_grid.lakehouse.query import query

    return int(query(lake, f'SELECT count(*) AS n FROM silver."{feed}"', known)["n"][0].as_py())
