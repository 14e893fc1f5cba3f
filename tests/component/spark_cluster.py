"""A Spark standalone cluster on loopback, as daemons: a master and its workers.

Of Spark 4.2, as it came with pyspark; of Spark 3.5, which is what Beam's runner reaches, of jars that Maven fetched once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyspark
import pytest

from tests.component import jars
from tests.component.broker import free_ports
from tests.waiting import PATIENCE_S

_HOME = Path(pyspark.__file__).parent


def spark35_home(folder: Path) -> Path:
    """A SPARK_HOME of Spark 3.5 in `folder`: its jars, and no more is needed to run daemons and executors."""
    home = folder / "spark35"
    home.mkdir()
    (home / "jars").symlink_to(jars.resolve(Path(__file__).resolve().parent / "spark35" / "pom.xml")[0].parent)
    return home


class SparkCluster:
    """`url` is for --spark-master. The daemons end with `stop`, with all that they started."""

    def __init__(
        self, folder: Path, *, home: Path = _HOME, workers: int = 1, cores: int = 2, memory_gib: int = 2,
        pinned: bool = False,
    ) -> None:  # fmt: skip
        """home: its SPARK_HOME; cores: of each of the workers; pinned: each worker, with all that it starts, to a core of
        this machine, so that libraries' threads find no more."""
        self._pinned = pinned
        self._folder, self._home, self._count, self._cores, self._memory = folder, home, workers, cores, memory_gib
        self._rpc, self._page = free_ports(2)
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.url = f"spark://127.0.0.1:{self._rpc}"

    def start(self) -> None:
        """Returns when the master has its workers; fails the test with the logs' tails when it does not get them."""
        self._run("Master", "Master", "--port", str(self._rpc), "--webui-port", str(self._page))
        self._until(lambda: self.status() is not None)  # a worker that comes first waits 15 seconds to try again
        for number, (port, page) in enumerate(zip(*[iter(free_ports(2 * self._count))] * 2, strict=True)):
            self._run(
                "Worker", f"Worker{number}", "--port", str(port), "--webui-port", str(page), "--cores", str(self._cores),
                "--memory", f"{self._memory}g", "--work-dir", str(self._folder / "work"), self.url,
                core=number if self._pinned else None,
            )  # fmt: skip
        alive = ["ALIVE"] * self._count
        self._until(lambda: [w["state"] for w in (self.status() or {"workers": []})["workers"]] == alive)

    def stop(self) -> None:
        """The worker first: it ends the executors it has."""
        for daemon in reversed(self._daemons):
            for how, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, None)):
                with suppress(ProcessLookupError):
                    os.killpg(daemon.pid, how)
                with suppress(subprocess.TimeoutExpired):
                    daemon.wait(patience)
                    break
        self._daemons.clear()

    def status(self) -> dict[str, Any] | None:
        """The master's JSON page: workers, activeapps, completedapps; None while it does not answer, or with another page,
        as it does for a moment at its start."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._page}/json/", timeout=5) as answer:
                return dict(json.load(answer))
        except (OSError, json.JSONDecodeError):
            return None

    def executors(self, application: str) -> list[str]:
        """What the executors of an application said, as its worker kept it."""
        return [log.read_text(errors="replace") for log in (self._folder / "work" / application).glob("*/stderr")]

    def executor_processes(self) -> list[psutil.Process]:
        """The executors that run now."""
        found = []
        for daemon in self._daemons:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(daemon.pid).children():
                    with suppress(psutil.Error):
                        if any("CoarseGrainedExecutorBackend" in word for word in child.cmdline()):
                            found.append(child)
        return found

    def executors_of_last(self) -> list[str]:
        """What the executors of the last application have said so far, those that died too."""
        applications = sorted((self._folder / "work").glob("app-*"), key=lambda folder: folder.name)
        return self.executors(applications[-1].name) if applications else []

    def has_finished_tasks(self, count: int) -> bool:
        """Whether executors of the last application have together finished so many tasks."""
        return sum(said.count("Finished task") for said in self.executors_of_last()) >= count

    def _run(self, daemon: str, name: str, *arguments: str, core: int | None = None) -> None:
        environment = {
            **os.environ, "SPARK_HOME": str(self._home), "SPARK_LOCAL_DIRS": str(self._folder / "local"),
            "SPARK_LOG_DIR": str(self._folder), "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_SCALA_VERSION": "2.13" if self._home == _HOME else "2.12",  # a worker asks for it: it is none of bin/
            "SPARK_NO_DAEMONIZE": "1",
        }  # fmt: skip
        with (self._folder / f"{name}.log").open("wb") as log:
            pin = [] if core is None else ["taskset", "-c", str(core)]
            self._daemons.append(
                subprocess.Popen(
                    [*pin, "java", "-Xmx256m", "-cp", f"{self._home / 'jars'}/*",
                     f"org.apache.spark.deploy.{daemon.lower()}.{daemon}", "--host", "127.0.0.1", *arguments],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment,
                )
            )  # fmt: skip

    def _until(self, is_so: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            if time.monotonic() > deadline or any(d.poll() is not None for d in self._daemons):
                tails = [log.read_text(errors="replace")[-2000:] for log in sorted(self._folder.glob("*.log"))]
                self.stop()
                pytest.fail(f"Spark cluster: not up within {PATIENCE_S:g} s. Its logs end:\n" + "\n---\n".join(tails))
            time.sleep(0.2)
