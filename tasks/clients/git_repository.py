"""A git repository in a scratch folder: its default branch, our branch, one commit, one conditional push.

Safety property: a commit of ours bears a seal over its tree and parent, so one that a person changed is not taken for
ours; and a push says which commit it replaces, so what arrived meanwhile is never overwritten. The token is in the
environment of git alone: on no command line, in no file, in no message.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr

from tasks.clients.program import Ended, environment, run, shown
from tasks.errors import BadInput, Conflict, Missing, NotAllowed, OpsError, TransientError

SECONDS = 300.0
AUTHOR = ("caretaker", "caretaker@localhost")
SEAL = "Caretaker-Seal"
_GONE = ("not found", "does not exist", "does not appear to be a git", "couldn't find remote ref")
_DENIED = ("authentication failed", "could not read username", "permission denied", "403", "401", "invalid credentials")
_PROTECTED = ("gh006", "gh013", "protected branch", "hook declined")


class GitRepository:
    """One clone of a remote. ``base`` is the branch that is updated."""

    def __init__(self, url: str, folder: Path, token: SecretStr | None = None) -> None:
        self.url, self.folder = url, folder
        self._env = surroundings(url, token)

    def clone(self, branch: str = "") -> str:
        """Clone a branch, the remote's default where none is named, and give its name. Raises Missing, NotAllowed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        wanted = ["--branch", branch] if branch else []
        clone = ["clone", "--quiet", "--no-tags", *wanted, "--end-of-options", self.url, str(self.folder)]
        ended = run(["git", *clone], self.folder.parent, SECONDS, self._env)
        if ended.status:
            raise failure(f"cloning {shown(self.url)}", ended, "[dependencies] repository and branch")
        return self._git("symbolic-ref", "--short", "HEAD").strip()

    def head(self) -> str:
        """The commit that is checked out."""
        return self._git("rev-parse", "HEAD").strip()

    def remote_head(self, branch: str) -> str:
        """The commit at which a branch stands at the remote now, fetched; empty where there is none."""
        found = self._git("ls-remote", "--heads", "origin", f"refs/heads/{branch}").split()
        if not found:
            return ""
        self._git("fetch", "--quiet", "--no-tags", "origin", found[0])
        return found[0]

    def strangers(self, base: str, head: str) -> tuple[str, ...]:
        """The commits from ``base`` to ``head`` that are not ours, as "abc1234 subject (author)"."""
        commits = self._git("rev-list", f"{base}..{head}").split()
        return tuple(self._words(commit) for commit in commits if not self._sealed(commit))

    def read(self, commit: str, path: str) -> str | None:
        """A file as of a commit; None where it has none."""
        ended = run(["git", "show", f"{commit}:{path}"], self.folder, SECONDS, self._env)
        if ended.status and "exist" not in ended.err:
            raise failure(f"reading {path} of {commit[:12]}", ended, "the repository")
        return None if ended.status else ended.out

    def tree_of(self, commit: str) -> str:
        """The tree of a commit."""
        return self._git("rev-parse", f"{commit}^{{tree}}").strip()

    def parent_of(self, commit: str) -> str:
        """The first parent of a commit."""
        return self._git("rev-parse", f"{commit}^").strip()

    def export(self, target: Path) -> None:
        """Copy the files of the commit that is checked out, without the repository itself."""
        target.mkdir(parents=True)
        self._git("checkout-index", "--all", f"--prefix={target}/")

    def commit(self, files: Mapping[str, str], message: str, at: datetime) -> str:
        """Commit files on top of what is checked out; the same content always is the same commit."""
        parent, changed = self.head(), [self._written(path, text) for path, text in files.items()]
        self._git("add", "--force", "--", *changed)
        tree = self._git("write-tree").strip()
        text = f"{message}\n\n{SEAL}: {_seal(tree, parent)}\n"
        return self._git("commit-tree", tree, "-p", parent, "-F", "-", stdin=text, extra=_identity(at)).strip()

    def push(self, commit: str, branch: str, expected: str) -> None:
        """Make a branch point to a commit, if it stands at ``expected`` (empty: if it does not exist).

        Safe to repeat: a branch that stands at the commit already is left alone. Raises Conflict, NotAllowed.
        """
        ref = f"refs/heads/{branch}"
        arguments = ["push", "--porcelain", f"--force-with-lease={ref}:{expected}", "origin", f"{commit}:{ref}"]
        ended = run(["git", *arguments], self.folder, SECONDS, self._env)
        if not ended.status or self.remote_head(branch) == commit:
            return
        what = f"pushing {branch} to {shown(self.url)}"
        said = f"{ended.out} {ended.err}".lower()
        if "stale info" in said or "reference already exists" in said or "cannot lock ref" in said:
            raise Conflict(f"{what} failed: somebody pushed to it meanwhile; look at it, and run the flow again")
        if any(word in said for word in _PROTECTED):
            raise NotAllowed(
                f"{what} failed: the branch is protected ({Ended(1, '', ended.err).said[:200]}); "
                "let caretaker push to it, or name another update_branch"
            )
        raise failure(what, ended, "the token and its permission to write")

    def _written(self, path: str, text: str) -> str:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return path

    def _sealed(self, commit: str) -> bool:
        tree, parents, body = self._git("show", "--no-patch", "--format=%T%n%P%n%B", commit).split("\n", 2)
        return f"{SEAL}: {_seal(tree, parents)}" in body.splitlines()

    def _words(self, commit: str) -> str:
        return self._git("show", "--no-patch", "--format=%h %s (%an)", commit).strip()[:120]

    def _git(self, *arguments: str, stdin: str | None = None, extra: Mapping[str, str] | None = None) -> str:
        ended = run(["git", *arguments], self.folder, SECONDS, {**self._env, **(extra or {})}, stdin)
        if ended.status:
            raise failure(f"git {arguments[0]} in a clone of {shown(self.url)}", ended, "the repository")
        return ended.out


def _seal(tree: str, parents: str) -> str:
    return hashlib.sha256(f"caretaker {tree} {parents}".encode()).hexdigest()[:32]


def _identity(at: datetime) -> dict[str, str]:
    name, address = AUTHOR
    when = f"{int(at.timestamp())} +0000"
    who = {"NAME": name, "EMAIL": address, "DATE": when}
    return {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in who.items()}


def surroundings(url: str, token: SecretStr | None) -> dict[str, str]:
    """The variables of a git that speaks to this remote: no helpers that reach further, the login among them."""
    return environment({"GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file", **login_settings(url, token)})


def login_settings(url: str, token: SecretStr | None) -> dict[str, str]:
    """Settings of our own, on top of the account's: no hooks of its, files as they are, and the login.

    With a token no helper of the account is asked: a token that is refused must not become a person's own login.
    """
    settings = {"core.hooksPath": os.devnull, "core.autocrlf": "false", **_login(url, token)}
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return found


def _login(url: str, token: SecretStr | None) -> dict[str, str]:
    if token is None or not url.startswith(("https://", "http://")):
        return {}
    basic = base64.b64encode(f"x-access-token:{token.get_secret_value()}".encode()).decode()
    host = "/".join(url.split("/")[:3])  # that host alone, wherever it redirects to and whatever git starts beside it
    return {f"http.{host}/.extraHeader": f"Authorization: Basic {basic}", "credential.helper": ""}


def failure(what: str, ended: Ended, check: str) -> OpsError:
    """Our error for what git said."""
    said = ended.said.lower()
    line = f"{what} failed: {ended.said[:300]}; check {check}"
    if any(word in said for word in _DENIED):
        return NotAllowed(line)
    if any(word in said for word in _GONE):
        return Missing(line)
    if "remote branch" in said or "ambiguous argument" in said or "not a valid" in said:
        return BadInput(line)
    return TransientError(line)
