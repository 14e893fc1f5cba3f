"""What a run on generated meter readings must count and hold, by a reader that shares no code with the product."""

import json
import math
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATE_AFTER = timedelta(minutes=70)
FUTURE_AFTER = timedelta(hours=1)
TYPES = {
    "event_id": str,
    "meter_id": str,
    "customer_id": str,
    "timestamp": str,
    "reading_kwh": float,
    "voltage_v": float,
    "current_a": float,
    "power_factor": float,
    "frequency_hz": float,
    "meter_status": str,
    "region": str,
    "state": str,
    "grid_zone": str,
    "is_anomaly_flag": bool,
}
REQUIRED = ("event_id", "meter_id", "timestamp", "reading_kwh")
ZERO = datetime.min.replace(tzinfo=UTC)


def log_of(out: Path) -> list[bytes]:
    """Every line of the log's sorted files, without its line break; a line that is not ended, or empty, fails."""
    lines = []
    for path in sorted((out / "smart_meter_kafka").glob("smart_meter_*.json")):
        *whole, rest = path.read_bytes().split(b"\n")
        assert rest == b"", f"{path.name} ends without a line break"
        assert all(whole), f"{path.name} has an empty line"
        lines += whole
    return lines


def decode(line: bytes) -> dict | None:
    """The record, or None when the contract's strict reader could not take it."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        record = json.loads(line.decode("utf-8", "strict"), parse_constant=refuse)
    except ValueError:
        return None
    if not isinstance(record, dict) or any(record.get(name) is None for name in REQUIRED):
        return None
    for name, value in record.items():
        if value is None:
            continue
        if TYPES[name] is float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                return None
        elif not isinstance(value, TYPES[name]):
            return None
    try:
        record["time"] = datetime.fromisoformat(record["timestamp"])
    except ValueError:
        return None
    return record


def judge(lines: list[bytes], *, rejects_move_the_clock: bool = False) -> tuple[dict, list[dict]]:
    """The four fates, a record at a time, and the on-time records in their order."""
    fates: Counter[str] = Counter()
    causes = {"undecodable": 0, "rule_broken": 0, "from_the_future": 0}
    greatest = ZERO + LATE_AFTER
    payloads: dict[tuple, set] = defaultdict(set)
    on_time = []
    for line in lines:
        record = decode(line)
        if record is None:
            cause = "undecodable"
        elif not 0 <= record["reading_kwh"] <= 1000:
            cause = "rule_broken"
        elif record["time"] > NOW + FUTURE_AFTER:
            cause = "from_the_future"
        else:
            cause = ""
        if cause:
            fates["rejected"] += 1
            causes[cause] += 1
            if rejects_move_the_clock and cause == "rule_broken":
                greatest = max(greatest, record["time"])
            continue
        is_late = record["time"] < greatest - LATE_AFTER
        greatest = max(greatest, record["time"])
        if is_late:
            fates["late"] += 1
            continue
        on_time.append(record)
        payloads[record["event_id"], record["timestamp"]].add(frozenset(record.items()))
    return {
        "read": len(lines),
        "rejected": fates["rejected"],
        "late": fates["late"],
        "landed - superseded": len(payloads),
        "duplicates + superseded": len(on_time) - len(payloads),
        "conflicts": sum(len(seen) > 1 for seen in payloads.values()),
        "rejected_by_cause": causes,
    }, on_time
