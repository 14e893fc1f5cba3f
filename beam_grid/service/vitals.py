"""How a run that follows is: written by the loop that lands, read by `status`, metrics and health.

    follow ──► Vitals ──┬─► /metrics, /healthz, /readyz        in the same process
                        └─► LAKE/status/*.json ────► beam-grid status

Counts are of this process, since it started; what a lake holds in total is the ledger's to say. Instants are whole
microseconds since the epoch, in UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

if TYPE_CHECKING:
    from beam_grid.commit import Commit

State = Literal[
    "starting", "idle", "landing", "publishing", "backing off", "quarantining", "waiting", "failed", "ended"
]
"""waiting: while another command lands."""
Breaker = Literal["closed", "open", "half-open"]
Role = Literal["leader", "standby"]


class FeedVitals(Struct, kw_only=True):
    """Of one feed."""

    feed: str
    source: str = ""
    """As the command named it, without secrets."""
    state: State = "starting"
    commit: int = 0
    """The newest commit; 0 before the first."""
    published: int = 0
    """The newest commit that the tables hold."""
    is_refined: bool = False
    """Whether its tables come with a refine, as those of changes and master data do, not with each commit."""
    commits: int = 0
    """Made by this process."""
    fates: dict[str, int] = {}
    """Records by fate, of this process's commits."""
    rejected_by: dict[str, int] = {}
    """The same, rejects by CAUSE/RULE."""
    lag: dict[str, int] = {}
    """Records not read yet, by partition, when it was last looked."""
    watermark: int | None = None
    newest_event: int | None = None
    """The greatest event time that landed."""
    newest_arrival: int | None = None
    committed_at: int | None = None
    published_at: int | None = None
    freshness_s: float | None = None
    """From the newest arrival in the last publish to its being in the tables."""
    seconds: dict[str, float] = {}
    """Time spent by step: plan, land, publish."""
    breaker: Breaker = "closed"
    failures: int = 0
    """One after another, without a commit or a look that found nothing between them."""
    retry_at: int | None = None
    quarantined: int = 0
    """Records put aside because no slice that holds them can be landed."""
    left_out: list[str] = []
    """What the last look left out, and why: files that changed or went, offsets that are gone; the first of them."""
    left_out_count: int = 0
    """All of them."""
    last_error: str | None = None
    last_error_at: int | None = None

    def add(self, commit: Commit, now: int) -> None:
        """What a commit says that was made just now."""
        self.commit, self.commits, self.committed_at = commit.number, self.commits + 1, now
        for total, more in ((self.fates, commit.fates.by_name()), (self.rejected_by, commit.rejected_by)):
            for name, count in more.items():
                total[name] = total.get(name, 0) + count
        self.watermark = commit.watermark
        for partition in commit.partitions:
            self.newest_event = _later(self.newest_event, partition.max_event_time)
            self.newest_arrival = _later(self.newest_arrival, partition.newest_arrival)


class Vitals(Struct, kw_only=True):
    """Of one process."""

    pid: int
    host: str
    lake: str
    started_at: int
    role: Role = "leader"
    beat_at: int = 0
    """When the loop last went round: it hangs where this is long ago."""
    refined_at: int | None = None
    refine_error: str | None = None
    beside_s: dict[str, float] = {}
    """Time spent beside landing by part: derive (after each publish), refine."""
    feeds: dict[str, FeedVitals] = field(default_factory=dict)


def _later(one: int | None, other: int | None) -> int | None:
    return max((time for time in (one, other) if time is not None), default=None)
