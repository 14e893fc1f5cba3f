"""A feed's plan for people: the graph as a tree, where each step runs beside it; and for machines."""

from __future__ import annotations

from typing import Any

import msgspec

from beam_grid.feed_plan import FeedPlan, Kept, Step


def as_json(plan: FeedPlan) -> dict[str, Any]:
    """Plain values: feed, steps, runner, state, rows_per_s, landed, next, problems."""
    return dict(msgspec.to_builtins(plan))


def as_text(plan: FeedPlan) -> str:
    """Lines for a terminal."""
    able = plan.runner
    lines = [plan.feed, *_tree(plan.steps), "", f"runner {able.runner}"]
    lines += [
        f"  {'can   ' if claim.able else 'cannot'} {name.replace('_', ' '):16} {claim.how}"
        for name, claim in able.claims()
    ]
    least, most = able.slice_rows
    lines += [f"  slices of {least:,} to {most:,} rows; about {able.slice_seconds:g} s each beside their rows", ""]
    if plan.rows_per_s is None:
        lines.append("state it keeps (sizes need a lake that the feed has landed in: --lake)")
    else:
        lines.append(f"state it keeps, at {plan.rows_per_s:,.1f} rows/s of event time ({plan.landed:,} landed so far)")
    width = max(len(one.name) for one in plan.state)
    lines += [f"  {one.name:{width}}  {_size(one):24} {one.what}" for one in plan.state]
    if plan.next or plan.problems:
        total = sum(read.rows for read in plan.next)
        lines += [
            "",
            f"a slice would read now: {total:,} records of {len(plan.next)} partition{'s' * (len(plan.next) != 1)}",
        ]
        lines += [
            f"  {read.rows:>12,}  {read.partition} ({read.splits} split{'s' * (read.splits != 1)})"
            for read in plan.next[:20]
        ]
        lines += [f"  and {len(plan.next) - 20} more"] if len(plan.next) > 20 else []
        lines += [f"  {problem}" for problem in plan.problems]
    return "\n".join(lines)


def _tree(steps: list[Step]) -> list[str]:
    """Each step below the last of those it takes from, as `tree` draws folders."""
    below: dict[str, list[Step]] = {}
    names = {step.name for step in steps}
    roots: list[Step] = []
    for step in steps:
        parent = next((one for one in step.after if one in names), None)
        (below.setdefault(parent, []) if parent is not None else roots).append(step)
    drawn: list[tuple[str, Step]] = []

    def draw(step: Step, head: str, rest: str) -> None:
        drawn.append((f"{head}{step.name}", step))
        children = below.get(step.name, [])
        for n, child in enumerate(children):
            is_last = n == len(children) - 1
            draw(child, rest + ("└─ " if is_last else "├─ "), rest + ("   " if is_last else "│  "))

    for root in roots:
        draw(root, "", "")
    width = max(len(title) for title, _ in drawn)

    def also(step: Step) -> str:
        return f" (also from {', '.join(step.after[1:])})" if len(step.after) > 1 else ""

    return [f"{title:{width}}  {step.runs:8} {step.does}{also(step)}" for title, step in drawn]


def _size(kept: Kept) -> str:
    if kept.rows is None:
        return "for ever" if kept.seconds is None else f"{_duration(kept.seconds)} of records"
    size = "" if kept.bytes is None else f", {_bytes(kept.bytes)}"
    return f"{kept.rows:,}{size}"


def _duration(seconds: float) -> str:
    for unit, width in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= width:
            return f"{seconds / width:.3g} {unit}"
    return f"{seconds:g} s"


def _bytes(count: int) -> str:
    for unit, width in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= width:
            return f"{count / width:,.1f} {unit}"
    return f"{count} B"
