"""The steps of an update of dependencies, from the clone to the pull request.

Safety property: everything up to ``publish`` reads, and writes in the scratch folder alone, so a dry run is the same
path; what is published was tested as it is.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.states import Failed

from tasks.analysis.culprits import BASE
from tasks.analysis.held_back import entry_until, read_held, standing, write_held
from tasks.analysis.update_text import UpdateReport, all_named, body, message, title
from tasks.clients.package_index import statuses
from tasks.dependency_checkout import Checkout, check_out, scratch_of, section_of
from tasks.dependency_models import Blame, Held, Installed, Judgement, ProjectStatus, Update, UpdateVerdict
from tasks.dependency_plan import Plan, plan_updates
from tasks.dependency_publishing import (
    Published,
    find_pull_request,
    forge_of,
    merge_pull_request,
    push_branch,
    write_pull_request,
)
from tasks.dependency_regrets import hold_what_was_rolled_back
from tasks.dependency_trials import Trials, judge_updates
from tasks.models import Finding
from tasks.policies import READ, WAIT
from tasks.record import record_change
from tasks.site import Site

SECURITY = "-security"


@contextmanager
def scratch(site: Site) -> Iterator[None]:
    """The scratch folder, gone afterwards; what a killed run left is gone too. Whoever enters holds the lock."""
    folder = scratch_of(site)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def branch_of(site: Site, only_security: bool) -> str:
    """The branch of a run: security fixes that come at once have their own."""
    return section_of(site).update_branch + (SECURITY if only_security else "")


class Tried:
    """What was planned and tested: all that is needed to tell of it and to publish it."""

    def __init__(self, checkout: Checkout, plan: Plan, trials: Trials, judgement: Judgement) -> None:
        self.checkout, self.plan, self.trials, self.judgement = checkout, plan, trials, judgement
        self.texts = trials.locks(judgement.ship)
        self.updates = trials.updates(self.texts) if judgement.ship else ()
        self.new_held = tuple(_entry(checkout, plan, blame) for blame in judgement.blamed)
        self.held = standing((*checkout.held, *self.new_held), checkout.now.date())

    @property
    def files(self) -> dict[str, str]:
        """The files that the commit changes, as far as they differ from the base's."""
        checkout = self.checkout
        texts = {checkout.lock_path(folder): text for folder, text in self.texts.items()}
        before = {checkout.lock_path(folder): text for folder, text in checkout.texts.items()}
        list_before = checkout.repository.read(checkout.commit, checkout.section.held_back) or ""
        held, path = write_held(self.held), checkout.section.held_back
        if read_held(held, path) != standing(read_held(list_before, path), checkout.now.date()):
            texts[path] = held
        return {name: text for name, text in texts.items() if text != before.get(name)}


async def plan_and_try(site: Site, branch: str, only_security: bool) -> Tried:
    """Clone, make the newest allowed locks, and find which of their updates pass the tests together."""
    checkout = await check_out(site, branch)
    await hold_what_was_rolled_back(site, checkout)
    plan = await plan_updates(checkout, only_security)
    trials = Trials(checkout, plan)
    judgement = await judge_updates(trials) if plan.units else Judgement(verdict="passed")
    return await asyncio.to_thread(Tried, checkout, plan, trials, judgement)


async def report_of(tried: Tried) -> UpdateReport:
    """Everything that the pull request tells."""
    checkout, plan, judgement = tried.checkout, tried.plan, tried.judgement
    known = await ask_index(tried)
    before, after = await measure(tried) if tried.updates else (None, None)
    moved = {(update.manifest, update.package) for update in tried.updates}
    left = {(one.manifest, one.package, one.id) for one in plan.left}
    mended = [one for one in plan.open if (one.manifest, one.package, one.id) not in left]
    return UpdateReport(
        base=checkout.base,
        updates=tuple(_with_yanked(update, known) for update in tried.updates),
        closed=tuple(one for one in mended if (one.manifest, one.package) in moved),
        left=(*plan.left, *(one for one in mended if (one.manifest, one.package) not in moved)),
        held=tried.held,
        judgement=judgement,
        findings=tuple(plan.findings),
        sandbox=tried.trials.sandbox,
        before=before,
        after=after,
        statuses=known,
        deprecated=_deprecated(plan),
        cooldown_days=checkout.section.cooldown_days,
        now=checkout.now,
    )


@task(**READ)
async def ask_index(tried: Tried) -> dict[str, ProjectStatus | None]:
    """What the index says of what is asked for, and of what changes."""
    changed = {(update.manifest, update.package) for update in tried.updates}
    wanted = []
    for folder, graph in tried.plan.graphs.items():
        for name, locked in graph.packages.items():
            if locked.index and (name in graph.direct or (folder, name) in changed):
                wanted.append((locked.index, name))
    return await asyncio.to_thread(statuses, wanted)


@task(**WAIT)
async def measure(tried: Tried) -> tuple[Installed, Installed]:
    """What is installed before and after. Safe to repeat: it installs into folders that it removes."""
    before = await asyncio.to_thread(tried.trials.measure, BASE)
    return before, await asyncio.to_thread(tried.trials.measure, tried.judgement.ship)


async def publish(site: Site, tried: Tried, report: UpdateReport) -> Published:
    """Push the branch, and open or edit its pull request."""
    checkout, forge = tried.checkout, forge_of(site, tried.checkout.section.forge)
    found = await find_pull_request(forge, checkout) if forge else None
    for folder in checkout.manifests:
        tool = checkout.tool(folder, checkout.scratch / "plan")
        tool.lock.write_text(tried.texts[folder])
        await asyncio.to_thread(tool.check)
    commit = await push_branch(checkout, tried.files, message(report))
    if forge is None:
        return Published(commit=commit)
    published = await write_pull_request(forge, checkout, found, commit, title(report), body(report))
    return await merge_pull_request(forge, published) if checkout.section.merge else published


async def record_update(site: Site, tried: Tried, verdict: UpdateVerdict, reason: str) -> None:
    """Write the update into the ledger, once for each commit."""
    checkout = tried.checkout
    await record_change(
        site, "dependencies", checkout.section.repository, reason, verdict.verdict,
        f"dependencies/{site.estate.google.project}/{checkout.branch}/{verdict.commit}",
        {"base": checkout.commit, "branch": checkout.branch},
        {update.key: update.old for update in verdict.updates},
        {
            "commit": verdict.commit, "pull_request": verdict.pull_request,
            "updates": {update.key: update.new for update in verdict.updates},
            "held": [one.model_dump(mode="json") for one in tried.new_held],
        },
    )  # fmt: skip


def verdict_of(tried: Tried, report: UpdateReport, published: Published | None, dry_run: bool) -> UpdateVerdict:
    """The flow's result."""
    judgement, pull = tried.judgement, published.pull if published else None
    kind, why = _words(tried, dry_run)
    return UpdateVerdict(
        verdict=kind, why=why, updates=report.updates, closed=report.closed, held=tried.held,
        findings=(*report.findings, *(published.findings if published else ())), text=body(report), dry_run=dry_run,
        branch=tried.checkout.branch, commit=published.commit if published else "",
        pull_request=pull.url if pull else "", test_runs=judgement.runs,
        tool_seconds=round(tried.plan.tool_seconds, 2),
    )  # fmt: skip


def _words(tried: Tried, dry_run: bool) -> tuple[Any, str]:
    judgement = tried.judgement
    if judgement.verdict == "base_fails":
        return "refused", "the tests fail without any update; mend them first"
    if judgement.verdict == "flaky" and not judgement.ship:
        return "held", f"the tests are too flaky to judge by: {', '.join(judgement.flaky) or 'they name no test'}"
    if not tried.updates:
        held = ", ".join(one.package for one in tried.held)
        return ("held", f"no update passes the tests; held back: {held}") if tried.new_held else ("unchanged", "")
    return ("planned" if dry_run else "proposed"), all_named(tried.updates)[:500]


def conclude(verdict: UpdateVerdict, began: float, told: tuple[Finding, ...] = ()) -> Any:
    """The flow's result; a failed state where nothing can be proposed although something should be."""
    seconds = round(time.monotonic() - began, 2)
    done = verdict.model_copy(update={"seconds": seconds, "findings": (*verdict.findings, *told)})
    if done.verdict in ("planned", "proposed", "unchanged"):
        return done
    return Failed(message=done.why, data=done)


def _entry(checkout: Checkout, plan: Plan, blame: Blame) -> Held:
    update = next(one for one in plan.updates if one.key == blame.held)
    others = tuple(key for key in blame.members if key != blame.held)
    failed = f": {', '.join(blame.failed[:3])}" if blame.failed else ""
    return Held(
        manifest=update.manifest, package=update.package, stays=update.old, refused=update.new,
        reason=f"the tests fail with it{failed}"[:300], since=checkout.now.date(), together=others,
        until=entry_until(checkout.now.date(), checkout.section.held_back_days),
    )  # fmt: skip


def _with_yanked(update: Update, known: dict[str, ProjectStatus | None]) -> Update:
    status = known.get(update.package)
    reason = status.yanked.get(update.new, "") if status else ""
    return update.model_copy(update={"yanked": reason}) if reason else update


def _deprecated(plan: Plan) -> dict[str, str]:
    """What locks themselves say of packages that are not kept any more: npm's do."""
    return {
        name: f"deprecated: {locked.deprecated}"
        for graph in plan.graphs.values()
        for name, locked in graph.packages.items()
        if locked.deprecated
    }
