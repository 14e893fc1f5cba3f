"""A follower of a folder, started by the command line with metrics, and what it answers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.beam_grid.service.small import contract, grid, write
from tests.component.broker import free_ports
from tests.waiting import PATIENCE_S


class Follower:
    """`run --follow` over a folder of small files. `folder` holds the lake, the contract and what is read."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.lake, self._source = folder, folder / "lake", folder / "in"
        write(self._source, "0.csv", rows=20, bad=2)
        (self.port,) = free_ports(1)
        command = grid(
            "--log-format", "json", "run", "--follow", "--contract", str(contract(folder)), "--source", str(self._source),
            "--lake", str(self.lake), "--every", "1s", "--refine-every", "2s", *options,
        )  # fmt: skip
        self._log = (folder / "log").open("w")
        env = {**os.environ, "BEAM_GRID_METRICS_PORT": str(self.port), "BEAM_GRID_DEBUG": ""}
        self.process = subprocess.Popen(command, stderr=self._log, env=env)

    def write(self, name: str) -> None:
        write(self._source, name)

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text()

    def asked(self, page: str) -> tuple[int, str]:
        """Status and text; (0, reason) where it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            return refused.code, refused.read().decode()
        except (OSError, HTTPException) as cause:
            return 0, str(cause)

    def until(self, page: str, text: str, seconds: float = PATIENCE_S) -> str:
        """The page, when it holds the text."""
        deadline = time.monotonic() + seconds
        while text not in (answer := self.asked(page)[1]):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, f"no {text!r} in {answer}; the follower said:\n{self.said}"
            time.sleep(0.1)
        return answer

    def end(self, how: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE_S)
        self._log.close()
        return code


@contextmanager
def following(folder: Path, *options: str) -> Iterator[Follower]:
    follower = Follower(folder, *options)
    try:
        yield follower
    finally:
        follower.end(signal.SIGKILL)
