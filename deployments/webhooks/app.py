"""The receiver as an ASGI application.

Safety property: a delivery is acknowledged after its transaction is committed. The inbox alone is touched by a request:
not Prefect, not the repository, not Secret Manager; so none of them can make a sender wait.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from deployments.webhooks.events import NotAllowedHere, NotUnderstood, read_arrival
from deployments.webhooks.json_body import NotJson, read_object
from deployments.webhooks.known_secrets import KnownSecrets
from deployments.webhooks.limits import Limits
from deployments.webhooks.reading import Refusal, Room, refuse_form, single_headers
from deployments.webhooks.signatures import proved_by
from deployments.webhooks.writing import Writer
from tasks.clients.inbox import Inbox
from tasks.delivery_models import Arrival, Delivery
from tasks.errors import OpsError
from tasks.estate import Sender, Source, Webhooks

#: Sessions of the inbox, and threads that use them.
SESSIONS = 6
#: Reading more than this takes long enough to be done beside the event loop.
LARGE_BYTES = 64 * 1024
#: Who is not in the estate is refused as one whose signature is wrong.
NOBODY = Sender(name="nobody", kind="github", secret="-", repositories=("no/one",))  # noqa: S106  the name of none
SECURE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
T = TypeVar("T")
log = logging.getLogger("caretaker.webhooks")


@dataclass
class Receiver:
    """What a request needs. ``public_url`` is what senders reach it by; ``wake`` is called for each new delivery."""

    source: Source
    rules: Webhooks
    secrets: KnownSecrets
    inbox: Inbox
    public_url: str = ""
    wake: Callable[[], None] = lambda: None
    limits: Limits = field(init=False)
    room: Room = field(default_factory=Room)
    writer: Writer = field(init=False)
    threads: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.inbox)
        self.limits = Limits(self.rules.requests_per_second, self.rules.burst)

    async def receive(self, name: str, request: Request) -> JSONResponse:
        """Prove, read, write down, acknowledge. Raises Refusal."""
        address = request.client.host if request.client else ""
        self._refuse_many(address)
        headers = single_headers(request)
        refuse_form(headers)
        async with self.room.body(request, headers, self.rules.max_body_bytes) as body:
            arrival = await self._authentic(name, address, headers, body)
        delivery = await self._write(arrival)
        self.wake()
        return self._answer(202, told(delivery, self._url(delivery)), location=self._url(delivery))

    async def _authentic(self, name: str, address: str, headers: dict[str, str], body: bytes) -> Arrival:
        sender = self.rules.sender(name) or NOBODY
        known = self.secrets.versions(sender.secret) if sender is not NOBODY else {}
        version = proved_by(sender.kind, known, headers, body)
        if not version:
            self.limits.charge_forgery(address)
            raise Refusal(401, "unauthorized")
        arrival = await self._arrival(sender, headers, body)
        return arrival.model_copy(update={"secret_version": version})

    async def tell(self, ticket: str, request: Request) -> JSONResponse:
        """What became of a delivery, for who has its ticket. Raises Refusal."""
        self._refuse_many(request.client.host if request.client else "")
        question = partial(anyio.to_thread.run_sync, self.inbox.by_ticket, ticket, limiter=self.threads)
        found = await self._ask_inbox(question) if ticket.isascii() else None
        if found is None:
            raise Refusal(404, "there is no such delivery")
        return self._answer(200, told(found, self._url(found)))

    async def _arrival(self, sender: Sender, headers: dict[str, str], body: bytes) -> Arrival:
        try:
            if len(body) > LARGE_BYTES:
                document = await anyio.to_thread.run_sync(read_object, body)
            else:
                document = read_object(body)
            return read_arrival(sender, self.source, headers, body, document)
        except NotAllowedHere:
            raise Refusal(403, "forbidden") from None
        except (NotJson, NotUnderstood) as error:
            raise Refusal(400, str(error)) from None

    async def _write(self, arrival: Arrival) -> Delivery:
        return await self._ask_inbox(partial(self.writer.write, arrival))

    async def _ask_inbox(self, question: Callable[[], Awaitable[T]]) -> T:
        try:
            return await question()
        except OpsError as error:
            log.error("%s", error)  # noqa: TRY400  it is one line that says all
            raise Refusal(503, "the inbox does not answer; send it again", retry_after="5") from None

    def _refuse_many(self, address: str) -> None:
        if seconds := self.limits.wait_seconds(address):
            raise Refusal(429, "too many requests", retry_after=str(seconds))

    def _url(self, delivery: Delivery) -> str:
        return f"{self.public_url}/deliveries/{delivery.ticket}"

    def _answer(self, status: int, content: dict[str, Any], **headers: str) -> JSONResponse:
        return JSONResponse(content, status, {**SECURE, **headers})


def told(delivery: Delivery, url: str) -> dict[str, Any]:
    """What a sender is told of its delivery."""
    return {
        "delivery": delivery.delivery,
        "status_url": url,
        "status": delivery.status,
        "note": delivery.note,
        "event": delivery.event,
        "commit": delivery.commit,
        "run": delivery.run,
        "received": delivery.received.isoformat(),
        "settled": delivery.settled.isoformat() if delivery.settled else None,
    }


Work = Callable[[], AbstractAsyncContextManager[None]]


def create_app(receiver: Receiver, work: Work | None = None) -> FastAPI:
    """The application. ``work`` is what goes on beside the requests, for as long as it serves."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        receiver.threads = anyio.CapacityLimiter(SESSIONS)
        if work is None:
            yield
            return
        async with work():
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(Refusal, _refused)
    app.add_api_route("/hooks/{name}", _hooks(receiver), methods=["POST"], response_model=None)
    app.add_api_route("/deliveries/{ticket}", _deliveries(receiver), methods=["GET"], response_model=None)
    app.add_api_route("/healthz", _healthz, methods=["GET"], response_model=None)
    return app


def _hooks(receiver: Receiver) -> Any:
    async def hooks(name: str, request: Request) -> JSONResponse:
        return await receiver.receive(name, request)

    return hooks


def _deliveries(receiver: Receiver) -> Any:
    async def deliveries(ticket: str, request: Request) -> JSONResponse:
        return await receiver.tell(ticket, request)

    return deliveries


async def _healthz() -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def _refused(_: Request, refusal: Any) -> JSONResponse:
    return JSONResponse({"error": refusal.error}, refusal.status, {**SECURE, **refusal.headers})
