"""A repository of the tests: a bare remote, and a person's clone of it, both made with git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tasks.clients.program import environment
from tasks.clients.uv_lock import UvLock
from tasks.dependency_models import Wish
from tests.dependencies.package_index import LOCKED, Index

PERSON = {"GIT_AUTHOR_NAME": "Person", "GIT_AUTHOR_EMAIL": "p@example.org", "GIT_COMMITTER_NAME": "Person",
          "GIT_COMMITTER_EMAIL": "p@example.org", "GIT_CONFIG_GLOBAL": "/dev/null"}  # fmt: skip


class Repository:
    """A remote with the branch ``main``, and a working copy that a person commits in."""

    def __init__(self, folder: Path) -> None:
        self.remote, self.work = folder / "remote.git", folder / "person"
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        git(folder, "clone", "--quiet", str(self.remote), str(self.work))

    @property
    def url(self) -> str:
        return self.remote.as_uri()

    def write(self, path: str, text: str) -> None:
        target = self.work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def commit(self, message: str = "work", branch: str = "main", force: bool = False) -> str:
        """Commit everything as a person, and push it."""
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--allow-empty", "-m", message)
        git(self.work, "push", "--quiet", *(["--force"] if force else []), "origin", f"HEAD:refs/heads/{branch}")
        return git(self.work, "rev-parse", "HEAD").strip()

    def take(self, branch: str) -> None:
        """Have a person's working copy stand at a branch of the remote."""
        git(self.work, "fetch", "--quiet", "origin", branch)
        git(self.work, "checkout", "--quiet", "--detach", "FETCH_HEAD")

    def branches(self) -> dict[str, str]:
        lines = git(self.remote, "for-each-ref", "--format=%(refname:short) %(objectname)").splitlines()
        return dict(line.split() for line in lines)

    def read(self, branch: str, path: str) -> str:
        return git(self.remote, "show", f"{branch}:{path}")

    def hook(self, name: str, script: str) -> None:
        """Have the remote run a script, as a forge runs its own checks."""
        path = self.remote / "hooks" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def delete(self, branch: str) -> None:
        git(self.remote, "update-ref", "-d", f"refs/heads/{branch}")

    def python_project(self, index: Index, *needs: str, folder: str = ".", allowed: str = "") -> None:
        """A uv project whose lock was made before anything young was uploaded."""
        names = ", ".join(f'"{need}"' for need in needs)
        text = f"""[project]
name = "app"
version = "1.0"
requires-python = ">=3.11"
dependencies = [{names}]

[[tool.uv.index]]
name = "local"
url = "{index.url}/simple"
default = true
{allowed}"""
        self.write(f"{folder}/pyproject.toml", text)
        lock = UvLock(self.work / folder)
        lock.lock.write_text('version = 1\nrequires-python = ">=3.11"\n')
        lock.resolve(Wish(cutoff=LOCKED))


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment(PERSON), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
