"""Batches: alone or in a row, early or late, they are the same."""

import datetime as dt

import polars as pl
import pytest

from data_sources.generators.streams.stream import Stream
from tests.data_sources.generators.streams.specs import HEAD, TIME, spec_of

COLUMNS = """
[[columns]]
name = "id"
type = "int64"
unique = 100000
[[columns]]
name = "x"
type = "float64"
distribution = "normal"
min = 0
max = 9
nulls = 0.01
[[columns]]
name = "s"
type = "float64"
series = { base = 1, noise = 2, memory = "10m" }
[[columns]]
name = "y"
type = "float64"
expr = "x + rand()"
"""
CHAOS = """
[chaos]
duplicates = { share = 0.05, delay = ["1s", "30m"] }
disorder = { share = 0.1, delay = ["1s", "5m"] }
late = { share = 0.02, delay = ["20m", "2h"] }
clock_skew = { share = 0.3, by = "id", offset = "30s" }
broken = 0.01
broken_columns = ["id", "at"]
"""


@pytest.mark.parametrize("messy", [False, True])
def test_batch_n_needs_no_batch_before_it(tmp_path, messy):
    spec = spec_of(tmp_path, COLUMNS + CHAOS)
    in_a_row = list(Stream(spec, 3, total=11_500, messy=messy).batches())
    assert len(in_a_row) == 12
    for number in (11, 3, 0, 7):
        alone = Stream(spec, 3, total=11_500, messy=messy).batch(number)
        assert alone.equals(in_a_row[number])


def test_another_seed_partition_or_batch_is_another(tmp_path):
    spec = spec_of(tmp_path, COLUMNS)
    seen = [Stream(spec, s).batch(n)["x"].fill_null(-1).to_list() for s in (1, 2) for n in range(6)]
    assert len({tuple(x) for x in seen}) == len(seen)


def test_a_shorter_stream_is_a_prefix(tmp_path):
    spec = spec_of(tmp_path, COLUMNS)
    short, long = (pl.concat(list(Stream(spec, 1, total=n).batches())) for n in (1234, 5000))
    assert short.equals(long.head(1234))


def test_messy_records_are_the_clean_ones_in_order_of_arrival(tmp_path):
    spec = spec_of(tmp_path, COLUMNS + CHAOS)
    clean = pl.concat(list(Stream(spec, 5, total=20_000).batches()))
    messy = pl.concat(list(Stream(spec, 5, total=20_000, messy=True).batches()))
    assert messy["_arrival_us"].is_sorted()
    assert set(messy["_row"]) == set(range(20_000))
    copies = messy.height - 20_000
    assert copies / 20_000 == pytest.approx(0.05, abs=0.01)
    assert messy["_sent_again"].sum() == 2 * copies
    assert messy["_broken"].sum() / 20_000 == pytest.approx(0.01, abs=0.004)
    assert (messy["_broken"] == (messy["id"].is_null() | messy["at"].is_null())).all()
    kept = ["_row", "x", "s", "y"]
    payload = messy.select(kept).unique().sort("_row")
    assert payload.equals(clean.select(kept))
    first = messy.unique("_row", keep="first").sort("_row")
    delay = (first["_arrival_us"] - clean["_arrival_us"]) / 60e6
    assert (delay > 0).mean() == pytest.approx(0.12, abs=0.02)
    assert ((delay >= 20) & (delay <= 120)).mean() == pytest.approx(0.02, abs=0.005)
    skew = (first["_event_us"] - clean["_event_us"]) / 1e6
    assert (skew != 0).mean() == pytest.approx(0.3, abs=0.02)
    assert skew.abs().max() <= 30


def test_clocks_on_summer_time_jump_in_march_and_repeat_in_october(tmp_path):
    dial = '[chaos]\ndst = { share = 1.0, by = "id", zone = "Europe/Berlin" }\n'

    def stamps(day):
        spec = spec_of(tmp_path, COLUMNS + dial, time=TIME.replace("2024-03-30", day).replace('"1s"', '"1m"'))
        return pl.concat(list(Stream(spec, 1, total=180, messy=True).batches()))["at"]

    march, october = stamps("2024-03-31"), stamps("2024-10-27")
    assert march[59] == dt.datetime.fromisoformat("2024-03-31T00:59:00")
    assert march[60] == dt.datetime.fromisoformat("2024-03-31T02:00:00")
    assert october[59] == dt.datetime.fromisoformat("2024-10-27T01:59:00")
    assert october[60] == dt.datetime.fromisoformat("2024-10-27T01:00:00")


def test_a_dial_at_zero_disturbs_no_clock(tmp_path):
    dial = '[chaos]\ndst = { share = 0.0, by = "id", zone = "Europe/Berlin" }\n'
    spec = spec_of(tmp_path, COLUMNS + dial, time=TIME.replace("2024-03-30", "2024-07-01"))
    assert Stream(spec, 1, total=100, messy=True).batch(0).equals(Stream(spec, 1, total=100).batch(0))


def test_days_begin_anew_and_a_crowded_day_is_quicker(tmp_path):
    spec = spec_of(tmp_path, COLUMNS)
    at = pl.concat(list(Stream(spec, 1, total=200, per_day=100).batches()))["at"]
    assert at[99] == dt.datetime.fromisoformat("2024-03-30T00:01:39")
    assert at[100] == dt.datetime.fromisoformat("2024-03-31")
    crowded = Stream(spec, 1, total=2 * 172_800, per_day=172_800).batch(1)["at"]
    assert crowded[0] == dt.datetime.fromisoformat("2024-03-30T00:08:20")
    assert crowded[1] - crowded[0] == dt.timedelta(milliseconds=500)


def test_a_pace_gathers_rows_in_its_hours_and_bursts(tmp_path):
    hours = [1] * 12 + [3] * 12
    pace = f'[pace]\nhours = {hours}\nbursts = [{{ at = "06:00", last = "30m", times = 10 }}]\n'
    spec = spec_of(tmp_path, COLUMNS + pace, time=TIME.replace("2024-03-30", "2024-03-30"))
    rows = pl.concat(list(Stream(spec, 1, total=86_400).batches()))["at"]
    assert rows.is_sorted()
    assert rows.dt.date().n_unique() == 1
    per_hour = dict(rows.dt.hour().value_counts().iter_rows())
    assert per_hour[15] / per_hour[3] == pytest.approx(3, rel=0.02)
    burst = rows.is_between(
        dt.datetime.fromisoformat("2024-03-30T06:00:00"),
        dt.datetime.fromisoformat("2024-03-30T06:30:00"),
        closed="left",
    ).sum()
    assert burst / (per_hour[3] / 2) == pytest.approx(10, rel=0.02)


def test_delays_over_too_many_batches_are_refused(tmp_path):
    spec = spec_of(tmp_path, COLUMNS + CHAOS, HEAD.replace("1000", "1"))
    with pytest.raises(ValueError, match="raise batch_rows or shorten the delays"):
        Stream(spec, 1, total=10, messy=True)
