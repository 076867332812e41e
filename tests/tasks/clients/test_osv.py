"""The advisory database: read to the last page, and never taken for empty when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.clients.osv import Osv
from tasks.errors import PermanentError, TransientError
from tests.dependencies.advisories import Advisories, advisory_database


@pytest.fixture
def database() -> Iterator[Advisories]:
    with advisory_database() as served:
        yield served


def test_every_page_of_every_package_is_read(database: Advisories) -> None:
    for number in range(3):
        database.add(f"X-{number}", "web", fixed="2.0")
    database.pages = 3
    found = Osv(database.url).advisories("PyPI", [("web", "1.0"), ("zoo", "1.0"), ("web", "2.0")])
    assert [(name, version, one["id"]) for name, version, one in found] == [
        ("web", "1.0", "X-0"), ("web", "1.0", "X-1"), ("web", "1.0", "X-2")
    ]  # fmt: skip


def test_an_advisory_that_was_withdrawn_does_not_count(database: Advisories) -> None:
    database.add("X-1", "web", fixed="2.0")
    database.known["X-1"]["withdrawn"] = "2026-01-01T00:00:00Z"
    assert Osv(database.url).advisories("PyPI", [("web", "1.0")]) == []


def test_no_answer_is_an_error_and_never_no_vulnerability(database: Advisories) -> None:
    database.down = True
    with pytest.raises(TransientError, match="503"):
        Osv(database.url).advisories("PyPI", [("web", "1.0")])
    with pytest.raises(TransientError, match="ConnectError"):
        Osv("http://127.0.0.1:1").advisories("PyPI", [("web", "1.0")])


def test_an_answer_to_fewer_queries_than_were_asked_is_refused(
    database: Advisories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Osv, "_call", lambda *_, **__: {"results": []})
    with pytest.raises(PermanentError, match="0 answers to 1 queries"):
        Osv(database.url).advisories("PyPI", [("web", "1.0")])
