"""Writes down what was done: the ledger, the report in the UI, the notification.

Safety property: an entry bears a key derived from what it is about, so a repeated run writes it once; the ledger is
append-only. A notification that cannot be sent is said in the result and never undoes a release.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.runtime import flow_run

from tasks.analysis import history
from tasks.clients.notify import send
from tasks.errors import OpsError, TransientError
from tasks.models import Change, Finding, SecretPin
from tasks.policies import READ, WRITE
from tasks.site import Site

ROLLED_BACK_FOR = timedelta(hours=24)
#: How many changes of a service are looked at, over all projects that share the ledger.
HISTORY = 1000


def run_name() -> str:
    """The id of the flow run, for the ledger and our marks."""
    return str(flow_run.id or "no-run")


@task(**WRITE)
async def record_change(
    site: Site,
    kind: str,
    subject: str,
    why: str,
    verdict: str,
    key: str,
    inputs: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
) -> Change:
    """Append one change to the ledger. Safe to repeat: the key is unique and a second entry of it is the first."""
    change = Change.new(
        kind=kind,
        subject=subject,
        who=site.who,
        why=why,
        run=run_name(),
        inputs={**inputs, "project": site.estate.google.project},
        before=before,
        after=after,
        verdict=verdict,
        key=key,
        at=datetime.now(UTC),
    )
    return await asyncio.to_thread(lambda: site.ledger.append(change))


@task(**READ)
async def rolled_back_lately(site: Site, service: str, release: str) -> str:
    """Why a release must wait: its own canary rolled it back within the last 24 hours. Empty where none did."""
    changes = await asyncio.to_thread(_changes, site, service)
    since = datetime.now(UTC) - ROLLED_BACK_FOR
    for change in changes:
        judged_bad = change.kind == "deploy" and change.verdict == "rolled_back" and change.after.get("judged_bad")
        if judged_bad and change.inputs.get("release") == release and change.at > since:
            return (
                f"releasing {service} {release} refused: this very release was rolled back at "
                f"{change.at:%Y-%m-%d %H:%M} UTC; change the source, wait until "
                f"{change.at + ROLLED_BACK_FOR:%Y-%m-%d %H:%M} UTC, or pass force=true"
            )
    return ""


@task(**READ)
async def verified_revisions(site: Site, service: str) -> tuple[str, ...]:
    """The revisions of a service that stand in the ledger as verified, the newest first; see ``analysis/history``."""
    return history.verified(await asyncio.to_thread(_changes, site, service))


@task(**READ)
async def changes_of(site: Site, service: str) -> list[Change]:
    """The newest changes of a service, the newest first."""
    return await asyncio.to_thread(_changes, site, service)


def _changes(site: Site, service: str) -> list[Change]:
    """The newest changes of a service, the newest first. Estates share a ledger: another project's are left out."""
    project = site.estate.google.project
    changes = site.ledger.changes(kind=None, subject=service, limit=HISTORY)
    return [change for change in changes if change.inputs.get("project", project) == project]


@task(**WRITE)
async def publish_report(key: str, markdown: str, title: str) -> None:
    """Show a report in the UI. Safe to repeat: a report of the same key is a newer version of it."""
    try:
        await acreate_markdown_artifact(key=key, markdown=markdown, description=title)
    except httpx.HTTPError as error:
        raise TransientError(
            f"showing report {key} in the UI failed: {type(error).__name__} {error}; the result tells the same"
        ) from error


@task(**WRITE)
async def notify(site: Site, title: str, body: str) -> None:
    """Send the short text to the estate's notification target; without one, nothing.

    Safe to repeat: it says the same thing twice and changes nothing.
    """
    secret = site.estate.notify.url_secret
    if secret:
        url = await asyncio.to_thread(site.secrets.access, SecretPin(secret=secret, version="latest"))
        await asyncio.to_thread(send, url, title, body)


async def tell(site: Site, key: str, report: str, title: str, body: str) -> tuple[Finding, ...]:
    """Show the report and notify; what could not be told becomes a finding, since what it tells of is done."""
    return (*await _tried("report", publish_report(key, report, title)), *await announce(site, title, body))


async def announce(site: Site, title: str, body: str) -> tuple[Finding, ...]:
    """Notify; a notification that could not be sent becomes a finding, since what it tells of is done."""
    return await _tried("notification", notify(site, title, body), "see [notify]")


async def _tried(what: str, telling: Coroutine[Any, Any, None], way_out: str = "") -> tuple[Finding, ...]:
    try:
        await telling
    except OpsError as error:
        return (Finding(severity="warning", subject=what, what=str(error), way_out=way_out),)
    return ()
