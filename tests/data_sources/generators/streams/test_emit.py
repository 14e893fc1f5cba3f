"""Pacing, on a clock the test turns by hand; and once on the real one."""

import math

import polars as pl
import pytest

from data_sources.generators.streams.emit import emit
from data_sources.generators.streams.stream import Stream
from tests.data_sources.generators.streams.specs import spec_of

COLUMN = '[[columns]]\nname = "x"\ntype = "int64"\nexpr = "value"\n'


class Clock:
    """Time that passes while asleep, and `cost` seconds a record while writing."""

    def __init__(self, cost=0.0):
        self.now, self.cost, self.log, self.closed = 100.0, cost, [], False

    def write(self, records):
        self.now += self.cost * records.height
        self.log.append((self.now, records))

    def close(self):
        self.closed = True

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds * 1.07  # sleeps are never exact

    def emit(self, stream, **given):
        return emit(stream, self, clock=lambda: self.now, sleep=self.sleep, **given)

    @property
    def values(self):
        return pl.concat([r for _, r in self.log])["x"].to_list()


@pytest.fixture
def stream(tmp_path):
    return Stream(spec_of(tmp_path, COLUMN), 1)


@pytest.mark.parametrize("rate", [0.5, 3, 100, 2000, 5000, 50_000])
def test_a_rate_is_held_without_drift_from_sleeps_that_are_too_long(stream, rate):
    clock = Clock()
    done = clock.emit(stream, rate=rate, seconds=20)
    assert done.records == round(rate * 20)
    assert done.seconds == pytest.approx(20, abs=max(0.2, 1.1 / rate))
    assert clock.values == list(range(done.records))
    sent = 0
    for now, records in clock.log:
        sent += records.height
        assert 0 <= math.floor((now - 100) * rate + 1e-6) - sent <= rate * 0.2 + 1


def test_what_a_slow_sink_cannot_take_in_time_is_not_sent_and_told(stream):
    clock = Clock(cost=0.001)
    done = clock.emit(stream, rate=2000, seconds=10)
    assert done.records == pytest.approx(10_000, rel=0.05)
    assert done.rate == pytest.approx(1000, rel=0.05)
    assert clock.closed


def test_rows_end_a_stream_and_so_does_its_own_end(stream, tmp_path):
    assert Clock().emit(stream, rows=2345).records == 2345
    assert Clock().emit(stream, rate=100, rows=50, seconds=20).records == 50
    assert Clock().emit(Stream(spec_of(tmp_path, COLUMN), 1, total=3210)).records == 3210


def test_without_a_rate_seconds_end_it(stream):
    clock = Clock(cost=0.0001)
    assert clock.emit(stream, seconds=1).records == pytest.approx(10_000, rel=0.3)


def test_the_sink_is_closed_when_it_fails(stream):
    class Failing(Clock):
        def write(self, records):
            raise OSError("full")

    sink = Failing()
    with pytest.raises(OSError, match="full"):
        sink.emit(stream, rows=5)
    assert sink.closed


def test_records_are_the_same_at_any_rate(stream):
    slow, fast = Clock(), Clock()
    slow.emit(stream, rate=7, seconds=20)
    fast.emit(stream, rows=140)
    assert slow.values == fast.values


def test_on_the_real_clock_a_second_is_a_second(stream):
    class Null:
        def write(self, records): ...

        def close(self): ...

    done = emit(stream, Null(), rate=2000, seconds=1)
    assert 1500 <= done.records <= 2000
    assert 0.9 <= done.seconds <= 3
