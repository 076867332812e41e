"""A branch as git itself tells it: by parents, over a force push, a merge, a tag and a remote that is away."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.ports import free_port, is_free
from tasks.clients.branch_mirror import BranchMirror
from tasks.clients.source_git import checkout, commit_of
from tasks.errors import Missing, OpsError
from tests.dependencies.repositories import Repository, git
from tests.deployments.runs import wait_until


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)


def mirror(repository: Repository, tmp_path: Path, branch: str = "main") -> BranchMirror:
    return BranchMirror(repository.url, branch, tmp_path / "clones")


@pytest.fixture
def served(repository: Repository) -> Iterator[str]:
    """The repository behind git's own server, which can leave out what is not asked for, as forges can."""
    git(repository.remote, "config", "uploadpack.allowFilter", "true")
    port = free_port()
    argv = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--reuseaddr"]
    process = subprocess.Popen([*argv, str(repository.remote)], start_new_session=True)
    wait_until(lambda: not is_free(port), "git's server")
    yield f"git://127.0.0.1:{port}{repository.remote}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def test_the_newest_commit_is_first_and_each_has_its_parents(repository: Repository, tmp_path: Path) -> None:
    first, second = repository.commit(), repository.commit()
    found = mirror(repository, tmp_path).history()
    assert (found.head, found.branch) == (second, "main")
    assert found.parents == {second: (first,), first: ()}
    third = repository.commit()
    assert mirror(repository, tmp_path).history().parents == {third: (second,), second: (first,), first: ()}


def test_without_a_name_it_is_the_branch_that_is_checked_out(repository: Repository, tmp_path: Path) -> None:
    head = repository.commit()
    found = BranchMirror(repository.work.as_uri(), "", tmp_path / "clones").history()
    assert (found.branch, found.head) == ("main", head)
    git(repository.work, "checkout", "--quiet", "--detach")
    assert BranchMirror(repository.work.as_uri(), "", tmp_path / "clones").history().branch == ""


def test_after_a_force_push_the_old_commits_are_not_on_the_branch(repository: Repository, tmp_path: Path) -> None:
    first, second = repository.commit(), repository.commit()
    assert second in mirror(repository, tmp_path).history().parents
    git(repository.work, "reset", "--quiet", "--hard", first)
    third = repository.commit("another", force=True)
    assert mirror(repository, tmp_path).history().parents == {third: (first,), first: ()}


def test_both_lines_of_a_merge_are_there_and_no_commit_comes_after_its_parents(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit()
    git(repository.work, "checkout", "--quiet", "-b", "side")
    side = repository.commit("side", branch="side")
    git(repository.work, "checkout", "--quiet", "main")
    repository.commit("main")
    git(repository.work, "merge", "--quiet", "--no-ff", "--no-edit", "side")
    merge = repository.commit("after")
    history = mirror(repository, tmp_path).history()
    places = {commit: place for place, commit in enumerate(history.parents)}
    assert history.head == merge
    assert side in places
    assert all(places[commit] < places[one] for commit, parents in history.parents.items() for one in parents)


def test_a_tag_names_its_commit_whether_annotated_or_not(repository: Repository, tmp_path: Path) -> None:
    head = repository.commit()
    git(repository.work, "tag", "light")
    git(repository.work, "tag", "--annotate", "--message", "x", "heavy")
    git(repository.work, "push", "--quiet", "origin", "--tags")
    found = mirror(repository, tmp_path)
    found.history()
    assert [found.commit_of_tag(tag) for tag in ("light", "heavy", "none")] == [head, head, ""]


def test_a_branch_that_is_not_there_is_said_and_a_remote_that_is_away_too(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit()
    with pytest.raises(Missing, match=r"\[source\] repository and branch"):
        mirror(repository, tmp_path, "gone").history()
    with pytest.raises(OpsError):
        BranchMirror((tmp_path / "nowhere").as_uri(), "main", tmp_path / "clones").history()


def test_a_commit_of_the_branch_can_be_checked_out_though_no_ref_names_it(
    repository: Repository, tmp_path: Path
) -> None:
    repository.write("file", "one")
    first = repository.commit()
    repository.write("file", "two")
    repository.commit()
    folder = checkout(repository.url, first, tmp_path, tmp_path / "scratch")
    assert ((folder / "file").read_text(), commit_of(folder)) == ("one", first)


def test_of_a_forges_repository_it_fetches_the_commits_and_no_file(
    repository: Repository, tmp_path: Path, served: str
) -> None:
    for number in range(2):
        repository.write("large", str(number) * 100_000)
        head = repository.commit()
        assert BranchMirror(served, "main", tmp_path / "clones").history().head == head
    (clone,) = (tmp_path / "clones").iterdir()
    kinds = git(clone, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split()
    assert kinds == ["commit", "commit"]


def test_a_remote_that_is_a_shallow_clone_is_followed_too(repository: Repository, tmp_path: Path) -> None:
    commits = [repository.commit() for _ in range(4)]
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=2", repository.url, str(shallow))
    found = BranchMirror(shallow.as_uri(), "", tmp_path / "clones").history()
    assert found.parents == {commits[3]: (commits[2],), commits[2]: ()}
    commits.append(repository.commit())
    git(shallow, "pull", "--quiet")
    assert list(BranchMirror(shallow.as_uri(), "", tmp_path / "clones").history().parents) == commits[:1:-1]
