"""Warm worker processes, and questions put to them: each has a deadline, and ends when its asker goes.

    question ─► waits for a free worker ─► asked ─► answer
                 │ too many wait: Busy       │ deadline, or the asker is gone: interrupted, and killed where it does not hear
                 └───────────────────────────┴─► the worker, or a new one in its place, is free again

Workers are forked from a process that has loaded the libraries once, so a new one is there in some milliseconds and
costs little memory.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from beam_grid.errors import GridError
from beam_grid.landing import Lake
from beam_grid.server.engine import Limits
from beam_grid.server.jobs import Job, Told, encode, to_told

log = logging.getLogger(__name__)

_HEARS_WITHIN_S = 0.5
"""So long an interrupted statement has to end before its worker is killed."""

_STARTS_WITHIN_S = 60.0

MOST_WAITING = 64

_PAGED = 1 << 20
"""Bytes of rows; of more no page is kept."""


class Busy(GridError):
    """Too many questions wait."""


@dataclass
class Answer:
    """What came back; `rows` is an Arrow stream, empty unless `told.status` is ok."""

    told: Told
    rows: bytes = b""
    waited_s: float = 0.0
    took_s: float = 0.0
    """From the asking to the whole answer, the waiting included."""
    pages: dict[int, bytes] = field(default_factory=dict)
    """JSON of all rows, by how many a page may have. Kept with the answer, which whoever asks the same is given too."""

    @property
    def most_bytes(self) -> int:
        """With a page, should one be kept."""
        return len(self.rows) * (4 if len(self.rows) <= _PAGED else 1)

    def keep(self, most: int, page: bytes) -> None:
        """Unless there is one, or it would take more than `most_bytes`."""
        if not self.pages and len(self.rows) + len(page) <= self.most_bytes:
            self.pages[most] = page


@dataclass
class _Worker:
    process: BaseProcess
    jobs: Connection
    control: Connection
    scratch: Path
    """Removed here: a process that is killed removes nothing."""
    is_spent: bool = False
    """It was killed, died, or ends by itself: another takes its place. (A process that dies is alive for a moment more.)"""

    def ask(self, job: bytes) -> tuple[Told, bytes]:
        """Blocks; raises EOFError or OSError where the process ends meanwhile."""
        try:
            self.jobs.send_bytes(job)
            told = to_told(self.jobs.recv_bytes())
            rows = self.jobs.recv_bytes() if told.status == "ok" else b""
        except (EOFError, OSError):
            self.is_spent = True
            raise
        self.is_spent |= told.retires
        return told, rows

    def kill(self) -> None:
        self.is_spent = True
        self.process.kill()

    def end(self) -> None:
        self.process.kill()
        self.process.join(5.0)
        self.jobs.close()
        self.control.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


@dataclass
class Pool:
    """async with Pool(lake, workers=4, limits=Limits()) as pool: await pool.ask(job, 10.0)"""

    lake: Lake
    workers: int
    limits: Limits
    killed: int = 0
    """Workers that did not end when told to, or died."""
    waiting: int = 0
    _asked: int = 0
    _idle: asyncio.LifoQueue[_Worker] = field(default_factory=asyncio.LifoQueue)
    _replacing: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Pool:
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["beam_grid.server.loaded"])
        self.scratch = Path(tempfile.mkdtemp(prefix="beam-grid-serve-"))
        (self.scratch / "made").mkdir()
        self._threads = ThreadPoolExecutor(2 * self.workers, thread_name_prefix="worker")
        self._living: list[_Worker] = []
        for worker in await asyncio.gather(*(self._in_thread(self._start) for _ in range(self.workers))):
            self._idle.put_nowait(worker)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._replacing:
            task.cancel()
        for worker in list(self._living):
            worker.kill()
        await asyncio.to_thread(self._threads.shutdown)
        for worker in self._living:
            worker.end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    @property
    def made(self) -> Path:
        """Where workers put views made once for all of them."""
        return self.scratch / "made"

    @property
    def busy(self) -> int:
        """Workers that are at a question."""
        return self.workers - self._idle.qsize()

    async def ask(self, job: Job, timeout_s: float, gone: asyncio.Future[Any] | None = None) -> Answer:
        """The answer, or how it failed. timeout_s: for a free worker, and again for the answer. gone: done when nobody
        waits for it any more. Raises Busy."""
        start = time.monotonic()
        if self.waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} statements wait already; ask again in a moment")
        self.waiting += 1
        try:
            worker = await self._free(timeout_s, gone)
        finally:
            self.waiting -= 1
        waited = time.monotonic() - start
        if worker is None:
            if gone is not None and gone.done():
                return Answer(Told(status="cancelled", message="nobody waits for it any more"), b"", waited, waited)
            raise Busy(f"no worker was free for {timeout_s:g} s; ask again in a moment")
        job.number = self._asked = self._asked + 1
        work = asyncio.ensure_future(self._in_thread(worker.ask, encode(job)))
        try:
            answer = await self._seen_through(worker, job.number, work, timeout_s, gone)
        finally:
            if not work.done():  # this task itself was cancelled
                worker.kill()
                work.add_done_callback(lambda done: done.exception())
            self._give_back(worker)
        return Answer(*answer, waited_s=waited, took_s=time.monotonic() - start)

    def _give_back(self, worker: _Worker) -> None:
        """Free again, or soon a new one in its place."""
        if not worker.is_spent:
            self._idle.put_nowait(worker)
            return
        task = asyncio.ensure_future(self._replace(worker))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, worker: _Worker) -> None:
        await self._in_thread(self._end, worker)
        while True:
            try:
                self._idle.put_nowait(await self._in_thread(self._start))
                return
            except (GridError, OSError) as cause:
                log.warning("a worker could not be started, it is tried again: %s", cause)
                await asyncio.sleep(1.0)

    async def _free(self, timeout_s: float, gone: asyncio.Future[Any] | None) -> _Worker | None:
        if not self._idle.empty():
            return self._idle.get_nowait()
        got = asyncio.ensure_future(self._idle.get())
        try:
            await asyncio.wait({got, gone} if gone else {got}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if got.done():
                self._give_back(got.result())
            got.cancel()
            raise
        if got.done():
            return got.result()
        got.cancel()
        return None

    async def _seen_through(
        self,
        worker: _Worker,
        number: int,
        work: asyncio.Future[tuple[Told, bytes]],
        timeout_s: float,
        gone: asyncio.Future[Any] | None,
    ) -> tuple[Told, bytes]:
        await asyncio.wait({work, gone} if gone else {work}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        late = not work.done()
        if late:
            worker.control.send_bytes(b"%d" % number)
            await asyncio.wait({work}, timeout=_HEARS_WITHIN_S)
        if not work.done():
            self.killed += 1
            worker.kill()
        try:
            answer = await work
        except (EOFError, OSError):
            self.killed += not late
            answer = (
                Told(status="too_much", message="it ended its process: it needs more memory than a statement may take"),
                b"",
            )
        if not late or answer[0].status == "ok":
            return answer
        if gone is not None and gone.done():
            return Told(status="cancelled", message="nobody waits for it any more"), b""
        return Told(
            status="timeout", message=f"it took longer than {timeout_s:.3g} s and was ended; ask for less at once"
        ), b""

    def _start(self) -> _Worker:
        jobs, theirs = self._context.Pipe()
        control, heard = self._context.Pipe()
        scratch = Path(tempfile.mkdtemp(dir=self.scratch))
        from beam_grid.server import worker

        process = self._context.Process(
            target=worker.main,
            args=(theirs, heard, str(self.lake.path), str(scratch), str(self.made), self.limits),
            daemon=True,
            name="beam-grid worker",
        )
        process.start()
        theirs.close()
        heard.close()
        started = _Worker(process, jobs, control, scratch)
        self._living.append(started)
        if not jobs.poll(_STARTS_WITHIN_S):
            raise GridError(f"a worker did not start within {_STARTS_WITHIN_S:g} s")
        try:
            jobs.recv_bytes()  # READY
        except EOFError as cause:
            raise GridError("a worker could not start; the lines above say why") from cause
        return started

    def _end(self, worker: _Worker) -> None:
        self._living.remove(worker)
        worker.end()

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
