"""Java jars that the component tests need, fetched by Maven, once a checkout.

Guarantees: `resolve` runs Maven only when the pom differs from the one whose jars are there, so
that a second run needs neither Maven nor a network; two processes that ask at once get one
download; a download that was cut off is never taken for a whole one.

Not guaranteed: that a jar somebody removed from the cache by hand comes back. Remove the folder.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock, Timeout

CACHE = Path(__file__).resolve().parents[2] / ".jars"

_PATIENCE = 900  # seconds: 260 jars over a slow line


def resolve(pom: Path) -> list[Path]:
    """The jars of the pom's runtime dependencies, sorted by name.

    They are kept in `.jars/<name of the pom's folder>/`. Raises RuntimeError when Maven is
    missing, fails or hangs; the message says which pom and what to try.
    """
    folder = CACHE / pom.resolve().parent.name
    stamp = folder / "pom.sha256"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()
    CACHE.mkdir(exist_ok=True)
    try:
        with FileLock(folder.with_suffix(".lock"), timeout=_PATIENCE):
            if not stamp.exists() or stamp.read_text() != digest:
                shutil.rmtree(folder, ignore_errors=True)
                _copy_dependencies(pom, folder)
                stamp.write_text(digest)
    except Timeout as error:
        raise RuntimeError(
            f"jars of {pom}: another process has been fetching them for {_PATIENCE} s; "
            f"end it, then remove {folder} and try again"
        ) from error
    return sorted(folder.glob("*.jar"))


def _copy_dependencies(pom: Path, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise RuntimeError(
            f"jars of {pom}: Maven is needed to fetch them, but there is no `mvn` on the PATH; "
            "install Maven 3.6 or later, or leave the component tests out with "
            "`pytest -m 'not component'`"
        )
    command = [
        maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
        f"-DoutputDirectory={folder}", "-DincludeScope=runtime",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(
            f"jars of {pom}: Maven was not done after {_PATIENCE} s; is the network slow, or a "
            f"mirror down? `{' '.join(command)}` shows where it waits"
        ) from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(
            f"jars of {pom}: `{' '.join(command)}` ended with {done.returncode}:\n{said}\n"
            "Is there a network, and does Maven's settings.xml name a mirror that answers?"
        )
