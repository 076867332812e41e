"""Update dependencies: the newest locks that are old enough and pass the tests, as one pull request.

When: monthly for everything, daily for known vulnerabilities, or by hand. It touches one branch of the estate's
repository and its pull request. It never pushes to the base branch, never overwrites a commit of somebody else, and
merges only where the estate says so; after a merge the deploy flow's canary decides.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from tasks.dependencies import (
    branch_of,
    conclude,
    plan_and_try,
    publish,
    record_update,
    report_of,
    scratch,
    verdict_of,
)
from tasks.forms import Form
from tasks.locks import services_locked
from tasks.record import publish_report, tell
from tasks.site import open_site
from tasks.verdicts import SCHEDULED


class UpdateDependencies(Form):
    """What a person decides about an update of dependencies."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: whose repository is updated")
    only_security: bool = Field(
        False, description="Only what mends a known vulnerability, on a branch of its own: for a daily schedule"
    )
    reason: str = Field("by hand", min_length=1, max_length=300, description="Why; kept in the ledger for good")
    dry_run: bool = Field(False, description="Resolve and test, show the pull request's text, and push nothing")


@flow(
    name="update-dependencies", flow_run_name="update dependencies: {request.reason}", timeout_seconds=8 * 3600,
    **SCHEDULED,
)
async def update_dependencies(request: UpdateDependencies) -> Any:
    """Clone, resolve under the cooldown, test, hold back what breaks, push, open the pull request, record."""
    began = time.monotonic()
    site = open_site(request.estate)
    branch = branch_of(site, request.only_security)
    async with services_locked(site, ("[dependencies]",)):
        with scratch(site):
            tried = await plan_and_try(site, branch, request.only_security)
            report = await report_of(tried)
            published = await publish(site, tried, report) if tried.files and not request.dry_run else None
            verdict = verdict_of(tried, report, published, request.dry_run)
            if published:
                await record_update(site, tried, verdict, request.reason)
    title, why = f"dependencies of {site.estate.name}: {verdict.verdict}", verdict.why or request.reason
    if request.dry_run:
        await publish_report("update-dependencies", verdict.text, title)
        return conclude(verdict, began)
    aloud = verdict.verdict != "unchanged"
    told = await tell(site, "update-dependencies", verdict.text, title, why, aloud=aloud)
    return conclude(verdict, began, told)
