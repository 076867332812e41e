"""Roll back: put services on the last revision that proved itself, or on one that is named.

When: by hand or from the UI. The earlier revision is probed on its tag URL against the schema as it is now before it
gets traffic. Where the schema has moved past it, the flow states what migrating it back would lose and waits, with
everything as it was, for a person's approval, unless that was given beforehand. It never touches a split of traffic
that it did not make.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from tasks.approvals import GivenApproval
from tasks.forms import Form, RunName, ServiceNames
from tasks.locks import services_locked
from tasks.notifications import TELLS
from tasks.record import tell
from tasks.releases import chosen, conclude, settle, timed
from tasks.reports import notice, verdict_report
from tasks.rollbacks import plan_rollbacks, planned_rollbacks, record_rollbacks, roll_back_all
from tasks.site import open_site


class RollBack(Form):
    """What a person decides about a roll-back."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: which project is changed")
    services: ServiceNames = Field((), description="Services to put back; none named: those of the last release")
    revision: RunName = Field("", description="The revision to serve; empty: the last verified one. Needs one service")
    reason: str = Field("by hand", min_length=1, max_length=300, description="Why; kept in the ledger for good")
    dry_run: bool = Field(False, description="Show what would be done and change nothing")
    approve_data_loss: bool = Field(
        False,
        description="Migrate the schema back where the earlier revision needs it: what the newer schema holds is lost",
    )
    approve: GivenApproval = ""
    force: bool = Field(False, description="Go back even to what its own canary rolled back in the last 24 hours")


@flow(name="roll-back", flow_run_name="roll back: {request.reason}", timeout_seconds=2 * 3600, **TELLS)
async def roll_back(request: RollBack) -> Any:
    """Find the revision, prove it against the schema of now, give it all traffic, record."""
    began = time.monotonic()
    site = open_site(request.estate)
    services = chosen(site, request.services)
    async with services_locked(site, tuple(service.name for service in services)):
        if not request.dry_run:
            await settle(site, services)
        plans = await plan_rollbacks(site, services, request.revision, request.force, bool(request.services))
        if request.dry_run:
            return conclude(planned_rollbacks(plans), began)
        verdict = timed(await roll_back_all(site, plans, request.approve_data_loss, request.approve), began)
        await record_rollbacks(site, plans, verdict, request.reason)
    title = f"roll back {site.estate.name}: {verdict.verdict}"
    report, aloud = verdict_report(verdict, f"roll-back of {site.estate.name}"), verdict.verdict != "unchanged"
    told = await tell(site, "roll-back", report, title, notice(verdict, request.reason), aloud=aloud)
    return conclude(verdict, began, told)
