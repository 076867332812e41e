"""A git source at a ref, from a repository on disk; two runs of the same ref do not disturb each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.clients.source_git import checkout, commit_of
from tasks.errors import BadInput


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with the tag ``v1``, and a later commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for text, tag in (("1", "v1"), ("2", "v2")):
        (folder / "version").write_text(text)
        git(folder, "init", "--quiet")
        git(folder, "add", "version")
        git(folder, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", text)
        git(folder, "tag", tag)
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_url_is_checked_out_at_its_ref_and_the_commit_is_known(repository: Path, tmp_path: Path) -> None:
    found = checkout(repository.as_uri(), "v1", tmp_path, tmp_path / "scratch")
    assert (found / "version").read_text() == "1"
    assert commit_of(found) == git(repository, "rev-parse", "v1")


def test_a_folder_at_a_ref_is_not_the_folder_as_it_stands(repository: Path, tmp_path: Path) -> None:
    assert (checkout(str(repository), "", tmp_path, tmp_path / "scratch") / "version").read_text() == "2"
    assert (checkout(str(repository), "v1", tmp_path, tmp_path / "scratch") / "version").read_text() == "1"


def test_a_second_run_of_the_same_ref_leaves_the_first_ones_checkout_alone(repository: Path, tmp_path: Path) -> None:
    first = checkout(repository.as_uri(), "v1", tmp_path, tmp_path / "scratch")
    (first / "being-read").write_text("")
    assert checkout(repository.as_uri(), "v1", tmp_path, tmp_path / "scratch") != first
    assert (first / "being-read").exists()


def test_the_checkout_of_a_run_that_is_gone_is_removed(repository: Path, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / "scratch" / f"{gone.pid}-left"
    left.mkdir(parents=True)
    checkout(repository.as_uri(), "v1", tmp_path, tmp_path / "scratch")
    assert not left.exists()


def test_a_ref_a_repository_and_a_folder_that_do_not_exist_are_named(repository: Path, tmp_path: Path) -> None:
    for source, ref in ((repository.as_uri(), "v9"), ((tmp_path / "none").as_uri(), "v1"), (str(tmp_path / "no"), "")):
        with pytest.raises(BadInput, match=f"{ref or tmp_path}"):
            checkout(source, ref, tmp_path, tmp_path / "scratch")
