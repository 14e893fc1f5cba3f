"""/api/v1/alerts: what is open, to whom it may be shown, and nothing where nothing was ever looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_grid.errors import GridError
from beam_grid.server.alerts import open_alerts
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
    (here.lake.path / "alerts" / "alerts.db").write_bytes(b"not a database, by far" * 100)
    with pytest.raises(GridError, match="move it away"):
        open_alerts(here.lake, None)
