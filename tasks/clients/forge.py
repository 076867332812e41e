"""Pull requests on GitHub, or on what speaks its REST API, through PyGithub.

Safety property: one pull request for a branch: it is looked for before it is opened, and "exists already" is answered
by looking again. Reads come before writes, so that an expired token or a used-up rate limit is met before anything is
pushed. The token is in no message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from tasks.clients.deadlines import CALL_SECONDS
from tasks.errors import Conflict, Missing, NotAllowed, OpsError, PermanentError, TransientError
from tasks.models import Frozen

#: Fewer calls than this left in the hour: the writes might not get through.
SPARE_CALLS = 5
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class PullRequest(Frozen):
    """A pull request. ``head`` is the commit of its branch as the forge knows it."""

    number: int
    url: str
    title: str
    body: str
    head: str
    open: bool
    merged: bool


class Forge:
    """One repository on a forge."""

    def __init__(self, api: str, repository: str, token: SecretStr) -> None:
        self._api, self._repository, self._token = api.rstrip("/"), repository, token

    def find(self, branch: str, base: str) -> PullRequest | None:
        """The newest pull request from a branch, open ones first. Raises TransientError when few calls are left."""
        with self._doing(f"looking for the pull request of {branch}"):
            owner = self._repository.partition("/")[0]
            found = [_read(one) for one in self._repo.get_pulls(state="all", head=f"{owner}:{branch}", base=base)]
            left = self._calls_left()
        if left < SPARE_CALLS:
            raise TransientError(
                f"opening a pull request in {self._repository} put off: {left} calls are left of the forge's "
                "rate limit; run it again later"
            )
        return max(found, key=lambda one: (one.open, one.number), default=None)

    def open(self, branch: str, base: str, title: str, body: str) -> PullRequest:
        """Open a pull request. Safe to repeat: where there is one already, that is given."""
        from github import GithubException

        with self._doing(f"opening a pull request for {branch}"):
            try:
                return _read(self._repo.create_pull(base=base, head=branch, title=title, body=body))
            except GithubException as error:
                if error.status != 422 or "already exists" not in str(error.data):
                    raise
        found = self.find(branch, base)
        if found is None or not found.open:
            raise Conflict(f"opening a pull request for {branch} failed: one exists, but is not listed; run it again")
        return found

    def edit(self, pull: PullRequest, title: str, body: str) -> PullRequest:
        """Give a pull request its title and text. Safe to repeat."""
        if (pull.title, _lines(pull.body)) == (title, _lines(body)):
            return pull
        with self._doing(f"writing the text of pull request {pull.number}"):
            self._repo.get_pull(pull.number).edit(title=title, body=body)
        return pull.model_copy(update={"title": title, "body": body})

    def merge(self, pull: PullRequest, commit: str) -> str:
        """Merge, if the branch still stands at ``commit`` and the forge's own rules allow it; else why not."""
        from github import GithubException

        with self._doing(f"merging pull request {pull.number}"):
            try:
                self._repo.get_pull(pull.number).merge(sha=commit)
            except GithubException as error:
                # https://docs.github.com/en/rest/pulls/pulls#merge-a-pull-request: 405 not allowed, 409 head moved
                if error.status not in (405, 409):
                    raise
                return f"the forge does not let it be merged: {_said(error)}"
        return ""

    def _calls_left(self) -> int:
        """What is left of the rate limit. An enterprise server without one answers 404 to the question."""
        from github import UnknownObjectException

        try:
            return int(self._github.rate_limiting[0])
        except UnknownObjectException:
            return SPARE_CALLS

    @property
    def _repo(self) -> Any:
        return self._github.get_repo(self._repository)

    @property
    def _github(self) -> Any:
        from github import Auth, Github

        if not hasattr(self, "_client"):
            self._client = Github(
                base_url=self._api, auth=Auth.Token(self._token.get_secret_value()), timeout=int(CALL_SECONDS),
                retry=None, user_agent="caretaker", lazy=True,
            )  # fmt: skip
        return self._client

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        import requests
        from github import GithubException

        try:
            yield
        except GithubException as error:
            raise self._ours(f"{what} in {self._repository}", error) from error
        except requests.RequestException as error:
            raise TransientError(
                f"{what} in {self._repository} failed: {type(error).__name__}; is {self._api} reachable?"
            ) from error

    def _ours(self, what: str, error: Any) -> OpsError:
        from github import BadCredentialsException, RateLimitExceededException

        line = f"{what} failed: {error.status} {_said(error)}"
        if isinstance(error, RateLimitExceededException) or error.status == 429:
            return TransientError(f"{line}; the forge's rate limit is used up: run it again later")
        if isinstance(error, BadCredentialsException) or error.status == 401:
            return NotAllowed(f"{line}; the token is not valid any more: add a new version of its secret")
        if error.status == 403:
            return NotAllowed(f"{line}; let the token read contents and write pull requests")
        if error.status == 404:
            return Missing(f"{line}; check forge.repository, and that the token may see it")
        return TransientError(line) if error.status in _TRANSIENT else PermanentError(f"{line}; see the forge's answer")


def _read(pull: Any) -> PullRequest:
    return PullRequest(
        number=pull.number, url=pull.html_url, title=pull.title, body=pull.body or "", head=pull.head.sha,
        open=pull.state == "open", merged=pull.merged_at is not None,
    )  # fmt: skip


def _said(error: Any) -> str:
    data = error.data if isinstance(error.data, dict) else {"message": str(error.data)}
    details = [one for one in data.get("errors", []) if isinstance(one, dict)]
    words = [data.get("message", ""), *(one.get("message") or one.get("code") or "" for one in details)]
    return " ".join(" ".join(str(word) for word in words).split())[:300]


def _lines(text: str) -> str:
    """GitHub gives texts back with its own line ends."""
    return text.replace("\r\n", "\n").strip()
