"""What could be updated: the newest locks that the cooldown, the held-back list and the requirements allow.

Safety property: reads only; locks are made in a copy. A release that is younger than the cooldown gets in only as the
lowest version that mends a known vulnerability, and for that package alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prefect import task

from tasks.analysis.advisories import ECOSYSTEMS, asked_about, comparable, vulnerability, wanted_fixes
from tasks.analysis.lock_diff import updates_between
from tasks.analysis.lockfiles import read_lock
from tasks.clients.osv import Osv
from tasks.clients.polling import wait_for
from tasks.clients.resolver_errors import Unsolvable
from tasks.dependency_checkout import Checkout, LockTool
from tasks.dependency_models import Locked, LockGraph, Update, Vulnerability, Wish
from tasks.errors import OpsError, TransientError
from tasks.models import Finding
from tasks.policies import READ

#: How long an advisory database that does not answer is waited for: it must not hold up everything else.
PATIENCE = timedelta(seconds=10)


class Plan:
    """The locks that are proposed, and what they change. A plain class: the steps fill it in."""

    def __init__(self) -> None:
        self.wishes: dict[str, Wish] = {}
        self.texts: dict[str, str] = {}
        self.graphs: dict[str, LockGraph] = {}
        self.open: tuple[Vulnerability, ...] = ()
        self.left: tuple[Vulnerability, ...] = ()
        self.findings: list[Finding] = []
        self.updates: tuple[Update, ...] = ()
        self.tool_seconds = 0.0

    @property
    def security(self) -> frozenset[str]:
        """The keys of the updates that mend a vulnerability."""
        left = {(one.manifest, one.package, one.id) for one in self.left}
        mended = {(o.manifest, o.package) for o in self.open if (o.manifest, o.package, o.id) not in left}
        return frozenset(one.key for one in self.updates if (one.manifest, one.package) in mended)

    @property
    def units(self) -> tuple[str, ...]:
        """The keys that can be chosen from, security first, each after what it needs. What comes and goes follows."""
        movable = [one.key for one in self.updates if one.old and one.new]
        return tuple(sorted(movable, key=lambda key: key not in self.security))


@task(**READ)
async def plan_updates(checkout: Checkout, only_security: bool) -> Plan:
    """Make every manifest's newest allowed lock. Raises Unsolvable where there is none; nothing was changed then."""
    return await asyncio.to_thread(make_plan, checkout, only_security)


def make_plan(checkout: Checkout, only_security: bool = False) -> Plan:
    """Make every manifest's newest allowed lock."""
    plan, database = Plan(), _Known(checkout)
    tree = checkout.copy("plan")
    for folder in checkout.manifests:
        _plan_one(checkout, plan, database, folder, checkout.tool(folder, tree), only_security)
    plan.findings += database.findings
    if only_security and database.findings:  # else a night without an answer would look like a night without a hole
        raise TransientError(database.findings[0].what)
    return plan


class _Known:
    """What the advisory database knows. That it cannot be asked is a finding, said once."""

    def __init__(self, checkout: Checkout) -> None:
        self._osv = Osv(checkout.section.advisories) if checkout.section.advisories else None
        self.findings: list[Finding] = []

    def vulnerabilities(self, checkout: Checkout, folder: str, graph: LockGraph) -> tuple[Vulnerability, ...]:
        kind = checkout.manifests[folder].kind
        if self._osv is None or self.findings:
            return ()
        try:
            found = self._ask(ECOSYSTEMS[kind], asked_about(kind, graph))
        except OpsError as error:
            way_out = "no update was hurried; run it again when the database answers"
            self.findings = [Finding(severity="error", subject="advisories", what=str(error), way_out=way_out)]
            return ()
        return tuple(vulnerability(one, folder, kind, name, version) for name, version, one in found)

    def _ask(self, ecosystem: str, packages: Sequence[tuple[str, str]]) -> list[tuple[str, str, dict[str, Any]]]:
        """Ask, for as long as a short outage lasts."""
        assert self._osv is not None
        osv = self._osv
        return wait_for(lambda: osv.advisories(ecosystem, packages), lambda _: True, PATIENCE, "the advisory database")


def single(versions: dict[str, str]) -> dict[str, str]:
    """Those that have one version: a resolver cannot be told of several.

    A held-back package with several may so move again; what it breaks is found once more by the tests.
    """
    return {name: version for name, version in versions.items() if ", " not in version}


def _plan_one(
    checkout: Checkout, plan: Plan, database: _Known, folder: str, tool: LockTool, only_security: bool
) -> None:
    base, kind = checkout.graphs[folder], checkout.manifests[folder].kind
    before = database.vulnerabilities(checkout, folder, base)
    names = tuple(sorted(wanted_fixes(kind, before))) if only_security else None
    stays = single({n: v for n, v in checkout.staying(folder).items() if n in base.packages})
    wish = Wish(cutoff=checkout.cutoff, names=names, stays=stays)
    graph = base if names == () else _resolved(checkout, plan, folder, tool, wish)
    if dropped := _going_back(kind, base, graph, stays):
        wish = wish.model_copy(update={"stays": {**stays, **dropped}})
        graph = _resolved(checkout, plan, folder, tool, wish)
    left = database.vulnerabilities(checkout, folder, graph)
    fixes = {name: fix for name, fix in wanted_fixes(kind, left).items() if name not in stays}
    wish, graph = _hurried(checkout, plan, folder, tool, wish, graph, fixes)
    plan.wishes[folder], plan.graphs[folder], plan.texts[folder] = wish, graph, tool.lock.read_text()
    plan.open += before
    plan.left += database.vulnerabilities(checkout, folder, graph) if fixes else left
    plan.updates += updates_between(folder, kind, base, graph)


def _hurried(
    checkout: Checkout, plan: Plan, folder: str, tool: LockTool, wish: Wish, graph: LockGraph, fixes: dict[str, str]
) -> tuple[Wish, LockGraph]:
    """The lock with each fix that the cooldown kept away, as far as the requirements allow it."""
    for name, fix in sorted(fixes.items()):
        stays = {n: v for n, v in wish.stays.items() if n != name}
        update = {"pins": {**wish.pins, name: fix}, "exempt": wish.exempt | {name}, "stays": stays}
        hurried = wish.model_copy(update=update)
        try:
            graph, wish = _resolved(checkout, plan, folder, tool, hurried), hurried
        except Unsolvable as error:
            what = f"{fix} mends a known vulnerability, but cannot be taken: {str(error)[:300]}"
            plan.findings.append(Finding(severity="error", subject=name, what=what, way_out="loosen that requirement"))
            graph = _resolved(checkout, plan, folder, tool, wish)
    return wish, graph


def _resolved(checkout: Checkout, plan: Plan, folder: str, tool: LockTool, wish: Wish) -> LockGraph:
    """Make the lock from the base's, as a wish says."""
    began = time.monotonic()
    tool.lock.write_text(checkout.texts[folder])
    tool.resolve(wish)
    plan.tool_seconds += time.monotonic() - began
    return read_lock(checkout.manifests[folder].kind, tool.lock.read_text(), checkout.lock_path(folder))


def _going_back(kind: str, base: LockGraph, graph: LockGraph, stays: dict[str, str]) -> dict[str, str]:
    """Packages that would go back, because what is locked is younger than the cooldown: they stay where they are."""
    found = {}
    for name, locked in base.packages.items():
        new = graph.packages.get(name)
        if new and locked.registry and name not in stays and _older(kind, new, locked):
            found[name] = locked.versions[0]
    return found


def _older(kind: str, new: Locked, old: Locked) -> bool:
    if len(new.versions) != 1 or len(old.versions) != 1:
        return False
    a, b = (comparable("npm" if kind == "npm" else "uv", one.versions[0]) for one in (new, old))
    return bool(a is not None and b is not None and a < b)
