"""The OSV database of known vulnerabilities: https://google.github.io/osv.dev/api/.

Safety property: an answer that cannot be had is an error and never "no vulnerability"; lists are read to the last page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import httpx

from tasks.clients.deadlines import CALL_SECONDS
from tasks.errors import PermanentError, TransientError

#: https://google.github.io/osv.dev/post-v1-querybatch/: at most 1000 queries in one call.
BATCH = 1000
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class Osv:
    """One OSV server."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(timeout=CALL_SECONDS, headers={"user-agent": "caretaker"})
        self._known: dict[str, dict[str, Any]] = {}

    def advisories(self, ecosystem: str, packages: Sequence[tuple[str, str]]) -> list[tuple[str, str, dict[str, Any]]]:
        """Every advisory on each (name, version), as (name, version, advisory in the OSV format)."""
        found = []
        for start in range(0, len(packages), BATCH):
            for (name, version), ids in self._ids(ecosystem, packages[start : start + BATCH]):
                found += [(name, version, self._advisory(one)) for one in ids]
        return [(name, version, one) for name, version, one in found if not one.get("withdrawn")]

    def _ids(
        self, ecosystem: str, packages: Sequence[tuple[str, str]]
    ) -> Iterable[tuple[tuple[str, str], list[str]]]:
        pending = [(package, _query(ecosystem, *package)) for package in packages]
        while pending:
            body = {"queries": [query for _, query in pending]}
            results = self._call("POST", "/v1/querybatch", json=body).get("results", [])
            if len(results) != len(pending):
                raise PermanentError(f"asking {self._url} failed: {len(results)} answers to {len(pending)} queries")
            further = []
            for (package, query), result in zip(pending, results, strict=True):
                yield package, [one["id"] for one in result.get("vulns") or ()]
                if token := result.get("next_page_token"):
                    further.append((package, {**query, "page_token": token}))
            pending = further

    def _advisory(self, identifier: str) -> dict[str, Any]:
        if identifier not in self._known:
            self._known[identifier] = self._call("GET", f"/v1/vulns/{identifier}")
        return self._known[identifier]

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        what = f"asking {self._url}{path} for known vulnerabilities"
        try:
            answer = self._client.request(method, self._url + path, **options)
        except httpx.HTTPError as error:
            raise TransientError(f"{what} failed: {type(error).__name__}; retrying may clear this") from error
        if answer.status_code in _TRANSIENT:
            raise TransientError(f"{what} failed: {answer.status_code}; retrying may clear this")
        if not answer.is_success:
            raise PermanentError(f"{what} failed: {answer.status_code}; check [dependencies] advisories")
        document: dict[str, Any] = answer.json()
        return document


def _query(ecosystem: str, name: str, version: str) -> dict[str, Any]:
    return {"package": {"name": name, "ecosystem": ecosystem}, "version": version}
