"""Requests that a stranger may send: true deliveries, bent in every part, from a fixed seed.

Each is told by its maker whether it is authentic: a forgery that is let in is seen, and so is a true one that is not.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.webhooks.receiver import REPOSITORY, Scene, github_headers, push, release, standard_headers, workflow_run

Pairs = list[tuple[bytes, bytes]]
#: What a forgery may be answered; 400 is for a length that is no number.
REFUSALS = frozenset({400, 401, 404, 405, 408, 413, 415, 429})
#: An authentic delivery may still be none that is understood, or speak of another repository.
TAKEN = frozenset({202, 400, 403, 413, 415})
BOMBS = (
    b"[" * 200_000, b'{"a":' * 60_000, b'{"a":' + b"9" * 100_000 + b"}", b'{"a":1e999999999}', b'{"a":NaN}',
    b'{"ref":"x","ref":"y"}', b"\xff\xfe\x00{", b"\xed\xa0\x80", b'"\\ud800"', b"nul", b"", b"\x00" * 5000,
    b'{"repository":{"full_name":' + b'["' * 3000, b'{"' + b"k" * 100_000 + b'":1}', b" " * 100_000,
)  # fmt: skip
NOISE = (b"", b" ", b"\x00", b"\xff", b"sha256=", b"v1,", b"v1,v1,v1", b"Bearer", b"Bearer ", b"0" * 5000, "ü".encode(),
         b"sha256=" + b"0" * 64, b"1e400", b"-1", b"NaN", b"9" * 400, b"a,b", b"v1," + b"A" * 44, b"%00", b"../../x",
         b"' OR 1=1 --", b"{{7*7}}", b"\r\nx: y", b"whsec_", b"v1a,AAAA v1,")  # fmt: skip
HEADERS = (b"content-type", b"content-length", b"content-encoding", b"x-github-event", b"x-github-delivery",
           b"x-hub-signature-256", b"x-hub-signature", b"webhook-id", b"webhook-timestamp", b"webhook-signature",
           b"authorization", b"transfer-encoding", b"x-forwarded-for", b"host", b"expect", b"cookie")  # fmt: skip


#: What proves a request, by its sender; the body is signed too, but for who shows a token.
PROOF = {"github": {b"x-hub-signature-256"}, "tool": {b"authorization"},
         "n8n": {b"webhook-id", b"webhook-timestamp", b"webhook-signature"}}  # fmt: skip


@dataclass
class Shot:
    """One request. It is authentic as long as it bears the proof that was made for it, wherever else it was bent."""

    name: str
    method: str
    body: bytes
    headers: Pairs
    provable: bool
    pieces: int = 1

    def __post_init__(self) -> None:
        self.sender, self.truth = self.name, self._proof(self.name)

    @property
    def authentic(self) -> bool:
        """Whether the proof is whole, and comes to whom it was made for."""
        whole = self.name == self.sender and self.method == "POST" and self._proof(self.sender) == self.truth
        return self.provable and whole

    def _proof(self, sender: str) -> tuple[Pairs, bytes]:
        headers = sorted(pair for pair in self.headers if pair[0] in PROOF[sender])
        return headers, b"" if sender == "tool" else self.body


@dataclass
class Tally:
    """What came back. ``faults`` are answers that may not be."""

    statuses: Counter[int] = field(default_factory=Counter)
    forgeries: int = 0
    let_in: int = 0
    faults: list[str] = field(default_factory=list)

    def count(self, shot: Shot, status: int) -> None:
        self.statuses[status] += 1
        self.forgeries += not shot.authentic
        self.let_in += status == 202
        if status not in (TAKEN if shot.authentic else REFUSALS):
            self.faults.append(f"{status} for {'an authentic' if shot.authentic else 'a forged'} {shot}"[:500])


def shots(scene: Scene, count: int, seed: int) -> Iterator[Shot]:
    """So many requests; the same seed makes the same."""
    rng = random.Random(seed)
    for number in range(count):
        shot = _true(scene, rng, number)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            rng.choice(BENDS)(shot, rng)
        if rng.random() < 0.002:
            _grow(shot, rng)
        yield shot


async def shoot(scene: Scene, count: int, seed: int) -> Tally:
    """Send them, one after the other, each from one of many addresses."""
    tally, clients = Tally(), [scene.client(f"203.0.113.{n}") for n in range(8)]
    for number, shot in enumerate(shots(scene, count, seed)):
        tally.count(shot, await _send(clients[number % 8], shot))
    for client in clients:
        await client.aclose()
    return tally


async def _send(client: httpx.AsyncClient, shot: Shot) -> int:
    async def pieces() -> Any:
        size = max(1, len(shot.body) // shot.pieces)
        for start in range(0, len(shot.body), size):
            yield shot.body[start : start + size]

    content = pieces() if shot.pieces > 1 else shot.body
    request = client.build_request(shot.method, "/hooks/x", content=content)
    request.url = request.url.copy_with(raw_path=b"/hooks/" + shot.name.encode())
    request.headers = httpx.Headers(shot.headers)
    return (await client.send(request)).status_code


def _true(scene: Scene, rng: random.Random, number: int) -> Shot:
    """An authentic delivery, sometimes with a body that nobody would take."""
    name = rng.choice(("github", "github", "n8n", "tool"))
    if rng.random() < 0.1:
        body = rng.choice(BOMBS)
    elif name == "github":
        made = rng.choice((push(f"{number:040x}"), release(), workflow_run(head_sha=f"{number:040x}")))
        body = json.dumps({**made, "id": number}).encode()
    else:
        body = json.dumps({"type": "deploy", "data": {"repository": REPOSITORY}, "id": number}).encode()
    return Shot(name, "POST", body, _headers(scene, rng, name, body, number), provable=_provable(name, body))


def _provable(name: str, body: bytes) -> bool:
    """Standard Webhooks are signed over text: a body that is none cannot be."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return name != "n8n"
    return True


def _headers(scene: Scene, rng: random.Random, name: str, body: bytes, number: int) -> Pairs:
    secret = scene.secrets.value({"github": "gh", "n8n": "n8n", "tool": "tool"}[name])
    if name == "github":
        event = rng.choice(("push", "release", "workflow_run", "ping", "issues"))
        made = github_headers(secret, body, event, f"d-{number}")
    elif name == "n8n":
        text = body if _provable(name, body) else b"{}"
        made = standard_headers(secret, text, f"m-{number}", datetime.now(UTC))
    else:
        made = {"content-type": "application/json", "webhook-id": f"t-{number}", "authorization": f"Bearer {secret}"}
    return [(key.encode(), value.encode()) for key, value in made.items()]


def _bend_header(shot: Shot, rng: random.Random) -> None:
    """Put noise, or nothing, in the place of a header."""
    if not shot.headers:
        return
    place = rng.randrange(len(shot.headers))
    key, value = shot.headers[place]
    noise = rng.choice((*NOISE, value[:-1], value + b"0", value.upper(), bytes(reversed(value)), b"x" + value))
    shot.headers[place] = (key, noise)


def _drop_header(shot: Shot, rng: random.Random) -> None:
    if shot.headers:
        shot.headers.pop(rng.randrange(len(shot.headers)))


def _add_header(shot: Shot, rng: random.Random) -> None:
    """A header more; one of the proof's that stands twice proves nothing."""
    key = rng.choice(HEADERS)
    shot.headers.insert(rng.randrange(len(shot.headers) + 1), (key, rng.choice(NOISE)))


def _bend_body(shot: Shot, rng: random.Random) -> None:
    """One byte more, less or other: what was signed is not what comes, unless a token is all that proves it."""
    raw, place = bytearray(shot.body), rng.randrange(len(shot.body) + 1)
    if raw and place < len(raw) and rng.random() < 0.5:
        raw[place] ^= 1 << rng.randrange(8)
    else:
        raw.insert(place, rng.randrange(256))
    shot.body = bytes(raw)


def _bomb(shot: Shot, rng: random.Random) -> None:
    shot.body = rng.choice(BOMBS)


def _grow(shot: Shot, rng: random.Random) -> None:
    """Beyond the limit: with a length, or in pieces without one."""
    shot.body, shot.pieces = b"x" * (2 * 1024 * 1024 + rng.randrange(1, 5000)), rng.choice((1, 40))


def _cut(shot: Shot, rng: random.Random) -> None:
    shot.pieces = rng.randrange(2, 20)


def _other_name(shot: Shot, rng: random.Random) -> None:
    shot.name = rng.choice(("github", "n8n", "tool", "nobody", "%00", "..%2f..", "%ff", "github%2f", "a" * 3000, "-"))


def _other_method(shot: Shot, rng: random.Random) -> None:
    shot.method = rng.choice(("GET", "PUT", "HEAD", "OPTIONS", "DELETE", "TRACE", "POST"))


def _old(shot: Shot, rng: random.Random) -> None:
    """A time that is too far off, which is signed too."""
    late = int(datetime.now(UTC).timestamp()) + rng.choice((-400, -86_400, 400, 10**12, -(10**10), 10**30))
    shot.headers = [(k, str(late).encode() if k == b"webhook-timestamp" else v) for k, v in shot.headers]


BENDS = (_bend_header, _bend_header, _drop_header, _add_header, _bend_body, _bend_body, _bomb, _cut, _other_name,
         _other_method, _old)  # fmt: skip
