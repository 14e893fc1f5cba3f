"""A job server of Beam's: the JVM that takes a pipeline by the job API and runs it on Spark or Flink.

Guarantees: `start` returns once it has been seen to answer; it is gone when it is stopped, and also when this process is
killed. Its log is kept out of the user's sight and quoted when it fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc

# What Spark 3.5's own launcher passes on Java 17
# (org.apache.spark.launcher.JavaModuleOptions), and Flink needs of it; we start no launcher.
JAVA_17 = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in (
            "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net",
            "java.nio", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
            "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.security.action",
            "sun.util.calendar",
        )
    ),
    "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-Djdk.reflect.useDirectMethodHandle=false",
)  # fmt: skip

# A process group of two: the JVM, and a watcher that ends it and removes its scratch folder ($0)
# when the pipe from us closes, which it does even when we are killed. `exec` keeps the JVM the
# process that is waited for.
_UNTIL_WE_ARE_GONE = """
exec 3<&0
{ cat <&3 >/dev/null; kill -9 $$; sleep 1; rm -rf "$0"; } &
exec "$@" 3<&- </dev/null
"""


class JobServer:
    """One job server process and the folder it may write to."""

    def __init__(
        self,
        name: str,
        main: str,
        arguments: Sequence[str],
        *,
        jars: Sequence[Path],
        java: Sequence[str],
        scratch: Path,
    ) -> None:
        """name: what errors call it; main: its class; java: options of the JVM."""
        self._name = name
        self._scratch = scratch
        self._log = scratch / "job-server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            find_java(name), *java, f"-Djava.io.tmpdir={scratch}",
            "-cp", os.pathsep.join(str(jar) for jar in jars), main, *arguments,
            f"--artifacts-dir={scratch / 'artifacts'}", "--artifact-port=0", "--expansion-port=-1",
        ]  # fmt: skip

    def start(self, within: float) -> str:
        """Starts it and returns its endpoint once that answers."""
        for _ in range(3):
            port = free_port()
            command = [*self._command, f"--job-port={port}"]
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    ["sh", "-c", _UNTIL_WE_ARE_GONE, str(self._scratch), *command],
                    stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
            if self._answers(f"127.0.0.1:{port}", within):
                return f"127.0.0.1:{port}"
            ended = self._process.poll()
            self.stop()
            if "Address already in use" not in self._tail(200):
                break
        seen = "did not answer" if ended is None else f"ended with exit code {ended}"
        raise RuntimeError(
            f"{self._name}: {seen} within {within:g} s. Its log ends:\n{self._tail(25)}\n"
            f"Java 17 is what it is tested with; this one is {self._command[0]}"
        )

    def _answers(self, endpoint: str, within: float) -> bool:
        """Whether the job service answers there before `within` seconds or our process's end."""
        deadline = time.monotonic() + within
        with grpc.insecure_channel(endpoint) as channel:
            ready = grpc.channel_ready_future(channel)
            try:
                while time.monotonic() < deadline and self._running():
                    with suppress(grpc.FutureTimeoutError):
                        ready.result(timeout=0.2)
                        return self._running()
            finally:
                ready.cancel()
        return False

    def _running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def lost(self) -> str:
        """What to say of a server that does not answer any more."""
        seen = "it still runs, but does not answer"
        if not self._running() and self._process is not None:
            seen = f"it ended with exit code {self._process.returncode}"
        return (
            f"{self._name}: lost while a pipeline ran; {seen}. "
            f"Its log ends:\n{self._tail(25)}\n"
            "If memory ran out, take smaller slices or give it a larger heap"
        )

    def stop(self) -> None:
        """Ends the whole process group. There is nothing in it worth a graceful end."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None

    def _tail(self, lines: int) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def find_java(name: str) -> str:
    """The java of JAVA_HOME, else of the PATH. Raises RuntimeError, in the name of what needs it."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH, and JAVA_HOME is not set"
        raise RuntimeError(f"{name}: no java {where}; install Java 17 or point there")
    return java


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def quiet_worker_threads() -> Iterator[None]:
    """Keeps from stderr that Beam's worker threads lose their connection when a job ends badly.

    The failure itself reaches the caller as an exception. At the end waits shortly for them.
    """
    names = ("run_worker_", "read_grpc_client_inputs", "wait_until_finish_read", "read_state")
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        lost = args.thread is not None and args.thread.name.startswith(names)
        if not (lost and isinstance(args.exc_value, grpc.RpcError)):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        deadline = time.monotonic() + 2.0
        for thread in threading.enumerate():
            if thread.name.startswith(names):
                thread.join(max(0.0, deadline - time.monotonic()))
        threading.excepthook = before


def cause_of(error: BaseException) -> str:
    """What went wrong inside a DoFn, out of the traceback in a traceback that Beam raises.

    The exception's own line and the step's label, as in `ValueError: no such shard (while running
    'Dedup')`; the whole message when it is none of a DoFn's.
    """
    inside = re.findall(
        r"^([A-Za-z_][\w.]*: (?:(?!^Traceback|^  File ).)*?) \[while running '(.*?)'\]",
        str(error),
        re.MULTILINE | re.DOTALL,
    )
    return "{} (while running '{}')".format(*inside[-1]) if inside else str(error)
