"""A run in a few lines, for people: what landed, what came of the tables, what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beam_grid.land import Landed
    from beam_grid.landing import Lake
    from beam_grid.refine import RefineResult


def landed_lines(landed: Landed, lake: Lake) -> list[str]:
    """The equation, the rejects by rule, what was left out."""
    f = landed.fates.by_name()
    if not landed.commits:
        lines = [f"{landed.feed}: nothing new"]
    else:
        rate = f["read"] / max(landed.seconds, 1e-9)
        lines = [
            f"{landed.feed}: read {f['read']:,} = landed {f['landed']:,} + duplicates {f['duplicates']:,} + late {f['late']:,}"
            f" + rejected {f['rejected']:,}; superseded {f['superseded']:,}, conflicts {f['conflicts']:,}"
            f" ({landed.commits} commit{'s' if landed.commits > 1 else ''}, {landed.seconds:.1f} s, {rate:,.0f} records/s)"
        ]
    if landed.rejected_by:
        worst = sorted(landed.rejected_by.items(), key=lambda r: -r[1])[:3]
        lines.append(
            "  rejects: "
            + ", ".join(f"{rule} {n:,}" for rule, n in worst)
            + f"; see beam-grid inspect rejected --lake {lake.path}"
        )
    return lines + [f"  {problem}" for problem in landed.problems]


def refined_lines(result: RefineResult) -> list[str]:
    """What was left out, and which tables were brought up by what."""
    lines = [f"  left out: {line}" for line in result.left_out]
    if not result.feeds and not result.analyses:
        return [*lines, "tables: nothing new"]
    brought = ", ".join(f"{feed} {n} commit{'s' if n != 1 else ''}" for feed, n in result.feeds.items())
    brought = brought or f"{len(result.analyses)} analyses"
    return [*lines, f"tables: {brought} applied to {len(result.tables)} tables in {result.seconds:.1f} s"]
