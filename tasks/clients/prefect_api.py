"""Prefect's REST API, as far as a release that is asked for from outside needs it: without importing Prefect.

Safety property: a run is made with an idempotency key, so asking again after a lost answer gives the run that was made.
The credential is in a header alone, and in no message.
"""

from __future__ import annotations

import base64
import uuid
from functools import cached_property
from typing import Any, Literal

import httpx
from pydantic import Field, SecretStr

from tasks.clients.deadlines import CALL_SECONDS
from tasks.errors import Missing, NotAllowed, PermanentError, TransientError
from tasks.models import Frozen

#: And every status from 500 on: a proxy before the server has some of its own.
_TRANSIENT = frozenset({408, 429})


class DeploymentFound(Frozen):
    """A deployment, and the parameters that it runs with unless it is told others."""

    id: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class RunFound(Frozen):
    """A flow run: its state's type (``COMPLETED`` …) and what that says."""

    id: str
    state: str
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether it has come to an end."""
        return self.state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class PrefectApi:
    """One server. ``login`` is ``user:password`` of a server with basic auth, ``key`` an API key."""

    def __init__(self, url: str, login: SecretStr | None = None, key: SecretStr | None = None) -> None:
        self.url = url.rstrip("/")
        self._login, self._key = login, key
        self._client_id = str(uuid.uuid4())
        self._csrf: dict[str, str] = {}

    def deployment(self, name: str) -> DeploymentFound:
        """A deployment by ``flow/deployment``. Raises Missing."""
        what = f"reading deployment {name}"
        found = self._json("GET", f"/deployments/name/{name}", what)
        if found is None:
            raise Missing(f"{what} at {self.url} failed: there is none; register it: prefect deploy --all")
        return DeploymentFound(id=found["id"], parameters=found.get("parameters") or {})

    def create_run(self, deployment: str, parameters: dict[str, Any], key: str, tags: tuple[str, ...]) -> RunFound:
        """Make a run of a deployment. Safe to repeat: the same key gives the run that was made first."""
        body = {"parameters": parameters, "idempotency_key": key, "tags": list(tags)}
        what = f"making a run with key {key}"
        found = self._json("POST", f"/deployments/{deployment}/create_flow_run", what, body)
        if found is None:
            raise Missing(f"{what} at {self.url} failed: the deployment is gone; register it: prefect deploy --all")
        return _run(found)

    def find(self, key: str) -> RunFound | None:
        """The run that was made with a key; None where none was."""
        body = {"flow_runs": {"idempotency_key": {"any_": [key]}}, "limit": 1}
        found = self._json("POST", "/flow_runs/filter", f"looking for the run with key {key}", body)
        return _run(found[0]) if found else None

    def run(self, number: str) -> RunFound | None:
        """A run as it stands; None where there is none any more."""
        found = self._json("GET", f"/flow_runs/{number}", f"reading run {number}")
        return None if found is None else _run(found)

    def _json(self, method: Literal["GET", "POST"], path: str, what: str, body: Any = None) -> Any:
        """The JSON that came back; None for 404."""
        answer = self._ask(method, path, what, body)
        if answer.status_code == 403 and "csrf" in answer.text.lower():
            self._csrf = self._csrf_headers(what)
            answer = self._ask(method, path, what, body)
        if answer.status_code == 404:
            return None
        self._refuse(answer, what)
        return self._content(answer, what)

    def _content(self, answer: httpx.Response, what: str) -> Any:
        """What an answer holds. One that is no JSON is of something before the server, such as a page of a proxy."""
        try:
            return answer.json()
        except ValueError as error:
            raise TransientError(f"{what} at {self.url} failed: no JSON came back; check PREFECT_API_URL") from error

    def _ask(self, method: str, path: str, what: str, body: Any) -> httpx.Response:
        try:
            return self._http.request(method, f"{self.url}{path}", json=body, headers=self._csrf)
        except httpx.HTTPError as error:
            raise TransientError(
                f"{what} at {self.url} failed: {type(error).__name__}; is Prefect's server up?"
            ) from error

    def _csrf_headers(self, what: str) -> dict[str, str]:
        """A server with CSRF protection wants a token of its own with each writing call."""
        answer = self._ask("GET", f"/csrf-token?client={self._client_id}", what, None)
        self._refuse(answer, what)
        token = str(self._content(answer, what)["token"])
        return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": self._client_id}

    def _refuse(self, answer: httpx.Response, what: str) -> None:
        if answer.is_success:
            return
        line = f"{what} at {self.url} failed: {answer.status_code}"
        if answer.status_code in (401, 403):
            raise NotAllowed(f"{line}; check PREFECT_API_AUTH_STRING, or PREFECT_API_KEY")
        if answer.is_redirect:
            raise NotAllowed(f"{line}, it leads elsewhere; check PREFECT_API_URL")
        if answer.status_code in _TRANSIENT or answer.status_code >= 500:
            raise TransientError(f"{line}; see the server's log")
        raise PermanentError(f"{line} {' '.join(answer.text.split())[:200]}")

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(timeout=CALL_SECONDS, headers=self._authorization(), trust_env=False)

    def _authorization(self) -> dict[str, str]:
        if self._key is not None:
            return {"Authorization": f"Bearer {self._key.get_secret_value()}"}
        if self._login is not None:
            return {"Authorization": f"Basic {base64.b64encode(self._login.get_secret_value().encode()).decode()}"}
        return {}


def _run(found: dict[str, Any]) -> RunFound:
    state = found.get("state") or {}
    return RunFound(id=found["id"], state=str(state.get("type") or ""), message=str(state.get("message") or ""))
