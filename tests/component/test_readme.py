"""The README's commands, as a stranger types them, but `make test` (this is part of it)."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from data_sources.smart_meter_readings.generate import generate
from tests.component.broker import free_ports
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.component, pytest.mark.spark]

ROOT = Path(__file__).parents[2]
TOPIC = "energy.smart_meter.readings"


def commands() -> list[str]:
    """Lines of the README's code blocks that begin with make or beam-grid, continued lines joined, comments cut."""
    found = re.findall(r"```(\w*)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    blocks = [block for language, block in found if not language]
    text = "\n".join(blocks).replace("\\\n", " ")
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(("make ", "beam-grid "))]


def toml() -> str:
    return re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[0]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    program = [sys.executable, "-m", "beam_grid"] if words[0] == "beam-grid" else [words[0]]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*program, *words[1:]], cwd=folder, capture_output=True, text=True, env=env, timeout=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the README's contract and data of both feeds."""
    base = tmp_path_factory.mktemp("readme")
    generate(base / "data" / "readings", scale=0.05)
    (base / "heat_pumps.toml").write_text(toml(), encoding="utf-8")
    (base / "data" / "pumps").mkdir()
    (base / "data" / "pumps" / "may.csv").write_text(
        "pump;read_at;kwh;power_kw\nÖst-1;01.05.2025 00:10;1.250;3.5\nÖst-1;01.05.2025 00:40;1.500;4.5\n"
        "Öst-1;01.05.2025 00:40;1.500;4.5\nÖst-2;01.05.2025 00:40;-1;4.5\n",
        encoding="latin-1",
    )
    return base


def test_every_command_of_the_readme_works(folder, kafka_broker):
    kafka_broker.create_topic(TOPIC, 2)
    generate(folder / "sent", seed=2, scale=0.05)
    (sent,) = (folder / "sent" / "smart_meter_kafka").glob("smart_meter_readings_*.json")
    kafka_broker.produce(TOPIC, sent.read_bytes().splitlines()[:500])
    secrets = "".join(f"{key}={value}\n" for key, value in kafka_broker.sasl_config.items())
    (folder / "client.properties").write_text(secrets)
    ran = []
    for line in commands():
        if line == "make test":
            continue
        if "kafka://" in line:
            _follow(line.replace("localhost:9092", kafka_broker.sasl_bootstrap), folder)
        elif line.startswith("beam-grid serve"):
            _serve(line, folder)
        elif line == "make demo":
            done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stderr
            assert (ROOT / "demo" / "report.html").stat().st_size > 10_000
            assert "every record is accounted for" in done.stdout.lower()
        else:
            for one in _alternatives(line.replace("/data/", f"{folder}/data/")):
                done = run(one, folder)
                assert done.returncode == 0, f"{one}\n{done.stderr}"
        ran.append(line)
    assert len(ran) > 10
    told = run("beam-grid query 'SELECT * FROM gold.pump_hourly' --lake lake --format json", folder).stdout
    assert '"kwh": "2.750"' in told and '"pump": "Öst-1"' in told and "2025-04-30T22:00:00Z" in told
    assert (
        '"n": 500'
        in run(
            f"beam-grid query \"SELECT count(*) AS n FROM silver.smart_meter_readings WHERE _source = '{TOPIC}'\" --lake lake --format json",
            folder,
        ).stdout
    )


def _alternatives(line: str) -> list[str]:
    """`inspect late|conflicts --lake lake` stands for one command each."""
    listed = re.search(r"\S+(\|\S+)+", line)
    if listed is None or '"' in line:
        return [line]
    return [line.replace(listed[0], word) for word in listed[0].split("|")]


def _follow(line: str, folder: Path) -> None:
    """Start a command that follows, wait until another process sees its rows, interrupt it."""
    log, rows = folder / "follow.log", f"SELECT count(*) FROM silver.smart_meter_readings WHERE _source = '{TOPIC}'"
    (lake,) = re.findall(r"--lake (\S+)", line)
    with log.open("w") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "beam_grid", *shlex.split(line)[1:]],
            cwd=folder,
            stderr=out,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        until = time.monotonic() + PATIENCE_S
        while running.poll() is None and time.monotonic() < until:
            if "500" in run(f'beam-grid query "{rows}" --lake {lake} --format csv', folder).stdout.split():
                break
            time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == 130, log.read_text()
    assert "500 read = landed 500" in log.read_text()


def _serve(line: str, folder: Path) -> None:
    """Start a command that serves, on another port, ask it, and end it as a service is ended."""
    (port,) = free_ports(1)
    running = subprocess.Popen(
        [sys.executable, "-m", "beam_grid", *shlex.split(line)[1:], "--port", str(port)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        until, answer = time.monotonic() + PATIENCE_S, b""
        while running.poll() is None and time.monotonic() < until and not answer:
            with suppress(OSError):
                answer = urlopen(f"http://127.0.0.1:{port}/api/v1/tables", timeout=30).read()
            time.sleep(0.2)
        assert b"silver.smart_meter_readings" in answer
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(PATIENCE_S)
    assert code == 0
