"""Checks out a git repository at a ref into a scratch folder.

Safety property: git never asks at a terminal, never runs a remote helper, and is never given an option by an URL.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tasks.errors import BadInput, TransientError

CLONE_SECONDS = 300
_URL = re.compile(r"^(https?|ssh|git|file)://|^[\w.-]+@[\w.-]+:")
_GONE = ("couldn't find remote ref", "not our ref", "does not exist", "not found", "does not appear to be a git")


def checkout(
    source: str, ref: str, default: Path, scratch: Path, login: Mapping[str, str] | None = None
) -> Path:
    """Give the folder named by ``source``: the default where empty, a folder, or a checkout of a git URL at ``ref``.

    ``login``: more variables for git, with which it may read a private repository.
    Raises BadInput when there is no such folder, repository or ref; TransientError when the remote does not answer.
    """
    if not source:
        return default
    if _URL.match(source):
        return _clone(source, ref or "HEAD", scratch, login or {})
    folder = Path(source)
    if not folder.is_dir():
        raise BadInput(f"reading the source {source} failed: no such folder; give a folder or a git URL")
    if ref:
        return _clone(folder.resolve().as_uri(), ref, scratch, {})
    return folder.resolve()


def _clone(url: str, ref: str, scratch: Path, login: Mapping[str, str]) -> Path:
    """Check out into a folder of this run alone: another run may be reading its own of the same ref at this moment."""
    scratch.mkdir(parents=True, exist_ok=True)
    _forget_those_of_the_dead(scratch)
    target = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=scratch))
    _git(target, url, ref, "init", "--quiet")
    _git(target, url, ref, "fetch", "--quiet", "--depth", "1", "--end-of-options", url, ref, login=login)
    _git(target, url, ref, "-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD")
    return target


def _forget_those_of_the_dead(scratch: Path) -> None:
    for folder in scratch.glob("[0-9]*-*"):
        try:
            os.kill(int(folder.name.partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue  # it lives, as somebody else


def commit_of(folder: Path) -> str:
    """The commit of a clean checkout; empty for a folder that is none, or that has changes."""
    found = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, env=_environment()
    )
    dirty = subprocess.run(
        ["git", "-C", str(folder), "status", "--porcelain", "--", "."],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    return found.stdout.strip() if found.returncode == 0 and not dirty.stdout.strip() else ""


def _git(folder: Path, url: str, ref: str, *arguments: str, login: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=CLONE_SECONDS,
            env={**_environment(), **(login or {})},
        )
    except subprocess.TimeoutExpired:
        raise TransientError(f"fetching {_shown(url)} at {ref} failed: no end after {CLONE_SECONDS} s") from None
    if done.returncode:
        said = _shown(" ".join(done.stderr.split())[:300])
        kind = BadInput if any(word in said.lower() for word in _GONE) else TransientError
        raise kind(f"fetching {_shown(url)} at {ref} failed: {said}; check the URL, the ref and the credentials")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SSH_AUTH_SOCK") if name in os.environ}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file", "LC_ALL": "C"}


def _shown(text: str) -> str:
    """The text without credentials in its URLs."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
