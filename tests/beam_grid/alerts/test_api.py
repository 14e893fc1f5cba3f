"""/api/v1/alerts: what is open, to whom it may be shown, and nothing where nothing was ever looked at."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from beam_grid.errors import GridError
from beam_grid.server.alerts import MOST, open_alerts
from beam_grid.server.problems import Problem
from tests.beam_grid.alerts.published import RULE, TO_FILE, Published
from tests.beam_grid.server.serving import served


def test_the_server_tells_what_is_open(tmp_path: Path) -> None:
    here = Published(tmp_path, TO_FILE)
    assert open_alerts(here.lake, None) == {"set": None, "is_declared": True, "counts": {}, "errors": {}, "alerts": []}
    here.declare(RULE + RULE.replace('"high"', '"wrong"').replace("kwh >", "kwhh >") + TO_FILE)
    number = here.readings(("<b>", 0, 30.0), ("b", 0, 3.0))
    here.check()
    assert open_alerts(here.lake, ("gold.*",))["alerts"] == [] == list(open_alerts(here.lake, ("gold.*",))["errors"])
    assert len(open_alerts(here.lake, ("silver.*",))["alerts"]) == 1
    with served(here.lake, workers=1) as client:
        answer = client.get("/api/v1/alerts")
        assert answer.status_code == 200 and "<b>" not in answer.text
        body = answer.json()
        assert client.get("/api/v1/openapi.json").json()["paths"]["/api/v1/alerts"]
    assert (body["set"], body["counts"], list(body["errors"])) == (number, {"open": 1}, ["wrong"])
    (alert,) = body["alerts"]
    assert (alert["rule"], alert["key"], alert["row"]["kwh"], alert["set"]) == ("high", ["<b>"], 30.0, number)
    assert alert["link"] == "/#/alerts?rule=high"
    assert open_alerts(here.lake, None, "high")["counts"] == {"open": 1} and "high" not in body["errors"]
    for allowed, name in ((None, "none"), (("gold.*",), "high"), (("silver.*",), "none")):
        with pytest.raises(Problem, match=f"there is no rule {name} here"):
            open_alerts(here.lake, allowed, name)
    (here.lake.path / "alerts" / "alerts.db").write_bytes(b"not a database, by far" * 100)
    with pytest.raises(GridError, match="move it away"):
        open_alerts(here.lake, None)


def test_one_rule_is_told_whatever_many_of_others_are_open(tmp_path: Path) -> None:
    """Its key is a number that doubles do not have."""
    meter = (1 << 53) + 1
    few = RULE.replace('"high"', '"few"').replace("silver.readings", "gold.ints").replace("kwh > 20", "true")
    here = Published(tmp_path, few.replace('time = "at"\n', "") + RULE + 'severity = "critical"\n' + TO_FILE)
    here.table("gold.ints", pa.table({"meter": [meter], "load": [meter + 2]}))
    here.readings(*((f"m{n}", 0, 30.0) for n in range(MOST + 1)))
    here.check()
    assert {one["rule"] for one in open_alerts(here.lake, None)["alerts"]} == {"high"}
    for body in (open_alerts(here.lake, None, "few"), open_alerts(here.lake, ("gold.*",))):
        assert body["counts"] == {"open": 1}
        assert [(one["key"], one["row"]["load"]) for one in body["alerts"]] == [([str(meter)], str(meter + 2))]
