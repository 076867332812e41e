"""An OSV server of the tests, in the format and with the calls of https://google.github.io/osv.dev/api/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from packaging.version import Version

from tests.http_server import Answer, Request, serving


@dataclass
class Advisories:
    url: str = ""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    down: bool = False
    pages: int = 1
    """In how many pages the ids of one package come."""

    def add(self, identifier: str, package: str, fixed: str, ecosystem: str = "PyPI", days: int = 40) -> None:
        published = datetime.now(UTC) - timedelta(days=days, hours=1)
        events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
        self.known[identifier] = {
            "id": identifier, "summary": f"{package} lets everyone in", "aliases": [f"CVE-{identifier}"],
            "published": published.isoformat(), "references": [{"type": "WEB", "url": f"https://advisories.example/{identifier}"}],
            "affected": [{"package": {"name": package, "ecosystem": ecosystem},
                          "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
        }  # fmt: skip

    def answer(self, request: Request) -> Answer:
        if self.down:
            return Answer(503)
        if request.path == "/v1/querybatch":
            found = {"results": [self._ids(query) for query in json.loads(request.body)["queries"]]}
        else:
            found = self.known[request.path.rpartition("/")[2]]
        return Answer(200, json.dumps(found).encode(), "application/json")

    def _ids(self, query: dict[str, Any]) -> dict[str, Any]:
        ids = [{"id": i} for i, one in self.known.items() if _affects(one["affected"][0], query)]
        if self.pages == 1 or not ids:
            return {"vulns": ids} if ids else {}
        page = int(query.get("page_token", 0))
        more = {"next_page_token": str(page + 1)} if page + 1 < len(ids) else {}
        return {"vulns": ids[page : page + 1], **more}


def _affects(affected: dict[str, Any], query: dict[str, Any]) -> bool:
    if affected["package"] != query["package"]:
        return False
    fixed = [event["fixed"] for event in affected["ranges"][0]["events"] if "fixed" in event]
    return all(Version(query["version"]) < Version(one) for one in fixed)


@contextmanager
def advisory_database() -> Iterator[Advisories]:
    """Serve an empty database on loopback."""
    database = Advisories()
    with serving(database.answer) as url:
        database.url = url
        yield database
