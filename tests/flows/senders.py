"""Senders of a token between services, and the provider of a key: real HTTP, on threads of their own."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from tests.http_server import Answer, Request, serving

RATE = 20
PATH = "/internal/cache/clear"


class Sender:
    """Presents a token to a service about 20 times a second for as long as the block runs.

    ``token`` is asked before each request, as a sender reads its secret. ``answers`` counts statuses by token.
    """

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self._url, self._token = url + PATH, token
        self.answers: Counter[tuple[str, int]] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the sender did not end"

    def accepted(self, token: str = "") -> int:
        """How often a token, or any, was accepted."""
        return sum(times for (borne, status), times in self.answers.items() if status == 200 and token in ("", borne))

    @property
    def refused(self) -> dict[int, int]:
        """How often any other answer came, by its status; 0 stands for none."""
        found: Counter[int] = Counter()
        for (_, status), times in self.answers.items():
            found[status] += times if status != 200 else 0
        return dict(+found)

    def _run(self) -> None:
        with httpx.Client(timeout=20, trust_env=False) as client:
            while not self._stop.is_set():
                began, borne = time.monotonic(), self._token()
                self.answers[borne, self._post(client, borne)] += 1
                time.sleep(max(0.0, began + 1 / RATE - time.monotonic()))

    def _post(self, client: httpx.Client, borne: str) -> int:
        try:
            return client.post(self._url, headers={"Authorization": f"Bearer {borne}"}).status_code
        except httpx.HTTPError:
            return 0


class Provider:
    """Takes the keys in ``takes`` as bearer tokens, and counts its questions."""

    def __init__(self) -> None:
        self.url = ""
        self.takes: set[str] = set()
        self.asked = 0

    @contextmanager
    def served(self) -> Iterator[Provider]:
        """It answers for as long as the block runs."""
        with serving(self._answer) as address:
            self.url = f"{address}/me"
            yield self

    def _answer(self, request: Request) -> Answer:
        self.asked += 1
        taken = request.headers.get("authorization") in {f"Bearer {key}" for key in self.takes}
        return Answer(200 if taken else 401)
