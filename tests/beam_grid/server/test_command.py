"""The command itself, as a person or systemd starts and ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from beam_grid.landing import Lake
from tests.beam_grid.service.small import grid, ran
from tests.waiting import PATIENCE_S


def test_it_says_where_answers_small_and_ends_in_order(lake: Lake) -> None:
    command = grid("serve", "--lake", str(lake.path), "--port", "0", "--workers", "4")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split(" at ")[1].split()[0]
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
            answer = client.post("/api/v1/sql", json={"sql": "SELECT count(*) AS n FROM silver.readings"})
            assert answer.json()["rows"] == [{"n": 960}]
            with client.stream("GET", "/api/v1/events") as listening:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                assert sum(one.memory_full_info().pss for one in family) < 400 << 20
                process.send_signal(signal.SIGTERM)
                assert all(not line or line.startswith(("retry", ":")) for line in listening.iter_lines())
        assert process.wait(PATIENCE_S) == 0, process.stderr.read()
        assert process.stderr.read() == ""
        assert not psutil.wait_procs(family, 10)[1]
    finally:
        process.kill()


def test_it_loads_neither_beam_nor_spark() -> None:
    code = (
        "import sys, beam_grid.server.app, beam_grid.server.serve, beam_grid.server.loaded, beam_grid.ledger, "
        "beam_grid.inspect; print([m for m in sys.modules if m.split('.')[0] in ('apache_beam', 'pyspark', 'matplotlib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_it_cannot_serve_ends_with_2_and_the_remedy(lake: Lake, tmp_path: Path) -> None:
    for arguments, says in (
        (("--lake", str(tmp_path / "none")), "there is no lake here"),
        (("--lake", str(lake.path), "--host", "0.0.0.0"), "keys add NAME"),
        (("--lake", str(lake.path), "--tls-cert", "x.pem"), "give both"),
    ):
        done = ran("serve", *arguments, "--port", "0")
        assert (done.returncode, "Traceback" in done.stderr) == (2, False) and says in done.stderr
