"""evaluate: how good the detectors are."""

from __future__ import annotations

from pathlib import Path

import click

from beam_grid.cli.options import FORMAT
from beam_grid.console import say
from beam_grid.errors import GridError

BALANCE = "energy_balance"


@click.command()
@click.option("--detector", "detectors", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(0), metavar="N", help="Data of these seeds.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Flag what is rarer among ordinary readings; 0.003 unless given.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Alerts per 1,000 series and week, instead of --threshold: taken from other data, shown beside what comes.",
)
@click.option("--nab", metavar="DIR", help="Score a checkout of the Numenta Anomaly Benchmark, into its results.")
@FORMAT
def evaluate(
    detectors: tuple[str, ...],
    seeds: tuple[int, ...],
    threshold: float | None,
    budget: float | None,
    nab: str | None,
    form: str,
) -> None:
    """Recall, precision, false positives, alerts and delay of the detectors, on labelled data (docs/detectors.md)."""
    if nab is not None:
        if detectors or seeds or threshold is not None or budget is not None:
            raise GridError(
                "evaluate: --nab runs the default detector as it is; leave out --detector, --seed, --threshold, --budget"
            )
        from beam_grid.evaluate.nab import run

        say(f"{run(Path(nab))} files scored, written to {Path(nab) / 'results' / 'beamgrid'}")
        return
    from beam_grid.evaluate.labelled import SEEDS
    from beam_grid.evaluate.report import evaluate
    from beam_grid.show import show
    from transforms.detect import DETECTORS
    from transforms.detect.by_series import THRESHOLD

    if BALANCE in detectors:
        if len(detectors) > 1 or threshold is not None or budget is not None:
            raise GridError(
                f"evaluate: {BALANCE} is judged by the reasons it names, on transformers; leave out other detectors, "
                "--threshold and --budget"
            )
        from beam_grid.evaluate import balance

        show(balance.evaluate(seeds or SEEDS), form)
        return
    unknown = sorted(set(detectors) - set(DETECTORS))
    if unknown:
        raise GridError(f"evaluate: no detector '{unknown[0]}'; there are {', '.join([*DETECTORS, BALANCE])}")
    if threshold is not None and budget is not None:
        raise GridError("evaluate: --budget sets the thresholds; leave out --threshold")
    answer = evaluate(
        seeds or SEEDS, detectors or tuple(DETECTORS), THRESHOLD if threshold is None else threshold, budget
    )
    show(answer, form)
