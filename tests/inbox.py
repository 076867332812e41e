"""A real HTTP server that takes notifications, as Apprise's JSON service sends them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

TOKEN = "t0ken-4711"


class Inbox(HTTPServer):
    """Keeps what it is told. ``status`` is its answer; ``refusals`` are answers to the next calls, before that."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Take)
        self.status = 200
        self.refusals: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        """Where Apprise sends to; it holds a token."""
        return f"json://ops:{TOKEN}@127.0.0.1:{self.server_port}/hook"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.taken]


class Take(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.refusals.pop(0) if self.server.refusals else self.server.status
        self.server.paths.append(self.path)
        if status == 200:
            self.server.taken.append(said)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as inbox:
        threading.Thread(target=inbox.serve_forever, args=(0.02,), daemon=True).start()
        yield inbox
        inbox.shutdown()
