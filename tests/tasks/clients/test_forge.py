"""Pull requests through the maintained client, against a server that answers as GitHub documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tasks.clients.forge import Forge
from tasks.errors import Conflict, Missing, NotAllowed, OpsError, PermanentError, TransientError
from tests.dependencies.forge import TOKEN, ForgeServer, forge_of
from tests.dependencies.repositories import Repository

BRANCH = "caretaker/dependencies"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForgeServer]:
    repository = Repository(tmp_path)
    repository.commit("first")
    repository.commit("ours", BRANCH)
    with forge_of(repository) as forge:
        yield forge


@pytest.fixture
def forge(server: ForgeServer) -> Forge:
    return Forge(server.url, "owner/name", SecretStr(TOKEN))


def test_a_pull_request_is_opened_once_and_edited_only_where_its_text_differs(
    forge: Forge, server: ForgeServer
) -> None:
    assert forge.find(BRANCH, "main") is None
    opened = forge.open(BRANCH, "main", "Update", "one\ntwo")
    assert (opened.number, opened.open, opened.head) == (1, True, server.repository.branches()[BRANCH])
    assert forge.find(BRANCH, "main") == opened
    server.pulls[0]["body"] = "one\r\ntwo"  # as GitHub gives it back
    assert forge.edit(forge.find(BRANCH, "main") or opened, "Update", "one\ntwo\n").number == 1
    assert "PATCH pulls" not in server.calls
    forge.edit(opened, "Update", "three")
    assert server.pulls[0]["body"] == "three"


def test_one_that_exists_already_is_found_where_the_answer_was_lost(forge: Forge, server: ForgeServer) -> None:
    server.fail["POST pulls"] = (0, True)
    with pytest.raises(TransientError, match="opening a pull request"):
        forge.open(BRANCH, "main", "Update", "text")
    assert forge.open(BRANCH, "main", "Update", "text").number == 1
    assert len(server.pulls) == 1


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [(401, NotAllowed, "add a new version of its secret"), (403, NotAllowed, "write pull requests"),
     (404, Missing, "check forge.repository"), (422, PermanentError, "422 planted"), (502, TransientError, "502"),
     (429, TransientError, "rate limit is used up")],
)  # fmt: skip
def test_an_answer_of_the_forge_says_who_must_act(
    forge: Forge, server: ForgeServer, status: int, error: type[OpsError], words: str
) -> None:
    server.fail["POST pulls"] = (status, False)
    with pytest.raises(error, match=words) as said:
        forge.open(BRANCH, "main", "Update", "text")
    assert TOKEN not in str(said.value)
    assert server.pulls == []


def test_a_rate_limit_that_is_used_up_or_nearly_so_is_met_by_the_reading_call(
    forge: Forge, server: ForgeServer
) -> None:
    server.left = 3
    with pytest.raises(TransientError, match=r"put off: 2 calls are left .*run it again later"):
        forge.find(BRANCH, "main")
    server.left = 0
    with pytest.raises(TransientError, match="rate limit is used up"):
        forge.find(BRANCH, "main")


def test_a_branch_that_moved_is_not_merged(forge: Forge, server: ForgeServer) -> None:
    pull = forge.open(BRANCH, "main", "Update", "text")
    assert "Head branch was modified" in forge.merge(pull, "0" * 40)
    assert forge.merge(pull, pull.head) == ""
    assert server.repository.branches()["main"] == pull.head


def test_an_open_pull_request_without_a_listing_is_a_conflict_and_not_a_second_one(
    forge: Forge, server: ForgeServer
) -> None:
    server.pulls.append({"number": 1, "head": BRANCH, "base": "other", "state": "open", "title": "", "body": "",
                         "merged_at": None, "sha": ""})  # fmt: skip
    with pytest.raises(Conflict, match="one exists, but is not listed"):
        forge.open(BRANCH, "main", "Update", "text")
