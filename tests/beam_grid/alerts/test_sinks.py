"""Sinks against real servers on loopback that take, refuse, hang, lie or are down."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from beam_grid.alerts import command
from beam_grid.alerts.couriers import REFUSALS, Courier
from beam_grid.alerts.declared import EmailSink, FileSink, Secret, WebhookSink, declared
from beam_grid.alerts.sinks import SinkFailed, made
from beam_grid.alerts.sinks.webhook import signature
from beam_grid.alerts.store import opened
from tests.beam_grid.alerts.published import RULE, TO_FILE, Published, keys
from tests.beam_grid.alerts.receiver import SECRET, Receiver, receiving, webhook
from tests.component.broker import free_ports
from tests.waiting import PATIENCE_S


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("BEAM_GRID_TEST_HOOK", SECRET)
    with receiving() as found:
        yield found


def couriers(here: Published) -> list[Courier]:
    found = declared(here.lake)
    assert found is not None
    return [Courier(here.lake, sink) for sink in found.sinks]


def sends(here: Published, courier: Courier, most: int = 50) -> int:
    """Try until nothing waits, without the pauses; how many tries."""
    with opened(here.lake) as store:
        for tries in range(most):
            if not courier.send_one(store):
                return tries
    return most


def test_a_webhook_that_fails_hangs_drips_and_redirects_gets_it_in_the_end(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Published(tmp_path, RULE + TO_FILE + webhook(receiver))
    here.readings(("a", 0, 30.0))
    receiver.how = ["500", "hang", "drip", "redirect", "404", "cut"]
    monkeypatch.setattr(command, "_sent", lambda *_: True)  # couriers are asked one by one
    assert here.check() == 0
    file, hook = couriers(here)
    assert sends(here, file) == 1 and len(here.told()) == 1, "a sink beside it has it at once"
    with opened(here.lake) as store:
        errors = []
        while hook.send_one(store) and len(errors) < 20:
            errors.append(store.deliveries()[0][5])
        assert receiver.tries == 7
    assert [error for error in errors if error] == [
        "127.0.0.1 answered 500", "127.0.0.1 did not answer within 1 s", "127.0.0.1 did not answer within 1 s",
        "127.0.0.1 answered 307", "127.0.0.1 answered 404", "127.0.0.1 cannot be asked (RemoteDisconnected)",
    ]  # fmt: skip
    (id, count), *none = receiver.deliveries.items()
    assert (id, count, none) == (here.told()[0]["id"], 2, []), "it came twice, under one id"
    assert len(receiver.taken) == 1
    assert SECRET not in capsys.readouterr().err and "of=tests" not in str(errors)


def test_a_message_that_is_refused_for_what_it_is_does_not_hold_up_the_next(tmp_path: Path, receiver: Receiver) -> None:
    here = Published(tmp_path, RULE + "sinks = ['hook']\n" + webhook(receiver))
    receiver.how = ["400"] * REFUSALS
    here.readings(("a", 0, 30.0))
    here.said.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_sent", lambda *_: True)
        here.check()
        here.readings(("b", 0, 30.0))
        here.check()
    assert sends(here, couriers(here)[0]) == REFUSALS + 1
    assert [keys(one) for one in receiver.taken] == [["b"]]
    (row,) = command.listed(here.lake, "sinks", False).to_pylist()
    assert (row["sent"], row["waiting"], row["refused"], row["error"]) == (1, 0, 1, "127.0.0.1 answered 400")


def test_the_signature_is_that_of_the_standard_webhooks() -> None:
    """The example of the specification's libraries."""
    given = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'
    )
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


class Mailbox:
    """Mail that a real SMTP server took."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.tries = 0
        self.answers: list[str] = []
        self.refuses = set[str]()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuses:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.tries += 1
        if self.answers:
            return self.answers.pop(0)
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 taken"


@contextmanager
def mailing(port: int, password: str | None = None) -> Iterator[Mailbox]:
    box = Mailbox()

    def authenticator(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=given.login == b"grid" and given.password == (password or "").encode())

    more = {"authenticator": authenticator, "auth_required": True, "auth_require_tls": False} if password else {}
    controller = Controller(box, hostname="127.0.0.1", port=port, **more)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def test_mail_is_sent_when_a_server_that_was_down_for_long_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile rules are looked at as ever, and what is open and cleared goes to the others."""
    (port,) = free_ports(1)
    monkeypatch.setenv("BEAM_GRID_TEST_MAIL", "hush-hush")
    mail = f"""
[[sinks]]
name = "mail"
kind = "email"
host = "127.0.0.1"
port = {port}
sender = "grid@example.org"
to = ["ops@example.org", "night@example.org"]
user = "grid"
password = {{ env = "BEAM_GRID_TEST_MAIL" }}
timeout = "5s"
"""
    here = Published(tmp_path, RULE + 'description = "Look at the meter."\n' + TO_FILE + mail)
    monkeypatch.setattr(command, "_sent", lambda *_: True)
    file, post = couriers(here)
    for n in range(4):
        here.readings((f"m\n{n}", n, 30.0), ("same", n, 30.0 if n % 2 else 1.0))
        assert here.check() == 0
        sends(here, file)
        assert sends(here, post, most=2) == 2
    assert [one["kind"] for one in here.told()] == [
        "raised",
        "raised",
        "raised",
        "raised",
        "cleared",
        "raised",
        "raised",
    ]
    with mailing(port, "hush-hush") as box:
        box.answers = ["451 later"]
        assert sends(here, post) == len(here.told()) + 1
    assert [one["Message-ID"] for one in box.mails] == [f"<{one['id']}@beam-grid>" for one in here.told()]
    first = box.mails[0]
    assert first["To"] == "ops@example.org, night@example.org" and first["From"] == "grid@example.org"
    assert first["Subject"].startswith("WARNING high raised: meter m") and "\n" not in first["Subject"]
    assert "Look at the meter." in first.get_content() and "kwh 30.0" in first.get_content()
    (row, _) = command.listed(here.lake, "sinks", False).to_pylist()
    assert "hush" not in str(row)


@contextmanager
def silent() -> Iterator[int]:
    """A server that takes connections and never says a word; its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_mail_server_that_never_speaks_is_left_in_time(tmp_path: Path) -> None:
    here, before = Published(tmp_path), set(threading.enumerate())
    sample = command._sample(here.lake, declared(here.lake))  # type: ignore[arg-type]
    with silent() as port:
        sink = made(EmailSink(name="m", host="127.0.0.1", port=port, to=("a@b",), sender="c@d", timeout="1s"), tmp_path)
        with pytest.raises(SinkFailed, match="did not answer within 1 s"):
            sink.send(sample)
    for thread in set(threading.enumerate()) - before:
        if isinstance(thread, threading.Timer):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_a_secret_that_is_not_there_is_named_and_one_in_a_file_is_read(tmp_path: Path, receiver: Receiver) -> None:
    here = Published(tmp_path)
    sample = command._sample(here.lake, declared(here.lake))  # type: ignore[arg-type]
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "url").write_text(receiver.url)
    given = WebhookSink(name="h", url=Secret(file=str(tmp_path / "url")), secret=Secret(file=str(tmp_path / "secret")))
    made(given, tmp_path).send(sample)
    assert len(receiver.taken) == 1
    lacking = WebhookSink(name="h", url=receiver.url, secret=Secret(env="BEAM_GRID_TEST_NOT_SET"))
    with pytest.raises(SinkFailed, match="the environment has no BEAM_GRID_TEST_NOT_SET"):
        made(lacking, tmp_path).send(sample)


def test_a_line_that_a_kill_left_half_is_cut_off_and_one_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    here, target = Published(tmp_path), tmp_path / "out.jsonl"
    sample = command._sample(here.lake, declared(here.lake))  # type: ignore[arg-type]
    to = FileSink(name="f", path=str(target))
    made(to, tmp_path).send(sample)
    whole = target.read_bytes()
    target.write_bytes(whole + whole[: len(whole) // 2])
    made(to, tmp_path).send(sample)
    assert target.read_bytes() == whole
    target.write_bytes(whole[:-9])
    made(to, tmp_path).send(sample)
    assert target.read_bytes() == whole and json.loads(whole)["kind"] == "test"
