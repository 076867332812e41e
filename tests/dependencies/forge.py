"""The part of GitHub's REST API that the flow calls, on a bare repository: pull requests of branches that exist.

As GitHub documents it: 401 for a bad token, 403 with its message for a used-up rate limit, 422 for a second pull
request of a branch, 405 and 409 for a merge that is not allowed or of another commit; ETags, and the headers of the
rate limit in every answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.dependencies.repositories import Repository, git
from tests.http_server import Answer, Request, serving

TOKEN = "ghp_test-token"


@dataclass
class ForgeServer:
    """``fail`` answers the next call of a kind ("GET pulls", "POST pulls", …) with a status, 0 for no answer, and says
    whether the work is done all the same; ``hold`` lets the next call of a kind wait for ``go``, and gives no answer.
    """

    repository: Repository
    url: str = ""
    left: int = 5000
    protected: bool = False
    pulls: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fail: dict[str, tuple[int, bool]] = field(default_factory=dict)
    hold: tuple[str, bool] = ("", False)
    held: Event = field(default_factory=Event)
    go: Event = field(default_factory=Event)

    def answer(self, request: Request) -> Answer:
        split = urlsplit(request.path)
        parts = split.path.strip("/").split("/")
        kind = f"{request.method} {'/'.join(p for p in parts[3:] if not p.isdigit())}"
        self.calls.append(kind)
        if request.headers.get("authorization") not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
            return self._said(401, "Bad credentials")
        if self.left <= 0:
            return self._said(403, "API rate limit exceeded for user ID 1.")
        self.left -= 1
        if kind in (self.hold[0], *self.fail):
            status, done = self.fail.pop(kind, (0, self.hold[1]))
            if done:
                self._work(request, parts, parse_qs(split.query))
            if kind == self.hold[0]:
                self.hold = ("", False)
                self.held.set()
                self.go.wait(60)
            return Answer(0) if not status else self._said(status, "planted")
        status, document = self._work(request, parts, parse_qs(split.query))
        return self._answer(status, document)

    def open(self) -> list[dict[str, Any]]:
        return [self._shown(one) for one in self.pulls if one["state"] == "open"]

    def _work(self, request: Request, parts: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        body = json.loads(request.body or b"{}")
        match [request.method, *parts[3:]]:
            case ["GET", "pulls"]:
                return 200, self._listed(query)
            case ["POST", "pulls"]:
                return self._opened(body)
            case ["GET", "pulls", number]:
                return 200, self._shown(self.pulls[int(number) - 1])
            case ["PATCH", "pulls", number]:
                self.pulls[int(number) - 1] |= body
                return 200, self._shown(self.pulls[int(number) - 1])
            case ["PUT", "pulls", number, "merge"]:
                return self._merged(self.pulls[int(number) - 1], body)
        return 404, {"message": "Not Found"}

    def _listed(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        owner, _, branch = query["head"][0].partition(":")
        assert owner == "owner"
        state = query["state"][0]
        found = [one for one in self.pulls if one["head"] == branch and one["base"] == query["base"][0]]
        return [self._shown(one) for one in found if state in ("all", one["state"])]

    def _opened(self, body: dict[str, Any]) -> tuple[int, Any]:
        branches = self.repository.branches()
        if body["head"] not in branches or body["base"] not in branches:
            return 422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]}
        if any(one["head"] == body["head"] and one["state"] == "open" for one in self.pulls):
            message = f"A pull request already exists for owner:{body['head']}."
            return 422, {"message": "Validation Failed", "errors": [{"code": "custom", "message": message}]}
        self.pulls.append({**body, "number": len(self.pulls) + 1, "state": "open", "merged_at": None, "sha": ""})
        return 201, self._shown(self.pulls[-1])

    def _merged(self, pull: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
        if self.protected:
            return 405, {"message": "Required status check is expected"}
        if body.get("sha") != self.repository.branches()[pull["head"]]:
            return 409, {"message": "Head branch was modified. Review and try the merge again."}
        pull |= {"state": "closed", "merged_at": "2026-11-25T00:00:00Z", "sha": body["sha"]}
        git(self.repository.remote, "update-ref", f"refs/heads/{pull['base']}", body["sha"])
        return 200, {"sha": body["sha"], "merged": True, "message": "merged"}

    def _shown(self, pull: dict[str, Any]) -> dict[str, Any]:
        sha = pull["sha"] or self.repository.branches().get(pull["head"], "")
        url = f"{self.url}/repos/owner/name/pulls/{pull['number']}"
        return {
            **pull, "url": url, "html_url": f"https://forge.example/owner/name/pull/{pull['number']}",
            "head": {"ref": pull["head"], "sha": sha}, "base": {"ref": pull["base"]},
        }  # fmt: skip

    def _said(self, status: int, message: str) -> Answer:
        return self._answer(status, {"message": message})

    def _answer(self, status: int, document: Any) -> Answer:
        data = json.dumps(document).encode()
        headers = {
            "x-ratelimit-limit": "5000", "x-ratelimit-remaining": str(self.left), "x-ratelimit-reset": "1800000000",
            "etag": f'"{hashlib.sha256(data).hexdigest()[:16]}"',
        }  # fmt: skip
        return Answer(status, data, "application/json", headers)


@contextmanager
def forge_of(repository: Repository) -> Iterator[ForgeServer]:
    """Serve a repository's pull requests on loopback."""
    forge = ForgeServer(repository)
    with serving(forge.answer) as url:
        forge.url = url
        yield forge
