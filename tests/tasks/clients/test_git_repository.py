"""Our branch in a remote: sealed commits, a push that replaces only what was seen, and errors that say who must act."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from tasks.clients.git_repository import GitRepository
from tasks.errors import Conflict, Missing, NotAllowed
from tests.dependencies.repositories import Repository, git

AT = datetime(2026, 11, 25, tzinfo=UTC)
BRANCH = "caretaker/dependencies"


@pytest.fixture
def remote(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    repository.write("lock", "old\n")
    repository.commit("first")
    return repository


@pytest.fixture
def clone(remote: Repository, tmp_path: Path) -> GitRepository:
    repository = GitRepository(remote.url, tmp_path / "clone")
    assert repository.clone() == "main"
    return repository


def test_the_same_files_on_the_same_base_are_the_same_commit_and_it_is_ours(clone: GitRepository) -> None:
    one = clone.commit({"lock": "new\n", ".hidden/list": "x\n"}, "Update", AT)
    assert clone.commit({"lock": "new\n"}, "Update", AT) == one
    assert clone.strangers(clone.head(), one) == ()
    assert (clone.read(one, "lock"), clone.read(one, "nothing")) == ("new\n", None)


def test_a_commit_that_a_person_made_or_amended_is_not_ours(clone: GitRepository, remote: Repository) -> None:
    clone.push(clone.commit({"lock": "new\n"}, "Update", AT), BRANCH, "")
    remote.take(BRANCH)
    remote.write("lock", "mine\n")
    git(remote.work, "commit", "--quiet", "--all", "--amend", "--no-edit")
    git(remote.work, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{BRANCH}")
    (found,) = clone.strangers(clone.head(), clone.remote_head(BRANCH))
    assert found.endswith("Update (caretaker)")


@pytest.mark.parametrize("seen", ["a commit of ours", "no branch"])
def test_what_a_person_pushed_meanwhile_is_not_overwritten(clone: GitRepository, remote: Repository, seen: str) -> None:
    expected = clone.commit({"lock": "new\n"}, "Update", AT) if seen == "a commit of ours" else ""
    if expected:
        clone.push(expected, BRANCH, "")
    remote.write("lock", "mine\n")
    theirs = remote.commit("mine", BRANCH, force=True)
    ours = clone.commit({"lock": "newer\n"}, "Update", AT)
    with pytest.raises(Conflict, match="somebody pushed to it meanwhile"):
        clone.push(ours, BRANCH, expected)
    assert remote.branches()[BRANCH] == theirs


def test_a_push_that_was_done_already_is_done(clone: GitRepository, remote: Repository) -> None:
    ours = clone.commit({"lock": "new\n"}, "Update", AT)
    clone.push(ours, BRANCH, "")
    clone.push(ours, BRANCH, "")
    assert remote.branches()[BRANCH] == ours


def test_a_protected_branch_is_not_allowed_and_the_way_out_is_said(clone: GitRepository, remote: Repository) -> None:
    remote.hook("pre-receive", 'echo "error: GH006: Protected branch update failed for refs/heads/x" >&2; exit 1')
    with pytest.raises(NotAllowed, match=r"the branch is protected.*name another update_branch"):
        clone.push(clone.commit({"lock": "new\n"}, "Update", AT), BRANCH, "")
    assert BRANCH not in remote.branches()


def test_a_repository_or_branch_that_is_not_there_is_missing(remote: Repository, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="does not appear to be a git repository"):
        GitRepository((tmp_path / "nowhere").as_uri(), tmp_path / "c").clone()
    with pytest.raises(Missing, match="not found"):
        GitRepository(remote.url, tmp_path / "c").clone("nowhere")


def test_the_token_is_in_the_environment_of_git_alone(tmp_path: Path) -> None:
    repository = GitRepository("https://forge.example/o/n.git", tmp_path / "c", SecretStr("ghp_secret"))
    assert "ghp_secret" not in str(vars(repository))
    assert any(value.startswith("Authorization: Basic ") for value in repository._env.values())
    assert "http.https://forge.example/.extraHeader" in repository._env.values()
    assert "credential.helper" in repository._env.values()
    over_ssh = GitRepository("git@forge.example:o/n.git", tmp_path, SecretStr("x"))
    assert not any(value.startswith("Authorization") for value in over_ssh._env.values())
