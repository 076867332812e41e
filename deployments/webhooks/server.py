"""``python -m deployments.webhooks.server``: the receiver as a process, in the stack and on its own.

Safety property: it listens on loopback unless it is told another address, and takes a forwarded address from proxies
that it is told of alone.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from deployments.addresses import LOOPBACK, WEBHOOKS_PORT
from deployments.stack.heap import give_back
from deployments.webhooks.app import SESSIONS, Receiver, create_app
from deployments.webhooks.known_secrets import KnownSecrets
from deployments.webhooks.loop import Doorbell, Survivor, handing_over, renewing
from tasks.clients.inbox import Inbox
from tasks.errors import BadInput
from tasks.estate import Estate
from tasks.followed import source_of
from tasks.hand_over import HandOver
from tasks.settings import settings
from tasks.site import Site

#: Requests at once; who comes beside them is answered 503 by the server itself.
AT_ONCE = 512


@dataclass(frozen=True)
class Wishes:
    """Where it listens, what senders reach it by, and whether it hands over too."""

    estate: Path
    host: str = LOOPBACK
    port: int = WEBHOOKS_PORT
    public_url: str = ""
    proxies: str = ""
    hand_over: bool = True


def build(wishes: Wishes) -> FastAPI:
    """The application of an estate. Raises BadInput where the estate has no ``[webhooks]``."""
    site = Site(Estate.load(wishes.estate), settings())
    rules = site.estate.webhooks
    if rules is None:
        raise BadInput(f"starting the receiver failed: {site.estate.file.name} has no [webhooks]; see docs/webhooks.md")
    inbox = Inbox(site.settings.ledger(), site.estate.google.project, SESSIONS)
    secrets = KnownSecrets(site.secrets, {sender.secret for sender in rules.senders})
    url = wishes.public_url.rstrip("/") or f"http://{wishes.host}:{wishes.port}"
    receiver = Receiver(source_of(site), rules, secrets, inbox, url)

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        bell = Doorbell()
        receiver.wake = bell.ring
        async with AsyncExitStack() as beside:
            await Survivor().take(inbox.ensure)
            await beside.enter_async_context(renewing(secrets))
            if wishes.hand_over:
                await beside.enter_async_context(handing_over(HandOver(site, inbox), inbox, bell))
            give_back()
            yield
        inbox.close()

    return create_app(receiver, work)


def serve(wishes: Wishes) -> None:
    """Serve until SIGTERM: what is being received is finished first."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = uvicorn.Config(
        build(wishes), host=wishes.host, port=wishes.port, log_level="warning", access_log=False, server_header=False,
        proxy_headers=bool(wishes.proxies), forwarded_allow_ips=wishes.proxies or None, limit_concurrency=AT_ONCE,
        timeout_keep_alive=15, timeout_graceful_shutdown=10, backlog=1024,
    )  # fmt: skip
    uvicorn.Server(config).run()


def main() -> None:
    """Serve as the command line says."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--host", default=LOOPBACK)
    arguments.add_argument("--port", type=int, default=WEBHOOKS_PORT)
    given = arguments.parse_args()
    serve(Wishes(settings().estate, given.host, given.port))


if __name__ == "__main__":
    main()
