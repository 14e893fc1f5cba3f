"""Each step that a run takes on disk is failed: before it, after it, half of it, by an error, by a kill. The next run ends
with the oracle's tables.

`make test` tries a sample, `make nightly` all of them, and a thousand random stories with faults after each other. What
fails tells the command that tries it again (docs/exactly-once.md).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.failing import (
    MATRIX_SEED,
    Clean,
    all_faults,
    driver,
    passing,
    sampled,
    try_each,
    try_seed,
    without_faults,
)
from tests.soak.lakes import Driver, Story
from transforms import faults
from transforms.faults import Fault

pytestmark = [pytest.mark.component]

SAMPLE, FOLLOWED, SEEDS, CHUNK = 7, 1, 1_000, 50
FOUND = [
    (0, Fault("sync-folder", "*/tables/bronze/rejected/_delta_log", 1, "EACCES")),
]
"""By a run that follows, or what came after it: 26 Nov 2026, tables begun and never shown, whose next commits' files went."""

FIRST = int(os.environ.get("BEAM_GRID_SOAK_SEED", "1"))
"""The nightly lane's seeds begin here."""


@pytest.fixture(scope="module")
def processes() -> Iterator[Driver]:
    with driver() as started:
        yield started


@pytest.fixture(scope="module")
def clean(processes: Driver, tmp_path_factory: pytest.TempPathFactory) -> list[Clean]:
    return without_faults(Story(MATRIX_SEED), tmp_path_factory.mktemp("clean"), processes)


@pytest.mark.timeout(400)
def test_a_sample_of_steps_failed_each_in_its_own_way(clean: list[Clean], tmp_path: Path) -> None:
    every = all_faults(clean)
    assert {fault.operation for _, fault in every} >= {"write", "sync", "link", "rename", "remove", "sync-folder", "checkpoint"}  # fmt: skip
    for kept in ("checkpoints", "history", "segments", "commits", "_delta_log", "versions"):
        assert any(f"/{kept}/" in fault.pattern for _, fault in every), kept
    assert len(every) > 1_000
    failures = try_each(clean, sampled(every, SAMPLE, random.Random(FIRST)), tmp_path)
    assert not failures, "\n\n".join(failures)


@pytest.mark.timeout(300)
def test_a_sample_in_a_run_that_follows_and_may_live_on(clean: list[Clean], tmp_path: Path) -> None:
    chosen = [*FOUND, *sampled(passing(all_faults(clean)), FOLLOWED, random.Random(FIRST))]
    failures = try_each(clean, chosen, tmp_path, following=True)
    assert not failures, "\n\n".join(failures)


@pytest.mark.timeout(200)
def test_random_faults_one_after_the_other(processes: Driver, tmp_path: Path) -> None:
    print(f"seed {FIRST}: {try_seed(FIRST, tmp_path, processes)}")


@pytest.mark.nightly
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("part", range(8))
def test_every_step_failed_in_every_way(part: int, clean: list[Clean], tmp_path: Path) -> None:
    failures = try_each(clean, all_faults(clean)[part::8], tmp_path)
    assert not failures, "\n\n".join(failures)


@pytest.mark.nightly
@pytest.mark.timeout(3 * 3600)
def test_many_steps_in_a_run_that_follows(clean: list[Clean], tmp_path: Path) -> None:
    failures = try_each(clean, sampled(passing(all_faults(clean)), 200, random.Random(FIRST)), tmp_path, following=True)
    assert not failures, "\n\n".join(failures)


@pytest.mark.nightly
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_seeds(first: int, processes: Driver, tmp_path: Path) -> None:
    failed = []
    for seed in range(first, first + CHUNK):
        try:
            try_seed(seed, tmp_path / str(seed), processes)
        except Exception as cause:
            failed.append(f"python -m tests.soak.failing --seed {seed}\n{cause}")
            print(failed[-1], flush=True)
    assert not failed, "\n\n".join(failed)


def test_whatever_gets_a_name_was_synced_before_and_the_name_is_after(clean: list[Clean]) -> None:
    """What a kill cannot show, and a loss of power would: the order of steps, as a run of two drops took them."""
    names = 0
    for run in clean:
        synced: set[str] = set()
        waiting: dict[str, set[str]] = {}
        for operation, path, thread in run.taken:
            folder, unsure = os.path.dirname(path), waiting.setdefault(thread, set())
            if operation == "write":
                synced.discard(path)
                assert not unsure, f"{path} is written while the names in {unsure} may be lost"
            elif operation == "sync":
                synced.add(path)
            elif operation == "rename" or (operation == "link" and path.endswith((".json", "segment.parquet"))):
                drafts = [s for s in synced if s.startswith(f"{folder}/.{os.path.basename(path)}.")]
                assert drafts, f"{path} has its name before its content is on the disk"
                unsure.add(folder)
                names += 1
            elif operation == "sync-folder":
                unsure.discard(path)
        assert not any(waiting.values())
    assert names > 20


@pytest.mark.parametrize("kind", ["before", "after", "torn"])
def test_a_fault_strikes_the_nth_matching_step_once(kind: str, tmp_path: Path) -> None:
    log, word = tmp_path / "log", {"before": "ENOSPC", "after": "done-EIO", "torn": "torn-EIO"}[kind]
    fault = f"write|*/b*|2|{word}"
    if kind == "torn":
        with pytest.raises(ValueError, match="torn-EIO"):
            faults.load({faults.VARIABLE: fault})
        return
    try:
        faults.load({faults.VARIABLE: fault, faults.LOG: str(log)})
        done = []
        for name in ("b1", "a", "b2", "b3"):
            try:
                with faults.step("write", tmp_path / name):
                    done.append(name)
            except OSError as cause:
                assert "(injected)" in str(cause) and name == "b2"
        assert done == (["b1", "a", "b3"] if kind == "before" else ["b1", "a", "b2", "b3"])
        assert f"hit|write|{tmp_path}/b2|{word}" in log.read_text().splitlines()
    finally:
        faults.load(os.environ)
    assert str(Fault.parse(fault)) == fault
