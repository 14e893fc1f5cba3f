"""A file of JSON lines, one a message, synced with each.

Guarantees: a line is whole, and there once: what a killed process left half is cut off before the next line, and a message
that may be there already is looked for in the last TAIL bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

from beam_grid.alerts.messages import Message, to_json
from beam_grid.alerts.sinks import SinkFailed

TAIL = 4 << 20


class ToFile:
    """Lines of one file; for one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_sure = False
        """Whether all that was given before is known to be there, or not."""

    def send(self, message: Message) -> None:
        line = to_json(message) + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o640), "r+b") as file:
                end = file.seek(0, os.SEEK_END)
                if not self._is_sure:
                    start = max(0, end - TAIL)
                    file.seek(start)
                    tail = file.read()
                    whole = tail.rfind(b"\n") + 1
                    if whole < len(tail) and (whole or not start):
                        end = file.truncate(start + whole)
                    if b'"id":"%s","kind"' % message.id.encode() in tail[:whole]:
                        self._is_sure = True
                        return
                self._is_sure = False
                file.seek(end)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
                self._is_sure = True
        except OSError as cause:
            raise SinkFailed(f"{self._path}: cannot be written ({cause.strerror or cause})") from cause
