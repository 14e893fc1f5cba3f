"""Whatever is published, whenever it is killed, however sinks fail: each alert is delivered once by its id, none is lost.

The oracle is a loop over the readings in plain Python: of each meter the newest one, over 20 or not.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_grid.alerts.couriers import Courier
from beam_grid.alerts.declared import declared
from beam_grid.alerts.evaluate import Evaluation
from beam_grid.alerts.store import Store, opened
from beam_grid.alerts.watch import watch
from tests.beam_grid.alerts.published import RULE, TO_FILE, Published, ids, keys
from tests.beam_grid.alerts.receiver import SECRET, Receiver, receiving, webhook
from tests.conftest import EXAMPLES
from tests.waiting import PATIENCE_S

METERS = ["a", "b", "c", "d"]


class Killed(BaseException):
    """Ends what runs where a kill would: what was not written down is gone."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("BEAM_GRID_TEST_HOOK", SECRET)
    with receiving() as found:
        yield found


def expected(publishes: list[dict[str, float]]) -> dict[str, list[str]]:
    """By meter what is to be told of it, in order."""
    newest: dict[str, float] = {}
    told: dict[str, list[str]] = {}
    for rows in publishes:
        for meter, kwh in rows.items():
            is_open = newest.get(meter, 0) > 20
            if is_open != (kwh > 20):
                told.setdefault(meter, []).append("cleared" if is_open else "raised")
            newest[meter] = kwh
    return told


def received(messages: list[dict[str, Any]]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for message in messages:
        for key in keys(message):
            told.setdefault(key, []).append(message["kind"])
    return told


def look(here: Published, kill: str | None) -> None:
    """Look at all sets that wait, killed before (`look`) or in (`write`) the first transaction where that is asked for."""
    with opened(here.lake) as store, TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        known = declared(here.lake)
        assert known is not None
        evaluation = Evaluation(here.lake, known, store, Path(scratch))
        if kill:
            patch.setattr(store, {"look": "changing", "write": "look_at"}[kill], _killed)
        try:
            for number in evaluation.to_look_at():
                evaluation.look(number)
        except Killed:
            return


def send(here: Published, kill: str | None, receiver: Receiver, how: list[str]) -> None:
    """Send what waits to each sink, some tries each; killed before or after the first message was taken."""
    receiver.how = list(how)
    known = declared(here.lake)
    assert known is not None
    for sink in known.sinks:
        courier = Courier(here.lake, sink)
        with opened(here.lake) as store, pytest.MonkeyPatch.context() as patch:
            if kill:
                patch.setattr(Store, {"look": "unsent", "write": "sent"}[kill], _killed)
            try:
                for _ in range(len(how) + 1):
                    courier.send_one(store)
            except Killed:
                continue


def _killed(*_: Any) -> Any:
    raise Killed


_ROWS = st.dictionaries(st.sampled_from(METERS), st.sampled_from([1.0, 19.0, 21.0, 50.0]), min_size=1)
_KILL = st.sampled_from([None, None, "look", "write"])
_HOW = st.lists(st.sampled_from(["500", "cut", "taken", "404"]), max_size=4)
_DEED = st.one_of(
    st.tuples(st.just("publish"), _ROWS), st.tuples(st.just("look"), _KILL), st.tuples(st.just("send"), _KILL, _HOW)
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(_DEED, min_size=3, max_size=12))
def test_each_alert_is_delivered_once_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, receiver: Receiver, deeds: list[Any]
) -> None:
    receiver.taken.clear()
    receiver.deliveries.clear()
    here = Published(tmp_path_factory.mktemp("order"), RULE + "group_over = 2\n" + TO_FILE + webhook(receiver))
    publishes: list[dict[str, float]] = []
    for deed, *how in deeds:
        if deed == "publish":
            here.readings(*((meter, len(publishes), kwh) for meter, kwh in how[0].items()))
            publishes.append(how[0])
        elif deed == "look":
            look(here, *how)
        else:
            send(here, how[0], receiver, how[1])
    look(here, None)
    send(here, None, receiver, [])
    with opened(here.lake) as store:
        while any(store.unsent(sink) for sink in ("out", "hook")):
            send(here, None, receiver, ["taken"] * 20)
    assert received(receiver.taken) == expected(publishes) == received(here.told())
    assert [one["id"] for one in receiver.taken] == [one["id"] for one in here.told()]
    raised = [one for one in receiver.taken if one["kind"] == "raised"]
    assert len(set(ids(raised))) == len(ids(raised)), "an alert is raised once"


def _watch(lake: Any) -> None:
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    watch(lake, ending)


def test_a_watch_that_is_killed_again_and_again_loses_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """kill -9 at moments of chance, while sets are published and the webhook fails, hangs and lies."""
    here = Published(tmp_path, RULE + TO_FILE + webhook(receiver))
    chance, publishes = random.Random(7), list[dict[str, float]]()
    context = multiprocessing.get_context("fork")
    for n in range(12):
        rows = {meter: chance.choice([1.0, 30.0]) for meter in METERS}
        here.readings(*((meter, n, kwh) for meter, kwh in rows.items()))
        publishes.append(rows)
        if n % 3 == 2:
            receiver.how = [chance.choice(["500", "cut", "hang", "taken"]) for _ in range(3)]
            process = context.Process(target=_watch, args=(here.lake,))
            process.start()
            assert process.pid is not None
            process.join(chance.uniform(0.2, 2.0))
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    receiver.how = []
    process = context.Process(target=_watch, args=(here.lake,))
    process.start()
    wanted, deadline = expected(publishes), time.monotonic() + PATIENCE_S
    while received(receiver.taken) != wanted or received(here.told()) != wanted:
        assert process.is_alive() and time.monotonic() < deadline, (received(receiver.taken), wanted)
        time.sleep(0.1)
    process.terminate()
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert [one["id"] for one in receiver.taken] == [one["id"] for one in here.told()]
