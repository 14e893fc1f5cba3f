"""Views made once per version set: the same rows as the view, of the set that was announced, and none that does not fit."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from msgspec.structs import replace

from beam_grid.lakehouse.query import query
from beam_grid.lakehouse.table_set import View
from beam_grid.lakehouse.versions import newest, newest_number
from beam_grid.landing import Lake
from beam_grid.server.engine import Engine, Limits
from beam_grid.server.made import Made
from tests.beam_grid.server.serving import served, sql
from tests.beam_grid.server.test_hostile import comes
from tests.beam_grid.service.small import run_folder

CONTRACT = """
name = "meters"
format = "csv"
event_time = "at"
dedup = { key = ["meter", "at"] }
out_of_orderness = "1m"
file_order = "name"

[now]
name = "meters_now"
sensor = "meter"
values = ["power"]

[[fields]]
name = "meter"
type = "string"

[[fields]]
name = "at"
type = "timestamp"

[[fields]]
name = "power"
type = "float64"
"""
NOW = "SELECT * FROM gold.meters_now ORDER BY meter"


def land(folder: Path, hour: int) -> Lake:
    """An hour of forty meters, published."""
    (folder / "source").mkdir(exist_ok=True)
    rows = [f"M-{n:02d},2026-03-0{1 + hour // 24}T{hour % 24:02d}:{n:02d}:00Z,{n + hour / 10}" for n in range(40)]
    (folder / "source" / f"{hour:03d}.csv").write_text("meter,at,power\n" + "\n".join(rows) + "\n")
    run_folder(folder, "meters", CONTRACT)
    return Lake.open(folder / "lake", create=False)


def number(client: httpx.Client) -> int:
    return int(client.get("/api/v1/status").json()["set"])


def test_a_view_that_was_asked_for_is_made_before_its_set_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    lake = land(tmp_path, 0)
    with served(lake) as client:
        (made,) = tmp_path.glob("beam-grid-serve-*/made")
        first = sql(client, NOW).json()
        assert len(first["rows"]) == 40 and not list(made.iterdir())
        asked: list[tuple[int, float]] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                for row in sql(client, "SELECT max(now) AS now, max(value) AS most FROM gold.meters_now").json()[
                    "rows"
                ]:
                    asked.append((int(row["now"][11:13]), row["most"]))

        asker = threading.Thread(target=ask)
        asker.start()
        for hour in (1, 2):
            land(tmp_path, hour)
            assert comes(lambda: number(client) == newest_number(lake, 0))
        stop.set()
        asker.join()
        sets = sorted(made.iterdir())
        assert len(sets) >= 2 and all((one / "gold.meters_now.parquet").exists() for one in sets)
        now = sql(client, NOW, "application/vnd.apache.arrow.stream").content
        assert pa.ipc.open_stream(now).read_all().to_pylist() == query(lake, NOW).to_pylist()
        assert sql(client, NOW, set=first["set"]).json()["rows"] == first["rows"]
        assert {hour for hour, _ in asked} == {0, 1, 2} and asked == sorted(asked)
        assert all(most == 39 + hour / 10 for hour, most in asked)  # each answer is of one set
        for one in sets:  # an old one is removed; the view is asked instead
            (one / "gold.meters_now.parquet").unlink()
        assert len(sql(client, f"{NOW} LIMIT 3").json()["rows"]) == 3
    assert not made.exists()


def test_what_a_file_would_not_give_back_as_it_was_is_left_a_view(tmp_path: Path) -> None:
    lake = land(tmp_path, 0)
    found = newest(lake)
    assert found is not None
    odd = {
        "gold.huge": "SELECT sum(CAST(power AS BIGINT)) AS s FROM silver.meters",
        "gold.nested": "SELECT [power] AS s FROM silver.meters",
        "gold.kept": 'SELECT meter, CAST(power AS DECIMAL(9, 2)) AS d, "at", "at"::DATE AS day, power > 1 AS b FROM silver.meters',
    }
    views = {name: View(sql=text, reads=("silver.meters",), description="") for name, text in odd.items()}
    changed = replace(found, views=views)
    engine = Engine(lake, tmp_path / "scratch", Limits())
    assert [engine.make(changed, name) for name in odd] == [False, False, True]
    assert engine.make(changed, "silver.meters") is False
    text = "SELECT * FROM gold.kept ORDER BY meter"
    engine.define(changed, ["gold.kept"])
    from_file = engine.batches(text).read_all()
    Made(tmp_path / "scratch" / "made").file(changed, "gold.kept").unlink()
    engine.define(changed, ["gold.kept"])
    assert from_file.num_rows == 40 and from_file.equals(engine.batches(text).read_all())


def test_what_is_no_number_is_found_in_a_file_as_in_the_view(tmp_path: Path) -> None:
    """A Parquet footer's bounds pass over NaN, and a reader that goes by them would pass over its rows."""
    lake = land(tmp_path, 0)
    found = newest(lake)
    assert found is not None
    text = "SELECT meter, CASE WHEN power > 30 THEN 'NaN'::DOUBLE ELSE power - 5 END AS share FROM silver.meters"
    changed = replace(found, views={"gold.share": View(sql=text, reads=("silver.meters",), description="")})
    engine = Engine(lake, tmp_path / "scratch", Limits())
    asked = [
        "SELECT count(*) FROM gold.share WHERE share > 1e9",
        "SELECT count(*) FROM gold.share WHERE isnan(share)",
        "SELECT CAST(max(share) AS VARCHAR) || CAST(min(share) AS VARCHAR) FROM gold.share",
    ]

    def answers() -> list[object]:
        engine.define(changed, ["gold.share"])
        return [list(engine.batches(sql).read_all().to_pylist()[0].values()) for sql in asked]

    as_a_view = answers()
    assert engine.make(changed, "gold.share")
    assert answers() == as_a_view == [[9], [9], ["nan-5.0"]]
