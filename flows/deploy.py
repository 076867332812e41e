"""Deploy: build, migrate, probe, canary and release the estate's services.

When: by hand, from the UI, or by a webhook. It touches Cloud Run services and jobs, builds, the bucket's archives, an
on-demand backup and the schema of the estate's databases. It never touches a split of traffic that it did not make,
never migrates twice, and leaves the stable revision serving whenever the new one does not prove itself. Killed at any
moment and run again, it first puts in order what the killed run left.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from tasks.approvals import GivenApproval
from tasks.forms import Form, ServiceNames
from tasks.ground import refuse_freeze
from tasks.locks import services_locked
from tasks.notifications import TELLS
from tasks.record import publish_report, tell
from tasks.release_approvals import Approvals, allowed
from tasks.releases import (
    apply,
    chosen,
    conclude,
    make_plan,
    planned,
    put_back_together,
    record,
    refusals_of,
    settle,
    summary,
    timed,
)
from tasks.reports import notice, plan_report, verdict_report
from tasks.site import open_site
from tasks.sources import fetch_source


class Deploy(Form):
    """What a person decides about a deploy."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: which project is changed")
    services: ServiceNames = Field((), description="Services to deploy; none named: all of the estate")
    source: str = Field(
        "", max_length=500, description="A folder or git URL that holds the estate's source; empty: the estate's folder"
    )
    ref: str = Field(
        "", max_length=250, description="Branch, tag or commit of the source; no source: of the estate's repository"
    )
    reason: str = Field("by hand", min_length=1, max_length=300, description="Why; kept in the ledger for good")
    dry_run: bool = Field(False, description="Show the plan and change nothing")
    approve_data_loss: bool = Field(False, description="Go on although a pending migration deletes data")
    approve_outage: bool = Field(
        False, description="Go on although the serving revision breaks on the new schema: users see errors for a while"
    )
    approve: GivenApproval = ""
    together: bool = Field(True, description="If one service does not make it, put the others of this release back too")
    force: bool = Field(
        False, description="Release inside a freeze window, or what was rolled back in the last 24 hours"
    )
    since: str = Field(
        "", pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?$",
        description="A moment: what was released or rolled back after it is left alone, and this run ends refused",
    )


@flow(name="deploy", flow_run_name="deploy: {request.reason}", timeout_seconds=4 * 3600, **TELLS)
async def deploy(request: Deploy) -> Any:
    """Check, plan, back up, build, migrate, probe, canary, release, sync, record."""
    began = time.monotonic()
    site = open_site(request.estate)
    services = chosen(site, request.services)
    approvals = Approvals(request.approve_data_loss, request.approve_outage, request.force)
    await refuse_freeze(site.estate, request.force)
    async with services_locked(site, tuple(service.name for service in services)):
        if not request.dry_run:
            await settle(site, services)
        root = await fetch_source(site, request.source, request.ref)
        plan = await make_plan(site, services, root, request.reason)
        refusals = await refusals_of(site, plan, request.force, request.since)
        if not refusals:
            plan, approvals, refusals = await allowed(site, plan, approvals, request.approve, request.dry_run)
        shown = plan_report(plan, refusals)
        await publish_report("deploy-plan", shown, f"Plan: {request.reason}")
        if request.dry_run or refusals:
            return conclude(planned(plan, refusals, shown, request.dry_run), began)
        outcomes = await apply(site, plan, approvals)
        outcomes = await put_back_together(site, plan, outcomes, request.together)
        verdict = timed(summary(plan, outcomes, shown), began)
        await record(site, plan, verdict, request.reason)
    title = f"deploy {site.estate.name}: {verdict.verdict}"
    report, aloud = verdict_report(verdict, site.estate.name), verdict.verdict not in ("released", "unchanged")
    told = await tell(site, "deploy", report, title, notice(verdict, request.reason), aloud=aloud)
    return conclude(verdict, began, told)
