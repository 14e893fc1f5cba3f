"""Who asks, what they may see, and how often they may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from beam_grid.server.keys import Key
from beam_grid.server.problems import Problem
from beam_grid.server.settings import Settings

_bearer = HTTPBearer(
    auto_error=False,
    description="A key from `beam-grid keys add`. Needed where the server does not listen on loopback, or was told to ask.",
)


@dataclass(frozen=True)
class Caller:
    """`tables` are patterns of names; None reaches all."""

    name: str
    tables: tuple[str, ...] | None = None
    token: str | None = None


class Access:
    """Keys are read again when their file changes, so this may be asked anew of somebody who listens on."""

    def __init__(self, settings: Settings) -> None:
        self._needed, self._keys, self._lake_id = settings.needs_keys, settings.keys, settings.lake.id
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._strangers = parse("20/second")

    def of(self, token: str | None, address: str) -> Caller:
        """Raises Problem: 401 for no key or one that is none here any more, 429 for one that asks too often."""
        if not self._needed and token is None:
            return Caller("local")
        key = self.valid(token)
        if key is None:
            if not self._limiter.hit(self._strangers, "stranger", address):
                raise Problem(429, "too many requests without a valid key", {"Retry-After": "1"})
            raise Problem(
                401, "send `Authorization: Bearer KEY` with a valid key of this lake; `beam-grid keys add` makes one",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if not self._limiter.hit(parse(key.rate), "key", key.id):
            raise Problem(429, f"key {key.name}: more than {key.rate}; ask again in a moment", {"Retry-After": "1"})
        return Caller(key.name, None if "*" in key.tables else key.tables, token)

    def valid(self, token: str | None) -> Key | None:
        return None if token is None else self._keys.find(token, self._lake_id)

    def still(self, caller: Caller) -> bool:
        """Whether who was let in would be let in now."""
        return caller.token is None or self.valid(caller.token) is not None


async def _caller(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> Caller:
    address = request.client.host if request.client else ""
    return request.app.state.access.of(given.credentials if given else None, address)


Who = Annotated[Caller, Depends(_caller)]
"""What a route asks for to be closed to strangers."""
