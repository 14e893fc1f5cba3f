"""LAKE/alerts/alerts.db: alerts, what is to be told of them, and which sink has it. SQLite.

    alerts ──1:n── events ──n:1── messages ──1:n── outbox (a row for each sink)

Guarantees: what a look at a version set changes, and what is to be sent for it, is there all or not at all, and outlives
`kill -9` and power (WAL, synced with each commit). A row of the outbox is sent until its sink has taken it; what is
sent twice, because the sender died in between, has the same id. One alert at most is live for each rule and key: the
database itself refuses a second. Not guaranteed: network file systems, on which SQLite's locks do not hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from beam_grid.alerts.grouping import HOUR, Waiting
from beam_grid.alerts.lifecycle import Alert, Step
from beam_grid.errors import GridError
from beam_grid.landing import Lake

FOLDER, FILE = "alerts", "alerts.db"

_FORMAT = 2
"""The second has `looks`."""

_KEPT_US = 90 * 24 * HOUR
"""What is cleared and sent is kept so long."""

_COLUMNS = Alert.__struct_fields__

_TABLES = f"""
CREATE TABLE IF NOT EXISTS alerts ({", ".join(_COLUMNS)}, PRIMARY KEY (id));
CREATE UNIQUE INDEX IF NOT EXISTS live ON alerts (rule, key) WHERE state <> 'cleared';
CREATE INDEX IF NOT EXISTS by_state ON alerts (state, cleared_at);
CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, rule TEXT, kind TEXT, at INTEGER, body BLOB);
CREATE INDEX IF NOT EXISTS messages_at ON messages (rule, at);
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY AUTOINCREMENT, alert TEXT, rule TEXT, kind TEXT, at INTEGER,
  message TEXT);
CREATE INDEX IF NOT EXISTS events_untold ON events (rule) WHERE message IS NULL;
CREATE INDEX IF NOT EXISTS events_alert ON events (alert);
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT, sink TEXT, tries INTEGER DEFAULT 0,
  error TEXT, sent_at INTEGER, refused_at INTEGER, UNIQUE (message, sink));
CREATE INDEX IF NOT EXISTS outbox_unsent ON outbox (sink, number) WHERE sent_at IS NULL AND refused_at IS NULL;
CREATE TABLE IF NOT EXISTS rules (rule TEXT PRIMARY KEY, set_number INTEGER, at INTEGER, matched INTEGER, error TEXT,
  reads TEXT);
CREATE TABLE IF NOT EXISTS looked (one INTEGER PRIMARY KEY CHECK (one = 1), set_number INTEGER, at INTEGER);
CREATE TABLE IF NOT EXISTS looks (set_number INTEGER PRIMARY KEY, seconds REAL, raised INTEGER);
PRAGMA user_version = {_FORMAT};
"""


_KEPT_LOOKS = 1000


class Look(NamedTuple):
    """How a version set was looked at."""

    seconds: float
    """The first time, to ask all rules."""
    raised: int
    """Alerts."""
    taken_at: int | None
    """When all sinks had taken what told of them, microseconds since the epoch; None where none told, or one has not."""


class Unsent(NamedTuple):
    """A message that waits for a sink."""

    number: int
    id: str
    body: bytes
    tries: int


def path_of(lake: Lake) -> Path:
    return lake.path / FOLDER / FILE


class Store:
    """One connection; for one thread. Raises GridError where the file cannot be used."""

    def __init__(self, lake: Lake, is_read_only: bool = False) -> None:
        self._where = path_of(lake)
        if is_read_only:
            with self._told():
                self._db = sqlite3.connect(f"{self._where.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
            return
        try:
            self._where.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._where, timeout=30, isolation_level=None)
            with self._told():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                (written,) = self._db.execute("PRAGMA user_version").fetchone()
                if written > _FORMAT:
                    raise GridError(f"{self._where}: was written by a newer version; update beam-grid")
                if written < _FORMAT:
                    self._db.executescript(_TABLES)
        except OSError as cause:
            raise GridError(f"{self._where}: cannot be made ({cause.strerror or cause})") from cause

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as cause:
            raise GridError(
                f"{self._where}: {cause}; where it is damaged, move it away: what is open is then told once more"
            ) from cause

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All that is written inside, or nothing; nobody else writes meanwhile."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            return self._db.execute(sql, tuple(values)).fetchall()

    def live(self, rule: str) -> dict[str, Alert]:
        """A rule's alerts that are not cleared, by key."""
        found = self._alerts("WHERE rule = ? AND state <> 'cleared'", [rule])
        return {alert.key: alert for alert in found}

    def live_rules(self) -> list[str]:
        """Rules with alerts that are not cleared, or events that are not told."""
        return [
            rule
            for (rule,) in self._rows(
                "SELECT DISTINCT rule FROM alerts WHERE state <> 'cleared' "
                "UNION SELECT DISTINCT rule FROM events WHERE message IS NULL"
            )
        ]

    def alerts(
        self, with_cleared: bool = False, most: int = 10_000, rules: Collection[str] | None = None
    ) -> list[Alert]:
        """Worst first, then newest; those that are cleared too. rules: only of these."""
        where = "WHERE true" if with_cleared else "WHERE state <> 'cleared'"
        if rules is not None:
            where += f" AND rule IN ({', '.join('?' * len(rules))})"
        worst = "CASE state WHEN 'open' THEN 0 WHEN 'pending' THEN 1 WHEN 'suppressed' THEN 2 ELSE 3 END, "
        worst += "CASE severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END"
        return self._alerts(f"{where} ORDER BY {worst}, since DESC, id LIMIT {int(most)}", [*(rules or ())])

    def counted(self) -> list[tuple[str, str, int]]:
        """Alerts by rule and state, cleared ones left out."""
        return self._rows("SELECT rule, state, count(*) FROM alerts WHERE state <> 'cleared' GROUP BY rule, state")

    def with_ids(self, ids: Iterable[str]) -> dict[str, Alert]:
        """By id."""
        wanted, found = list(ids), {}
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            for alert in self._alerts(f"WHERE id IN ({', '.join('?' * len(part))})", part):
                found[alert.id] = alert
        return found

    def _alerts(self, rest: str, values: list[Any]) -> list[Alert]:
        rows = self._rows(f"SELECT {', '.join(_COLUMNS)} FROM alerts {rest}", values)
        return [Alert(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]

    def write(self, step: Step, rule: str, now: int) -> None:
        """What a look changed. Inside `changing`."""
        places = ", ".join("?" * len(_COLUMNS))
        latest = {alert.id: alert for alert in step.changed}
        self._db.executemany(
            f"INSERT INTO alerts ({', '.join(_COLUMNS)}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS),
            [msgspec.structs.astuple(alert) for alert in latest.values()],
        )
        self._db.executemany("DELETE FROM alerts WHERE id = ?", [(id,) for id in step.dropped])
        self._db.executemany(
            "INSERT INTO events (alert, rule, kind, at) VALUES (?, ?, ?, ?)",
            [(event.alert.id, rule, event.kind, now) for event in step.events],
        )

    def untold(self, rule: str) -> list[Waiting]:
        """Events that no message has said yet, in order."""
        rows = self._rows(
            "SELECT number, kind, alert FROM events WHERE rule = ? AND message IS NULL ORDER BY 1", [rule]
        )
        return [Waiting(*row) for row in rows]

    def silence(self, events: list[Waiting]) -> None:
        """They are not to be told. Inside `changing`."""
        self._db.executemany("UPDATE events SET message = '' WHERE number = ?", [(e.number,) for e in events])

    def sent_at(self, rule: str, now: int) -> list[int]:
        """When messages of the rule were made in the last hour, escalations left out."""
        rows = self._rows(
            "SELECT at FROM messages WHERE rule = ? AND at > ? AND kind <> 'escalated'", [rule, now - HOUR]
        )
        return [at for (at,) in rows]

    def post(
        self, id: str, rule: str, kind: str, now: int, body: bytes, events: list[Waiting], sinks: Iterable[str]
    ) -> None:
        """A message with the events it says, to be sent to the sinks. Inside `changing`."""
        self._db.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", (id, rule, kind, now, body))
        self._db.executemany("UPDATE events SET message = ? WHERE number = ?", [(id, e.number) for e in events])
        self._db.executemany("INSERT INTO outbox (message, sink) VALUES (?, ?)", [(id, sink) for sink in sinks])

    def unsent(self, sink: str) -> Unsent | None:
        """The oldest message that the sink has not taken."""
        rows = self._rows(
            "SELECT o.number, m.id, m.body, o.tries FROM outbox o JOIN messages m ON m.id = o.message "
            "WHERE o.sink = ? AND o.sent_at IS NULL AND o.refused_at IS NULL ORDER BY o.number LIMIT 1",
            [sink],
        )
        return Unsent(*rows[0]) if rows else None

    def sent(self, number: int, now: int) -> None:
        with self.changing():
            self._db.execute(
                "UPDATE outbox SET sent_at = ?, refused_at = NULL, tries = tries + 1 WHERE number = ?", (now, number)
            )

    def failed(self, number: int, error: str, now: int | None) -> None:
        """now: given where it is not to be tried again. One that was given up meanwhile stays so."""
        with self.changing():
            self._db.execute(
                "UPDATE outbox SET tries = tries + 1, error = ?, refused_at = ? WHERE number = ? AND refused_at IS NULL",
                (error, now, number),
            )

    def deliveries(self) -> list[tuple[Any, ...]]:
        """By sink: sent, waiting, refused, when the oldest that waits was made, the newest error of those that wait or
        were refused."""
        return self._rows(
            "SELECT sink, count(sent_at), count(*) FILTER (WHERE sent_at IS NULL AND refused_at IS NULL), count(refused_at), "
            "min(m.at) FILTER (WHERE sent_at IS NULL AND refused_at IS NULL), (SELECT error FROM outbox last WHERE "
            "last.sink = o.sink AND last.sent_at IS NULL AND error IS NOT NULL ORDER BY number DESC LIMIT 1) FROM outbox o JOIN messages m ON m.id = o.message GROUP BY sink ORDER BY sink"
        )

    def open_by_rule(self) -> list[tuple[str, str, int]]:
        """rule, severity, how many are open; worst first."""
        worst = "CASE severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END"
        return self._rows(
            f"SELECT rule, severity, count(*) FROM alerts WHERE state = 'open' GROUP BY rule, severity ORDER BY {worst}, rule"
        )

    def untaken(self) -> list[tuple[str, int, int, int | None, str | None]]:
        """By sink: waiting, refused, when the oldest that waits was made, the newest error of these; zeros where it took
        all it was sent."""
        return self._rows(
            "WITH untaken AS (SELECT o.*, m.at FROM outbox o JOIN messages m ON m.id = o.message WHERE o.sent_at IS NULL) "
            "SELECT s.sink, count(u.number) FILTER (WHERE u.refused_at IS NULL), count(u.refused_at), "
            "min(u.at) FILTER (WHERE u.refused_at IS NULL), "
            "(SELECT e.error FROM untaken e WHERE e.sink = s.sink AND e.error IS NOT NULL ORDER BY e.number DESC LIMIT 1) "
            "FROM (SELECT DISTINCT sink FROM outbox) s LEFT JOIN untaken u ON u.sink = s.sink GROUP BY s.sink ORDER BY s.sink"
        )

    def looked(self) -> int:
        """Number of the version set that was looked at last; 0 before the first."""
        rows = self._rows("SELECT set_number FROM looked")
        return int(rows[0][0]) if rows else 0

    def look_at(self, number: int, now: int, seconds: float, raised: int) -> None:
        """Inside `changing`."""
        self._db.execute("INSERT OR REPLACE INTO looked VALUES (1, ?, ?)", (number, now))
        self._db.execute(
            "INSERT INTO looks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET raised = raised + excluded.raised",
            (number, seconds, raised),
        )
        self._db.execute("DELETE FROM looks WHERE set_number <= ?", (number - _KEPT_LOOKS,))

    def looks(self, since: int) -> dict[int, Look]:
        """By version set, from this one on."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'looks'"):
            return {}  # nobody has written to it since it has them
        rows = self._rows(
            "WITH taken AS (SELECT a.raised_set, max(o.sent_at) AS at, count(*) - count(o.sent_at) AS untaken FROM alerts a "
            "JOIN events e ON e.alert = a.id AND e.kind = 'raised' LEFT JOIN outbox o ON o.message = e.message "
            "WHERE a.raised_set >= ? GROUP BY 1) SELECT l.*, CASE WHEN t.untaken = 0 THEN t.at END FROM looks l "
            "LEFT JOIN taken t ON t.raised_set = l.set_number WHERE l.set_number >= ?",
            (since, since),
        )
        return {number: Look(*rest) for number, *rest in rows}

    def tell_rule(
        self, rule: str, number: int, now: int, matched: int | None, error: str | None, reads: tuple[str, ...] | None
    ) -> None:
        """How a rule was found; reads: None where that is not known, and stays as it was. Inside `changing`."""
        self._db.execute(
            "INSERT INTO rules VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, '')) ON CONFLICT (rule) DO UPDATE SET "
            "set_number = ?2, at = ?3, matched = ?4, error = ?5, reads = coalesce(?6, reads)",
            (rule, number, now, matched, error, None if reads is None else ",".join(reads)),
        )

    def rules(self) -> list[tuple[Any, ...]]:
        """rule, set_number, at, matched, error, tables it reads with commas between."""
        return self._rows("SELECT rule, set_number, at, matched, error, reads FROM rules ORDER BY rule")

    def forget_rules(self, known: Iterable[str]) -> None:
        """Of rules that are no longer declared. Inside `changing`."""
        names = list(known)
        self._db.execute(f"DELETE FROM rules WHERE rule NOT IN ({', '.join('?' * len(names))})", names)

    def give_up(self, sinks: Iterable[str], now: int) -> None:
        """What waits for a sink that is none of these is given up, as refused."""
        names = list(sinks)
        with self.changing():
            self._db.execute(
                "UPDATE outbox SET refused_at = ?, error = 'the sink is no longer declared' WHERE sent_at IS NULL "
                f"AND refused_at IS NULL AND sink NOT IN ({', '.join('?' * len(names))})",
                [now, *names],
            )

    def ack(self, which: str, by: str, now: int) -> list[Alert]:
        """Acknowledge open alerts, by id, the beginning of one, or the rule; those that are acknowledged now. Raises
        GridError where alerts of several ids begin so."""
        with self.changing():
            begin = "SELECT count(*) FROM alerts WHERE state = 'open' AND rule <> ?1 AND length(?1) >= 4 AND substr(id, 1, length(?1)) = ?1"
            (many,) = self._db.execute(begin, (which,)).fetchone()
            if many > 1:
                raise GridError(f"alert {which}: {many} open alerts begin so; give more of the id")
            rows = self._db.execute(
                "UPDATE alerts SET acked_at = ?, acked_by = ? WHERE state = 'open' AND acked_at IS NULL "
                "AND (rule = ? OR (length(?) >= 4 AND substr(id, 1, length(?)) = ?)) RETURNING id",
                (now, by, which, which, which, which),
            ).fetchall()
        return list(self.with_ids(id for (id,) in rows).values())

    def trim(self, now: int) -> None:
        """Forget what was cleared and sent long ago."""
        before = now - _KEPT_US
        with self.changing():
            self._db.execute(
                "DELETE FROM outbox WHERE (sent_at < ?1 OR refused_at < ?1) "
                "AND message IN (SELECT id FROM messages WHERE at < ?1)",
                (before,),
            )
            self._db.execute("DELETE FROM messages WHERE at < ? AND id NOT IN (SELECT message FROM outbox)", (before,))
            self._db.execute("DELETE FROM alerts WHERE state = 'cleared' AND cleared_at < ?", (before,))
            self._db.execute("DELETE FROM events WHERE at < ? AND message IS NOT NULL", (before,))


@contextmanager
def opened(lake: Lake) -> Iterator[Store]:
    store = Store(lake)
    try:
        yield store
    finally:
        store.close()
