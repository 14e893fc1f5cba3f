"""Python workers of Beam's on a node of a Spark cluster, begun at once: forked from one that has everything loaded.

    executor (JVM) ── for each stage ──► spark_harness.sh ──► a client, ready in 20 ms
                                                                  │ asks, and waits until it ends
                         one per executor, started by the first ─►│ server ── fork ──► DoFns of the stage

Beam's Spark runner ends a stage's worker with the stage and starts another for the next, and a Python that loads Beam
takes 2 seconds. Beam's own containers start theirs with a program that also fetches what was staged; nothing is staged
here: nodes have this product installed.

Guarantees: a worker ends with its client, which the executor ends, and the server with its executor, killed or not.
Nothing but the standard library is loaded by a client.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

_PATIENCE_S = 120.0
"""How long a client waits for a server to load Beam: 2 seconds, on a node that does nothing else."""


def main(arguments: list[str]) -> None:
    """Serve one stage, or with --serve PID be the server of that executor."""
    if arguments[:1] == ["--serve"]:
        _serve(int(arguments[1]))
        return
    with _server() as server:
        server.sendall(json.dumps(arguments).encode() + b"\n")
        while server.recv(1):  # nothing comes: it closes when the worker has ended
            pass


def _folder(executor: int) -> Path:
    return Path(tempfile.gettempdir()) / f"beam-grid-harness-{os.getuid()}-{executor}"


def _server() -> socket.socket:
    """A connection to this executor's server, which is started where there is none."""
    executor = os.getppid()
    folder = _folder(executor)
    deadline, starting = time.monotonic() + _PATIENCE_S, False
    while time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(folder / "socket"))
            return connection
        except OSError:
            connection.close()
        if not starting:
            with suppress(FileExistsError):  # another stage of this executor has begun to start one
                folder.mkdir(mode=0o700)
                subprocess.Popen(
                    [sys.executable, "-m", "runners.spark_harness", "--serve", str(executor)],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )  # fmt: skip
            starting = True
        time.sleep(0.02)
    raise SystemExit(f"no Python worker came up within {_PATIENCE_S:g} s")


def _serve(executor: int) -> None:
    """Fork a worker for each that asks, until the executor has gone."""
    import apache_beam.runners.worker.sdk_worker_main  # noqa: F401  what every worker would load

    import transforms.land  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers leave nothing to be waited for
    folder = _folder(executor)
    try:
        with socket.socket(socket.AF_UNIX) as ear:
            ear.bind(str(folder / "socket"))
            ear.listen()
            ear.settimeout(1.0)
            while _is_there(executor):
                with suppress(TimeoutError):
                    asked, _ = ear.accept()
                    if os.fork() == 0:
                        ear.close()
                        _work(asked)
                    asked.close()
    finally:
        if _is_server():
            with suppress(OSError):
                (folder / "socket").unlink()
                folder.rmdir()


_SERVER = os.getpid()


def _is_server() -> bool:
    return os.getpid() == _SERVER


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _work(asked: socket.socket) -> None:
    """Be a worker, in a process of its own, as long as who asked is there."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        asked.settimeout(None)
        given = json.loads(asked.makefile().readline())
        threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
        _run(dict(one.removeprefix("--").split("=", 1) for one in given))
        code = 0
    finally:
        os._exit(code)


def _end_with(asked: socket.socket) -> None:
    with suppress(OSError):
        while asked.recv(1):
            pass
    os._exit(0)


def _run(given: dict[str, str]) -> None:
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
    from apache_beam.runners.worker import sdk_worker_main
    from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor

    WorkerIdInterceptor._worker_id = given["id"]  # it read the environment when it was loaded, in the server
    with grpc.insecure_channel(given["provision_endpoint"]) as channel:
        named = grpc.intercept_channel(channel, WorkerIdInterceptor(given["id"]))
        asked = beam_provision_api_pb2_grpc.ProvisionServiceStub(named)
        told = asked.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest(), timeout=60).info
    os.environ["WORKER_ID"] = given["id"]
    os.environ["CONTROL_API_SERVICE_DESCRIPTOR"] = f'url: "{told.control_endpoint.url}"'
    os.environ["LOGGING_API_SERVICE_DESCRIPTOR"] = f'url: "{told.logging_endpoint.url}"'
    os.environ["PIPELINE_OPTIONS"] = '{"default_sdk_harness_log_level": "ERROR"}'
    sdk_worker_main.main([])


if __name__ == "__main__":
    main(sys.argv[1:])
