"""What a landing was asked for: which feeds, how each is to be landed, and what at the source none of them reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from beam_grid import feeds as known
from beam_grid.errors import GridError
from beam_grid.land import Options
from data_sources.contract import Contract


def asked(
    feeds: tuple[str, ...],
    contracts: tuple[str, ...],
    source: str,
    *,
    runner: str = "direct",
    spark_master: str | None = None,
    **given: Any,
) -> tuple[list[tuple[Contract, Options]], list[str]]:
    """Each feed's contract and options, and the files at the source that no feed reads. Nothing is made.

    feeds, contracts: as `feeds.chosen` takes them; given: the other words of Options. Raises GridError for what cannot be
    as it was asked for.
    """
    if runner == "spark":
        from runners.delta import check_master

        check_master(spark_master)
    elif spark_master is not None:
        raise GridError(
            "--spark-master: is for landing with --runner spark, and this lands in process; leave it out, or add that"
        )
    chosen = known.chosen(feeds, contracts, source, given.get("kafka_config"))
    sources = {contract.name: known.source_of(contract, source) for contract in chosen}
    if not chosen:
        raise GridError(
            f"source {source}: holds nothing that a known feed's files or topic match; name the feed or give --contract FILE"
        )
    own_globs = known.by_their_globs(chosen, source, named=bool(feeds or contracts))
    options = Options(
        source=source,  # of each feed its own
        own_globs=own_globs,
        runner=runner,
        spark_master=spark_master or "local[2]",
        **given,
    )
    each = [(contract, replace(options, source=sources[contract.name])) for contract in chosen]
    return each, known.unread(source, chosen, own_globs)
