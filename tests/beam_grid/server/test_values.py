"""Values for people and machines: a column at a time they are what they are one at a time."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_grid.server.answers import json_bytes, plain_column
from beam_grid.show import as_python, plain, show

_INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001
_KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.timestamp("us", "UTC"), _INSTANTS.map(lambda at: at.replace(tzinfo=UTC))),
    (pa.timestamp("us", "Europe/Brussels"), st.datetimes(datetime(1950, 1, 2), datetime(2090, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001
    (pa.timestamp("us"), _INSTANTS),
    (pa.timestamp("ms", "UTC"), _INSTANTS.map(lambda at: at.replace(tzinfo=UTC, microsecond=0))),
    (pa.float64(), st.floats()),
    (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text()),
    (pa.binary(), st.binary()),
    (pa.date32(), st.dates()),
    (pa.decimal128(20, 2), st.decimals(-1000, 1000, places=2)),
    (pa.list_(pa.float64()), st.lists(st.floats())),
]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), kind=st.sampled_from(_KINDS))
def test_a_column_is_told_as_its_values_are(
    data: st.DataObject, kind: tuple[pa.DataType, st.SearchStrategy[Any]]
) -> None:
    arrow, values = kind
    chunks = data.draw(st.lists(st.lists(st.none() | values, max_size=5), max_size=3))
    column = pa.chunked_array([pa.array(chunk, arrow) for chunk in chunks], arrow)
    assert plain_column(column) == list(map(plain, column.to_pylist()))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (datetime(2026, 1, 1, 12, tzinfo=UTC), "2026-01-01T12:00:00Z"),
        (datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC), "2026-01-01T12:00:00.000005Z"),
        (datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC), "2026-01-01T12:00:00.500000Z"),
        (datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=1), "0001-01-02T00:00:00Z"),
        (date(2026, 1, 1), "2026-01-01"),
        (Decimal("1.50"), "1.50"),
        (float("nan"), None),
        (float("-inf"), "-inf"),
        (None, None),
    ],
)
def test_what_json_has_of_a_value(value: Any, told: Any) -> None:
    kind = pa.timestamp("us", "UTC") if isinstance(value, datetime) else None
    assert plain_column(pa.chunked_array([pa.array([value], kind)])) == [told] == [plain(value)]


def test_json_has_no_sign_that_a_browser_takes_for_more_and_half_a_character_is_told() -> None:
    """The second is what a folder's name may have that is no UTF-8."""
    assert json_bytes({"a": "<b>&\u2028\u2029é"}) == b'{"a":"\\u003cb\\u003e\\u0026\\u2028\\u2029\xc3\xa9"}'
    assert json_bytes({"lake": "\udcff<"}) == b'{"lake":"\\udcff\\u003c"}'


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("'infinity'::TIMESTAMPTZ", "infinity"),
        ("'-infinity'::TIMESTAMP", "-infinity"),
        ("'infinity'::TIMESTAMP_S", "infinity"),
        ("'-infinity'::TIMESTAMP_NS", "-infinity"),
        ("'infinity'::DATE", "infinity"),
        ("'-infinity'::DATE", "-infinity"),
        ("'20000-01-01 12:30:00'::TIMESTAMPTZ", "+020000-01-01T12:30:00Z"),
        ("'20000-01-01 12:30:00.5'::TIMESTAMP_MS", "+020000-01-01T12:30:00.500Z"),
        ("'0044-03-15 (BC)'::DATE", "-000043-03-15"),
        ("'0001-01-01 (BC) 00:00:00'::TIMESTAMP", "+000000-01-01T00:00:00Z"),
        ("'2020-01-01 00:00:00.123456789'::TIMESTAMP_NS", "2020-01-01T00:00:00.123456789Z"),
        ("['infinity'::DATE, '2026-01-01'::DATE, NULL]", ["infinity", "2026-01-01", None]),
        ("{'until': 'infinity'::TIMESTAMPTZ, 'n': 1}", {"until": "infinity", "n": 1}),
        ("TIME_NS '01:02:03.123456789'", "01:02:03.123456789"),
        ("[TIME_NS '01:02:03.123456789', NULL]", ["01:02:03.123456789", None]),
        ("['infinity'::DATE, '2026-01-01'::DATE]::DATE[2]", ["infinity", "2026-01-01"]),
        ("UNION_VALUE(k := DATE 'infinity')", "infinity"),
    ],
)  # fmt: skip
def test_times_that_python_has_none_for_are_told_beside_those_it_has(sql: str, told: Any) -> None:
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    found = engine.sql(f"SELECT {sql} AS value UNION ALL SELECT NULL").to_arrow_table()
    for column in (found["value"], found["value"].combine_chunks()):
        assert list(map(plain, as_python(column))) == [told, None]
    assert plain_column(found["value"]) == [told, None]
    out = io.StringIO()
    show(found, "json", out)
    assert json.loads(out.getvalue()) == [{"value": told}, {"value": None}]


def test_a_time_beside_infinity_is_told_as_it_is_alone() -> None:
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    found = engine.sql(
        "SELECT unnest(['infinity', '2026-01-01 12:00:00', '2026-01-01 12:00:00.5']::TIMESTAMPTZ[]) AS v"
    )
    assert plain_column(found.to_arrow_table()["v"]) == [
        "infinity",
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00.500000Z",
    ]
