"""Reconcile: release what the branch has and no delivery told of.

When: every five minutes. A webhook is sent once and may be lost; the branch is the truth. It reads the head of the
branch and the ledger, and, where the head is neither released nor on its way, puts it into the inbox, from where it
goes the way of every delivery. It never touches what a person or a canary rolled back, releases nothing in a freeze
window, and says nothing when there is nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from pydantic import Field

from tasks.forms import Form
from tasks.reconciling import NO_BRANCH, Reconciled, follow, hand_over_what_waits, put_into_inbox, told
from tasks.site import open_site
from tasks.verdicts import SCHEDULED


class Reconcile(Form):
    """What a person decides about a reconciliation."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: whose branch is followed")
    dry_run: bool = Field(False, description="Tell what is not released, and release nothing")


@flow(name="reconcile", flow_run_name="reconcile", timeout_seconds=300, **SCHEDULED)
async def reconcile(request: Reconcile) -> Reconciled:
    """Compare the branch with what is released, and have released what was lost."""
    site = open_site(request.estate)
    if site.estate.source is None:
        return NO_BRANCH
    followed = await follow(site)
    if request.dry_run:
        return told(followed, "unchanged" if followed.found.kind != "lost" else "planned")
    delivery = ""
    if followed.found.kind != "nothing" and not followed.held:
        delivery = await put_into_inbox(followed)
    await hand_over_what_waits(followed)
    if followed.found.kind != "lost":
        return told(followed, "unchanged")
    return told(followed, "held" if followed.held else "started", delivery)
