"""Says in every answer which revision gave it, so that a probe can tell whom it has reached."""

import os

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REVISION = os.environ.get("K_REVISION", "local")


class Stamped:
    """An application whose answers bear ``x-revision``. Outermost, so that answers to crashes bear it too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-revision"] = REVISION
            await send(message)

        await self._app(scope, receive, stamp)
