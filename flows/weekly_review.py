"""The weekly review: what is new in the logs, what got worse, what it costs, and what was changed to cause it.

When: on Mondays at seven, for the week that has just ended; by hand for any week that is over. It reads logs, the
billing export, the ledger and the ages of secrets, and writes only what is its own: the week's objects in the bucket,
the report, one line of the ledger. It never reads a secret's value, and keeps no log line unmasked. Killed at any
moment and run again, it goes on reading where it stopped and leaves one report; a week that is done is told as it was.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from pydantic import Field

from tasks.forms import Form
from tasks.log_weeks import forget_reading
from tasks.review_models import ReviewVerdict
from tasks.review_store import ask, finished, now
from tasks.reviews import chosen_week, concluded, keep_review, make_review, reviewing, show_planned, tell, written
from tasks.site import open_site
from tasks.verdicts import SCHEDULED


class WeeklyReview(Form):
    """What a person decides about a review."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: whose logs and costs are reviewed")
    week: str = Field(
        "", pattern=r"^(\d{4}-W\d{2})?$", description="A week as 2026-W47; empty: the last one that is over"
    )
    again: bool = Field(
        False, description="Read and judge a week anew that was reviewed already; its report is replaced"
    )
    dry_run: bool = Field(False, description="Show the report and keep nothing of it, nor of how far it was read")


@flow(name="weekly-review", flow_run_name="weekly review {request.week}", timeout_seconds=6 * 3600, **SCHEDULED)
async def weekly_review(request: WeeklyReview) -> ReviewVerdict:
    """Read the week, judge it against the weeks before, keep one report, tell it."""
    site = open_site(request.estate)
    week = chosen_week(site, request.week, now())
    async with reviewing(site):
        known = None if request.again or request.dry_run else await finished(site, week)
        if known is not None:
            await forget_reading(site, week)
            return await tell(site, week, known)
        asked = await ask(site, week, now(), request.again, request.dry_run)
        review, history = await make_review(site, week, asked, request.dry_run)
        verdict = written(review, concluded(site, review))
        if request.dry_run:
            return await show_planned(verdict)
        await keep_review(site, review, history, verdict)
        return await tell(site, week, verdict)
