"""LAKE/alerts.toml: rules, where alerts are sent, and when they are held back.

    dashboard = "http://127.0.0.1:8080"               # links of messages begin so

    [[alerts]]
    name = "overload"
    table = "silver.smart_meter_readings"             # or sql = "SELECT ..."
    key = ["meter_id"]                                # one alert for each of these
    time = "timestamp"
    within = "1h"                                     # rows of the newest hour; without it the newest row of each key
    where = "reading_kwh > 20"
    clear = "reading_kwh < 15"

    [[sinks]]
    name = "ops"
    kind = "webhook"
    url = "https://ops.example/hook"
    secret = { env = "OPS_HOOK_SECRET" }              # or { file = "/run/secrets/ops" }; never the secret itself

    [[maintenance]]
    feed = "maintenance_logs"                         # or starts and ends, with match = { meter_id = "SM-N-*" }

docs/alerts.md has all words. It belongs to the lake and to no contract: it changes what is told, never what is stored.
"""

from __future__ import annotations

import os
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from beam_grid.errors import GridError
from beam_grid.landing import Lake
from data_sources.durations import micros, parse_duration

if TYPE_CHECKING:
    from beam_grid.server.guard import Guard

FILE = "alerts.toml"

Severity = Literal["info", "warning", "critical"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_TABLE = re.compile(r"(silver|gold|bronze)\.[A-Za-z0-9_]+")
_ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+")


class Secret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret is: one of the two."""

    env: str | None = None
    """A variable of the environment."""
    file: str | None = None
    """A file that holds it and nothing else; white space around it is no part of it."""

    def value(self) -> str:
        """Read now; raises GridError that names the place, never what is there."""
        if self.env is not None:
            found = os.environ.get(self.env, "")
            if not found:
                raise GridError(f"the environment has no {self.env}; set it where this runs")
            return found
        try:
            found = Path(self.file or "").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as cause:
            raise GridError(
                f"{self.file}: cannot be read ({getattr(cause, 'strerror', None) or 'not UTF-8'})"
            ) from cause
        if not found:
            raise GridError(f"{self.file}: is empty")
        return found


class _Sink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    name: str


class LogSink(_Sink, frozen=True, kw_only=True, tag="log"):
    """The log of the process that watches."""


class FileSink(_Sink, frozen=True, kw_only=True, tag="file"):
    """A file of JSON lines."""

    path: str
    """Relative to the lake."""


class WebhookSink(_Sink, frozen=True, kw_only=True, tag="webhook"):
    """POST of JSON."""

    url: str | Secret
    secret: Secret | None = None
    """Signs each message, by the Standard Webhooks."""
    timeout: str = "10s"
    """Of one try, all in all."""


class KafkaSink(_Sink, frozen=True, kw_only=True, tag="kafka"):
    """A topic; the key is the alert's rule and key."""

    bootstrap: str
    topic: str
    config: str | None = None
    """Connection settings, a file of key=value lines, as --kafka-config."""
    timeout: str = "10s"


class EmailSink(_Sink, frozen=True, kw_only=True, tag="email"):
    """A message by SMTP."""

    host: str
    to: tuple[str, ...]
    sender: str
    port: int = 25
    tls: Literal["none", "starttls", "tls"] = "none"
    user: str | None = None
    password: Secret | None = None
    timeout: str = "20s"


AnySink = LogSink | FileSink | WebhookSink | KafkaSink | EmailSink


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """One of [[alerts]]."""

    name: str
    where: str
    """A condition over the columns: a key with a row that meets it is alerted."""
    key: tuple[str, ...]
    """Columns that name the thing; one alert is open for each of their values."""
    table: str = ""
    """A table or view of the lake."""
    sql: str = ""
    """Instead of a table: a SELECT."""
    time: str | None = None
    """The column with the rows' time. With it only the newest rows of each key count."""
    within: str | None = None
    """With `time`: all rows count that are this much older than the newest of the table, or less."""
    clear: str | None = None
    """A condition that a key's newest row must meet to be cleared (hysteresis); unless given, no row that meets `where`."""
    severity: Severity = "warning"
    description: str = ""
    """What it means and what to do: goes with each message."""
    for_: str = "0s"
    """Raised when the condition has held so long."""
    keep_firing_for: str = "0s"
    """Cleared when it has not held for so long."""
    remind_after: str | None = None
    """Told again each time so much has passed, until acknowledged."""
    escalate_after: str | None = None
    """Told to `escalate_to` when nobody has acknowledged it so long."""
    escalate_to: tuple[str, ...] = ()
    """Sinks; those of `sinks` unless given."""
    sinks: tuple[str, ...] = ()
    """Names of sinks; all unless given."""
    send_resolved: bool = True
    """Whether it is told when it is cleared."""
    group_over: int = 5
    """More alerts at once than this come as one message."""
    budget: int = 60
    """Messages in an hour; what is beyond comes as one when there is room. Escalations always come."""

    def us(self, word: str) -> int | None:
        """A duration in microseconds; None where it is not given."""
        text = getattr(self, word)
        return None if text is None else micros(parse_duration(text))


class Maintenance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of [[maintenance]]: alerts of rows in it are held back until it is over."""

    rules: tuple[str, ...] = ()
    """Names of rules; all that have the columns unless given."""
    starts: datetime | None = None
    ends: datetime | None = None
    match: dict[str, str] = {}
    """By column a pattern, as SM-N-*; all rows unless given."""
    feed: str = ""
    """A feed of the fields of maintenance_logs: from scheduled_date (or reported_date) to the day after completed_date,
    `at_most` long."""
    sql: str = ""
    """A SELECT of the columns of `on`, and `starts` and `ends`."""
    on: tuple[str, ...] = ("transformer_id",)
    """With feed and sql: columns that rows and maintenance have alike."""
    at_most: str = "7d"
    """With feed: work that nobody completes holds nothing back after this."""


class Declared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    alerts: tuple[Rule, ...] = ()
    sinks: tuple[AnySink, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    dashboard: str | None = None
    """What links begin with."""
    every: str = "60s"
    """Rules are looked at so often also where nothing is published: for those that ask for silence."""

    def sinks_of(self, rule: Rule, is_escalation: bool = False) -> tuple[str, ...]:
        """Names of the sinks that a message of the rule goes to."""
        if is_escalation and rule.escalate_to:
            return rule.escalate_to
        return rule.sinks or tuple(sink.name for sink in self.sinks)


def declared(lake: Lake) -> Declared | None:
    """What the lake's file says; None where there is no file. Raises GridError naming file, entry, word and remedy."""
    where = lake.path / FILE
    try:
        text = where.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        raise GridError(f"{where}: cannot be read ({getattr(cause, 'strerror', None) or cause})") from cause
    return parsed(text, str(where))


def parsed(text: str, where: str) -> Declared:
    """The same of a text; `where` is what errors call it."""
    try:
        found = msgspec.convert(tomllib.loads(text), Declared)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as cause:
        raise GridError(
            f"{where}: {cause}; docs/alerts.md lists the words of [[alerts]], [[sinks]] and [[maintenance]]"
        ) from cause
    if found.dashboard is not None and not re.match(r"https?://[^\s/]+", found.dashboard):
        raise GridError(f"{where}: dashboard: {found.dashboard!r} is no address; write it as http://127.0.0.1:8080")
    _duration(f"{where}: every", found.every, least_s=1)
    sinks = {sink.name for sink in found.sinks}
    for kind, entries in (("alert", found.alerts), ("sink", found.sinks)):
        seen: set[str] = set()
        for entry in entries:
            if not _NAME.fullmatch(entry.name):
                raise GridError(f"{where}, {kind} {entry.name!r}: name: use letters, digits, _ . and -, at most 100")
            if entry.name in seen:
                raise GridError(f"{where}, {kind} {entry.name!r}: is declared twice; rename one of them")
            seen.add(entry.name)
    conditions = _Conditions()
    for rule in found.alerts:
        _check_rule(rule, sinks, f"{where}, alert {rule.name!r}", conditions)
    for sink in found.sinks:
        _check_sink(sink, f"{where}, sink {sink.name!r}")
    for number, one in enumerate(found.maintenance, 1):
        _check_maintenance(one, {rule.name for rule in found.alerts}, f"{where}, maintenance {number}", conditions)
    return found


class _Conditions:
    """The guard of the server, on an engine that only parses; loaded where there is something to judge."""

    def __init__(self) -> None:
        self._guard: Guard | None = None

    def check(self, where: str, word: str, text: str, is_select: bool = False) -> None:
        from beam_grid.server.guard import Guard, Refused

        if self._guard is None:
            import duckdb

            self._guard = Guard(duckdb.connect())
        try:
            self._guard.reading(text if is_select else f"SELECT 1 WHERE {self._guard.condition(text)}")
        except Refused as cause:
            raise GridError(f"{where}: {word}: {cause}") from cause


def _check_rule(rule: Rule, sinks: set[str], where: str, conditions: _Conditions) -> None:
    if bool(rule.table) == bool(rule.sql):
        raise GridError(f'{where}: give one of table = "silver.FEED" and sql = "SELECT ..."')
    if rule.table and not _TABLE.fullmatch(rule.table):
        raise GridError(f"{where}: table: {rule.table!r} is no table of a lake; write it as silver.FEED or gold.WINDOW")
    if rule.sql:
        conditions.check(where, "sql", rule.sql, is_select=True)
    for word in ("where", "clear"):
        if (text := getattr(rule, word)) is not None:
            conditions.check(where, word, text)
    if not rule.key:
        raise GridError(f'{where}: key: is empty; name the columns that tell one thing from another, as ["meter_id"]')
    if rule.within is not None and rule.time is None:
        raise GridError(f"{where}: within: needs time, the column with the rows' time")
    for word in ("for", "keep_firing_for", "within", "remind_after", "escalate_after"):
        text = getattr(rule, "for_" if word == "for" else word)
        if text is not None:
            _duration(f"{where}: {word}", text, least_s=0 if word in ("for", "keep_firing_for") else 1)
    for word in ("group_over", "budget"):
        if getattr(rule, word) < 1:
            raise GridError(f"{where}: {word} = {getattr(rule, word)}; it must be at least 1")
    for word in ("sinks", "escalate_to"):
        for name in getattr(rule, word):
            if getattr(rule, word).count(name) > 1:
                raise GridError(f"{where}: {word}: {name!r} is there twice; once is enough")
            if name not in sinks:
                known = ", ".join(sorted(sinks)) or "none yet"
                raise GridError(f"{where}: {word}: there is no sink {name!r}; [[sinks]] has {known}")
    if rule.escalate_to and rule.escalate_after is None:
        raise GridError(f'{where}: escalate_to: needs escalate_after, as "30m"')


def _check_sink(sink: AnySink, where: str) -> None:
    for word in ("url", "secret", "password"):
        secret = getattr(sink, word, None)
        if isinstance(secret, Secret) and (secret.env is None) == (secret.file is None):
            raise GridError(f'{where}: {word}: write {{ env = "NAME" }} or {{ file = "PATH" }}')
    if not isinstance(sink, LogSink | FileSink):
        _duration(f"{where}: timeout", sink.timeout, least_s=1)
    url = sink.url if isinstance(sink, WebhookSink) else None
    if isinstance(url, str) and not re.fullmatch(r"https?://[^\s@/?#]+([/?]\S*)?", url):
        raise GridError(f"{where}: url: is no address as https://host/path; a name or password has no place in it")
    if isinstance(sink, EmailSink):
        for word, addresses in (("to", sink.to), ("sender", (sink.sender,))):
            if not addresses or not all(_ADDRESS.fullmatch(one) and _is_written(one) for one in addresses):
                raise GridError(f"{where}: {word}: write addresses as grid@example.org")
        if (sink.user is None) != (sink.password is None):
            raise GridError(f"{where}: user and password go together")
        if not 0 < sink.port < 65536:
            raise GridError(f"{where}: port = {sink.port}; it must be from 1 to 65535")


def _is_written(address: str) -> bool:
    """Whether a mail can be made to it."""
    from email.message import EmailMessage

    try:
        EmailMessage()["To"] = address
        return True
    except Exception:  # of some it is an IndexError
        return False


def _check_maintenance(one: Maintenance, rules: set[str], where: str, conditions: _Conditions) -> None:
    if [bool(one.feed), bool(one.sql), one.starts is not None].count(True) != 1:
        raise GridError(f"{where}: give one of starts and ends, feed, and sql")
    if one.starts is not None:
        if one.ends is None or _aware(one.ends) <= _aware(one.starts):
            raise GridError(f"{where}: ends: must be a time after starts")
    elif one.ends is not None or one.match:
        raise GridError(f"{where}: ends and match go with starts")
    if one.feed and not re.fullmatch(r"[A-Za-z0-9_]+", one.feed):
        raise GridError(f"{where}: feed: {one.feed!r} is no feed's name")
    if one.sql:
        conditions.check(where, "sql", one.sql, is_select=True)
    _duration(f"{where}: at_most", one.at_most, least_s=1)
    if not one.on:
        raise GridError(f"{where}: on: is empty; name a column that rows and maintenance have alike")
    for name in one.rules:
        if name not in rules:
            raise GridError(
                f"{where}: rules: there is no alert {name!r}; [[alerts]] has {', '.join(sorted(rules)) or 'none'}"
            )


def _aware(time: datetime) -> datetime:
    """A time without an offset is UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _duration(where: str, text: str, least_s: float) -> None:
    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as cause:
        raise GridError(f"{where}: {cause}") from cause
    if seconds < least_s:
        raise GridError(f"{where}: {text!r} is too short; the shortest is {least_s:g}s")
