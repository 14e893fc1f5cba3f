"""Little's law as the published optimizer has it, on vectors worked out by hand."""

from __future__ import annotations

import pytest

from beam_grid.optimize.littles_law import littles_law


@pytest.mark.parametrize(
    ("given", "then"),
    [
        # 50,000 / 1,000 * 0.8 = 40 s, latency allows 30; 1,000 * 30 * 1.2; 30,000 * 200 B * 2 = 11.44 MiB
        ((1000, 50_000, 30, 200), (30, 50_000, 36_000, 11)),
        # capacity decides: 100,000 / 5,000 * 0.8 = 16 s; 5,000 * 16 * 1.2; 80,000 * 512 B * 2 = 78.125 MiB
        ((5000, 100_000, 60, 512), (16, 100_000, 96_000, 78)),
        # too slow by half: 0.4 s, at least 1; 1,000 * 1.2; 1,000 * 1 KiB * 2 = 1.95 MiB
        ((1000, 500, 30, 1024), (1, 500, 1200, 1)),
        # 8,000 s, latency allows 7,200, at most 3,600; 1 * 3,600 * 1.2; 3,600 * 100 B * 2 = 0.69 MiB
        ((1, 10_000, 7200, 100), (3600, 10_000, 4320, 0)),
    ],
)
def test_worked_out_by_hand(given: tuple[float, float, float, float], then: tuple[float, float, int, int]) -> None:
    assert littles_law(*given) == pytest.approx(then)


@pytest.mark.parametrize("given", [(0, 1, 1, 1), (float("nan"), 1, 1, 1), (1, -1, 1, 1), (1, 1, -1, 1), (1, 1, 1, -1)])
def test_what_has_no_answer_is_refused(given: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        littles_law(*given)
