"""The steps of the weekly review: find out what week, read what there is, put it together, keep and tell it.

Safety property: nothing is judged on less than was meant to be read without a finding that says so. The report of a
week is kept under the week's name, so that any number of runs leaves one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
from prefect import task
from prefect.artifacts import acreate_link_artifact

from tasks import record, review_text
from tasks.analysis import log_review, review_findings
from tasks.costs import review_costs, told_by
from tasks.errors import BadInput, Missing, TransientError
from tasks.log_models import History, Week
from tasks.log_weeks import forget_reading, read_logs
from tasks.models import Change, Measurement
from tasks.pages import render
from tasks.policies import READ, WRITE
from tasks.record import publish_report, record_change, run_name
from tasks.review_models import Around, Marks, Review, ReviewVerdict, SecretAge
from tasks.review_page import page_of
from tasks.review_store import DONE, HISTORY, PAGE, REPORT, is_told, keep, keep_told, read_history, read_marks
from tasks.site import Site

#: Changes are looked at from so long before the week: what began on Monday may come from Sunday's release.
BEFORE = timedelta(hours=24)
MOST_CHANGES = 5000
KEY = "weekly-review"
#: Lines of the ledger that changed nothing by themselves.
_NO_CHANGES = ("review", "approval")
_BACKUP_FIGURES = ("backup.level", "backup.rto", "backup.rpo")


def chosen_week(site: Site, name: str, now: datetime) -> Week:
    """The week of a name; the last one that is over where none is named. Raises BadInput for one that is not over."""
    zone = site.estate.review.time_zone
    if not name:
        return Week.of(now.astimezone(ZoneInfo(zone)).date() - timedelta(days=7), zone)
    try:
        week = Week.named(name, zone)
    except (ValueError, OverflowError):
        raise BadInput(f"reviewing week {name} failed: there is none of that name; write it as 2026-W47") from None
    if week.end > now:
        raise BadInput(f"reviewing week {name} failed: it ends on {week.end:%-d %B %H:%M} UTC; wait, or name another")
    return week


@asynccontextmanager
async def reviewing(site: Site) -> AsyncIterator[None]:
    """Hold the lock of the estate's reviews. Raises Conflict, naming the holder, where it is held."""
    name = f"{site.estate.google.project}/{site.estate.name}/weekly-review"
    lock = site.ledger.lock(name, holder=f"caretaker {run_name()}")
    await asyncio.to_thread(lock.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(lock.__exit__, None, None, None)


async def make_review(site: Site, week: Week, asked: datetime, dry_run: bool) -> tuple[Review, History]:
    """Read everything that the week left, and judge it."""
    marks = await read_marks(site)
    before = await read_history(site, week)
    around = await read_around(site, week, asked, marks)
    tally, coverage = await read_logs(site, week, keep=not dry_run)
    logs, history = await asyncio.to_thread(log_review.review, week, tally, coverage, before, marks, asked)
    monday = week.start.astimezone(ZoneInfo(week.timezone)).date()
    known = before.costs if before else None
    costs = await review_costs(site, monday, asked, known)
    made = Review(
        estate=site.estate.name, week=week, asked=asked, logs=logs, costs=costs, around=around,
        told=review_findings.told(logs, costs, around, asked), price=site.estate.review.price,
    )  # fmt: skip
    return made, history.model_copy(update={"costs": told_by(costs, asked, known)})


@task(**READ)
async def read_around(site: Site, week: Week, asked: datetime, marks: Marks) -> Around:
    """Read what was changed, what backups proved and how old the secrets are."""
    return await asyncio.to_thread(_around, site, week, asked, marks)


def _around(site: Site, week: Week, asked: datetime, marks: Marks) -> Around:
    found = site.ledger.changes(limit=MOST_CHANGES, since=week.start - BEFORE, until=week.end)
    return Around(
        changes=_ours(site, found), backups=_backups(site, week), secrets=_secrets(site, asked), marks=marks,
        changes_since=found[-1].at if len(found) == MOST_CHANGES else None,
    )  # fmt: skip


def _ours(site: Site, changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes of this project, oldest first: estates share a ledger."""
    project = site.estate.google.project
    mine = (change for change in reversed(changes) if change.inputs.get("project", project) == project)
    return tuple(change for change in mine if change.kind not in _NO_CHANGES)


def _backups(site: Site, week: Week) -> tuple[Measurement, ...]:
    ours = [f"{site.estate.google.project}/{database.name}" for database in site.estate.databases]
    found = [one for name in _BACKUP_FIGURES for one in site.ledger.measurements(name, since=week.start)]
    mine = [one for one in found if one.subject in ours and one.at < week.end]
    return tuple(sorted(mine, key=lambda one: (one.at, one.subject, one.name)))


def _secrets(site: Site, asked: datetime) -> tuple[SecretAge, ...]:
    return tuple(_age(site, secret.name, secret.max_age_days, asked) for secret in site.estate.secrets)


def _age(site: Site, secret: str, most_days: int, asked: datetime) -> SecretAge:
    try:
        versions = site.secrets.versions(secret)
    except Missing as error:
        return SecretAge(secret=secret, version=None, days=None, most_days=most_days, why=str(error))
    newest = next((version for version in versions if version.state == "ENABLED"), None)
    days = None if newest is None else max(0, (asked - newest.created).days)
    return SecretAge(secret=secret, version=newest.version if newest else None, days=days, most_days=most_days)


def concluded(site: Site, review: Review) -> ReviewVerdict:
    """The verdict of a review."""
    seen, costs = review.logs.coverage, review.costs
    gaps = [f"logs: {seen.why}"] if not seen.complete else []
    gaps += [f"costs: {costs.why or costs.state}"] if costs.state == "unavailable" else []
    page = f"reviews/{review.estate}/{review.week.name}/{PAGE}"
    return ReviewVerdict(
        verdict="incomplete" if gaps else "reviewed", why="; ".join(gaps), week=review.week.name,
        headline=review_text.headline(review), summary=review_text.summary(review), findings=review.told,
        read=seen.read, asked=review.asked, page=f"gs://{site.bucket.name}/{page}", link=site.bucket.link(page),
    )  # fmt: skip


def written(review: Review, verdict: ReviewVerdict) -> ReviewVerdict:
    """The verdict with its report as Markdown."""
    report = review_text.markdown(review, verdict.headline, verdict.summary, verdict.link)
    return verdict.model_copy(update={"report": report})


async def keep_review(site: Site, review: Review, history: History, verdict: ReviewVerdict) -> None:
    """Keep the history, the page, the report and, last, the findings; then the checkpoints are needed no more."""
    week = review.week
    html = await asyncio.to_thread(lambda: render(page_of(review, verdict.headline, verdict.summary)))
    await keep(site, week, HISTORY, history.model_dump_json().encode(), "application/json")
    await keep(site, week, PAGE, html.encode(errors="replace"), "text/html; charset=utf-8")
    await keep(site, week, REPORT, verdict.report.encode(errors="replace"), "text/markdown; charset=utf-8")
    findings = verdict.model_copy(update={"report": ""}).model_dump_json(indent=1)
    await keep(site, week, DONE, findings.encode(), "application/json")
    await forget_reading(site, week)


async def tell(site: Site, week: Week, verdict: ReviewVerdict) -> ReviewVerdict:
    """Show the report, notify, and write the ledger's line; what could not be told stands in the result.

    A report is told once: that it was, is kept beside it. A run that is killed before that is told by the next one,
    where notifications remember what they sent.
    """
    title = f"Week {week.name} of {site.estate.name}: {verdict.headline}"
    untold = [*await record.tried("link", publish_link(verdict.link, title))]
    if await is_told(site, week, verdict.asked):
        untold += await record.tried("report", publish_report(KEY, verdict.report, title))
    else:
        untold += await record.tell(site, KEY, verdict.report, title, review_text.notification(verdict))
        await keep_told(site, week, None if untold else verdict.asked)
    key = f"review/{site.estate.google.project}/{site.estate.name}/{week.name}"
    await record_change(
        site, "review", site.estate.name, f"week {week.name}", "reviewed", key, {"week": week.name}, {},
        {"headline": verdict.headline, "read": verdict.read, "verdict": verdict.verdict, "page": verdict.page},
    )  # fmt: skip
    return verdict.model_copy(update={"why": "; ".join(filter(None, (verdict.why, *(one.what for one in untold))))})


@task(**WRITE)
async def publish_link(link: str, title: str) -> None:
    """Link the page in the UI. Safe to repeat: a link of the same key is a newer version of it."""
    try:
        await acreate_link_artifact(key=f"{KEY}-page", link=link, link_text=title, description=title)
    except httpx.HTTPError as error:
        raise TransientError(f"linking the page in the UI failed: {type(error).__name__} {error}") from error


async def show_planned(verdict: ReviewVerdict) -> ReviewVerdict:
    """What a dry run says: the report, which is nowhere but in the UI."""
    await publish_report(f"{KEY}-dry-run", verdict.report, f"Dry run: {verdict.week}")
    return verdict.model_copy(update={"verdict": "planned", "page": "", "link": ""})
