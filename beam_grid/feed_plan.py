"""`beam-grid plan FEED`: what a run of a feed would do, before it does it.

    steps      the graph, from the contract: what each step does, and where it runs
    runner     what it can and cannot do (runners/capabilities.py)
    state      what the feed keeps, and how much that comes to at the rate at which the lake was filled
    next       what a slice would read now, planned and not read

Nothing is written and no Beam is loaded. A size without a lake is said per record a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from beam_grid.commit import Commit
from beam_grid.landing import Lake
from beam_grid.plan import next_slice
from beam_grid.state import FeedState
from data_sources.contract import Contract, WindowSpec
from data_sources.durations import format_duration, micros
from data_sources.sources import Source
from runners.capabilities import Capabilities
from transforms.shard import DEFAULT_SHARDS

Where = Literal["driver", "workers", "publish", "Spark"]

KEY_BYTES = 8
"""Of a known key on disk: its hash; where hashes meet, the landed row is read."""

TILE_BYTES = 60
"""Of a tile on disk, measured on meter readings with four measures."""


@dataclass(frozen=True)
class Step:
    """A step of the graph. after: names of the steps it takes from."""

    name: str
    does: str
    runs: Where
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """State of a feed. rows, bytes: estimated at the rate at which the lake was filled; None where that is not known."""

    name: str
    what: str
    seconds: float | None
    """How many seconds of event time of it are kept; None: for ever."""
    rows: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Read:
    """A partition of the next slice: its key, how many splits, at most how many records."""

    partition: str
    splits: int
    rows: int


@dataclass
class FeedPlan:
    """rows_per_s: of event time, as landed so far; None without a lake that has any."""

    feed: str
    steps: list[Step]
    runner: Capabilities
    state: list[Kept]
    rows_per_s: float | None = None
    landed: int = 0
    next: list[Read] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def feed_plan(
    contract: Contract,
    runner: Capabilities,
    lake: Lake | None = None,
    source: Source | None = None,
    rows: int = 500_000,
) -> FeedPlan:
    """The plan of a feed. Raises GridError where the source cannot be read at all, or the lake's log is damaged."""
    state = FeedState.of(lake.feed(contract.name)) if lake is not None else FeedState()
    sharding = lake.feed(contract.name).sharding if lake is not None else None
    shards = sharding.shards if sharding is not None else DEFAULT_SHARDS
    last = lake.feed(contract.name).read(state.last) if lake is not None and state.last else None
    rate = rows_per_second(state, contract)
    plan = FeedPlan(contract.name, steps(contract, runner, shards), runner, kept(contract, state, rate, last), rate)
    plan.landed = state.totals.landed
    if source is not None:
        found = next_slice(source, contract, state, rows)
        plan.next = [Read(p.key, len(p.splits), sum(split.rows for split in p.splits)) for p in found.partitions]
        plan.problems = [*found.problems, *found.waiting]
    return plan


def steps(contract: Contract, runner: Capabilities, shards: int) -> list[Step]:
    """The graph, each step after those it takes from."""
    dedup, load = contract.dedup, contract.lake.load
    order = "files in the order of their names, as one log" if contract.file_order == "name" else "each file, or topic partition, by itself"  # fmt: skip
    how = "cut into splits" if runner.parallel_read.able else "blocks decoded ahead in threads"
    rejecting = [rule.id for rule in contract.all_rules if rule.on_fail == "reject"]
    warning = [rule.id for rule in contract.all_rules if rule.on_fail == "warn"]
    late = f"late behind M - {format_duration(contract.lateness)}" if load == "append" else "nothing is late"
    judge = f"rules that reject: {len(rejecting)}, that warn: {len(warning)}; {late}"
    if contract.max_future is not None:
        judge += f"; beyond arrival + {format_duration(contract.max_future)} is the future"
    copies = f"copies by {', '.join(dedup.key)}: {'the first stays' if dedup.keep == 'first' else 'the greatest by ' + ', '.join(dedup.order_by)}"  # fmt: skip
    found = [
        Step("plan", f"what is new: {order}", "driver"),
        Step("read", f"{contract.format}, {len(contract.fields)} fields; {how}", "workers", ("plan",)),
        Step("judge", judge, "workers", ("read",)),
        Step("shard", f"by a hash of the key into {shards}", "workers", ("judge",)),
        Step("dedup", copies, "workers", ("shard",)),
    ]
    found += [Step(f"tiles {w.name}", described(w, contract), "workers", ("dedup",)) for w in contract.windows]
    written = ["dedup", *(f"tiles {w.name}" for w in contract.windows), "judge"]
    found.append(Step("write", "Parquet: rows, tiles, late, rejected, conflicts", "workers", tuple(written)))
    found.append(Step("commit", "checks that read = landed + duplicates + late + rejected", "driver", ("write",)))
    if load == "append":
        found.append(
            Step(f"silver.{contract.name}", "landed files become the table's, by link", "publish", ("commit",))
        )
    else:
        what = "changes merged" if load == "cdc" else "versions of rows kept (SCD2)"
        found.append(Step(f"silver.{contract.name}", what, "Spark", ("commit",)))
    found += [Step(f"gold.{w.name}", "tiles merged to windows", "publish", ("commit",)) for w in contract.windows]
    found.append(Step("bronze", "rejected, late, conflicts: one row a record", "publish", ("commit",)))
    if contract.lake.cluster_by:
        found.append(Step("cluster", f"OPTIMIZE by {', '.join(contract.lake.cluster_by)}", "Spark", (f"silver.{contract.name}",)))  # fmt: skip
    return found


def described(window: WindowSpec, contract: Contract) -> str:
    """A window in words."""
    if window.calendar is not None:
        length = f"a local {window.calendar} ({window.time_zone})"
    else:
        length = format_duration(window.length)
        length += f" every {format_duration(window.step)}, of tiles of {format_duration(window.cell)}" if window.every else ""  # fmt: skip
    by = f" per {', '.join(window.by)}" if window.by else ""
    return f"{length}{by}: {', '.join(window.measures)}"


def retention(contract: Contract) -> timedelta | None:
    """Of event time after which a landed row can have no copy on time; None where never (transforms/drop_duplicates.py)."""
    if contract.lake.load != "append":
        return None
    if contract.event_time in contract.dedup.key:
        return contract.lateness
    return None if contract.dedup.horizon is None else contract.lateness + contract.dedup.horizon


def kept(contract: Contract, state: FeedState, rate: float | None, last: Commit | None) -> list[Kept]:
    """What the feed keeps between slices, and how much of it."""
    ttl = retention(contract)
    seconds = None if ttl is None else ttl.total_seconds()
    known = state.totals.landed if seconds is None else None if rate is None else round(rate * seconds)
    why = "a copy may come at any time" if ttl is None else f"a copy on time is at most {format_duration(ttl)} behind M"
    found = [
        Kept("keys looked at", f"hashes of {', '.join(contract.dedup.key)}: {why}", seconds, known, None if known is None else known * KEY_BYTES),
        Kept("keys on disk", "one hash a landed row, beside its file", None, state.totals.landed, state.totals.landed * KEY_BYTES),
    ]  # fmt: skip
    for window in contract.windows:
        open_s = (window.length + contract.lateness).total_seconds()
        groups = _groups(last, window)
        rows = None if groups is None else round(groups * max(1.0, open_s / window.step.total_seconds()))
        found.append(Kept(
            f"open windows {window.name}", "until the watermark has passed the end and the allowed lateness", open_s, rows,
            None if rows is None else rows * TILE_BYTES,
        ))  # fmt: skip
    found.append(Kept("M", "the greatest event time of each partition", None, len(state.max_event_times)))
    found.append(Kept("positions", "where reading stands, by file or topic partition", None, len(state.ends)))
    return found


def rows_per_second(state: FeedState, contract: Contract) -> float | None:
    """Landed rows by second of event time, from the bounds of the files; None where they do not say."""
    files = state.landed.files("rows") if state.last else []
    low = [v for f in files if isinstance(v := f.min.get(contract.event_time), int)]
    high = [v for f in files if isinstance(v := f.max.get(contract.event_time), int)]
    if not low or not high or max(high) == min(low):
        return None
    unit = 1.0 if contract.field(contract.event_time).type == "date" else 86_400e6
    return state.totals.landed / ((max(high) - min(low)) / unit * 86_400)


def _groups(last: Commit | None, window: WindowSpec) -> float | None:
    """Tiles a cell in the last commit: about as many groups of `by` as the window has. None without one."""
    if not window.by:
        return 1.0
    rows, cells = 0, 0.0
    width = window.step if window.calendar is not None else window.cell
    for file in last.listed("tiles") if last is not None else []:
        low, high = file.min.get("_cell"), file.max.get("_cell")
        if file.window == window.name and isinstance(low, int) and isinstance(high, int):
            rows += file.rows
            cells += (high - low) / micros(width) + 1
    return rows / cells if cells else None
