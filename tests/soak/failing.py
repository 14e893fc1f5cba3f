"""Which steps of a story fail, and how: all of them in turn, a sample, or as many at a time as a seed says.

`python -m tests.soak.failing --seed 17` runs what the nightly lane ran of a seed; with `--fault 'link|*/commits/*|1|die'`
one fault of the matrix, in the drop that `--drop` says; with `--matrix` all of them.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.soak.lakes import Driver, Place, Step, Story, steps_of, taken
from transforms.faults import KINDS, TORN, Fault

MATRIX_SEED = 0
"""Of the story whose steps fail one after the other: keep = latest, both drops in slices, and every kind of file."""


_STEPS = 170
"""About as many as a run of a drop takes."""


@dataclass(frozen=True)
class Clean:
    """A story run without faults: what the lake was before a drop was run, and the steps that the run took, as those of any
    run and as they were."""

    before: Place
    steps: list[Step]
    taken: list[tuple[str, str, str]]


@contextmanager
def driver() -> Iterator[Driver]:
    started = Driver()
    try:
        yield started
    finally:
        started.end()


def without_faults(story: Story, folder: Path, driver: Driver) -> list[Clean]:
    """The story's drops, run one after the other; the end is the oracle's."""
    place, found = Place(story, folder / "clean", folder / "in", driver), []
    for number in range(len(story.drops)):
        place.drop()
        before = place.copied(folder / f"before-{number}")
        assert (code := place.run()) == 0, f"seed {story.seed}, exit {code}:\n{place.err.read_text()}"
        found.append(Clean(before, steps_of(place.log, place.lake), taken(place.log)))
        place.checked()
    return found


def all_faults(clean: list[Clean]) -> list[tuple[int, Fault]]:
    """Each step of each drop, failed in each way there is."""
    return [(drop, step.failed(kind)) for drop, run in enumerate(clean) for step in run.steps for kind in step.kinds]


def passing(faults: Iterable[tuple[int, Fault]]) -> list[tuple[int, Fault]]:
    """Those that a process may live through."""
    return [(drop, fault) for drop, fault in faults if not fault.kind.endswith("die")]


def sampled(faults: list[tuple[int, Fault]], count: int, rng: random.Random) -> list[tuple[int, Fault]]:
    """So many of them, each operation and kind in turn before one comes again."""
    groups: dict[tuple[str, str], list[tuple[int, Fault]]] = {}
    for drop, fault in rng.sample(faults, len(faults)):
        groups.setdefault((fault.operation, fault.kind), []).append((drop, fault))
    kinds = rng.sample(sorted(groups), len(groups))
    rounds = itertools.zip_longest(*(groups[kind] for kind in kinds))
    return [found for found in itertools.chain.from_iterable(rounds) if found is not None][:count]


def try_each(
    clean: list[Clean], faults: Iterable[tuple[int, Fault]], folder: Path, *, following: bool = False
) -> list[str]:
    """Each fault in a lake of its own; returns what failed, told so that it can be tried again.

    following: in a run that follows, which meets the fault and may go on in the same process; elsewhere it must be hit.
    """
    failures = []
    for n, (drop, fault) in enumerate(faults):
        at = clean[drop].before.copied(folder / f"fault-{n}")
        try:
            if following:
                at.follows(fault)
            else:
                assert at.survives(fault), f"{fault} was not hit"
            at.ends([str(fault)])
            at.checked()
        except Exception:
            how = "--follow " if following else ""
            tried = f"python -m tests.soak.failing {how}--drop {drop} --fault '{fault}'"
            failures.append(f"{tried}\n{traceback.format_exc(limit=-1)[-3000:]}")
            print(failures[-1], flush=True)
        shutil.rmtree(at.folder)
    return failures


def try_seed(seed: int, folder: Path, driver: Driver) -> list[str]:
    """A story of this seed's, each drop run with up to two faults, one after the other; returns what struck.

    A fault strikes the nth step of a run, whichever it is: one that is cut off early leaves fewer to the next.
    """
    story, rng = Story(seed), random.Random(f"faults {seed}")
    place, struck = Place(story, folder / "lake", folder / "in", driver), []
    for _ in story.drops:
        place.drop()
        for _ in range(rng.choice([0, 1, 1, 2])):
            fault = Fault("*", "*", rng.randint(1, _STEPS), rng.choice([*KINDS, TORN]))
            if place.survives(fault):
                struck += place.hits
        place.ends(struck)
    place.checked()
    return struck


def main() -> None:
    """Exit code 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.failing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--seed", type=int, nargs="*", default=[])
    parser.add_argument("--fault", type=Fault.parse)
    parser.add_argument("--drop", type=int, default=1)
    parser.add_argument("--matrix", action="store_true")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--follow", action="store_true")
    given = parser.parse_args()
    failures: list[str] = []
    with driver() as started, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in given.seed:
            try:
                print(f"seed {seed}: {', '.join(map(str, try_seed(seed, folder / str(seed), started)))}", flush=True)
            except Exception:
                failures.append(f"seed {seed}\n{traceback.format_exc()}")
                print(failures[-1], flush=True)
            shutil.rmtree(folder / str(seed), ignore_errors=True)
        if given.fault or given.matrix:
            clean = without_faults(Story(MATRIX_SEED), folder, started)
            chosen = [(given.drop, given.fault)] if given.fault else all_faults(clean)
            chosen = passing(chosen) if given.follow else chosen
            if given.sample:
                chosen = sampled(chosen, given.sample, random.Random(MATRIX_SEED))
            print(f"{len(chosen)} faults", flush=True)
            failures += try_each(clean, chosen, folder, following=given.follow)
    print(f"{len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
