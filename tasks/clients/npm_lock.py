"""npm: makes ``package-lock.json`` anew under a cooldown, and installs it without running any script.

Safety property: ``--ignore-scripts`` everywhere: no package runs code outside the sandbox. ``package.json`` is never
written.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from tasks.clients.program import environment, run
from tasks.clients.resolver_errors import Unsolvable, failure
from tasks.dependency_models import Wish

SECONDS = 600.0
_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


class NpmLock:
    """One npm project of a checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._env = environment({"npm_config_fetch_retries": "0", "npm_config_update_notifier": "false"})

    @property
    def lock(self) -> Path:
        """The file that is the lock."""
        return self.folder / "package-lock.json"

    @property
    def files(self) -> tuple[str, ...]:
        """The files that an update changes."""
        return (self.lock.name,)

    @property
    def bins(self) -> tuple[Path, ...]:
        """Where the installed programs are."""
        return (self.folder / "node_modules" / ".bin",)

    @property
    def packages(self) -> Path:
        """Where the installed packages are."""
        return self.folder / "node_modules"

    def resolve(self, wish: Wish) -> None:
        """Make the lock anew in place, within what ``package.json`` allows.

        npm can hold a package back only by not naming it; one that the others drag along moves all the same, which
        the lock's difference then shows. An exempt package moves in a call of its own, up to the moment at which its
        pin was published; where that drags along what is too young, Unsolvable is raised.
        """
        names = set(wish.names or self._names()) - wish.exempt - set(wish.stays)
        if names:
            self._update(sorted(names), ("--before", wish.cutoff.astimezone(UTC).isoformat()))
        for name in sorted(wish.exempt):
            self._hurry(name, wish)

    def check(self) -> None:
        """Nothing to check: ``npm ci`` refuses a lock that does not fit ``package.json``."""

    def install(self) -> None:
        """Install the lock into ``node_modules``. Raises BadInput where it does not fit ``package.json``."""
        self._npm(f"installing {self.lock}", "ci", *_QUIET)

    def interpreter(self) -> Path:
        """A folder that a test must be able to read: node's own is among the system's programs."""
        return Path("/usr/bin")

    def _hurry(self, name: str, wish: Wish) -> None:
        before = self._versions()
        until = self._published(name, wish.pins[name]) if name in wish.pins else datetime.now(UTC).isoformat()
        self._update([name], ("--before", until))
        for path, version in self._versions().items():
            if before.get(path) != version and _name(path) not in wish.exempt:
                self._refuse_young(name, _name(path), version, wish.cutoff)

    def _refuse_young(self, fix: str, name: str, version: str, cutoff: datetime) -> None:
        if datetime.fromisoformat(self._published(name, version)) > cutoff:
            raise Unsolvable(
                f"resolving {self.lock} failed: the fix of {fix} brings {name} {version}, which is younger than the "
                "cooldown; update both by hand"
            )

    def _published(self, name: str, version: str) -> str:
        told = self._npm(f"asking when {name} {version} was published", "view", "--json", *_QUIET, "--", name, "time")
        times = json.loads(told or "{}")
        if version not in times:
            raise Unsolvable(f"resolving {self.lock} failed: no {name} {version} in the registry; update it by hand")
        return str(times[version])

    def _versions(self) -> dict[str, str]:
        entries = json.loads(self.lock.read_text())["packages"]
        return {path: entry.get("version", "") for path, entry in entries.items() if "node_modules/" in path}

    def _names(self) -> list[str]:
        return [_name(path) for path in self._versions()]

    def _update(self, names: list[str], when: tuple[str, ...]) -> None:
        # "--": a dependency may be called "--no-ignore-scripts", and must not be read as an option.
        self._npm(f"resolving {self.lock}", "update", "--package-lock-only", *_QUIET, *when, "--", *names)

    def _npm(self, what: str, *arguments: str) -> str:
        ended = run(["npm", *arguments], self.folder, SECONDS, self._env)
        if ended.status:
            raise failure(what, ended)
        return ended.out


def _name(path: str) -> str:
    return path.rpartition("node_modules/")[2]
