"""The optimizer's answer, for people and for machines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from beam_grid.optimize.littles_law import LittlesLaw
from beam_grid.optimize.propose import Answer, Candidate, Judgement
from data_sources.durations import format_duration


def as_json(answer: Answer, law: LittlesLaw | None) -> dict[str, Any]:
    """Plain values; durations in seconds, `..._text` as a contract has them, shares from 0 to 1, sizes in bytes."""
    return {
        "feed": answer.feed,
        "records": answer.records,
        "late": answer.late,
        "commits": answer.commits,
        "out_of_orderness_s": answer.out_of_orderness.total_seconds(),
        "allowed_lateness_s": answer.allowed_lateness.total_seconds(),
        "behind_s": [{"share": share, "seconds": us / 1e6} for share, us in answer.behind.items()],
        "candidates": [_candidate(one) for one in answer.candidates],
        "accepted_loss": answer.loss,
        "proposed": _candidate(answer.proposed),
        "replayed": _judgement(answer.came),
        "littles_law": None if law is None else law._asdict(),
        "notes": answer.notes,
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    allowed = one.allowed_lateness
    named = {"allowed_lateness_s": allowed.total_seconds(), "allowed_lateness_text": format_duration(allowed)}
    return {**named, **_judgement(one.predicted)}


def _judgement(one: Judgement) -> dict[str, Any]:
    cost = one.cost
    return {
        "late": one.late,
        "loss": one.share,
        "keys": cost.keys,
        "window_rows": cost.window_rows,
        "bytes": cost.bytes,
    }


def as_text(answer: Answer, law: LittlesLaw | None) -> str:
    """Lines for a terminal."""
    now = answer.allowed_lateness
    lines = [
        f"{answer.feed}: {answer.records:,} records in {answer.commits:,} commit{'s' * (answer.commits != 1)}, {answer.late:,} of them late",
        f"out-of-orderness {span(answer.out_of_orderness)}, allowed lateness now {span(now)}",
        "behind the newest event time: "
        + ", ".join(
            f"{'all' if share == 1 else percent(share)} at most {span(timedelta(microseconds=us))}"
            for share, us in answer.behind.items()
        ),
        "",
    ]
    for one in answer.candidates:
        marks = [
            word
            for word, it in (("now", now), ("proposed", answer.proposed.allowed_lateness))
            if it == one.allowed_lateness
        ]
        mark = f"   <- {' and '.join(marks)}" if marks else ""
        lines.append(
            f"allowed lateness {span(one.allowed_lateness)} loses {percent(one.predicted.share)} and costs "
            f"{size(one.predicted.cost.bytes)}{mark}"
        )
    lines += [
        "",
        f'to lose no more than {percent(answer.loss)}: allowed_lateness = "{format_duration(answer.proposed.allowed_lateness)}"',
    ]
    lines.append("the landing zone judged anew with it:")
    for name, judged in (("predicted", answer.proposed.predicted), ("came", answer.came)):
        cost = judged.cost
        lines.append(
            f"  {name:9}  {judged.late:,} late ({percent(judged.share)}), {size(cost.bytes)}: {cost.keys:,} keys, "
            f"{cost.window_rows:,} rows of open windows"
        )
    if law is not None:
        lines += [
            "",
            f"by Little's law: a window of {law.window_s:g} s at {law.throughput:,g} records/s, a buffer of "
            f"{law.buffer_records:,} records, {law.memory_mib:,} MiB",
        ]
    return "\n".join([*lines, *(["", *(f"note: {note}" for note in answer.notes)] if answer.notes else [])])


def percent(share: float) -> str:
    """0.001 is `0.1 %`; what is lost is never shown as 0."""
    return "less than 0.0001 %" if 0 < share < 1e-6 else f"{share * 100:.3g} %"


def span(duration: timedelta) -> str:
    """The two largest units: `37 min`, `6 h 12 min`, `365 d 1 h`."""
    seconds = duration.total_seconds()
    if seconds < 120 and seconds != 60:
        return f"{seconds:.3g} s"
    left, words = int(seconds), []
    for unit, width in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, width)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2])


def size(count: int) -> str:
    """Bytes, decimal: `2.4 GB`."""
    for unit, width in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= width:
            return f"{count / width:,.1f} {unit}"
    return f"{count} B"
