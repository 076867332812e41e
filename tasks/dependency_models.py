"""What the steps of a dependency update hand to each other, and what the flow returns."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from tasks.models import Finding, Frozen

Kind = Literal["uv", "requirements", "npm"]


class Locked(Frozen):
    """One package of a lock. ``versions`` are several where markers (Python) or nesting (npm) ask for them.

    ``needs`` are the names that it depends on. ``registry`` is false for what comes from a folder, git or an URL:
    no index has a newer version of that. ``index`` is the one that the lock names.
    """

    name: str
    versions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    registry: bool = True
    index: str = ""
    licence: str = ""
    deprecated: str = ""


class LockGraph(Frozen):
    """A lock by structure: its packages, and those that the project itself asks for."""

    packages: dict[str, Locked] = Field(default_factory=dict)
    direct: frozenset[str] = frozenset()


class Wish(Frozen):
    """How a lock is to be made anew. ``names`` are the packages that may move; None: all.

    What was uploaded after ``cutoff`` is not seen, but for the packages of ``exempt`` and ``stays``. ``pins`` are the
    versions that names move to, ``stays`` those at which names remain.
    """

    cutoff: datetime
    names: tuple[str, ...] | None = None
    pins: dict[str, str] = Field(default_factory=dict)
    stays: dict[str, str] = Field(default_factory=dict)
    exempt: frozenset[str] = frozenset()


class Update(Frozen):
    """One package of one manifest that changes. ``old`` or ``new`` is empty where it comes or goes.

    ``why`` is the shortest path from what the project asks for down to the package.
    """

    manifest: str
    kind: Kind
    package: str
    old: str
    new: str
    direct: bool
    major: bool
    why: tuple[str, ...] = ()
    yanked: str = ""

    @property
    def key(self) -> str:
        """The package in its manifest, as one word for people."""
        return f"{self.manifest}:{self.package}" if self.manifest != "." else self.package


class Vulnerability(Frozen):
    """A known vulnerability of a locked version. ``fixed`` is the lowest version that mends it, empty without one."""

    id: str
    manifest: str
    package: str
    version: str
    fixed: str = ""
    aliases: tuple[str, ...] = ()
    summary: str = ""
    link: str = ""
    published: datetime | None = None


class Held(Frozen):
    """A line of the held-back list: this package stays at ``stays`` until the day ``until``.

    ``refused`` is the version that broke something; ``together`` are the updates that it only breaks with.
    """

    manifest: str
    package: str
    stays: str
    refused: str
    reason: str
    since: date
    until: date
    together: tuple[str, ...] = ()


class TestRun(Frozen):
    """One run of the repository's own tests on one set of updates. ``failed`` names tests, as far as they tell."""

    __test__ = False  # pytest takes every class of this name for tests of its own

    passed: bool
    failed: tuple[str, ...] = ()
    seconds: float = 0.0
    tail: str = ""


class Installed(Frozen):
    """What an installed environment holds, read without running any of it.

    ``links`` lead to what a reviewer wants to read: a changelog, else the project's own page.
    """

    size_bytes: int
    licences: dict[str, str] = Field(default_factory=dict)
    links: dict[str, str] = Field(default_factory=dict)


class ProjectStatus(Frozen):
    """What the index says about a package: yanked versions with their reason, and whether the project goes on."""

    package: str
    yanked: dict[str, str] = Field(default_factory=dict)
    status: str = ""
    newest: datetime | None = None


class Blame(Frozen):
    """A smallest set of updates with which the tests fail, and the one of it that is held back."""

    members: tuple[str, ...]
    held: str
    failed: tuple[str, ...] = ()


class Judgement(Frozen):
    """What the test runs said. ``ship`` are the keys of the updates that passed together."""

    verdict: Literal["passed", "flaky", "base_fails", "none_passes"]
    ship: frozenset[str] = frozenset()
    blamed: tuple[Blame, ...] = ()
    flaky: tuple[str, ...] = ()
    runs: int = 0
    runs_until_found: int = 0


Verdict = Literal["planned", "proposed", "unchanged", "held", "refused"]


class UpdateVerdict(Frozen):
    """The result of the flow."""

    verdict: Verdict
    updates: tuple[Update, ...] = ()
    closed: tuple[Vulnerability, ...] = ()
    held: tuple[Held, ...] = ()
    findings: tuple[Finding, ...] = ()
    why: str = ""
    branch: str = ""
    commit: str = ""
    pull_request: str = ""
    text: str = ""
    test_runs: int = 0
    tool_seconds: float = 0.0
    seconds: float = 0.0
    dry_run: bool = False
