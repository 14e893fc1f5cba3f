"""NaN, constant series, one reading, a year's gap, a clock that jumps: nothing stops, and what is not scored says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from data_sources.errors import UserError
from tests.transforms.detect.making import MONDAY, made, readings, table
from transforms.detect import DETECTORS, SCHEMA, detect, readings_of
from transforms.detect import table as as_table

ALL = tuple(DETECTORS)
HOUR = timedelta(hours=1)


def ordinary(rows: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 1, rows)


def test_a_nan_has_no_score_and_is_no_history() -> None:
    values = ordinary(400)
    without = detect(readings(table(values, every=HOUR).filter(np.arange(400) % 50 != 7)), ALL)
    for nothing in (np.nan, np.inf, -np.inf, None):
        holed = [nothing if n % 50 == 7 else value for n, value in enumerate(values.tolist())]
        found = readings(table(holed, every=HOUR))
        assert (found.places % 50 != 7).all() and len(found) == 392
        for name, scores in detect(found, ALL).items():
            np.testing.assert_array_equal(scores.score, without[name].score, err_msg=name)


def test_a_nan_in_another_field_leaves_the_rest_scored() -> None:
    values = np.array([ordinary(300), ordinary(300, 2)])
    values[1][200] = np.nan
    found = detect(made(values, every=HOUR), ["z", "mahalanobis", "mahalanobis_robust"])
    assert np.isfinite(found["z"].score[200])
    for name in ("mahalanobis", "mahalanobis_robust"):
        assert np.isnan(found[name].score[200]) and np.isfinite(found[name].score[201])
        assert found[name].fallbacks[found[name].fallback[200]] == "a value is missing"


def test_a_constant_series_is_not_unusual_and_its_first_change_is() -> None:
    values = np.full(500, 5.0)
    values[450] = 9.0
    found = detect(made(values, every=HOUR), ALL)
    for name, scores in found.items():
        rare = np.nan_to_num(scores.probability[:450], nan=1.0) < 1e-3
        assert not rare.any(), name
        assert len(scores.score) == 500
    assert found["z"].fallbacks[found["z"].fallback[449]] == "constant history"
    assert found["fused"].probability[450] < 1e-6
    assert found["median_mad"].probability[450] < 1e-6


def test_one_reading() -> None:
    found = readings(pa.concat_tables([table([5.0], series="one"), table(ordinary(200), series="many")]))
    single = int(np.flatnonzero(found.places == 0)[0])
    for name, scores in detect(found, ALL).items():
        unsure = np.isnan(scores.score[single]) or name in ("rate_of_change", "flatline")
        assert unsure and scores.fallback[single] >= 0, name
    for scores in detect(made([5.0]), ALL).values():
        assert len(scores.score) == 1


def test_no_reading_at_all() -> None:
    found = made([np.nan, np.nan])
    assert len(found) == 0
    everything = as_table(found, detect(found, ALL))
    assert everything.num_rows == 0 and everything.schema.names == SCHEMA.names


def test_a_years_gap_ends_the_history() -> None:
    before, after = (
        table(ordinary(300), every=HOUR),
        table(ordinary(300, 2) + 50, every=HOUR, start=MONDAY + timedelta(days=365)),
    )
    found = detect(readings(pa.concat_tables([before, after])), ALL)
    alone = detect(readings(after), ALL)
    assert found["z"].history[300] == 0
    for name in ("z", "seasonal_z", "mahalanobis", "median_mad", "spike", "level_shift", "fused"):
        assert np.isnan(found[name].score[300]) and found[name].fallback[300] >= 0, name
    for name in ("z", "seasonal_z", "mahalanobis", "median_mad", "spike", "level_shift", "fused"):
        np.testing.assert_allclose(found[name].score[400:], alone[name].score[100:], rtol=1e-6, err_msg=name)
    late = found["gap"]
    assert late.score[300] == pytest.approx(365 * 24 - 299) and late.probability[300] < 1e-6
    assert (late.probability[301:] > 0.1).all()  # one long gap makes the next hour neither late nor early


def test_a_clock_that_jumps_spoils_only_its_own_readings() -> None:
    values = ordinary(600)
    rows = table(values, every=HOUR)
    times = rows["time"].to_pylist()
    times[300] = datetime(9999, 12, 31, tzinfo=UTC)
    times[301] = datetime(1, 1, 1, tzinfo=UTC)
    jumped = rows.set_column(1, "time", pa.array(times, pa.timestamp("us", "UTC")))
    at = readings(jumped)
    found = detect(at, ALL)
    kept = np.delete(np.arange(600), [300, 301])
    alone = detect(readings(rows.take(kept)), ALL)
    order = np.argsort(at.places, kind="stable")
    mine = order[kept]
    for name in ("z", "seasonal_z", "rate_of_change", "mahalanobis", "median_mad"):
        np.testing.assert_allclose(found[name].score[mine], alone[name].score, rtol=1e-6, err_msg=name)
    assert found["gap"].probability[order[300]] < 1e-6


def test_many_clocks_that_jump_to_the_ends_of_time() -> None:
    """A hundred series with a reading in year 1 and one in 9999: more microseconds than 64 bits have."""
    jumps = [
        table(np.append(ordinary(60, n), 10.0), every=HOUR, series=f"s{n:03d}").set_column(
            1,
            "time",
            pa.array(
                [
                    datetime(1, 1, 1, tzinfo=UTC),
                    *[MONDAY + n * HOUR for n in range(59)],
                    datetime(9999, 1, 1, tzinfo=UTC),
                ],
                pa.timestamp("us", "UTC"),
            ),
        )
        for n in range(100)
    ]
    found = readings(pa.concat_tables(jumps))
    for name, scores in detect(found, ALL).items():
        last, alone = slice(99 * 61, None), detect(readings(jumps[99]), [name])[name]
        np.testing.assert_allclose(scores.score[last], alone.score, rtol=1e-9, err_msg=name)


def test_a_dictionary_of_names_and_several_chunks() -> None:
    rows = pa.concat_tables(
        [
            table(ordinary(50), series="b"),
            table(ordinary(50, 2), series="a"),
            table(ordinary(9), series="b", start=MONDAY + 13 * HOUR),
        ]
    )
    coded = rows.set_column(0, "series", rows["series"].dictionary_encode())
    numbered = rows.set_column(0, "series", pa.array([7] * 50 + [None] * 50 + [7] * 9))
    plain, other = readings(rows), readings(coded)
    assert plain.places.tolist() == other.places.tolist() == [*range(50), *range(100, 109), *range(50, 100)]
    assert readings(numbered).places.tolist() == [*range(50), *range(100, 109)]


def test_two_readings_at_one_time_and_a_clock_set_back() -> None:
    values = ordinary(400)
    rows = table(values, every=HOUR)
    again = pa.concat_tables([rows, rows.slice(100, 50)])
    for name, scores in detect(readings(again), ALL).items():
        assert len(scores.score) == 450, name
        assert not np.isinf(np.nan_to_num(scores.score)).any(), name


def test_the_order_of_rows_makes_no_difference() -> None:
    rows = pa.concat_tables(
        [table(ordinary(300), series="a", every=HOUR), table(ordinary(200, 2), series="b", every=HOUR)]
    )
    shuffled = np.random.default_rng(7).permutation(500)
    plain, mixed = readings(rows), readings(rows.take(shuffled))
    for name, scores in detect(mixed, ALL).items():
        back = np.empty(500)
        back[shuffled[mixed.places]] = scores.score
        straight = np.empty(500)
        straight[plain.places] = detect(plain, [name])[name].score
        np.testing.assert_array_equal(back, straight, err_msg=name)


def test_later_readings_change_no_earlier_score() -> None:
    """What is published with a commit is what whole history says: a score knows nothing later."""
    rows = pa.concat_tables(
        [
            table(np.array([ordinary(900, n), ordinary(900, n + 9)]), series=f"s{n}", every=timedelta(minutes=30))
            for n in range(3)
        ]
    )
    whole = readings(rows)
    everything = detect(whole, ALL)
    for kept in (300, 777):
        some = readings(rows.filter(np.tile(np.arange(900) < kept, 3)))
        at = np.flatnonzero(np.tile(np.arange(900) < kept, 3))
        for name, scores in detect(some, ALL).items():
            np.testing.assert_allclose(scores.score, everything[name].score[at], rtol=1e-9, atol=1e-9, err_msg=name)
            np.testing.assert_array_equal(scores.reason, everything[name].reason[at], err_msg=name)


def test_a_series_does_not_touch_its_neighbours_also_on_threads() -> None:
    loud, quiet = (
        table(ordinary(500) * 1e9, series="a", every=HOUR),
        table(ordinary(500, 2) * 1e-3, series="b", every=HOUR),
    )
    alone = detect(readings(quiet), ALL)
    both = readings(pa.concat_tables([loud, quiet]))
    mine = both.places >= 500
    for name, scores in detect(both, ALL, threads=2).items():
        np.testing.assert_allclose(scores.score[mine], alone[name].score, rtol=1e-9, err_msg=name)
    assert list(both.chunks(least=1)) == [(0, 500), (500, 1000)]


@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_give_what_the_whole_gives(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [np.array([ordinary(rows, rows), ordinary(rows, rows + 1)]) for rows in (400, 1, 130, 260, 2)]
    values[2][1][50:60] = np.nan  # where a field is missing, another number of readings stands behind the distance
    of = readings(pa.concat_tables([table(v, series=f"s{n}", every=HOUR) for n, v in enumerate(values)]))
    whole = detect(of, ALL)
    monkeypatch.setattr("transforms.detect.readings._CHUNK", 100)
    assert len(list(of.chunks())) == 4
    for name, scores in detect(of, ALL, threads=threads).items():
        assert as_table(of, {name: scores}).equals(as_table(of, {name: whole[name]})), name


def test_hours_are_those_of_the_local_clock() -> None:
    """A load that follows Berlin's clock, over the last Sunday of October: in UTC its hours move, in Berlin they stay."""
    from zoneinfo import ZoneInfo

    start = datetime(2025, 10, 6, tzinfo=UTC)
    hours = np.array([(start + n * HOUR).astimezone(ZoneInfo("Europe/Berlin")).hour for n in range(24 * 40)])
    values = np.where((hours >= 7) & (hours < 19), 10.0, 1.0) + np.random.default_rng(2).normal(0, 0.05, len(hours))
    after = slice(24 * 21, 24 * 25)  # from Monday 27 October
    shifted = detect(made(values, every=HOUR, start=start), ["median_mad"])["median_mad"]
    local = detect(made(values, every=HOUR, start=start, zone="Europe/Berlin"), ["median_mad"])["median_mad"]
    assert (np.abs(shifted.score[after]) > 20).sum() == 8  # 6 and 18 UTC, four days
    assert (np.abs(local.score[after]) < 8).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"series": "meter"}, "no column 'meter'; the table has series, time, v0"),
        ({"time": "v0"}, "column 'v0' is double; a timestamp is needed"),
        ({"values": ["series"]}, "column 'series' is string; a number is needed"),
        ({"values": []}, "values is empty"),
        ({"resolution": 0.0}, "resolution is 0.0: give more than 0"),
    ],
)
def test_what_cannot_be_read_is_named(given: dict, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        readings_of(table([1.0, 2.0]), **{"series": "series", "time": "time", "values": ["v0"], **given})


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(UserError, match="time zone 'Mars/Olympus' is not known"):
        detect(made(ordinary(50), zone="Mars/Olympus"), ["z"])
