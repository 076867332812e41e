"""Reads a week of logs: page by page, in the order of time, resumed where a killed run stopped; or by one query.

Safety property: what was counted and the token of the next page are kept together, in memory and in the bucket, so that
no page is counted twice or left out, whatever is repeated. Only masked text and counts are kept. The bucket's copy is
replaced only by the run that read it (its generation is presented), and is taken away when the week is in the history.
"""

from __future__ import annotations

import asyncio

from prefect import task

from tasks import progress
from tasks.analysis import log_tally_state
from tasks.analysis.log_patterns import folded
from tasks.analysis.log_tally import Tally
from tasks.clients.log_pages import StaleToken
from tasks.errors import BadInput, OpsError
from tasks.log_models import Coverage, Page, Week
from tasks.policies import READ, WAIT, WRITE
from tasks.site import Site

#: A checkpoint after so many pages: a minute of the quota.
PAGES_BETWEEN_CHECKPOINTS = 30
DAYS = 7
#: A day is begun so often: once where its token is too old, and once more for each length of a page that was too long.
MOST_BEGINNINGS = 7


class Reading:
    """How far a week is read: everything before ``token`` of day ``day`` is in the tally.

    A plain class on purpose: Prefect would walk through a dataclass.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.day, self.token, self.pages, self.full = 0, "", 0, False
        self.day_began = self.to_bytes()
        self.generations: dict[str, int] = {}

    def take(self, page: Page, most: int) -> None:
        """Count a page. Where the bound is reached, the reading ends there, and says so."""
        self.tally.take(page.entries)
        self.token = page.token
        self.pages += 1
        self.full = self.tally.read >= most and bool(page.token or self.day < DAYS - 1)

    def next_day(self) -> None:
        """The day is read to its last page."""
        self.day, self.token = self.day + 1, ""
        self.day_began = self.to_bytes()

    def to_bytes(self) -> bytes:
        return log_tally_state.to_bytes(self.tally, {"day": self.day, "token": self.token})

    def back_to_the_days_beginning(self) -> None:
        """Forget what was counted of this day: its page token is not taken any more."""
        tally, extra = log_tally_state.from_bytes(self.day_began, folded) or (_empty(self.tally.start), {"day": 0})
        self.tally, self.day, self.token = tally, extra["day"], ""


def folder(site: Site, week: Week) -> str:
    """Where a week's objects lie in the bucket."""
    return f"reviews/{site.estate.name}/{week.name}"


async def read_logs(site: Site, week: Week, *, keep: bool) -> tuple[Tally, Coverage]:
    """Read a week to its end, or to the bound of the estate. Without ``keep`` nothing is written."""
    if site.log_analytics is not None:
        reading = await read_dataset(site, week)
    else:
        reading = await read_pages(site, week, keep)
    reading.tally.close()
    written, unknown = await written_entries(site, week)
    return reading.tally, coverage(reading, site.estate.review.most_entries, written, unknown)


async def read_pages(site: Site, week: Week, keep: bool) -> Reading:
    """Read a week of Cloud Logging day by day, from where an earlier run stopped."""
    reading = await resume_reading(site, week) if keep else begun(week)
    while reading.day < DAYS and not reading.full:
        reading = await read_day(site, week, reading, keep)
    return reading


@task(**WAIT)
async def read_dataset(site: Site, week: Week) -> Reading:
    """Read a week by one query. Safe to repeat: nothing is kept of a reading that did not come to its end."""
    return await asyncio.to_thread(_read_dataset, site, week)


def _read_dataset(site: Site, week: Week) -> Reading:
    reading, most = begun(week), site.estate.review.most_entries
    if site.log_analytics is None:
        raise BadInput(f"reading week {week.name} failed: the estate names no log_dataset")
    for page in site.log_analytics.between(week.start, week.end):
        reading.day = _day_of(week, page.entries[-1].at) if page.token else DAYS - 1
        reading.take(page, most)
        told = f"{week.day_names[reading.day]}: {reading.tally.read:,} entries"
        progress.report("read logs", week.name, told, reading.day / DAYS)
        if reading.full:
            break
    return reading


async def written_entries(site: Site, week: Week) -> tuple[int | None, str]:
    """How many entries the platform counted, or why that is not known: the review is worth having without it."""
    if site.estate.review.log_filter:
        return None, ""  # the platform counts what the filter leaves out
    try:
        return await count_written(site, week), ""
    except OpsError as error:
        return None, str(error)


@task(**READ)
async def count_written(site: Site, week: Week) -> int | None:
    """Ask the platform how many entries it counted in a week; None where it has no count."""
    return await asyncio.to_thread(site.monitoring.log_entries, week.start, week.end)


def coverage(reading: Reading, most: int, written: int | None = None, unknown: str = "") -> Coverage:
    """How much was read, and why not more."""
    tally = reading.tally
    why = f"stopped on day {reading.day + 1} of 7, after {tally.read:,} entries: most_entries is {most:,}"
    return Coverage(
        read=tally.read, size=tally.size, complete=not reading.full, why=why if reading.full else "",
        unmatched=tally.unmatched, written=written, unknown=unknown,
    )  # fmt: skip


def begun(week: Week) -> Reading:
    """A reading of which nothing is read yet."""
    return Reading(_empty(week.start.timestamp()))


def _empty(start: float) -> Tally:
    return Tally(start, folded)


@task(**READ)
async def resume_reading(site: Site, week: Week) -> Reading:
    """What an earlier run left of this week: its last checkpoint, else the beginning."""
    return await asyncio.to_thread(_resume, site, week)


def _resume(site: Site, week: Week) -> Reading:
    found = {name: site.bucket.find(f"{folder(site, week)}/{name}") for name in _CHECKPOINTS}
    states = {name: log_tally_state.from_bytes(one[0], folded) for name, one in found.items() if one}
    reading = begun(week)
    for name in _CHECKPOINTS:
        state = states.get(name)
        if state is not None and (state[1]["day"], name) >= (reading.day, ""):
            reading.tally, reading.day, reading.token = state[0], state[1]["day"], state[1]["token"]
    if (day := found[_DAY]) is not None and states[_DAY] is not None:
        reading.day_began = day[0]
    reading.generations = {name: one[1] for name, one in found.items() if one}
    return reading


_DAY, _PAGE = "reading-day.json.gz", "reading-page.json.gz"
_CHECKPOINTS = (_DAY, _PAGE)


@task(**WAIT)
async def read_day(site: Site, week: Week, reading: Reading, keep: bool) -> Reading:
    """Read what is left of a day. Safe to repeat: it goes on at the page that the reading stands at."""
    return await asyncio.to_thread(_read_day, site, week, reading, keep)


def _read_day(site: Site, week: Week, reading: Reading, keep: bool) -> Reading:
    if reading.day == DAYS:  # a repeat: the day was read, its checkpoint was not written
        return reading
    beginnings = 1
    while True:
        try:
            _read_pages(site, week, reading, keep)
            break
        except StaleToken:
            if beginnings == MOST_BEGINNINGS:
                raise
            beginnings += 1
            reading.back_to_the_days_beginning()
    if not reading.full:
        reading.next_day()
        if keep:
            _save(site, week, reading, _DAY, reading.day_began)
    return reading


def _read_pages(site: Site, week: Week, reading: Reading, keep: bool) -> None:
    rules = site.estate.review
    start, end = week.days[reading.day]
    for page in site.log_pages.between(start, end, rules.log_filter, reading.token):
        reading.take(page, rules.most_entries)
        told = f"{week.day_names[reading.day]}: {reading.tally.read:,} entries"
        progress.report("read logs", week.name, told, reading.day / DAYS)
        if reading.full:
            return
        if keep and page.token and reading.pages % PAGES_BETWEEN_CHECKPOINTS == 0:
            _save(site, week, reading, _PAGE, reading.to_bytes())


def _day_of(week: Week, at: float) -> int:
    return max(day for day, (start, _) in enumerate(week.days) if start.timestamp() <= at or day == 0)


def _save(site: Site, week: Week, reading: Reading, name: str, data: bytes) -> None:
    """Keep a checkpoint. Raises Conflict where another run has replaced it: that one reads the same week now."""
    path = f"{folder(site, week)}/{name}"
    known = reading.generations.get(name, 0)
    reading.generations[name] = site.bucket.replace(path, data, "application/gzip", known)


@task(**WRITE)
async def forget_reading(site: Site, week: Week) -> None:
    """Take the checkpoints away: the week is in the history. Safe to repeat: deleting what is gone succeeds."""
    await asyncio.to_thread(forget, site, week)


def forget(site: Site, week: Week) -> None:
    """Take a week's checkpoints away, where there are any."""
    for path in site.bucket.list(f"{folder(site, week)}/"):
        if path.rpartition("/")[2] in _CHECKPOINTS:
            site.bucket.delete(path)
