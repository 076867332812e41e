"""Puts an update where people decide about it: one branch, and one pull request where a forge is configured.

Safety property: the forge is asked before anything is pushed; the push replaces only commits of ours, and only those
that were seen; the branch is one ref, so it is pushed whole or not at all. Run again after a kill between any two
calls, it finds what is there and does the rest.
"""

from __future__ import annotations

import asyncio

from prefect import task

from tasks.clients.forge import Forge, PullRequest
from tasks.dependency_checkout import Checkout, refuse_strangers
from tasks.estate import dependencies as section
from tasks.models import Finding, Frozen, SecretPin
from tasks.policies import READ, WRITE
from tasks.site import Site


class Published(Frozen):
    """Where an update is: the commit at which the branch stands, and its pull request."""

    commit: str
    pull: PullRequest | None = None
    findings: tuple[Finding, ...] = ()


def forge_of(site: Site, config: section.Forge | None) -> Forge | None:
    """The estate's forge; None where it has none."""
    if config is None:
        return None
    token = site.secrets.access(SecretPin(secret=config.token_secret, version="latest"))
    return Forge(config.api, config.repository, token)


@task(**READ)
async def find_pull_request(forge: Forge, checkout: Checkout) -> PullRequest | None:
    """Look for our branch's pull request; so an expired token and a used-up rate limit are met before the push."""
    return await asyncio.to_thread(forge.find, checkout.branch, checkout.base)


@task(**WRITE)
async def push_branch(checkout: Checkout, files: dict[str, str], message: str) -> str:
    """Commit and push; the commit at which the branch stands.

    Safe to repeat: a branch that holds the same files on the same base already is left alone.
    """
    return await asyncio.to_thread(push, checkout, files, message)


def push(checkout: Checkout, files: dict[str, str], message: str) -> str:
    """Commit and push; see ``push_branch``. Raises Refused and Conflict for what people did meanwhile."""
    repository = checkout.repository
    checkout.tip = repository.remote_head(checkout.branch)
    refuse_strangers(checkout)
    commit = repository.commit(files, message, checkout.now)
    if checkout.tip and _same(checkout, commit):
        return checkout.tip
    repository.push(commit, checkout.branch, checkout.tip)
    return commit


def _same(checkout: Checkout, commit: str) -> bool:
    repository, tip = checkout.repository, checkout.tip
    if tip == checkout.commit or repository.tree_of(tip) != repository.tree_of(commit):
        return False
    return repository.parent_of(tip) == checkout.commit


@task(**WRITE)
async def write_pull_request(
    forge: Forge, checkout: Checkout, found: PullRequest | None, commit: str, title: str, body: str
) -> Published:
    """Open the branch's pull request, or bring its text up to date.

    Safe to repeat: it is looked for first, and the forge refuses a second one. One that a person closed on this very
    commit stays closed.
    """
    return await asyncio.to_thread(request_pull, forge, checkout, found, commit, title, body)


def request_pull(
    forge: Forge, checkout: Checkout, found: PullRequest | None, commit: str, title: str, body: str
) -> Published:
    """Open or edit the pull request; see ``write_pull_request``."""
    if found and not found.open and not found.merged and found.head == commit:
        said = f"pull request {found.number} with these very updates was closed by a person; it stays closed"
        way_out = "reopen it, or wait for newer ones"
        finding = Finding(severity="warning", subject=checkout.branch, what=said, way_out=way_out)
        return Published(commit=commit, pull=found, findings=(finding,))
    pull = found if found and found.open else forge.open(checkout.branch, checkout.base, title, body)
    return Published(commit=commit, pull=forge.edit(pull, title, body))


@task(**WRITE)
async def merge_pull_request(forge: Forge, published: Published) -> Published:
    """Merge, where the estate wants that and the forge's rules allow it. Safe to repeat: a merged one is left alone."""
    pull = published.pull
    if pull is None or not pull.open:
        return published
    why = await asyncio.to_thread(forge.merge, pull, published.commit)
    if why:
        about = f"pull request {pull.number}"
        finding = Finding(severity="warning", subject=about, what=why, way_out="merge it by hand")
        return published.model_copy(update={"findings": (*published.findings, finding)})
    return published.model_copy(update={"pull": pull.model_copy(update={"merged": True, "open": False})})
