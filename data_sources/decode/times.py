"""Texts and numbers to instants: ISO 8601, strptime formats, counts from 1970; hour 24; local times and their clock.

    text ──► naive time (a midnight written 24:00 is the next day's) ──► local to the field's zone ──► UTC
              └► with an offset of its own: UTC as it is

Finer digits than microseconds are cut off; fractions of seconds and milliseconds since 1970 are rounded to them.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import FieldSpec
from data_sources.decode.kernels import MICROS, NONE, UTC_MICROS, put, scatter, try_cast
from data_sources.expressions import sandbox
from data_sources.time_formats import EPOCH_UNITS

_AWARE = r"Z$|[ T].*[+-]\d\d(:?\d\d)?$"
_HOUR, _DAY = 3_600_000_000, 86_400_000_000
_MINUTE = 60_000_000
_AHEAD = 24_836 * _DAY
"""2037-12-31: about here the tables that Arrow reads of a zone end; the rule after them is zoneinfo's to apply."""
_LAST_MINUTE = 4_223_371_679
"""Of the year 9999."""
_ISO_HOUR = r"^(?P<before>\d{4}-\d\d-\d\d[T ])(?P<hour>\d\d)(?P<after>.*)$"
_SHARP_WITH_OFFSET = r"00(:?00)*(\.0+)?\s*(Z|[+-]\d\d:?(\d\d)?)\s*$"
_DIGITS = {"Y": r"\d{4}", "G": r"\d{4}", "j": r"\d{3}"} | dict.fromkeys("ymdHIMS", r"\d{2}")
"""Codes that are numbers of a certain length."""
_YEAR_1000 = -30_610_224_000_000_000
"""Its first microsecond since 1970."""
COUNT = r"^\s*[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\s*$"
"""Pattern (RE2) of a number that counts from 1970."""


class Clock(NamedTuple):
    """Times as their texts have them: naive microseconds (UTC where `aware`), null where refused; refused indices."""

    naive: pa.Array
    aware: np.ndarray
    bad: np.ndarray


def parse_timestamps(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """ISO 8601 with any offset, or the field's own format, to UTC microseconds; returns them and refused indices.

    Naive values are local to the field's time zone; one that does not exist there is refused, one that is
    ambiguous follows `on_dst` (of "in_order" the earlier; `twice.py` tells the second).
    """
    if field.epoch:
        counted, bad = _epoch_texts(values, field.epoch)
        times, unreal = localize(counted, field)
        return times, np.union1d(bad, unreal)
    if field.on_dst == "elapsed":
        return _elapsed(values, field)
    if field.format is None:
        try:
            return pc.cast(values, UTC_MICROS), NONE
        except pa.ArrowInvalid:
            pass
    if values.null_count == len(values):
        return pa.nulls(len(values), UTC_MICROS), NONE
    return _settle(_read(values, field.format), field)


def parse_dates(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """`2025-06-15`, or the field's own format, to dates; with an offset the day that is written, whatever day it is in UTC."""
    if field.epoch:
        counted, bad = _epoch_texts(values, field.epoch)
        return pc.cast(counted, pa.date32(), safe=False), bad
    if field.format is None:
        return try_cast(values, lambda a: pc.cast(a, pa.date32()))
    clock = _read(values, field.format)
    if not clock.aware.any():
        return pc.cast(clock.naive, pa.date32(), safe=False), clock.bad
    written = _read(*_without_offset(values, field.format))
    days = pc.if_else(clock.naive.is_valid(), pc.cast(written.naive, pa.date32(), safe=False), None)
    return days, np.union1d(clock.bad, written.bad)


def localize(naive: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """Naive local microseconds to UTC by the field's `time_zone` and `on_dst`; returns times and refused indices.

    spring   01:59 -> 03:00   02:30 does not exist: always refused
    autumn   02:59 -> 02:00   02:30 is there twice: reject, earlier or later
    """
    if field.time_zone == "UTC":
        return pc.cast(naive, UTC_MICROS), NONE
    earlier, later, unreal = _both(naive, field.time_zone)
    chosen = later if field.on_dst == "later" else earlier
    if field.on_dst == "reject":
        unreal = pc.or_(unreal, pc.not_equal(earlier, later).fill_null(False))
    chosen = pc.cast(pc.if_else(unreal, pa.scalar(None, chosen.type), chosen), UTC_MICROS)
    return chosen, np.flatnonzero(unreal.to_numpy(zero_copy_only=False))


def epoch_numbers(numbers: pa.Array, unit: str) -> tuple[pa.Array, np.ndarray]:
    """Whole numbers, decimals or floats that count from 1970, as naive microseconds; returns them and refused indices."""
    kind = numbers.type
    if pa.types.is_integer(kind):
        wide, bad = try_cast(numbers, lambda a: pc.cast(a, pa.int64()))
        counted, beyond = try_cast(wide, lambda a: _whole_micros(a, unit))
        return pc.cast(counted, MICROS), np.union1d(bad, beyond)
    if pa.types.is_decimal(kind):
        return _epoch_texts(pc.cast(numbers, pa.string()), unit)
    return _epoch_floats(pc.cast(numbers, pa.float64()), unit)


def refusals(texts: pa.Array, field: FieldSpec) -> list[str]:
    """Why each of these refused texts is none of the field's times, in words with the remedy."""
    what = f"a {field.type}"
    if field.epoch:
        what = f"a number that counts from 1970 ({field.epoch})"
    said = [f"{field.name}: {(text or '')[:60]!r} is not {what}" for text in texts.to_pylist()]
    if field.type != "timestamp" or field.time_zone == "UTC" or not len(texts):
        return said
    if field.epoch:
        naive, bad = _epoch_texts(texts, field.epoch)
        clock = Clock(naive, np.zeros(len(texts), bool), bad)
    else:
        clock = _read(_take_hours(texts, field.format)[0] if field.on_dst == "elapsed" else texts, field.format)
    readable = np.setdiff1d(np.flatnonzero(~clock.aware), clock.bad)
    reasons = unreal(
        clock.naive.take(pa.array(readable)), [repr((texts[i].as_py() or "")[:60]) for i in readable], field
    )
    for i, reason in zip(readable.tolist(), reasons, strict=True):
        said[i] = reason
    return said


def unreal(naive: pa.Array, shown: list[str], field: FieldSpec) -> list[str]:
    """Why local times of the field's zone are refused."""
    if field.on_dst == "elapsed":
        return [f"{field.name}: {text} lies beyond the end of that day in {field.time_zone}" for text in shown]
    earlier, later, _ = _both(naive, field.time_zone)
    said = []
    for text, is_twice in zip(shown, pc.not_equal(earlier, later).to_pylist(), strict=True):
        if is_twice:
            said.append(
                f"{field.name}: {text} comes twice in {field.time_zone} (the clock goes back); say which is meant with "
                'on_dst = "earlier", "later", "in_order" or "elapsed"'
            )
        else:
            said.append(
                f"{field.name}: {text} does not exist in {field.time_zone} (the clock goes forward); is time_zone "
                'right? If hours count from midnight, write on_dst = "elapsed"'
            )
    return said


def _both(naive: pa.Array, zone: str) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The earlier and the later instant of each local time, and a mask of times that do not exist."""
    earlier = pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="earliest")
    later = pc.assume_timezone(naive, zone, ambiguous="latest", nonexistent="earliest")
    unreal = pc.not_equal(pc.local_timestamp(earlier), naive).fill_null(False)
    micros = pc.cast(naive, pa.int64())
    if (pc.max(micros).as_py() or 0) < _AHEAD:
        return earlier, later, unreal
    at = np.flatnonzero(pc.greater_equal(micros, _AHEAD).fill_null(False).to_numpy(zero_copy_only=False))
    ahead = micros.take(pa.array(at)).to_numpy()
    before, after = _offsets_ahead(ahead, zone)
    earlier = put(earlier, at, pc.cast(pa.array(ahead - np.maximum(before, after)), earlier.type))
    later = put(later, at, pc.cast(pa.array(ahead - after), later.type))
    return earlier, later, put(unreal, at, pa.array(before < after))


def _offsets_ahead(micros: np.ndarray, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from UTC, in microseconds, of local times; of one that the clock skips or repeats before and after that."""
    rules = ZoneInfo(zone)
    minutes, place = np.unique(np.minimum(micros // _MINUTE, _LAST_MINUTE), return_inverse=True)
    clocks = [datetime(1970, 1, 1, tzinfo=rules) + timedelta(minutes=m) for m in minutes.tolist()]
    before, after = (np.array([_offset(clock.replace(fold=n)) for clock in clocks], np.int64)[place] for n in (0, 1))
    return before, after


def _offset(clock: datetime) -> int:
    offset = clock.utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


def _settle(clock: Clock, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    if clock.aware.all():
        return pc.cast(clock.naive, UTC_MICROS), clock.bad
    if not clock.aware.any():
        times, unreal = localize(clock.naive, field)
        return times, np.union1d(clock.bad, unreal)
    at, local = np.flatnonzero(clock.aware), np.flatnonzero(~clock.aware)
    times, unreal = localize(clock.naive.take(pa.array(local)), field)
    own = pc.cast(clock.naive.take(pa.array(at)), UTC_MICROS)
    return scatter([(at, own), (local, times)], len(clock.naive), UTC_MICROS), np.union1d(clock.bad, local[unreal])


def _elapsed(values: pa.Array, field: FieldSpec) -> tuple[pa.Array, np.ndarray]:
    """The time of day as hours since the local day began: 25:00 is the midnight that ends a day of 25 hours."""
    rest, hours = _take_hours(values, field.format)
    clock = _read(rest, field.format)
    own = clock.aware
    if own.any():  # a text with an offset of its own says its instant
        clock = _read(pc.if_else(pa.array(own), values, rest), field.format)
    naive = pc.cast(clock.naive, pa.int64())
    absent = naive.is_null().to_numpy(zero_copy_only=False)
    micros = naive.fill_null(0).to_numpy(zero_copy_only=False)
    midnight = micros // _DAY * _DAY
    begins, ends = day_starts(midnight, field.time_zone), day_starts(midnight + _DAY, field.time_zone)
    instants = np.where(own, micros, begins + (micros - midnight) + hours * _HOUR)
    beyond = ~own & ~absent & (instants > ends)
    times = pc.cast(pa.array(instants, mask=absent | beyond), UTC_MICROS)
    return times, np.union1d(clock.bad, np.flatnonzero(beyond))


def day_starts(midnight: np.ndarray, zone: str) -> np.ndarray:
    """The first instant of local days; where the clock goes forward at midnight, the one it goes to."""
    days, place = np.unique(midnight, return_inverse=True)
    naive = pc.cast(pa.array(days), MICROS)
    found = pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="latest")
    starts = pc.cast(found, pa.int64()).to_numpy(zero_copy_only=False)
    ahead = days >= _AHEAD
    if ahead.any():  # what a rule skips it skips from midnight on
        starts = np.where(ahead, days - _offsets_ahead(days, zone)[0], starts)
    return np.asarray(starts[place])


def local_times(instants: np.ndarray, zone: str) -> np.ndarray:
    """Microseconds since 1970 in UTC, as the zone's clock shows them."""
    known = pc.cast(pa.array(instants, pa.int64()), pa.timestamp("us", zone))
    local = pc.cast(pc.local_timestamp(known), pa.int64()).to_numpy(zero_copy_only=False)
    ahead = np.flatnonzero(instants >= _AHEAD)
    if len(ahead):
        rules = ZoneInfo(zone)
        minutes, place = np.unique(np.minimum(instants[ahead] // _MINUTE, _LAST_MINUTE - 1440), return_inverse=True)
        clocks = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=m) for m in minutes.tolist()]
        local = local.copy()
        local[ahead] = instants[ahead] + np.array([_offset(c.astimezone(rules)) for c in clocks], np.int64)[place]
    return np.asarray(local)


def _read(values: pa.Array, form: str | None) -> Clock:
    """The texts' own clocks; what is refused at first is read again where its hour is 24."""
    clock = _read_iso(values) if form is None else _read_formatted(values, form)
    if not len(clock.bad):
        return clock
    rest, hours = _take_hours(values.take(pa.array(clock.bad)), form)
    late = hours == 24
    if not late.any():
        return clock
    rest = pc.if_else(pa.array(late), rest, pa.scalar(None, pa.string()))
    again = _read_iso(rest) if form is None else _read_formatted(rest, form)
    micros = pc.cast(again.naive, pa.int64())
    numbers = micros.fill_null(0).to_numpy(zero_copy_only=False)
    good = late & ~micros.is_null().to_numpy(zero_copy_only=False)
    sharp = pc.match_substring_regex(rest, _SHARP_WITH_OFFSET).fill_null(False).to_numpy(zero_copy_only=False)
    good &= np.where(again.aware, sharp, numbers % _DAY == 0)
    fixed = pc.cast(pa.array(numbers + _DAY, mask=~good), MICROS)
    aware = clock.aware.copy()
    aware[clock.bad] = again.aware
    return Clock(put(clock.naive, clock.bad, fixed), aware, clock.bad[~good])


def _read_iso(values: pa.Array) -> Clock:
    values = pc.replace_substring_regex(values, r"(\.\d{6})\d{1,3}", r"\1")
    aware = pc.match_substring_regex(values, _AWARE).fill_null(True).to_numpy(zero_copy_only=False)
    result, refused = [], []
    for mask, kind in ((aware, UTC_MICROS), (~aware, MICROS)):
        at = np.flatnonzero(mask)
        if len(at):
            times, bad = try_cast(values.take(pa.array(at)), lambda a, kind=kind: pc.cast(a, kind))  # type: ignore[misc]
            result.append((at, pc.cast(times, MICROS)))
            refused.append(at[bad])
    if not result:
        return Clock(pa.array([], MICROS), aware, NONE)
    return Clock(scatter(result, len(values), MICROS), aware, np.unique(np.concatenate(refused)))


def _read_formatted(values: pa.Array, form: str) -> Clock:
    """DuckDB's try_strptime: the strptime codes of Python, on whole columns; with %z the result is UTC.

    Words such as "infinity" and "epoch", which DuckDB takes for times whatever the format, are refused, and Z is
    an offset as it is in Python.
    """
    cursor = sandbox().cursor()
    wordy = pc.invert(pc.match_substring_regex(values, r"\d"))
    if pc.any(wordy).as_py():
        values = pc.if_else(wordy, pa.scalar("", pa.string()), values)
    if form.endswith("%z"):
        values = pc.replace_substring_regex(values, r"(\d) ?Z$", r"\1+00:00")
    cursor.register("texts", pa.table({"t": values}))
    call = f"try_strptime(t, '{form.replace(chr(39), chr(39) * 2)}')"
    if "%z" in form or "%Z" in form:
        call = f"CAST({call} AS TIMESTAMPTZ)"
    times = cursor.sql(f"SELECT {call} AS t FROM texts").to_arrow_table()["t"].combine_chunks()
    cursor.unregister("texts")
    aware = np.full(len(values), times.type.tz is not None)
    if isinstance(times, pa.ChunkedArray):
        times = pa.concat_arrays(times.chunks) if times.num_chunks else pa.array([], times.type)
    naive = pc.cast(pc.cast(times, UTC_MICROS if times.type.tz else MICROS, safe=False), MICROS)
    naive = _without_guesses(naive, values, form)
    bad = pc.and_(naive.is_null(), values.is_valid())
    return Clock(naive, aware, np.flatnonzero(bad.to_numpy(zero_copy_only=False)))


def _take_hours(texts: pa.Array, form: str | None) -> tuple[pa.Array, np.ndarray]:
    """Texts with 00 for the hour, and the hours they had; a text without one stays as it is, with hour 0."""
    parts = pc.extract_regex(texts, _ISO_HOUR if form is None else _hour_pattern(form))
    matched = parts.is_valid()
    if not pc.any(matched).as_py():
        return texts, np.zeros(len(texts), np.int64)
    before, hour, after = (pc.struct_field(parts, name) for name in ("before", "hour", "after"))
    rest = pc.if_else(matched, pc.binary_join_element_wise(before, "00", after, ""), texts)
    hours = pc.cast(pc.if_else(matched, hour, pa.scalar("0")), pa.int64())
    return rest, hours.fill_null(0).to_numpy(zero_copy_only=False)


def _without_offset(texts: pa.Array, form: str) -> tuple[pa.Array, str]:
    """Texts and format without %z or %Z."""
    before, offset, after = re.split(r"(?<!%)(%z|%Z)", _spelt_out(form), maxsplit=1)
    pattern = rf"^(\s*{_texts_of(before)})\s*{_texts_of(offset)}({_texts_of(after)}\s*)$"
    return pc.replace_substring_regex(texts, pattern, r"\1\2"), before + after


def _without_guesses(naive: pa.Array, values: pa.Array, form: str) -> pa.Array:
    """Null where digits may be missing: DuckDB reads the year 25 (%Y) as that of Christ's, and 130 (%H%M) as 13:00."""
    pattern, is_joined = _whole_pattern(form)
    if is_joined:
        return pc.if_else(pc.match_substring_regex(values, pattern), naive, pa.scalar(None, naive.type))
    early = pc.less(pc.cast(naive, pa.int64()), _YEAR_1000).fill_null(False)
    if not pc.any(early).as_py():
        return naive
    guessed = pc.and_(early, pc.invert(pc.match_substring_regex(values, pattern)))
    return pc.if_else(guessed, pa.scalar(None, naive.type), naive)


@functools.lru_cache(maxsize=64)
def _whole_pattern(form: str) -> tuple[str, bool]:
    """A pattern (RE2) of the format's texts in which numbers that join have all their digits; whether any join."""
    parts = re.findall(r"%-?[A-Za-z%]|\s+|[^%\s]+|%", _spelt_out(form))
    counts = [part[:1] == "%" and part[1:] in _DIGITS for part in parts]
    joins = [is_one and (counts[n - 1] if n else False) for n, is_one in enumerate(counts)]
    strict = [is_one or after for is_one, after in zip(joins, [*joins[1:], False], strict=True)]
    texts = [_DIGITS[part[1:]] if is_strict else _texts_of(part) for part, is_strict in zip(parts, strict, strict=True)]
    return rf"^\s*{''.join(texts)}\s*$", any(joins)


def _spelt_out(form: str) -> str:
    for code, longer in (("%c", "%Y-%m-%d %H:%M:%S"), ("%x", "%Y-%m-%d"), ("%X", "%H:%M:%S")):
        form = form.replace(code, longer)
    return form


@functools.lru_cache(maxsize=64)
def _hour_pattern(form: str) -> str:
    """A pattern (RE2) of the format's texts that finds the hour in them; one that matches nothing where it has none."""
    form = _spelt_out(form)
    before, found, after = form.partition("%-H" if "%-H" in form else "%H")
    if not found:
        return r"^(?P<before>)(?P<hour>)(?P<after>)[^\s\S]$"
    return rf"^\s*(?P<before>{_texts_of(before)})(?P<hour>\d{{1,2}})(?P<after>{_texts_of(after)})\s*$"


def _texts_of(form: str) -> str:
    def pattern(match: re.Match[str]) -> str:
        code, text = match[2], match[0]
        if code is None:
            return r"\s+" if text.isspace() else re.escape(text)
        known = {"Y": r"\d{4}", "G": r"\d{4}", "j": r"\d{1,3}", "f": r"\d+", "g": r"\d+", "n": r"\d+", "%": "%"}
        words = {"z": r"(?:[+-]\d\d:?(?:\d\d)?|Z)", "Z": r"\S+"} | dict.fromkeys("abABp", r"[\pL.]+")
        return (known | words).get(code, r"\d{1,2}")

    return re.sub(r"%(-?)([A-Za-z%])|\s+|[^%\s]+|%", pattern, form)


def _epoch_texts(values: pa.Array, unit: str) -> tuple[pa.Array, np.ndarray]:
    """Texts of numbers that count from 1970, as naive microseconds; exact however many digits they have."""
    counts = pc.match_substring_regex(values, r"^[+-]?\d{1,19}$")
    if pc.all(counts).as_py() is not False:
        ints, bad = try_cast(values, lambda a: pc.cast(a, pa.int64()))
        micros, beyond = epoch_numbers(ints, unit)
        return micros, np.union1d(bad, beyond)
    trimmed = pc.utf8_trim_whitespace(values)
    fits = pc.match_substring_regex(trimmed, COUNT).fill_null(True).to_numpy(zero_copy_only=False)
    trimmed = pc.if_else(pa.array(fits), trimmed, pa.scalar(None, pa.string()))
    whole, doubles = (
        pc.match_substring_regex(trimmed, pattern).fill_null(nulls).to_numpy(zero_copy_only=False)
        for pattern, nulls in ((r"^[+-]?\d+$", True), ("[eE]", False))
    )
    at = np.flatnonzero(whole)
    ints, bad = try_cast(trimmed.take(pa.array(at)), lambda a: pc.cast(a, pa.int64()))
    micros, beyond = epoch_numbers(ints, unit)
    parts, refused = [(at, micros)], [np.flatnonzero(~fits), at[bad], at[beyond]]
    for read, mask in ((_decimal_micros, ~whole & ~doubles), (_double_micros, doubles)):
        at = np.flatnonzero(mask)
        counted, odd = try_cast(trimmed.take(pa.array(at)), lambda a, read=read: read(a, unit))  # type: ignore[misc]
        parts.append((at, pc.cast(counted, MICROS)))
        refused.append(at[odd])
    return scatter(parts, len(values), MICROS), np.unique(np.concatenate(refused))


def _whole_micros(numbers: pa.Array, unit: str) -> pa.Array:
    if EPOCH_UNITS[unit]:
        return pc.multiply_checked(numbers, pa.scalar(EPOCH_UNITS[unit], pa.int64()))
    cut = numbers.fill_null(0).to_numpy(zero_copy_only=False) // 1000
    return pa.array(cut, mask=numbers.is_null().to_numpy(zero_copy_only=False))


def _decimal_micros(texts: pa.Array, unit: str) -> pa.Array:
    """Numbers with a fraction and no exponent, without rounding of doubles."""
    exact = pc.cast(pc.replace_substring_regex(texts, r"(\.\d{9})\d+", r"\1"), pa.decimal128(27, 9))
    if EPOCH_UNITS[unit] == 0:
        return _whole_micros(pc.cast(pc.floor(exact), pa.int64(), safe=False), unit)
    micros = pc.multiply(exact, pa.scalar(EPOCH_UNITS[unit], pa.int32()))
    return pc.cast(pc.round(micros, 0, "half_up"), pa.int64(), safe=False)


def _double_micros(texts: pa.Array, unit: str) -> pa.Array:
    """Numbers with an exponent."""
    floats, bad = _epoch_floats(pc.cast(texts, pa.float64()), unit)
    if len(bad):
        raise pa.ArrowInvalid("beyond what a double holds")
    return pc.cast(floats, pa.int64())


def _epoch_floats(numbers: pa.Array, unit: str) -> tuple[pa.Array, np.ndarray]:
    """To the nearest microsecond, as a double of seconds holds it."""
    absent = numbers.is_null().to_numpy(zero_copy_only=False)
    values = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    factor = EPOCH_UNITS[unit] or 0.001
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.floor(values)
        exact = np.rint((values - whole) * factor) if EPOCH_UNITS[unit] else 0.0
        micros = np.floor(whole * factor) if EPOCH_UNITS[unit] == 0 else whole * factor + exact
        bad = ~absent & ~(np.abs(micros) < 2.0**62)
    counted = np.where(bad, 0, np.nan_to_num(micros)).astype(np.int64)
    return pc.cast(pa.array(counted, mask=absent | bad), MICROS), np.flatnonzero(bad)


def shifted(times: pa.Array, by: timedelta) -> pa.Array:
    """Times moved by whole microseconds, dates by whole days; the years they may lie in are judged afterwards."""
    if pa.types.is_date(times.type):
        return pc.cast(pc.add(pc.cast(times, pa.int32()), pa.scalar(by.days, pa.int32())), pa.date32())
    return pc.cast(
        pc.add(pc.cast(times, pa.int64()), pa.scalar(by // timedelta(microseconds=1), pa.int64())), times.type
    )
