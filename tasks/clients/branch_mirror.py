"""The commits of one branch of a remote repository, in a bare clone of our own.

Safety property: it only fetches. What is older or newer is told by git's own graph of parents, never by a time that
somebody wrote into a commit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import SecretStr

from tasks.clients.git_repository import failure, surroundings
from tasks.clients.program import Ended, run, shown
from tasks.delivery_models import BranchHistory
from tasks.errors import Missing

SECONDS = 60.0
#: How far back a branch is looked at. A commit that is older still is no candidate for a release.
DEPTH = 20_000
#: Of a forge's repository the commits alone, no tree and no file. A folder may be a shallow clone, as a checkout of CI
#: is: what it has is taken. The two do not go together, for git would look for the missing parents without end.
COMMITS_ALONE, SHALLOW_TOO = "--filter=tree:0", "--update-shallow"


class BranchMirror:
    """One branch of a remote, the default one where none is named. ``folder`` holds the clones of this machine."""

    def __init__(self, url: str, branch: str, folder: Path, token: SecretStr | None = None) -> None:
        self.url, self._wanted = url, branch
        self._git_dir = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._env = surroundings(url, token)

    def history(self) -> BranchHistory:
        """The branch as the remote has it now. Raises Missing, TransientError, NotAllowed."""
        branch, head = self.remote_head()
        self._fetch(head)
        lines = self._git("rev-list", "--topo-order", "--parents", f"--max-count={DEPTH}", head).splitlines()
        commits = (line.split() for line in lines)
        return BranchHistory(branch=branch, parents={first: tuple(rest) for first, *rest in commits})

    def commit_of_tag(self, tag: str) -> str:
        """The commit that a tag of the remote names; empty where there is none."""
        found = self._listed(f"refs/tags/{tag}", f"refs/tags/{tag}^{{}}")
        return found.get(f"refs/tags/{tag}^{{}}") or found.get(f"refs/tags/{tag}", "")

    def _prepare(self) -> None:
        """Make the clone. Safe to repeat, and to do from two processes at once; nothing in it is ever collected."""
        if not (self._git_dir / "HEAD").exists():
            self._git_dir.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare")

    def remote_head(self) -> tuple[str, str]:
        """The branch's name and its newest commit, as the remote has them now. Raises Missing, TransientError."""
        self._prepare()
        wanted = f"refs/heads/{self._wanted}" if self._wanted else "HEAD"
        lines = self._git("ls-remote", "--symref", "--end-of-options", self.url, wanted).splitlines()
        rows = [line.split("\t") for line in lines]
        heads = [place for place, name in rows if name == wanted and not place.startswith("ref: ")]
        if not heads:
            raise Missing(
                f"reading the branch {self._wanted or '(default)'} of {shown(self.url)} failed: there is none; "
                "check [source] repository and branch"
            )
        named = [place.removeprefix("ref: refs/heads/") for place, name in rows if place.startswith("ref: refs/heads/")]
        return self._wanted or next(iter(named), ""), heads[0]

    def _fetch(self, head: str) -> None:
        """Get the commits up to a head. The ref tells the next fetch what is here; who writes it last is right too."""
        if self._tip() == head:
            return
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
        what = SHALLOW_TOO if self.url.startswith("file:") else COMMITS_ALONE
        self._git("fetch", *quiet, what, "--end-of-options", self.url, head)
        self._try("update-ref", self._ref, head)

    def _tip(self) -> str:
        return self._try("rev-parse", "--verify", "--quiet", self._ref).out.strip()

    @property
    def _ref(self) -> str:
        return f"refs/caretaker/{hashlib.sha256(self._wanted.encode()).hexdigest()[:16]}"

    def _listed(self, *refs: str) -> dict[str, str]:
        lines = self._git("ls-remote", "--end-of-options", self.url, *refs).splitlines()
        return {name: commit for commit, name in (line.split("\t") for line in lines)}

    def _git(self, *arguments: str) -> str:
        ended = self._try(*arguments)
        if ended.status:
            raise failure(f"git {arguments[0]} of {shown(self.url)}", ended, "[source] repository and its token")
        return ended.out

    def _try(self, *arguments: str) -> Ended:
        return run(["git", f"--git-dir={self._git_dir}", *arguments], self._git_dir, SECONDS, self._env)
