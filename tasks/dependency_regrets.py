"""Holds back what was rolled back: updates of ours that were merged, released, and judged bad by the deploy's canary.

Safety property: reads only; an update is held back only where the ledger shows that this flow proposed it, and that the
release with it was rolled back while the one before it was not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

from prefect import task

from tasks.analysis.held_back import entry_until, standing
from tasks.analysis.lock_diff import updates_between
from tasks.analysis.lockfiles import read_lock
from tasks.analysis.regrets import Regret, regrets, shipped
from tasks.dependency_checkout import Checkout
from tasks.dependency_models import Held, Update
from tasks.policies import READ
from tasks.site import Site

HISTORY = 1000


@task(**READ)
async def hold_what_was_rolled_back(site: Site, checkout: Checkout) -> None:
    """Add what the ledger tells to the checkout's held-back list."""
    entries = await asyncio.to_thread(lambda: tuple(_entries(site, checkout)))
    checkout.held = standing((*checkout.held, *entries), checkout.now.date())


def _entries(site: Site, checkout: Checkout) -> Iterator[Held]:
    ours = shipped(site.ledger.changes(kind="dependencies", subject=checkout.section.repository, limit=HISTORY))
    since = checkout.now - timedelta(days=checkout.section.held_back_days)
    for service in site.estate.services if ours else ():
        changes = site.ledger.changes(kind="deploy", subject=service.name, limit=HISTORY)
        project = site.estate.google.project
        for regret in regrets((one for one in changes if one.inputs.get("project") == project), since):
            yield from (_entry(checkout, regret, one) for one in _moved(checkout, regret) if (one.key, one.new) in ours)


def _moved(checkout: Checkout, regret: Regret) -> Iterator[Update]:
    """What differs between the locks of the two releases, as far as the repository knows both."""
    for folder, manifest in checkout.manifests.items():
        path = checkout.lock_path(folder)
        texts = [checkout.repository.read(commit, path) for commit in (regret.good, regret.bad)]
        if all(texts):
            before, after = (read_lock(manifest.kind, text or "", path) for text in texts)
            yield from updates_between(folder, manifest.kind, before, after)


def _entry(checkout: Checkout, regret: Regret, update: Update) -> Held:
    return Held(
        manifest=update.manifest, package=update.package, stays=update.old, refused=update.new,
        reason=f"the canary of {regret.service} rolled the release with it back at {regret.at:%Y-%m-%d %H:%M} UTC",
        since=regret.at.date(), until=entry_until(regret.at.date(), checkout.section.held_back_days),
    )  # fmt: skip
