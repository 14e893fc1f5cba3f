"""Two lands in one process, in threads of their own, do not know of each other."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

from apache_beam.runners.worker import statesampler
from apache_beam.transforms import userstate

from beam_grid.land import Options, land
from beam_grid.landing import Lake
from data_sources.contract import Contract
from tests.beam_grid.test_land import readings, write
from tests.properties.oracle import NEVER, assert_equal, landed, oracle
from tests.transforms.making import LATEST, contract
from tests.waiting import PATIENCE_S
from transforms import batches

FEEDS = [contract(name="one"), contract(name="two", dedup=LATEST)]
ROUNDS = 3


def test_equal_tables_to_those_of_lands_one_after_the_other(tmp_path: Path) -> None:
    """They begin and end at different times, so that each starts and ends runs in the middle of the other's."""
    sources = [write(tmp_path / f"in{n}" / "a.json", readings(700 + 300 * n, seed=n)) for n in range(2)]
    wanted = [oracle([source], feed) for source, feed in zip(sources, FEEDS, strict=True)]
    failed: list[BaseException] = []
    together = threading.Barrier(2)

    def repeatedly(n: int) -> None:
        try:
            for again in range(ROUNDS):
                together.wait(PATIENCE_S)
                landing(tmp_path / f"lake{n}-{again}", FEEDS[n], sources[n], 150 + 70 * n)
        except BaseException as cause:
            failed.append(cause)
            together.abort()

    threads = [threading.Thread(target=repeatedly, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    for n, feed in enumerate(FEEDS):
        for again in range(ROUNDS):
            assert_equal(landed(Lake.open(tmp_path / f"lake{n}-{again}"), feed), wanted[n])
    assert not batches._SHARED, "no batch is kept when all runs have ended"


def landing(lake: Path, feed: Contract, source: Path, slice_rows: int) -> Any:
    opened = Lake.open(lake)
    with opened.lock("land"):
        return land(opened, feed, Options(str(source), slice_rows=slice_rows, shards=2, now=NEVER))


def test_what_suits_the_process_to_runs_is_done_once(tmp_path: Path) -> None:
    source = write(tmp_path / "in" / "a.json", readings(60))
    landing(tmp_path / "first", FEEDS[0], source, 40)
    before = statesampler.StateSampler, userstate.get_dofn_specs, gc.get_freeze_count()
    landing(tmp_path / "second", FEEDS[0], source, 40)
    assert (statesampler.StateSampler, userstate.get_dofn_specs) == before[:2]
    assert 0 < gc.get_freeze_count() <= before[2], "a freeze each slice keeps Python from ever looking for garbage"
