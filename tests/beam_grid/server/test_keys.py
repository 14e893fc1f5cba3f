"""API keys: at rest, over HTTP, and when one is needed."""

from __future__ import annotations

import json
import logging
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from beam_grid.cli import cli
from beam_grid.errors import GridError
from beam_grid.landing import Lake
from beam_grid.server.keys import Keys
from beam_grid.server.overview import described
from beam_grid.server.settings import Settings
from tests.beam_grid.server.serving import served, sql
from tests.waiting import PATIENCE_S


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture(scope="module")
def closed(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Keys]]:
    """A server that asks for keys, and the keys it knows."""
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.json")
    keys.add("first", [lake], ("*",), "1000/second")
    with served(lake, keys_file=keys.path, require_keys=True) as client:
        yield client, keys


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_only_a_hash_is_kept_and_only_for_the_owner(keys: Keys, lake: Lake) -> None:
    token = keys.add("dashboard", [lake], ("gold.*",), "5/second")
    written = keys.path.read_text()
    assert token.split("_", 2)[2] not in written and len(json.loads(written)["keys"][0]["secret_sha256"]) == 64
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    found = Keys(keys.path).find(token, lake.id)
    assert found is not None and (found.name, found.tables) == ("dashboard", ("gold.*",))
    assert keys.find(token, "another lake") is None and keys.find(token[:-1] + "x", lake.id) is None
    assert keys.find("", lake.id) is None and keys.find("bg_é_x", lake.id) is None


def test_a_damaged_file_opens_nothing(keys: Keys, lake: Lake) -> None:
    token = keys.add("a", [lake], ("*",), "5/second")
    keys.path.write_text(keys.path.read_text()[:-20])
    with pytest.raises(GridError, match="cannot be read"):
        Keys(keys.path).find(token, lake.id)


@pytest.mark.parametrize(("name", "rate"), [("a b", "1/second"), ("", "1/second"), ("a", "often"), ("a", "0")])
def test_a_key_that_cannot_be(keys: Keys, lake: Lake, name: str, rate: str) -> None:
    with pytest.raises(GridError):
        keys.add(name, [lake], ("*",), rate)


def test_no_key_no_answer(closed: tuple[httpx.Client, Keys], lake: Lake) -> None:
    client, _ = closed
    for path in ("tables", "tables/silver.readings", "ledger", "lineage", "status", "events"):
        answer = client.get(f"/api/v1/{path}")
        assert answer.status_code in (401, 429) and "readings" not in answer.text, path
    assert client.get("/metrics", headers=bearer("bg_nope")).status_code in (401, 429)
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_a_key_opens_its_tables_and_a_revoked_one_nothing(closed: tuple[httpx.Client, Keys], lake: Lake) -> None:
    client, keys = closed
    token = keys.add("gold-only", [lake], ("gold.hourly",), "1000/second")
    client = httpx.Client(base_url=client.base_url, headers=bearer(token), timeout=PATIENCE_S)
    assert sql(client, "SELECT count(*) AS n FROM gold.hourly").json()["rows"] == [{"n": 480}]
    assert sql(client, "SELECT count(*) FROM silver.readings").status_code == 403
    assert client.get("/api/v1/tables/silver.readings").status_code == 403
    assert [t["table"] for t in client.get("/api/v1/tables").json()["tables"]] == ["gold.hourly"]
    assert client.get("/api/v1/ledger").json()["feeds"] == [] == client.get("/api/v1/status").json()["feeds"]
    about = client.get("/api/v1/overview").json()
    (feed,) = about["feeds"]
    assert about["limited"] and [window["table"] for window in feed["windows"]] == ["gold.hourly"]
    assert (feed["subject"], feed["values"], feed["beside"]) == ("meter", [], []), "fields of silver alone are not told"
    assert described(lake, ("gold.other",))["feeds"] == [] and not described(lake, None)["limited"]
    with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": "0"}) as stream:
        told = iter(stream.iter_lines())
        seen = [next(told) for _ in range(5)]
        assert json.loads(seen[4].removeprefix("data: "))["tables"] == ["gold.hourly"]
        keys.revoke("gold-only")
        assert all(not line or line.startswith(":") for line in told)  # and it ends
    assert sql(client, "SELECT count(*) AS n FROM gold.hourly").status_code == 401
    assert client.get("/api/v1/tables").status_code == 401


def test_pages_are_their_askers_alone(closed: tuple[httpx.Client, Keys], lake: Lake) -> None:
    client, keys = closed
    mine, theirs = (keys.add(name, [lake], ("*",), "1000/second") for name in ("mine", "theirs"))
    ask = {"sql": "SELECT * FROM silver.readings", "limit": 1}
    cursor = client.post("/api/v1/sql", json=ask, headers=bearer(mine)).json()["next"]
    assert client.post("/api/v1/sql", json={"cursor": cursor}, headers=bearer(theirs)).status_code == 410
    assert client.post("/api/v1/sql", json={"cursor": cursor}, headers=bearer(mine)).status_code == 200


def test_who_asks_too_often_is_told_when(closed: tuple[httpx.Client, Keys], lake: Lake) -> None:
    client, keys = closed
    token = keys.add("eager", [lake], ("*",), "3/minute")
    answers = [client.get("/api/v1/status", headers=bearer(token)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].headers["retry-after"] and "3/minute" in answers[3].json()["detail"]
    guesses = {client.get("/api/v1/status", headers=bearer(f"bg_{n:012x}_{'x' * 43}")).status_code for n in range(40)}
    assert guesses == {401, 429}


def test_no_secret_in_logs(closed: tuple[httpx.Client, Keys], lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    client, keys = closed
    token = keys.add("quiet", [lake], ("*",), "1000/second")
    with caplog.at_level(logging.DEBUG):
        client.get("/api/v1/tables", headers=bearer(token))
        client.get("/api/v1/tables", headers=bearer(token[:-1]))
        sql(client, "SELECT 1")
    assert token.split("_", 2)[2][:-1] not in caplog.text.replace("'", "")


def test_other_machines_only_with_a_key(lake: Lake, tmp_path: Path) -> None:
    settings = Settings(lake, host="0.0.0.0", keys_file=tmp_path / "keys.json")
    with pytest.raises(GridError, match=r"keys add NAME --lake .* or listen on 127\.0\.0\.1"):
        settings.check()
    Keys(tmp_path / "keys.json").add("one", [lake], ("*",), "1/second")
    settings.check()
    Keys(tmp_path / "keys.json").revoke("one")
    with pytest.raises(GridError, match="no key opens"):
        settings.check()


def test_tls(lake: Lake, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True, capture_output=True,
    )  # fmt: skip
    with served(lake, tls_cert=cert, tls_key=key) as client:
        answer = sql(client, "SELECT 1 AS one")
        assert client.base_url.scheme == "https" and answer.json()["rows"] == [{"one": 1}]
        assert "max-age" in answer.headers["strict-transport-security"]
    with pytest.raises(GridError, match="give both"):
        Settings(lake, tls_cert=cert).check()
    with pytest.raises(GridError, match="cannot be used"):
        Settings(lake, tls_cert=key, tls_key=cert).check()


def test_keys_by_the_command_line(lake: Lake, tmp_path: Path) -> None:
    where = ["--lake", str(lake.path), "--keys", str(tmp_path / "keys.json")]
    added = CliRunner().invoke(cli, ["keys", "add", "robot", *where, "--table", "gold.*", "--expires", "90d"])
    assert added.exit_code == 0 and added.output.startswith("bg_")
    assert Keys(tmp_path / "keys.json").find(added.output.strip(), lake.id) is not None
    listed = CliRunner().invoke(cli, ["keys", "list", *where, "--format", "json"])
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["state"], row["tables"]) == ("robot", "valid", "gold.*") and row["expires_at"]
    assert CliRunner().invoke(cli, ["keys", "revoke", "robot", *where]).exit_code == 0
    assert Keys(tmp_path / "keys.json").find(added.output.strip(), lake.id) is None
    again = CliRunner().invoke(cli, ["keys", "revoke", "robot", *where])
    assert isinstance(again.exception, GridError) and "keys list" in str(again.exception)
