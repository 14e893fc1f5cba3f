"""The newest features by key over HTTP: those of the table, whoever asks and whatever a meter is called."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from beam_grid.landing import Lake
from beam_grid.server.keys import Keys
from tests.beam_grid.server import serving
from tests.beam_grid.service.small import run_folder
from tests.waiting import PATIENCE_S

CONTRACT = (
    serving.CONTRACT
    + """
[[features]]
name = "meter_features"
series = "meter"
version = "3"
columns = { mean = "avg(kwh) over 4 rows", usual = "avg(kwh) over history", off = "mean - usual" }
"""
)
NAMES = [serving.SCRIPT, serving.FORMULA, "M-002"]


def publish(folder: Path, day: int) -> None:
    serving.write(folder / "source", f"day{day}.csv", serving.lines(day, 3))
    run_folder(folder, "readings", CONTRACT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("featured")
    publish(folder, 1)
    return folder


@pytest.fixture(scope="module")
def asked(folder: Path) -> Iterator[tuple[httpx.Client, dict[str, str], dict[str, str]]]:
    """A server, a key that reaches the features, and one that does not."""
    lake = Lake.open(folder / "lake", create=False)
    keys = Keys(folder / "keys.json")
    said = [{"Authorization": f"Bearer {keys.add(name, [lake], (tables,), '1000/second')}"} for name, tables in (("a", "gold.meter_features"), ("b", "silver.*"))]  # fmt: skip
    with serving.served(lake, keys_file=keys.path, require_keys=True) as client:
        yield client, said[0], said[1]


def get(
    asked: tuple[httpx.Client, dict[str, str], dict[str, str]], name: str, keys: list[str], **headers: str
) -> httpx.Response:
    client, mine, _ = asked
    return client.get(f"/api/v1/features/{name}", params={"key": keys}, headers={**mine, **headers})


def test_the_newest_rows_come_by_key(asked: tuple[httpx.Client, dict[str, str], dict[str, str]], folder: Path) -> None:
    answer = get(asked, "meter_features", [NAMES[2], "M-9", *NAMES[:2]]).json()
    assert [row["meter"] for row in answer["rows"]] == [NAMES[2], "M-9", *NAMES[:2]] and answer["missing"] == ["M-9"]
    newest = {line.rsplit(",", 2)[0].strip('"'): [] for line in serving.lines(1, 3)}  # type: ignore[var-annotated]
    for line in serving.lines(1, 3):
        newest[line.rsplit(",", 2)[0].strip('"')].append(float(line.rsplit(",", 1)[1]))
    for row in answer["rows"]:
        if row["meter"] in newest:
            assert row["mean"] == pytest.approx(sum(newest[row["meter"]][-4:]) / 4) and row["usual"] is None
            assert row["feature_version"] == "3" and row["read_at"] == "2026-03-01T23:30:00Z"
    assert answer["features"] == "gold.meter_features" and answer["columns"][0] == {"name": "meter", "type": "string"}


def test_arrow_and_csv(asked: tuple[httpx.Client, dict[str, str], dict[str, str]]) -> None:
    arrow = get(asked, "gold.meter_features", [NAMES[2]], accept="application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table["meter"].to_pylist() == [NAMES[2]] and pa.types.is_timestamp(table.schema.field("read_at").type)
    csv = get(asked, "meter_features", [NAMES[1]], accept="text/csv").text
    assert csv.splitlines()[0].startswith("meter,read_at,mean,usual,off") and csv.splitlines()[1].startswith("'=HYPER")


def test_who_may_not_see_it_or_asks_for_nothing_is_told(
    asked: tuple[httpx.Client, dict[str, str], dict[str, str]],
) -> None:
    client, _, other = asked
    path = "/api/v1/features/meter_features"
    assert client.get(path, params={"key": "M-002"}).status_code == 401
    assert client.get(path, params={"key": "M-002"}, headers=other).status_code == 403
    assert get(asked, "meter_features", []).status_code == 422
    assert get(asked, "meter_features", ["x"] * 1001).status_code == 422
    assert client.get("/api/v1/features/none", params={"key": "x"}, headers=other).status_code == 403


def test_a_name_that_is_none_is_answered_with_those_there_are(folder: Path) -> None:
    with serving.served(Lake.open(folder / "lake", create=False)) as client:
        answer = client.get("/api/v1/features/hourly", params={"key": "x"})
        assert answer.status_code == 404 and "the lake has gold.meter_features" in answer.json()["detail"]


def test_a_new_set_is_seen(asked: tuple[httpx.Client, dict[str, str], dict[str, str]], folder: Path) -> None:
    before = get(asked, "meter_features", NAMES).json()
    publish(folder, 2)
    until = time.monotonic() + PATIENCE_S
    while (after := get(asked, "meter_features", NAMES).json())["rows"] == before["rows"] and time.monotonic() < until:
        time.sleep(0.05)
    assert after["set"] > before["set"]
    assert [row["read_at"] for row in after["rows"]] == ["2026-03-02T23:30:00Z"] * 3
    assert all(row["off"] == pytest.approx(row["mean"] - row["usual"]) for row in after["rows"])
