"""What the bench of alerts makes of what came, and that it passes over nothing that is missing, doubled or invented."""

from __future__ import annotations

import pytest

from benchmarks.alert_latency import NotAlerted, figures

SENT = {"MARKED-0": 10.0, "MARKED-1": 11.0, "MARKED-2": 12.0}


def test_figures_are_of_each_reading() -> None:
    found = figures(SENT, {"MARKED-0": [11.0], "MARKED-1": [14.0], "MARKED-2": [13.0]})
    assert (found["reading to alert, median s"], found["reading to alert, greatest s"]) == (1.0, 3.0)
    assert found["marked readings, each alerted once"] == 3


@pytest.mark.parametrize(
    ("received", "said"),
    [
        ({"MARKED-0": [11.0], "MARKED-1": [12.0]}, "1 of 3 marked readings were not alerted, as .'MARKED-2'"),
        ({name: [at, at] for name, at in SENT.items()}, "3 marked readings were alerted more than once"),
        ({**{name: [at] for name, at in SENT.items()}, "SM-1": [3.0]}, "1 alerts are of no marked reading, as .'SM-1'"),
    ],
)
def test_what_is_missing_doubled_or_of_no_reading_is_a_failure(received: dict[str, list[float]], said: str) -> None:
    with pytest.raises(NotAlerted, match=said):
        figures(SENT, received)
