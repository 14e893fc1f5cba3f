"""Synthetic changes of a billing table, as SQL Server's change data capture lists them: JSON lines in LSN order.

Guaranteed: the same arguments give byte-identical files; a day is the same whatever `days` is, so that a feed of
more days begins with the bytes of one of fewer (unless `messy`); a row's history holds together: it begins with its
insert, an update's before image is what the change before it left, nothing follows a delete. With `messy` every
change of the clean feed is still there at least once: both come to the same table. `truth.json` is counted from
the generator's own labels, never by reading the file back.

Not guaranteed: the same bytes from another version of numpy or Polars.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data_sources.generators.output import check_arguments, emptied, whole_file
from data_sources.generators.registry import meters
from data_sources.generators.truth import record, withdraw

FEED = "billing_transactions"
FOLDER = "billing_cdc"
FIRST_DAY = datetime(2025, 6, 15, tzinfo=UTC)
RECORDS_PER_DAY = 400
UPDATE_SHARE = 0.20
"""Updates by records; each has two."""
DELETE_SHARE = 0.05
FRAUD_SHARE = 0.04
TAX_PERCENT = 18
SHARED_TRANSACTION_SHARE = 0.12
"""Changes that belong to the database transaction of the change before them."""

COLUMNS = [
    "transaction_id",
    "bill_id",
    "customer_id",
    "meter_id",
    "billing_period_start",
    "billing_period_end",
    "units_consumed_kwh",
    "rate_per_kwh",
    "base_amount",
    "tax_amount",
    "total_amount",
    "payment_status",
    "payment_method",
    "due_date",
    "region",
    "state",
    "fraud_flag",
]
"""The billing table's columns in its order: the bits of `__$update_mask`, the lowest first."""

# With messy: shares of the clean records. Copies and faulty records come on top, so that nothing is lost by them.
COPY_SHARES = {"near": 0.03, "far": 0.03, "respelled": 0.015}
FAULT_SHARES = {
    "truncated": 0.010,
    "not_utf8": 0.005,
    "wrong_type": 0.010,
    "null_key": 0.005,
    "null_time": 0.005,
    "operation": 0.010,
    "lsn": 0.010,
}
RULE_BROKEN = ("operation", "lsn")
MOVED_SHARE, REVERSED_SHARE, EXTRA_SHARE = 0.10, 0.15, 0.02

_DAY_MS = 86_400_000
_INDIA = timezone(timedelta(hours=5, minutes=30))
_MOST_PER_DAY = 10_000_000
_FIRST_LSN, _FIRST_SEQVAL, _LSNS_A_DAY = 0x0A3B5C7D8E, 0x0B4C6D9E0F, 1 << 29
_RATES = np.array([350, 480, 650, 775, 920])  # in hundredths of a rupee
_STATUS = ["PENDING", "PAID", "OVERDUE", "DISPUTED"]
_PENDING, _PAID, _OVERDUE, _DISPUTED = range(4)
_METHODS = ["UPI", "CARD", "NET_BANKING", "CASH", "AUTO_DEBIT"]
_UNPAID = -1

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
State = dict[str, Ints]
"""What updates change, per billing transaction: units (0.01 kWh), base, tax, total (0.01 INR), status, method."""


def generate(out: Path, *, seed: int = 42, scale: float = 1.0, days: int = 1, messy: bool = False) -> dict[str, int]:
    """Write `out/billing_cdc/billing_cdc_feed.json`, `cdc_update_pair_example.json` beside it and `out/truth.json`.

    `round(400 * scale)` records a day (at least one) from 2025-06-15, UTC. The example holds an update's two
    images, a line each; it is no part of the feed.

    Returns read, rejected, late, `landed - superseded`, `duplicates + superseded` and conflicts, in records. Raises
    ValueError for an argument out of range or a `truth.json` that is no object.
    """
    check_arguments(seed, scale, days)
    per_day = max(1, round(RECORDS_PER_DAY * scale))
    if per_day > _MOST_PER_DAY:
        raise ValueError(f"scale is {scale}: give at most {_MOST_PER_DAY // RECORDS_PER_DAY}")
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, FEED)

    folder = emptied(out / FOLDER)
    labels: Counter[str] = Counter()
    with whole_file(folder / "billing_cdc_feed.json") as file:
        for day in range(days):
            rows = changes(seed, day, per_day)
            if messy:
                rng = np.random.default_rng([seed, 2, day])
                rows = disturb(rows, rng)
                file.writelines(_spoiled(rows, rng))
            else:
                rows = rows.with_columns(pl.lit("intact").alias("_label"))
                file.write(_lines(rows))
            labels.update(dict(rows["_label"].value_counts().iter_rows()))
    _write_example(folder / "cdc_update_pair_example.json", changes(seed, 0, max(per_day, 10)))

    counts, causes = count(labels)
    record(out, FEED, {**counts, "rejected_by_cause": causes})
    return counts


def count(labels: Counter[str]) -> tuple[dict[str, int], dict[str, int]]:
    """The six counts, and rejected by cause, of a feed of records with these labels."""
    broken = sum(labels[name] for name in RULE_BROKEN)
    undecodable = sum(labels[name] for name in FAULT_SHARES) - broken
    copies = sum(labels[name] for name in COPY_SHARES)
    counts = {
        "read": labels.total(),
        "rejected": undecodable + broken,
        "late": 0,
        "landed - superseded": labels["intact"],
        "duplicates + superseded": copies,
        "conflicts": 0,
    }
    return counts, {"undecodable": undecodable, "rule_broken": broken, "from_the_future": 0}


def changes(seed: int, day: int, n: int) -> pl.DataFrame:
    """The `n` change records of a day in LSN order: the feed's columns, and `_row`, the billing row they are about.

    a row        insert ....... update ....... update ... delete
    records      2              3 4            3 4        1
    """
    rng = np.random.default_rng([seed, 1, day])
    updates, deletes = round(UPDATE_SHARE * n), round(DELETE_SHARE * n)
    bills = n - 2 * updates - deletes
    opened = np.sort(rng.integers(0, _DAY_MS * 4 // 5, bills))
    row, time, rank, is_delete = _later_changes(rng, opened, updates, deletes)

    records = np.ones(bills, np.int64)
    np.add.at(records, row, np.where(is_delete, 1, 2))
    fraud = _nearest_share(rng.permutation(bills), records, FRAUD_SHARE * n)
    rate = _RATES[rng.integers(0, len(_RATES), bills)]
    now = _first_state(rng, fraud, rate)

    parts = [_part(np.arange(bills), opened, 0, 2, now)]
    for step in range(1, int(rank.max(initial=0)) + 1):
        at = np.flatnonzero((rank == step) & is_delete)
        parts.append(_part(row[at], time[at], step, 1, _of(now, row[at])))
        at = np.flatnonzero((rank == step) & ~is_delete)
        before = _of(now, row[at])
        after = _updated(rng, before, fraud[row[at]], rate[row[at]])
        mask = _update_mask(before, after)
        parts += [_part(row[at], time[at], step, op, state, mask) for op, state in ((3, before), (4, after))]
        for name, values in after.items():
            now[name][row[at]] = values
    all_of_it = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort([all_of_it[name] for name in ("operation", "rank", "row", "time")])
    found = {name: values[order] for name, values in all_of_it.items()}
    return _as_records(rng, day, found, fraud, rate)


def disturb(clean: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The clean records out of order, with copies and faulty records among them, in the order they are written.

    Adds `_label`: intact, or a name of COPY_SHARES or FAULT_SHARES; and `_extra`, whether the line gets a field
    beyond the contract. Faulty records are made of random clean ones, which stay.
    """
    n = clean.height
    place = np.arange(n) + np.where(rng.random(n) < MOVED_SHARE, rng.integers(-40, 41, n), 0).astype(float)
    row = clean["_row"].to_numpy()
    turned = (rng.random(int(row.max()) + 1) < REVERSED_SHARE)[row]
    # the places of a row's records, dealt out last first: a later change stands before an earlier one
    dealt = np.empty(n)
    dealt[np.lexsort((-np.arange(n), row))] = place[np.lexsort((np.arange(n), row))]
    place = np.where(turned, dealt, place)

    parts = [
        clean.with_columns(
            pl.lit("intact").alias("_label"),
            pl.Series("_place", place),
            pl.Series("_extra", rng.random(n) < EXTRA_SHARE),
        )
    ]
    for name, share in (COPY_SHARES | FAULT_SHARES).items():
        of = rng.integers(0, n, max(1, round(share * n)))
        behind = rng.uniform(0.5, 5, len(of)) if name == "near" else rng.uniform(0, n, len(of))
        parts.append(
            clean[of].with_columns(
                pl.lit(name).alias("_label"), pl.Series("_place", place[of] + behind), pl.lit(False).alias("_extra")
            )
        )
    return pl.concat(parts).sort("_place", maintain_order=True)


def _later_changes(rng: np.random.Generator, opened: Ints, updates: int, deletes: int) -> tuple[Ints, Ints, Ints, Mask]:
    """What follows on the inserts, by row and time: row, time (ms of the day), rank in the row (from 1), is a delete.

    Some first updates come at the moment of the insert, in one database transaction with it.
    """
    bills = len(opened)
    deleted = np.zeros(bills, bool)
    deleted[rng.choice(bills, deletes, replace=False)] = True
    row = np.concatenate([rng.integers(0, bills, updates), np.flatnonzero(deleted)])
    time = opened[row] + 1 + (rng.random(len(row)) * (_DAY_MS - 1 - opened[row])).astype(np.int64)
    order = np.lexsort((time, row))
    row, time = row[order], time[order]
    starts, ends = np.ones(len(row), bool), np.ones(len(row), bool)
    starts[1:] = ends[:-1] = row[1:] != row[:-1]
    rank = _since(starts) + 1
    is_delete = ends & deleted[row]
    at_once = starts & ~is_delete & (rng.random(len(row)) < SHARED_TRANSACTION_SHARE)
    time[at_once] = opened[row[at_once]]
    return row, time, rank, is_delete


def _since(starts: Mask) -> Ints:
    """How many places ago the last start was: F T F F T -> . 0 1 2 0"""
    at = np.arange(len(starts))
    return at - np.maximum.accumulate(np.where(starts, at, 0))


def _nearest_share(order: Ints, weights: Ints, wanted: float) -> Mask:
    """Marks the first of `order` whose weights come nearest to `wanted`."""
    sums = np.concatenate([[0], np.cumsum(weights[order])])
    mask = np.zeros(len(order), bool)
    mask[order[: int(np.abs(sums - wanted).argmin())]] = True
    return mask


def _first_state(rng: np.random.Generator, fraud: Mask, rate: Ints) -> State:
    """Bills as inserted: 60 to 3,000 kWh; a fraudulent one comes to 0.01-50 rupees, where 210 would be the least."""
    n = len(fraud)
    units = (np.clip(rng.lognormal(math.log(280), 0.6, n), 60, 3000) * 100).astype(np.int64)
    base = np.where(fraud, rng.integers(1, 5001, n), _priced(units, rate))
    status = np.where(rng.random(n) < 0.3, _PAID, _PENDING)
    method = np.where(status == _PAID, rng.integers(0, len(_METHODS), n), _UNPAID)
    return {"units": units, **_with_tax(base), "status": status, "method": method}


def _priced(units: Ints, rate: Ints) -> Ints:
    return (units * rate + 50) // 100


def _with_tax(base: Ints) -> State:
    tax = (base * TAX_PERCENT + 50) // 100
    return {"base": base, "tax": tax, "total": base + tax}


def _updated(rng: np.random.Generator, before: State, fraud: Mask, rate: Ints) -> State:
    """The state after an update: paid, overdue, disputed, reopened, or billed anew after the meter was read again.

    Each changes something. A fraudulent bill is never corrected.
    """
    status, chance = before["status"], rng.random(len(rate))
    pending, paid, disputed = status == _PENDING, status == _PAID, status == _DISPUTED
    corrected = ~fraud & ((pending & (chance >= 0.85)) | (paid & (chance < 0.6)) | disputed)
    now = np.select(
        [disputed, status == _OVERDUE, corrected, paid, chance < 0.6],
        [_PENDING, _PAID, status, _DISPUTED, _PAID],
        _OVERDUE,
    )
    method = np.select(
        [(now == _PAID) & ~paid, now == _PENDING],
        [rng.integers(0, len(_METHODS), len(rate)), _UNPAID],
        before["method"],
    )
    read_again = np.maximum((before["units"] * rng.uniform(0.7, 1.3, len(rate))).astype(np.int64), 6000)
    read_again += read_again == before["units"]
    units = np.where(corrected, read_again, before["units"])
    base = np.where(corrected, _priced(units, rate), before["base"])
    return {"units": units, **_with_tax(base), "status": now, "method": method}


_COLUMN_OF = {
    "units": "units_consumed_kwh",
    "base": "base_amount",
    "tax": "tax_amount",
    "total": "total_amount",
    "status": "payment_status",
    "method": "payment_method",
}


def _update_mask(before: State, after: State) -> Ints:
    bits = [(before[name] != after[name]).astype(np.int64) << COLUMNS.index(c) for name, c in _COLUMN_OF.items()]
    return np.bitwise_or.reduce(bits)


def _of(state: State, row: Ints) -> State:
    return {name: values[row] for name, values in state.items()}


def _part(row: Ints, time: Ints, rank: int, operation: int, state: State, mask: Ints | int = 0) -> dict[str, Ints]:
    n = len(row)
    same = {"rank": rank, "operation": operation, "mask": mask}
    return {
        "row": row,
        "time": time,
        **{k: np.broadcast_to(np.int64(v), n) for k, v in same.items()},
        **_of(state, np.arange(n)),
    }


def _as_records(rng: np.random.Generator, day: int, found: dict[str, Ints], fraud: Mask, rate: Ints) -> pl.DataFrame:
    """The columns of the feed, in the order of the keys in the JSON, and `_row`, of sorted change records.

    LSN      A       A        B       B       C
    seqval   1       2        3       3       4
    change   insert  insert   before  after   insert
    """
    row, n = found["row"], len(found["row"])
    is_change = np.ones(n, bool)
    is_change[1:] = (row[1:] != row[:-1]) | (found["rank"][1:] != found["rank"][:-1])
    at_once = np.zeros(n, bool)
    at_once[1:] = (row[1:] == row[:-1]) & (found["time"][1:] == found["time"][:-1])
    commits = is_change & ~at_once & (rng.random(n) >= SHARED_TRANSACTION_SHARE)
    commits[:1] = True
    transaction, change = np.cumsum(commits) - 1, np.cumsum(is_change) - 1
    starts = np.flatnonzero(commits)
    ends = np.append(starts[1:], n) - 1  # a transaction is committed with its last change

    def growing(first: int, of: Ints) -> pl.Series:
        steps = rng.integers(1, min(4096, _LSNS_A_DAY // (n + 1)), int(of.max()) + 1)
        numbers = first + day * _LSNS_A_DAY + np.cumsum(steps)
        return pl.Series([f"0x{number:010X}" for number in numbers.tolist()]).gather(of)

    bills = len(fraud)
    number = day * bills + np.arange(bills) + 1
    meter = meters()[rng.integers(0, meters().height, bills)]
    today = np.datetime64(FIRST_DAY.date()) + day
    month = today.astype("datetime64[M]") - (rng.random(bills) < 0.7)  # else billed in advance
    period = month.astype("datetime64[D]")
    due = (today.astype("datetime64[M]") + 1).astype("datetime64[D]")
    text = pl.DataFrame(
        {
            "transaction_id": [f"TXN-{i:08d}" for i in number.tolist()],
            "bill_id": [f"BILL-{i:08d}" for i in (number + 10_000).tolist()],
            "customer_id": meter["customer_id"],
            "meter_id": meter["meter_id"],
            "billing_period_start": np.datetime_as_string(period),
            "billing_period_end": np.datetime_as_string(period + 28),
            "rate_per_kwh": rate / 100,
            "due_date": np.datetime_as_string(np.full(bills, due)),
            "region": meter["region"],
            "state": meter["state"],
            "fraud_flag": fraud,
        }
    )[row]
    return pl.DataFrame(
        {
            "__$operation": found["operation"],
            "__$start_lsn": growing(_FIRST_LSN, transaction),
            "__$seqval": growing(_FIRST_SEQVAL, change),
            "__$update_mask": [f"0x{mask:06X}" if mask else "0x00" for mask in found["mask"].tolist()],
            "__$command_id": change - change[starts][transaction] + 1,
            **{c: text[c] for c in COLUMNS if c in text.columns},
            **{_COLUMN_OF[name]: found[name] / 100 for name in ("units", "base", "tax", "total")},
            "payment_status": pl.Series(_STATUS).gather(found["status"]),
            "payment_method": pl.Series([*_METHODS, None]).gather(found["method"] % (len(_METHODS) + 1)),
            "cdc_timestamp": _iso(day, found["time"][ends][transaction]),
            "_row": row,
        }
    ).select(pl.col("^__\\$.*$"), *COLUMNS, "cdc_timestamp", "_row")


def _iso(day: int, ms_of_day: Ints) -> pl.Series:
    epoch_ms = int(FIRST_DAY.timestamp()) * 1000 + day * _DAY_MS + ms_of_day
    return pl.Series(epoch_ms).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")


def _lines(rows: pl.DataFrame) -> bytes:
    lines = io.BytesIO()
    rows.drop("^_[a-z].*$").write_ndjson(lines)
    return lines.getvalue()


def _spoiled(rows: pl.DataFrame, rng: np.random.Generator) -> list[bytes]:
    """The rows' lines, each ended by its one line break, changed as `_label` and `_extra` say."""
    lines = _lines(rows).splitlines(keepends=True)
    label, extra = rows["_label"].to_list(), rows["_extra"].to_list()
    for i, line in enumerate(lines):
        if extra[i]:
            lines[i] = _compact(json.loads(line) | {"dispute_note": "customer called"})
        elif label[i] in _SPOIL:
            lines[i] = _SPOIL[label[i]](line.rstrip(b"\n"), rng)
    return lines


def _respell(line: bytes, rng: np.random.Generator) -> bytes:
    """The same record in other words: names in another order, trailing zeros, numbers as text, another offset."""
    change = dict(reversed(json.loads(line).items()))
    at = datetime.fromisoformat(change["cdc_timestamp"]).astimezone(_INDIA)
    return _compact(
        change
        | {
            "cdc_timestamp": at.isoformat(timespec="milliseconds"),
            "total_amount": f"{change['total_amount']:.2f}0",
            "rate_per_kwh": f"{change['rate_per_kwh']:.4f}",
        }
    )


def _truncate(line: bytes, rng: np.random.Generator) -> bytes:
    return line[: rng.integers(1, len(line))] + b"\n"


def _break_utf8(line: bytes, rng: np.random.Generator) -> bytes:
    wrong = (b"\xff", b"\x80", b"\xe2\x82", b"Orl\xe9ans")[rng.integers(4)]
    return line.replace(b'"state":"', b'"state":"' + wrong, 1) + b"\n"


def _change_type(line: bytes, rng: np.random.Generator) -> bytes:
    change = json.loads(line)
    wrong = (
        change | {"base_amount": "plenty"},
        change | {"total_amount": 1e30},
        change | {"fraud_flag": "no"},
        change | {"transaction_id": 4711},
        change | {"__$operation": "2"},
        change | {"__$command_id": 1.5},
        change | {"cdc_timestamp": "yesterday, about noon"},
        change | {"billing_period_start": "2025-02-30"},
        [change],
        change["base_amount"],
    )
    return _compact(wrong[rng.integers(len(wrong))])


def _lose(name: str) -> Callable[[bytes, np.random.Generator], bytes]:
    def lose(line: bytes, rng: np.random.Generator) -> bytes:
        change = json.loads(line)
        if rng.random() < 0.5:
            return _compact(change | {name: None})
        del change[name]
        return _compact(change)

    return lose


def _break_operation(line: bytes, rng: np.random.Generator) -> bytes:
    return _compact(json.loads(line) | {"__$operation": (9, 0, 5, -2)[rng.integers(4)]})


def _break_lsn(line: bytes, rng: np.random.Generator) -> bytes:
    """Not hex, no prefix, no digits, blank, or cut short of a colon group's digits."""
    wrong = ("0x0A3B5C7DZZ", "0A3B5C7D8E", "0x", "", "00000027:00000ac0:")[rng.integers(5)]
    return _compact(json.loads(line) | {"__$start_lsn": wrong})


_SPOIL: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "respelled": _respell,
    "truncated": _truncate,
    "not_utf8": _break_utf8,
    "wrong_type": _change_type,
    "null_key": _lose("transaction_id"),
    "null_time": _lose("cdc_timestamp"),
    "operation": _break_operation,
    "lsn": _break_lsn,
}


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _write_example(path: Path, rows: pl.DataFrame) -> None:
    """The first update of the day: the image before it and the one after it."""
    first = rows["__$operation"].to_list().index(3)
    path.write_bytes(_lines(rows[first : first + 2]))
