"""reinject: late rows and rejects, landed after all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beam_grid.cli.options import LAKE
from beam_grid.cli.process import command_line
from beam_grid.cli.steps import who_publishes
from beam_grid.console import say
from beam_grid.errors import GridError

if TYPE_CHECKING:
    from beam_grid.landing import Lake


@click.command()
@click.argument("what", type=click.Choice(["late", "rejected"]))
@click.option("--feed", required=True, metavar="F", help="The feed whose late rows or rejects are taken again.")
@click.option("--rule", metavar="ID", help="rejected: only those of this rule, as `inspect rejected` names it.")
@click.option("--contract", metavar="FILE", help="rejected: the mended contract of a feed of your own.")
@LAKE
def reinject(what: str, feed: str, rule: str | None, contract: str | None, lake: str) -> None:
    """Let what was kept land after all, as commits of its own; then refine. late: late rows, kept whole. rejected: the
    kept bytes of rejects, judged again under the contract of now."""
    from beam_grid.landing import Lake
    from beam_grid.reinject import reinject as again
    from beam_grid.visits import visiting

    opened = Lake.open(lake, create=False)
    if what == "rejected":
        _reinject_rejected(opened, feed, rule, contract)
        return
    if rule or contract:
        raise GridError(f"{'--rule' if rule else '--contract'}: late rows are taken in as they are; leave it out")
    with visiting(opened, say) as is_followed:
        done = again(opened, feed, command=command_line())
    f = done.fates.by_name()
    if not done.commits:
        say(f"{feed}: no late rows that were not taken in before")
        return
    say(
        f"{feed}: {-f['late']:,} late rows = landed {f['landed']:,} + duplicates {f['duplicates']:,}; superseded "
        f"{f['superseded']:,}, conflicts {f['conflicts']:,} ({done.commits} commit{'s' if done.commits > 1 else ''}, "
        f"{done.seconds:.1f} s); {who_publishes(lake, is_followed)} brings them into the tables"
    )


def _reinject_rejected(lake: Lake, feed: str, rule: str | None, contract: str | None) -> None:
    from beam_grid.reinject_rejected import reinject_rejected
    from beam_grid.visits import visiting
    from data_sources.contract import load_contract

    mended = load_contract(contract) if contract else None
    with visiting(lake, say) as is_followed:
        done = reinject_rejected(lake, feed, mended=mended, rule=rule, command=command_line())
    f = done.fates.by_name()
    if done.commits:
        more = f" ({f['read']:,} records more than there were rejects)" if f["read"] > 0 else ""
        say(
            f"{feed}: {_rejects(done.judged)} judged again: landed {f['landed']:,}, duplicates {f['duplicates']:,}{more}, "
            f"still rejected {done.still_rejected:,}; superseded {f['superseded']:,}, conflicts {f['conflicts']:,} "
            f"({done.commits} commit{'s' if done.commits > 1 else ''}, {done.seconds:.1f} s); "
            f"{who_publishes(lake.path, is_followed)} brings them into the tables"
        )
    elif not done.there:
        say(f"{feed}: no rejects")
    elif done.there > done.snapshots:
        say(f"{feed}: nothing to judge again: this contract has judged its {_rejects(done.there - done.snapshots)}")
    else:
        say(f"{feed}: nothing that can be judged again")
    if done.snapshots:
        say(f"  left out: {_rejects(done.snapshots)} of full snapshots; land the snapshot again, under another name")


def _rejects(count: int) -> str:
    return f"{count:,} reject{'' if count == 1 else 's'}"
