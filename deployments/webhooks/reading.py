"""Reads a request's headers and body without trusting its size.

Safety property: never more than the limit is held, with or without a length, in however many pieces it comes; a request
that has none of the right form is refused before its body is read.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

BODY_SECONDS = 10.0
MOST_HELD_BYTES = 64 * 1024 * 1024
_JSON = re.compile(r"application/json(\s*;\s*charset=\"?utf-8\"?)?\s*", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,12}")


class Refusal(Exception):
    """The answer to a request that is not taken: a status, a word for people, and headers."""

    def __init__(self, status: int, error: str, **headers: str) -> None:
        super().__init__(f"{status} {error}")
        self.status, self.error = status, error
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def single_headers(request: Request) -> dict[str, str]:
    """The headers that stand exactly once: of one that stands twice nobody can say which is meant."""
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw]
    count = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if count[name] == 1}


def refuse_form(headers: dict[str, str]) -> None:
    """Raise Refusal for a body that is not plain JSON by its headers."""
    if not _JSON.fullmatch(headers.get("content-type", "")):
        raise Refusal(415, "send application/json, in UTF-8")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "send it without content-encoding")


class Room:
    """The bodies that are held at this moment, of all requests together."""

    def __init__(self, most_bytes: int = MOST_HELD_BYTES) -> None:
        self._free = most_bytes

    @asynccontextmanager
    async def body(self, request: Request, headers: dict[str, str], limit: int) -> AsyncIterator[bytes]:
        """The body, held while inside. Raises Refusal once it is known to be too long, and where it does not come."""
        _refuse_length(headers.get("content-length"), limit)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                await self._collect(request, limit, body)
        except TimeoutError:
            raise Refusal(408, "the body did not come", connection="close") from None
        except ClientDisconnect:
            raise Refusal(400, "the body did not come whole") from None
        else:
            yield bytes(body)
        finally:
            self._free += len(body)

    async def _collect(self, request: Request, limit: int, body: bytearray) -> None:
        async for piece in request.stream():
            if len(body) + len(piece) > limit:
                raise _too_long(limit)
            if len(piece) > self._free:
                raise Refusal(429, "too many bodies at once", retry_after="1", connection="close")
            self._free -= len(piece)
            body += piece


def _refuse_length(told: str | None, limit: int) -> None:
    if told is not None and not _LENGTH.fullmatch(told):
        raise Refusal(400, "content-length is no number")
    if told is not None and int(told) > limit:
        raise _too_long(limit)


def _too_long(limit: int) -> Refusal:
    return Refusal(413, f"a body has {limit} bytes at most", connection="close")
