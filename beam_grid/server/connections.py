"""A connection of a client that may be slow, idle or hostile: uvicorn's protocol with a clock and bounds.

connected ─► first request whole within slow_client_s       else cut off
answering ─► the client takes something each slow_client_s  else cut off, and what was computed for it is freed
headers   ─► at most 64 KiB                                  else cut off
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HEADER_BYTES = 64 << 10


def protocol(slow_client_s: float) -> type[HttpToolsProtocol]:
    """The class for uvicorn's `http` setting."""

    class Guarded(HttpToolsProtocol):
        _clock: asyncio.TimerHandle | None = None
        _header_bytes = 0
        _in_headers = True

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(256 << 10)
            self._wind()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_headers:
                self._header_bytes += len(data)
                if self._header_bytes > _MOST_HEADER_BYTES + (1 << 20):  # a body may have come along
                    self.transport.abort()
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_headers = True
            self._wind()

        def on_headers_complete(self) -> None:
            self._in_headers, self._header_bytes = False, 0
            if sum(len(name) + len(value) for name, value in self.headers) > _MOST_HEADER_BYTES:
                self.transport.abort()
                return
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._stop()
            super().on_message_complete()

        def pause_writing(self) -> None:
            self._wind()
            super().pause_writing()

        def resume_writing(self) -> None:
            self._stop()
            super().resume_writing()

        def _wind(self) -> None:
            self._stop()
            self._clock = self.loop.call_later(slow_client_s, self.transport.abort)

        def _stop(self) -> None:
            if self._clock is not None:
                self._clock.cancel()
                self._clock = None

    return Guarded
