"""What is broken beside an alert, or in it, costs nothing else: other rules, other messages, other sinks, the watching."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from beam_grid.alerts import command, evaluate, watch
from beam_grid.alerts.couriers import REFUSALS, Courier
from beam_grid.alerts.declared import KafkaSink, declared, parsed
from beam_grid.alerts.figures import figures
from beam_grid.alerts.messages import Message, from_json
from beam_grid.alerts.sinks import SinkFailed
from beam_grid.alerts.sinks.kafka import ToKafka
from beam_grid.alerts.store import opened
from beam_grid.errors import GridError
from beam_grid.server.alerts import open_alerts
from tests.beam_grid.alerts.published import READINGS, RULE, TO_FILE, Published, minute
from tests.beam_grid.alerts.test_sinks import mailing
from tests.component.broker import free_ports
from tests.waiting import PATIENCE_S

HEADERS = "=?utf-8?q?x=0D=0AReply-To:_evil@example.org=0D=0A=0D=0A<h1>All_is_well</h1>?="
UNWRITABLE = "=?utf-7?q?+2AA-?="


def unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks send nothing."""
    monkeypatch.setattr(command, "_sent", lambda *_: True)


def courier(here: Published) -> Courier:
    found = declared(here.lake)
    assert found is not None
    return Courier(here.lake, found.sinks[0], first_s=0.0)


def sends(here: Published, by: Courier, most: int = 30) -> int:
    """Tries until nothing waits."""
    with opened(here.lake) as store:
        return next((n for n in range(most) if not by.send_one(store)), most)


def sinks(here: Published) -> list[dict[str, Any]]:
    return command.listed(here.lake, "sinks", False).to_pylist()


@contextmanager
def watching(here: Published, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(watch, "_SETTLES_S", 0.3)
    ending = threading.Event()
    thread = threading.Thread(target=watch.watch, args=(here.lake, ending))
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(PATIENCE_S)


def is_to_begin_anew(here: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher that has the file's rules ends itself, for its memory."""
    with monkeypatch.context() as patch:
        patch.setattr(watch, "MOST_RESIDENT", 0)
        patch.setattr(watch, "_MEASURES_EVERY_S", 0.0)
        assert watch.watch(here.lake, threading.Event())


def comes(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def mail(port: int) -> str:
    return f'[[sinks]]\nname = "mail"\nkind = "email"\nhost = "127.0.0.1"\nport = {port}\nsender = "grid@example.org"\nto = ["a@example.org", "b@example.org"]\ntls = "none"\n'


@pytest.mark.parametrize("key", [HEADERS, UNWRITABLE, "=?us-ascii?b?Cg==?=", "x =?utf-8?q?=0A?= y"])
def test_a_key_is_text_in_a_mail_and_holds_up_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    unsent(monkeypatch)
    (port,) = free_ports(1)
    here = Published(tmp_path, RULE + mail(port))
    here.readings((key, 0, 30.0))
    here.check()
    here.readings(("M-1", 1, 30.0))
    here.check()
    with mailing(port, None) as box:
        assert sends(here, courier(here)) == 2
    first, second = box.mails
    assert first["Reply-To"] is None and "M-1" in second["Subject"]
    assert first.get_content_type() == "text/plain" and "All is well" not in str(first["Subject"])


def test_a_mail_that_cannot_be_made_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsent(monkeypatch)
    (port,) = free_ports(1)
    here = Published(tmp_path, RULE + mail(port))
    for n in range(2):
        here.readings((f"m{n}", n, 30.0))
        here.check()
    by, made = courier(here), []

    def fails_once(message: Message) -> Any:
        made.append(message.id)
        if len(made) == 1:
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates")
        return type(by._sink)._mail(by._sink, message)  # type: ignore[attr-defined]

    monkeypatch.setattr(by._sink, "_mail", fails_once)
    with mailing(port, None) as box:
        assert sends(here, by) == 2
    assert len(box.mails) == 1 and [(row["sent"], row["refused"]) for row in sinks(here)] == [(1, 1)]


def test_an_addressee_that_is_refused_costs_the_others_no_second_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent(monkeypatch)
    (port,) = free_ports(1)
    here = Published(tmp_path, RULE + mail(port))
    here.readings(("m", 0, 30.0))
    here.check()
    with mailing(port, None) as box:
        box.refuses = {"a@example.org"}
        assert sends(here, courier(here)) == 1
    assert len(box.mails) == 1
    (row,) = sinks(here)
    assert row["refused"] == 1 and "takes no mail for a@example.org" in row["error"]


def test_a_file_of_one_table_that_is_lost_costs_its_own_rule_alone(tmp_path: Path) -> None:
    other = RULE.replace('"high"', '"fine"').replace("silver.readings", "silver.fine")
    here = Published(tmp_path, RULE + other + TO_FILE)
    here.readings(("a", 0, 30.0))
    (file,) = DeltaTable(str(here.lake.path / "tables/silver.readings")).file_uris()
    here.table("silver.fine", pa.Table.from_pylist([{"meter": "z", "at": minute(0), "kwh": 1.0}], schema=READINGS))
    assert here.check() == 0
    Path(file).unlink()
    here.readings(("b", 1, 1.0))
    here.table("silver.fine", pa.Table.from_pylist([{"meter": "z", "at": minute(1), "kwh": 99.0}], schema=READINGS))
    assert here.check() == 1
    assert here.kinds() == [("raised", ["a"]), ("raised", ["z"])] and here.states() == {
        '["a"]': "open",
        '["z"]': "open",
    }
    (error,) = (row["error"] for row in command.listed(here.lake, "rules", False).to_pylist() if row["error"])
    assert "refine" in error
    seen = open_alerts(here.lake, ("silver.readings",))
    assert [one["key"] for one in seen["alerts"]] == [["a"]]
    assert "cannot be asked" in seen["errors"]["high"], "what is wrong may name what a key must not see"
    assert open_alerts(here.lake, None)["errors"]["high"] == error


def test_a_file_that_is_emptied_before_it_is_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Published(tmp_path)
    here.readings(("a", 0, 30.0))
    here.check()
    command.ack(here.lake, ("high",), "night shift", print)
    text = (here.lake.path / "alerts.toml").read_text()
    with watching(here, monkeypatch):
        time.sleep(0.5)
        for between in ("", TO_FILE):
            here.declare(between)
            time.sleep(1)
        here.declare(text)
        here.readings(("b", 1, 30.0))
        comes(lambda: len(here.told()) > 1)
    assert here.kinds() == [("raised", ["a"]), ("raised", ["b"])]


def test_a_watcher_that_begins_anew_beside_a_wrong_file_goes_on_with_the_rules_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Published(tmp_path)
    here.readings(("a", 0, 1.0))
    is_to_begin_anew(here, monkeypatch)
    here.declare("nonsense")
    here.readings(("a", 1, 30.0))
    with watching(here, monkeypatch):
        comes(here.told)
    with pytest.raises(GridError, match=r"alerts\.toml"):
        watch.watch(here.lake, threading.Event())


def test_a_lake_made_anew_is_looked_at_though_its_numbers_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Published(tmp_path)
    with watching(here, monkeypatch):
        for n in range(3):
            number = here.readings(("a", n, 1.0))
            comes(lambda number=number: looked(here) == number)
        for folder in ("versions", "tables"):
            shutil.rmtree(here.lake.path / folder)
        for n in range(3):
            here.readings((f"b{n}", n, 30.0))
            comes(lambda n=n: len(here.told()) > n)


def looked(here: Published) -> int:
    with opened(here.lake) as store:
        return store.looked()


def test_a_rule_that_cannot_be_asked_goes_on_escalating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = TO_FILE.replace('"out"', '"night"').replace("out.jsonl", "night.jsonl")
    here = Published(
        tmp_path, RULE + 'sinks = ["out"]\nescalate_after = "30m"\nescalate_to = ["night"]\n' + TO_FILE + night
    )
    here.readings(("a", 0, 30.0))
    here.check()
    shutil.rmtree(here.lake.path / "tables" / "silver.readings")
    here.table("silver.readings", pa.table({"another": ["x"]}))
    assert here.check() == 1 and here.told("night.jsonl") == []
    now = evaluate.now_us()
    monkeypatch.setattr(evaluate, "now_us", lambda: now + 31 * 60_000_000)
    here.check()
    assert [one["kind"] for one in here.told("night.jsonl")] == ["escalated"]
    here.check()
    assert len(here.told("night.jsonl")) == 1


def test_a_look_that_fails_does_not_end_the_silence_of_a_maintenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = "[[maintenance]]\nstarts = 2026-03-01T01:00:00Z\nends = 2026-03-01T02:00:00Z\n"
    here = Published(tmp_path, RULE + 'remind_after = "1m"\nescalate_after = "1m"\n' + TO_FILE + work)
    here.readings(("a", 0, 30.0))
    found = declared(here.lake)
    assert found is not None
    with opened(here.lake) as store:
        evaluation = evaluate.Evaluation(here.lake, found, store, tmp_path / "scratch")
        evaluation.look(1)
        evaluation.look(here.readings(("a", 70, 30.0)))
        now = evaluate.now_us()
        monkeypatch.setattr(evaluate, "now_us", lambda: now + 5 * 60_000_000)
        shutil.rmtree(here.lake.path / "tables" / "silver.readings")
        told = evaluation.look(here.table("silver.readings", pa.table({"another": ["x"]})))
        assert told.errors and told.due is None
        assert [event.kind for event in store.untold("high")] == [] and len(store.sent_at("high", now)) == 1


def test_nothing_is_due_again_and_again(tmp_path: Path) -> None:
    """An escalation that is due while the alert may be over, is in maintenance, or the rule cannot be asked."""
    work = "[[maintenance]]\nstarts = 2026-03-01T01:00:00Z\nends = 2026-03-01T02:00:00Z\n"
    for n, (more, at, kwh) in enumerate([('keep_firing_for = "10m"\n', 1, 1.0), ("", 70, 30.0)]):
        here = Published(
            tmp_path / str(n), RULE + more + 'escalate_after = "1s"\n' + TO_FILE + (work if not more else "")
        )
        here.readings(("a", 0, 30.0))
        here.check()
        here.readings(("a", at, kwh))
        found = declared(here.lake)
        assert found is not None
        time.sleep(1.1)
        with opened(here.lake) as store:
            told = evaluate.Evaluation(here.lake, found, store, tmp_path / "scratch").look(2)
        assert told.due is None or told.due > evaluate.now_us() + 60_000_000, more


def test_the_last_word_of_what_waited_is_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Published(tmp_path, RULE + "budget = 2\n" + TO_FILE)
    now = evaluate.now_us()
    for n, (a, b) in enumerate([(30.0, 30.0), (1.0, 1.0), (30.0, 30.0)]):
        here.readings(("a", n, a), ("b", n, b))
        here.check()
    assert here.kinds() == [("raised", ["a"]), ("raised", ["b"])]
    monkeypatch.setattr(evaluate, "now_us", lambda: now + 61 * 60_000_000)
    here.check()
    assert here.states() == {'["a"]': "open", '["b"]': "open"}
    assert here.kinds()[2:] == [("cleared", ["a", "b"]), ("raised", ["a", "b"])]


def test_what_was_raised_and_cleared_untold_is_told_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver pairs them by the alert's id."""
    here = Published(tmp_path, RULE + "budget = 2\n" + TO_FILE)
    now = evaluate.now_us()
    here.readings(("y", 0, 30.0), ("z", 0, 30.0))
    here.check()
    for n, kwh in enumerate((30.0, 1.0, 30.0)):
        here.readings(("a", n, kwh))
        here.check()
    for hour in range(1, 4):
        monkeypatch.setattr(evaluate, "now_us", lambda hour=hour: now + hour * 61 * 60_000_000)
        here.check()
    open_, told = set[str](), here.told()
    for one in told:
        ids = {alert["id"] for alert in one["alerts"]}
        assert one["kind"] == "raised" or ids <= open_
        open_ = open_ | ids if one["kind"] == "raised" else open_ - ids
    assert len(open_) == len(here.states()) == 3


def test_what_a_rule_that_is_taken_out_had_is_cleared_as_it_was_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = TO_FILE.replace('"out"', '"pager"').replace("out.jsonl", "pager.jsonl")
    another = RULE.replace('"high"', '"other"')
    mine = RULE + 'severity = "critical"\nsinks = ["pager"]\n'
    here = Published(tmp_path, mine + TO_FILE + pager)
    here.readings(("a", 0, 30.0))
    with watching(here, monkeypatch):
        comes(lambda: here.told("pager.jsonl"))
        here.declare(another + TO_FILE + pager)
        comes(lambda: len(here.told("pager.jsonl")) > 2)
    titles = [one["title"] for one in here.told("pager.jsonl")]
    assert sorted(titles) == [
        "CRITICAL high cleared: meter a",
        "CRITICAL high raised: meter a",
        "WARNING other raised: meter a",
    ]


def test_a_rule_that_is_taken_out_is_cleared_at_once_and_to_its_own_sinks_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = TO_FILE.replace('"out"', '"private"').replace("out.jsonl", "private.jsonl")
    another = RULE.replace('"high"', '"other"').replace("kwh > 20", "kwh > 1000")
    here = Published(tmp_path, RULE + 'sinks = ["private"]\nkeep_firing_for = "6h"\n' + another + TO_FILE + private)
    here.readings(("a", 0, 30.0))
    with watching(here, monkeypatch):
        comes(lambda: here.told("private.jsonl"))
        here.declare(another + TO_FILE)
        comes(lambda: not here.states())
        time.sleep(0.5)
    assert here.told() == []


def test_an_empty_file_ends_nothing_for_a_watcher_that_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Published(tmp_path)
    here.readings(("a", 0, 1.0))
    is_to_begin_anew(here, monkeypatch)
    here.declare("")
    here.readings(("a", 1, 30.0))
    with watching(here, monkeypatch):
        comes(here.told)


def test_what_waits_for_a_sink_that_is_no_longer_declared_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Published(tmp_path, RULE + '[[sinks]]\nname = "hook"\nkind = "webhook"\nurl = "http://127.0.0.1:9/x"\n')
    here.readings(("a", 0, 30.0))
    with monkeypatch.context() as patch:
        unsent(patch)
        here.check()
    here.declare(RULE + TO_FILE)
    here.check()
    with opened(here.lake) as store:
        store.failed(1, "a try that was under way ends", None)
    seen = figures(here.lake)
    assert seen is not None and [(one.sink, one.waiting, one.refused) for one in seen.sinks] == [("hook", 0, 1)]


class Sink:
    """Fails as it is told to; None takes it."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers, self.taken = list(answers), list[str]()

    def send(self, message: Message) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken.append(message.id)


def test_tries_while_nobody_answers_are_no_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsent(monkeypatch)
    here = Published(tmp_path)
    here.readings(("a", 0, 30.0))
    here.check()
    by = courier(here)
    by._sink = Sink(*[SinkFailed("down")] * REFUSALS, *[SinkFailed("no", is_refused=True)] * (REFUSALS - 1), None)  # type: ignore[assignment]
    assert sends(here, by) == 2 * REFUSALS
    assert [(row["sent"], row["refused"]) for row in sinks(here)] == [(1, 0)]


def test_one_check_gives_up_what_is_refused_and_sends_what_is_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Published(tmp_path)
    with monkeypatch.context() as patch:
        unsent(patch)
        for n in range(2):
            here.readings((f"m{n}", n, 30.0))
            here.check()
    by = courier(here)
    by._sink = sink = Sink(*[SinkFailed("no", is_refused=True)] * REFUSALS)  # type: ignore[assignment]
    with opened(here.lake) as store:
        assert by.drain(store) is None
    assert len(sink.taken) == 1 and [(row["sent"], row["refused"]) for row in sinks(here)] == [(1, 1)]
    by = courier(here)
    here.readings(("m2", 2, 30.0))
    with monkeypatch.context() as patch:
        unsent(patch)
        here.check()
    by._sink = Sink(*[SinkFailed("down")] * 9)  # type: ignore[assignment]
    with opened(here.lake) as store:
        assert by.drain(store) is not None and by._tries.failures == 3


def test_what_was_taken_is_not_sent_again_where_that_cannot_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent(monkeypatch)
    here = Published(tmp_path)
    here.readings(("a", 0, 30.0))
    here.check()
    by = courier(here)
    by._sink = sink = Sink()  # type: ignore[assignment]
    with opened(here.lake) as store, monkeypatch.context() as patch:
        patch.setattr(store, "sent", lambda *_: (_ for _ in ()).throw(GridError("the disk is full")))
        for _ in range(3):
            with pytest.raises(GridError):
                by.send_one(store)
    assert sends(here, by) == 1 and len(sink.taken) == 1


def test_a_message_that_is_too_large_for_kafka_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the client itself: no broker is asked."""
    unsent(monkeypatch)
    here = Published(tmp_path)
    here.readings(*(("x" * 1100 + str(n), 0, 30.0) for n in range(1000)))
    here.check()
    to = ToKafka(KafkaSink(name="k", bootstrap="127.0.0.1:1", topic="t", timeout="1s"))
    with opened(here.lake) as store:
        waiting = store.unsent("out")
    assert waiting is not None and len(waiting.body) > 1_000_000
    with pytest.raises(SinkFailed, match="MSG_SIZE_TOO_LARGE") as failed:
        to.send(from_json(waiting.body))
    assert failed.value.is_refused


def test_a_list_in_a_row_is_cut_as_text_is(tmp_path: Path) -> None:
    here = Published(tmp_path, RULE.replace('time = "at"\n', "").replace("kwh > 20", "true") + TO_FILE)
    here.table("silver.readings", pa.table({"meter": ["a"], "many": [list(range(10_000))], "few": [[1, 2]]}))
    here.check()
    row = here.told()[0]["alerts"][0]["row"]
    assert row["few"] == [1, 2] and len(row["many"]) < 600 and row["many"].startswith("[0, 1, 2")


def test_a_link_that_cannot_be_made_costs_no_alert(tmp_path: Path) -> None:
    here = Published(tmp_path, 'dashboard = "http://127.0.0.1:8080"\n' + RULE + TO_FILE)
    commits = here.lake.path / "landing" / "readings" / "commits"
    commits.mkdir(parents=True)
    (commits / "0000000001.json").write_text("{")
    here.readings(("a", 0, 30.0))
    assert here.check() == 0 and here.kinds() == [("raised", ["a"])]


@pytest.mark.parametrize("word", ['sinks = ["out", "out"]', 'escalate_after = "1m"\nescalate_to = ["out", "out"]'])
def test_a_sink_is_named_once(word: str) -> None:
    with pytest.raises(GridError, match="'out' is there twice"):
        parsed(f"{RULE}{word}\n{TO_FILE}", "alerts.toml")


def test_several_slow_rules_are_not_taken_for_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(watch, "_HUNG_AFTER_S", 2.0)
    monkeypatch.setattr(watch.os, "_exit", ended.append)
    rules = "".join(RULE.replace('"high"', f'"rule{n}"') for n in range(6))
    here = Published(tmp_path, rules + TO_FILE)
    asked = evaluate.Matching.look

    def slow(self: Any, *of: Any) -> Any:
        time.sleep(0.8)
        return asked(self, *of)

    monkeypatch.setattr(evaluate.Matching, "look", slow)
    here.readings(("a", 0, 30.0))
    with watching(here, monkeypatch):
        comes(lambda: len(here.told()) == 6)
    assert ended == []


def test_the_beginning_of_an_id_names_one_alert(tmp_path: Path) -> None:
    here = Published(tmp_path)
    here.readings(("a", 0, 30.0), ("b", 0, 30.0))
    here.check()
    with opened(here.lake) as store:
        store._db.execute("UPDATE alerts SET id = '4c0b' || CASE key WHEN '[\"a\"]' THEN 'aaaa' ELSE 'bbbb' END")
    with pytest.raises(GridError, match="2 open alerts begin so"):
        command.ack(here.lake, ("4c0b",), "jan", print)
    assert command.ack(here.lake, ("4c0ba",), "jan", print) == 0
    acked = {row["key"]: row["acked_by"] for row in command.listed(here.lake, "alerts", False).to_pylist()}
    assert acked == {'["a"]': "jan", '["b"]': None}


def test_lists_and_the_api_tell_what_is_open_beside_a_wrong_file(tmp_path: Path) -> None:
    here = Published(tmp_path)
    here.readings(("a", 0, 30.0))
    here.check()
    here.declare("nonsense")
    for what in ("alerts", "sinks", "rules"):
        assert command.listed(here.lake, what, False).num_rows == 1
    told = open_alerts(here.lake, None)
    assert [one["key"] for one in told["alerts"]] == [["a"]] and "alerts.toml" in told["errors"]


def test_all_are_counted_however_many_are_listed(tmp_path: Path) -> None:
    here = Published(tmp_path)
    here.readings(*((f"m{n}", 0, 30.0) for n in range(10_050)))
    here.check()
    told = open_alerts(here.lake, None)
    assert told["counts"] == {"open": 10_050} and len(told["alerts"]) == 1000
    assert json.dumps(told)
