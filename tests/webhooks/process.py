"""A receiver as a process of its own, as the stack starts it, and deliveries that are sent while it may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from embedded.ports import free_port
from tests.stack import ROOT
from tests.webhooks.receiver import REPOSITORY, github_headers

READY_SECONDS = 90.0


class ReceiverProcess:
    """``python -m deployments.webhooks.server`` on a port of its own."""

    def __init__(self, estate: Path, log: Path, **environment: str) -> None:
        self.port, self._log = free_port(), log
        self._env = {**os.environ, "CARETAKER_ESTATE": str(estate), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return once it answers."""
        argv = [sys.executable, "-m", "deployments.webhooks.server", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, and give its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self._process.wait(30)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2).is_success
        except httpx.HTTPError:
            return False


class Sender:
    """Sends pushes of commits as GitHub does, again and again until each is acknowledged, as a careful sender would."""

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url, secret
        self._http = httpx.Client(timeout=10)
        self.acknowledged: dict[str, str] = {}
        self.statuses: dict[int, int] = {}

    def send(self, number: str, commit: str, branch: str = "main") -> httpx.Response | None:
        """One try; None where the connection was lost."""
        body = json.dumps(
            {"ref": f"refs/heads/{branch}", "after": commit, "id": number, "repository": {"full_name": REPOSITORY}}
        ).encode()
        headers = github_headers(self._secret, body, number=number)
        try:
            answer = self._http.post(f"{self._url}/hooks/github", content=body, headers=headers)
        except httpx.HTTPError:
            return None
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        if answer.status_code == 202:
            self.acknowledged[number] = str(answer.json()["status_url"])
        return answer

    def status(self, number: str) -> dict[str, Any]:
        """What the status URL of an acknowledged delivery says."""
        return dict(self._http.get(self.acknowledged[number]).json())
