"""A receiver in this process, asked over ASGI, with an inbox in a file and secrets that a test can rotate."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
from pydantic import SecretStr
from standardwebhooks import Webhook

from deployments.webhooks.app import SESSIONS, Receiver, create_app
from deployments.webhooks.known_secrets import KnownSecrets
from tasks.clients.inbox import Inbox
from tasks.clients.ledger_schema import deliveries
from tasks.delivery_models import Delivery
from tasks.errors import Missing, TransientError
from tasks.estate import Sender, Source, Webhooks
from tasks.models import SecretPin, SecretVersion

REPOSITORY = "example/pyplots"
COMMIT = "a" * 40
RULES = Webhooks(
    senders=(
        Sender(name="github", kind="github", secret="gh", repositories=(REPOSITORY,),
               events=("push", "release", "workflow_run"), workflows=("ci.yml",)),
        Sender(name="n8n", kind="standard", secret="n8n", repositories=(REPOSITORY,)),
        Sender(name="tool", kind="bearer", secret="tool", repositories=(REPOSITORY,)),
    ),
    requests_per_second=10_000, burst=100_000,
)  # fmt: skip
Answer = httpx.Response


class Secrets:
    """Secret Manager as the receiver asks it: versions with states, and their values."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[int, tuple[str, str]]] = {
            name: {1: ("ENABLED", f"{name}-secret-of-16-bytes/+=")} for name in ("gh", "n8n", "tool")
        }
        self.reads = 0
        self.away = False

    def versions(self, secret: str) -> list[SecretVersion]:
        if self.away:
            raise TransientError(f"listing the versions of secret {secret} failed: it is away")
        if secret not in self.kept:
            raise Missing(f"listing the versions of secret {secret} failed: there is none")
        rows = sorted(self.kept[secret].items(), reverse=True)
        now = datetime.now(UTC)
        return [SecretVersion(secret=secret, version=n, state=state, created=now) for n, (state, _) in rows]

    def access(self, pin: SecretPin) -> SecretStr:
        self.reads += 1
        return SecretStr(self.kept[pin.secret][int(pin.version)][1])

    def add(self, name: str, value: str) -> None:
        self.kept[name][max(self.kept[name]) + 1] = ("ENABLED", value)

    def disable(self, name: str, version: int) -> None:
        self.kept[name][version] = ("DISABLED", self.kept[name][version][1])

    def value(self, name: str) -> str:
        return self.kept[name][max(self.kept[name])][1]


class Scene:
    """A receiver and what a test asks it with."""

    def __init__(self, folder: Path, rules: Webhooks = RULES, source: Source | None = None) -> None:
        self.secrets = Secrets()
        self.known = KnownSecrets(self.secrets, {one.secret for one in rules.senders})  # type: ignore[arg-type]
        self.known.renew()
        self.inbox = Inbox(f"sqlite:///{folder}/inbox.db", "p")
        self.inbox.ensure()
        source = source or Source(repository=".", branch="main")
        self.receiver = Receiver(source, rules, self.known, self.inbox, "http://receiver")
        self.receiver.threads = anyio.CapacityLimiter(SESSIONS)
        self.app = create_app(self.receiver)

    def client(self, address: str = "192.0.2.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url="http://receiver")

    async def post(self, name: str, body: bytes, headers: Any) -> Answer:
        async with self.client() as client:
            return await client.post(f"/hooks/{name}", content=body, headers=headers)

    async def github(self, body: Any, event: str = "push", number: str = "d-1", **headers: str) -> Answer:
        """A delivery as GitHub signs it; ``headers`` replace, and one that is empty is left out."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.post("github", raw, github_headers(self.secrets.value("gh"), raw, event, number, **headers))

    async def standard(self, body: Any, number: str = "m-1", at: datetime | None = None, **headers: str) -> Answer:
        raw = json.dumps(body).encode()
        made = standard_headers(self.secrets.value("n8n"), raw, number, at or datetime.now(UTC))
        return await self.post("n8n", raw, _with(made, headers))


def arrivals(inbox: Inbox) -> list[Delivery]:
    """Every delivery that was written down, whatever became of it."""
    return inbox._read("reading the inbox", deliveries.select().where(deliveries.c.project == inbox._project))


def github_headers(
    secret: str, body: bytes, event: str = "push", number: str = "d-1", **headers: str
) -> dict[str, str]:
    made = {
        "content-type": "application/json", "x-github-event": event, "x-github-delivery": number,
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }  # fmt: skip
    return _with(made, headers)


def standard_headers(secret: str, body: bytes, number: str, at: datetime) -> dict[str, str]:
    signature = Webhook(secret.encode()).sign(number, at, body.decode())
    return {
        "content-type": "application/json", "webhook-id": number, "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }  # fmt: skip


def _with(made: dict[str, str], headers: dict[str, str]) -> dict[str, str]:
    merged = made | {name.replace("_", "-"): value for name, value in headers.items()}
    return {name: value for name, value in merged.items() if value}


def push(commit: str = COMMIT, branch: str = "main", **more: Any) -> dict[str, Any]:
    """A push, as far as it is read."""
    return {"ref": f"refs/heads/{branch}", "after": commit, "deleted": False,
            "repository": {"full_name": REPOSITORY}, **more}  # fmt: skip


def workflow_run(**run: Any) -> dict[str, Any]:
    return {
        "action": "completed", "repository": {"full_name": REPOSITORY},
        "workflow_run": {
            "conclusion": "success", "event": "push", "head_branch": "main", "head_sha": COMMIT,
            "path": ".github/workflows/ci.yml", "head_repository": {"full_name": REPOSITORY}, **run,
        },
    }  # fmt: skip


def release(action: str = "published", **more: Any) -> dict[str, Any]:
    return {"action": action, "repository": {"full_name": REPOSITORY},
            "release": {"tag_name": "v1", "draft": False, "prerelease": False, **more}}  # fmt: skip
