"""Writes down what was done: the ledger, the report in the UI, the notification.

Safety property: an entry bears a key derived from what it is about, so a repeated run writes it once; the ledger is
append-only. What cannot be told is said in the result and never undoes a release.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from prefect import task
from prefect.artifacts import acreate_markdown_artifact

from tasks.analysis import history
from tasks.delivery_models import AFTER_IT_WAS_ASKED
from tasks.errors import OpsError, TransientError
from tasks.models import Change, Finding
from tasks.notifications import notify_end
from tasks.policies import READ, WRITE
from tasks.runs import run_name as run_name
from tasks.site import Site

ROLLED_BACK_FOR = timedelta(hours=24)
#: How many changes of a service are looked at, over all projects that share the ledger.
HISTORY = 1000


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
async def changed_since(site: Site, service: str, since: datetime) -> str:
    """Why a release must not follow: the service was released or rolled back after it was asked for. Else empty."""
    for change in await asyncio.to_thread(_changes, site, service):
        if change.kind in ("deploy", "roll_back") and change.verdict == "released" and change.at > since:
            word = "released" if change.kind == "deploy" else "rolled back"
            return (
                f"releasing {service} refused: it was {word} at {change.at:%Y-%m-%d %H:%M:%S} UTC by run {change.run}, "
                f"{AFTER_IT_WAS_ASKED}; ask again"
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


async def tell(
    site: Site, key: str, report: str, title: str, body: str, *, aloud: bool = True, topic: str = ""
) -> tuple[Finding, ...]:
    """Show the report and, if ``aloud``, notify; what could not be told becomes a finding: what it tells of is done.

    ``topic`` as for ``announce``; where none is given, it is the report's key.
    """
    shown = await tried("report", publish_report(key, report, title))
    return (*shown, *await announce(site, title, body, topic=topic or key, aloud=aloud))


async def announce(
    site: Site, title: str, body: str, *, topic: str = "", aloud: bool = True
) -> tuple[Finding, ...]:
    """Notify how a run ended; a notification that could not be sent becomes a finding, since what it tells of is done.

    Of one ``topic`` the same is told once a day, unless a run in between had nothing to tell (``aloud=False``).
    Without a topic it is told each time.
    """
    return await tried("notification", notify_end(site, title, body, topic, aloud), "see [notify]")


async def tried(what: str, telling: Coroutine[Any, Any, None], way_out: str = "") -> tuple[Finding, ...]:
    """Tell something; where that fails, a finding that says so."""
    try:
        await telling
    except OpsError as error:
        return (Finding(severity="warning", subject=what, what=str(error), way_out=way_out),)
    return ()
