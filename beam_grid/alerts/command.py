"""`beam-grid alerts list|ack|test|check`, behind the command line."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from beam_grid.alerts.declared import FILE, Declared, Rule, declared
from beam_grid.alerts.lifecycle import Alert
from beam_grid.alerts.store import Store, opened, path_of
from beam_grid.errors import GridError, LakeBusy
from beam_grid.lakehouse.versions import newest, newest_number
from beam_grid.landing import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_grid.alerts.messages import Message

Say = Callable[[str], None]

_EVIDENCE = 60
"""Characters of the row that speaks for an alert, in a table."""


def check(lake: Lake, say: Say) -> int:
    """Look at the sets that nobody has looked at, or at the newest again, and send what waits; the exit code, 1 where a
    rule or a sink failed. Raises LakeBusy where a run that follows watches."""
    from beam_grid.alerts.evaluate import Evaluation, now_us
    from beam_grid.alerts.matching import SetGone
    from beam_grid.alerts.watch import LOCK, scratch

    found, failed = _declared(lake), False
    try:
        with lake.lock(LOCK), opened(lake) as store, scratch(lake) as folder:
            store.give_up([sink.name for sink in found.sinks], now_us())
            evaluation = Evaluation(lake, found, store, folder)
            numbers = evaluation.to_look_at() or [number for number in [newest_number(lake)] if number]
            if not numbers:
                raise GridError(f"lake {lake.path}: has no tables yet; run `beam-grid refine --lake {lake.path}` first")
            raised = cleared = 0
            errors: dict[str, str] = {}
            for number in numbers:
                try:
                    told = evaluation.look(number)
                except SetGone as cause:
                    say(f"alerts: {cause}; the next one is looked at")
                    continue
                raised, cleared, errors = raised + told.raised, cleared + told.cleared, told.errors
            for name, why in errors.items():
                failed = True
                say(f"alerts: rule {name}: {why}")
            failed |= not _sent(lake, found, say)
            still = sum(count for _, state, count in store.counted() if state == "open")
    except LakeBusy:
        raise LakeBusy(
            f"lake {lake.path}: a run that follows looks at its alerts already; `beam-grid alerts list` shows them"
        ) from None
    say(f"alerts: {raised:,} raised, {cleared:,} cleared, {still:,} open at version set {numbers[-1]}")
    return 1 if failed else 0


def _sent(lake: Lake, found: Declared, say: Say) -> bool:
    """Send what waits, sinks side by side; whether all took it."""
    from beam_grid.alerts.couriers import Courier

    def send(sink: Any) -> bool:
        with opened(lake) as store:
            return Courier(lake, sink).drain(store) is None

    if not found.sinks:
        return True
    with ThreadPoolExecutor(len(found.sinks)) as threads:
        return all(list(threads.map(send, found.sinks)))


def test(lake: Lake, names: tuple[str, ...], say: Say) -> int:
    """Send a sample to sinks, all unless named; the exit code, 1 where one did not take it."""
    from beam_grid.alerts.sinks import SinkFailed, made

    found = _declared(lake)
    known = {sink.name: sink for sink in found.sinks}
    for name in names:
        if name not in known:
            raise GridError(f"sink {name!r}: is not in {lake.path / FILE}; it has {', '.join(known) or 'none'}")
    if not known:
        raise GridError(f'{lake.path / FILE}: has no [[sinks]]; write one, as name and kind = "log"')
    failed, message = False, _sample(lake, found)
    for name in names or tuple(known):
        try:
            made(known[name], lake.path).send(message)
            say(f"sink {name}: took the sample {message.id}")
        except SinkFailed as cause:
            failed = True
            say(f"sink {name}: {cause}")
    return 1 if failed else 0


def _sample(lake: Lake, found: Declared) -> Message:
    from beam_grid.alerts.evaluate import now_us
    from beam_grid.alerts.messages import Links, message

    now = now_us()
    rule = found.alerts[0] if found.alerts else Rule(name="sample", where="true", key=("meter_id",))
    alert = Alert(
        id=secrets.token_hex(8), rule=rule.name, key=json.dumps(["SAMPLE"] * len(rule.key)), state="open",
        severity=rule.severity, since=now, raised_at=now, raised_set=newest_number(lake), row='{"note": "this is a sample"}',
    )  # fmt: skip
    links, set_ = Links(lake, found.dashboard), newest(lake)
    reads = (rule.table,) if rule.table else ()
    return message(secrets.token_hex(12), "test", rule, lake, newest_number(lake), now, [alert], links, reads, set_)


def ack(lake: Lake, which: tuple[str, ...], by: str, say: Say) -> int:
    """Acknowledge open alerts by id, its first four characters or more, or all of a rule; 1 where one was not found."""
    from beam_grid.alerts.evaluate import now_us

    failed = False
    with _known(lake) as store:
        for one in which:
            done = store.ack(one, by, now_us())
            for alert in done:
                say(f"alert {alert.id} ({alert.rule} {alert.key}) is acknowledged by {by}")
            if not done:
                failed = True
                say(f"alert {one}: is none that is open and not acknowledged; `beam-grid alerts list` shows them")
    return 1 if failed else 0


def listed(lake: Lake, what: str, with_cleared: bool) -> pa.Table:
    """what: alerts, a row each; sinks, with what waits for them; rules, as they were found last."""
    import pyarrow as pa

    time, text, count = pa.timestamp("us", "UTC"), pa.string(), pa.int64()
    if not path_of(lake).exists():
        rows: list[tuple[Any, ...]] = []
    else:
        with opened(lake) as store:
            rows = {"alerts": _alerts, "sinks": _sinks, "rules": _rules}[what](lake, store, with_cleared)
    kinds = {
        "alerts": [("id", text), ("rule", text), ("severity", text), ("state", text), ("key", text), ("since", time),
                   ("raised_at", time), ("set", count), ("acked_by", text), ("cleared_at", time), ("row", text)],
        "sinks": [("sink", text), ("sent", count), ("waiting", count), ("refused", count), ("oldest_at", time), ("error", text)],
        "rules": [("rule", text), ("set", count), ("at", time), ("matched", count), ("error", text)],
    }[what]  # fmt: skip
    schema = pa.schema(kinds)
    return pa.table([pa.array(list(c), type=f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
                    if rows else [pa.array([], type=f.type) for f in schema], schema=schema)  # fmt: skip


def _alerts(lake: Lake, store: Store, with_cleared: bool) -> list[tuple[Any, ...]]:
    return [
        (a.id, a.rule, a.severity, a.state, a.key, a.since, a.raised_at, a.raised_set, a.acked_by, a.cleared_at, a.row)
        for a in store.alerts(with_cleared)
    ]


def short(lake: Lake, answer: pa.Table) -> pa.Table:
    """`listed` alerts for a table on a screen: times to the second, columns without a value left out, and of the row that
    speaks for each what the rule asks for first, as `name=value`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rules = _rules_by_name(lake)
    named = zip(answer["rule"].to_pylist(), answer["row"].to_pylist(), strict=True)
    evidence = [_evidence(row, rules.get(rule)) for rule, row in named]
    columns = {name: answer[name] for name in answer.column_names if name not in ("since", "set", "row")}
    columns = {name: values for name, values in columns.items() if not len(values) or values.null_count < len(values)}
    for name, values in columns.items():
        if pa.types.is_timestamp(values.type):
            columns[name] = pc.strftime(pc.cast(values, pa.timestamp("s", "UTC"), safe=False), "%Y-%m-%d %H:%M:%S")
        elif name == "key":
            columns[name] = pa.array(
                [", ".join(map(_word, json.loads(key))) for key in values.to_pylist()], pa.string()
            )
    return pa.table({**columns, "evidence": pa.array(evidence, pa.string())})


def _rules_by_name(lake: Lake) -> dict[str, Rule]:
    return {rule.name: rule for rule in _readable(lake).alerts}


def _readable(lake: Lake) -> Declared:
    """What is declared now; nothing where that cannot be read, which no list depends on."""
    from beam_grid.alerts.declared import Declared

    try:
        return declared(lake) or Declared()
    except GridError:
        return Declared()


def _evidence(row: str, rule: Rule | None) -> str:
    """Names and values, those of the rule's conditions and its time first; of its key none, which has a column."""
    values: dict[str, Any] = json.loads(row)
    asked: list[str] = []
    if rule is not None:
        asked = re.findall(r"\w+", f"{rule.where} {rule.clear or ''} {rule.time or ''}".lower())
        values = {name: value for name, value in values.items() if name.lower() not in {k.lower() for k in rule.key}}
    ranked = sorted(values, key=lambda name: asked.index(name.lower()) if name.lower() in asked else len(asked))
    text = " ".join(f"{name}={_word(values[name])}" for name in ranked)
    return text if len(text) <= _EVIDENCE else text[: _EVIDENCE - 1] + "…"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _sinks(lake: Lake, store: Store, with_cleared: bool) -> list[tuple[Any, ...]]:
    rows = {row[0]: row for row in store.deliveries()}
    for sink in _readable(lake).sinks:
        rows.setdefault(sink.name, (sink.name, 0, 0, 0, None, None))
    return [rows[name] for name in sorted(rows)]


def _rules(lake: Lake, store: Store, with_cleared: bool) -> list[tuple[Any, ...]]:
    rows = {row[0]: row[:5] for row in store.rules()}
    for rule in _readable(lake).alerts:
        rows.setdefault(rule.name, (rule.name, None, None, None, "not looked at yet"))
    return [rows[name] for name in sorted(rows)]


def _known(lake: Lake) -> Any:
    if not path_of(lake).exists():
        raise GridError(
            f"lake {lake.path}: no alert was ever raised here; `beam-grid alerts check --lake {lake.path}` looks"
        )
    return opened(lake)


def _declared(lake: Lake) -> Declared:
    found = declared(lake)
    if found is None:
        raise GridError(f"lake {lake.path}: has no {FILE}; docs/alerts.md says what to write")
    return found
