"""What reviews keep in the bucket: for each week the moment it was asked, the history, the report and the findings.

Safety property: every object bears a name derived from the week, and is written only where it does not hold the same
bytes already, over the generation that was just read. So a run that was killed is finished by the next one, and two
runs of a week leave one report. ``findings.json`` is written last: where it is of the moment that ``asked.json`` tells,
the week is done. A review made anew begins by writing a new moment, so a run that is killed then is gone on with, and
the old report is never taken for the new one.
"""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from datetime import UTC, datetime

from prefect import task
from pydantic import ValidationError

from tasks.errors import BadInput
from tasks.log_models import History, Week
from tasks.log_weeks import folder, forget
from tasks.policies import READ, WRITE
from tasks.review_models import Marks, ReviewVerdict
from tasks.site import Site

ASKED, HISTORY, PAGE, REPORT, DONE = "asked.json", "history.json", "report.html", "report.md", "findings.json"
#: Of which moment's report people were told.
TOLD = "told.json"
_WEEK = re.compile(r"/(\d{4}-W\d{2})/history\.json$")


@task(**WRITE)
async def ask(site: Site, week: Week, now: datetime, again: bool, dry_run: bool) -> datetime:
    """The moment as of which a week is reviewed: the one of its first run, so that a later run says the same.

    Safe to repeat: the first moment stays, unless the week is reviewed anew.
    """
    return await asyncio.to_thread(_ask, site, week, now, again, dry_run)


def _ask(site: Site, week: Week, now: datetime, again: bool, dry_run: bool) -> datetime:
    asked = _asked(site, week)
    anew = again and _finished(site, week, asked) is not None
    if asked is not None and not anew:
        return asked
    if dry_run:
        return now
    if anew:
        forget(site, week)
    # From here on the week is one that is not reviewed yet: a run that is killed is gone on with.
    data = json.dumps({"at": now.isoformat()}).encode()
    site.bucket.converge(f"{folder(site, week)}/{ASKED}", data, "application/json")
    return now


def _asked(site: Site, week: Week) -> datetime | None:
    found = site.bucket.find(f"{folder(site, week)}/{ASKED}")
    return datetime.fromisoformat(json.loads(found[0])["at"]) if found else None


@task(**READ)
async def finished(site: Site, week: Week) -> ReviewVerdict | None:
    """The verdict of a week that was reviewed to the end; None for any other."""
    return await asyncio.to_thread(lambda: _finished(site, week, _asked(site, week)))


def _finished(site: Site, week: Week, asked: datetime | None) -> ReviewVerdict | None:
    found = site.bucket.find(f"{folder(site, week)}/{DONE}")
    if found is None:
        return None
    verdict = ReviewVerdict.model_validate_json(found[0])
    if verdict.asked != asked:  # it is of the review before: a run that made the week anew was killed
        return None
    report = site.bucket.find(f"{folder(site, week)}/{REPORT}")
    return verdict.model_copy(update={"report": report[0].decode() if report else ""})


@task(**READ)
async def is_told(site: Site, week: Week, asked: datetime | None) -> bool:
    """Whether people were told of the report as of this moment."""
    found = await asyncio.to_thread(site.bucket.find, f"{folder(site, week)}/{TOLD}")
    return found is not None and found[0] == _told(asked)


async def keep_told(site: Site, week: Week, asked: datetime | None) -> None:
    """Write down that people were told."""
    await keep(site, week, TOLD, _told(asked), "application/json")


def _told(asked: datetime | None) -> bytes:
    return json.dumps({"asked": asked.isoformat() if asked else ""}).encode()


@task(**READ)
async def read_history(site: Site, week: Week) -> History | None:
    """What the newest review before this week left."""
    return await asyncio.to_thread(_history, site, week)


def _history(site: Site, week: Week) -> History | None:
    names = site.bucket.list(f"reviews/{site.estate.name}/")
    earlier = [found[1] for name in names if (found := _WEEK.search(name)) and found[1] < week.name]
    if not earlier:
        return None
    return History.model_validate_json(site.bucket.get(f"reviews/{site.estate.name}/{max(earlier)}/{HISTORY}"))


@task(**WRITE)
async def keep(site: Site, week: Week, name: str, data: bytes, content_type: str) -> str:
    """Make a week's object hold these bytes; its address. Safe to repeat: the same bytes are not written twice."""
    path = f"{folder(site, week)}/{name}"
    await asyncio.to_thread(site.bucket.converge, path, data, content_type)
    return path


@task(**READ)
async def read_marks(site: Site) -> Marks:
    """Read what people said of patterns; a file that is not there says nothing. Raises BadInput naming the key."""
    path = site.estate.folder / site.estate.review.marks
    if not path.exists():
        return Marks()
    try:
        return Marks.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"reading {path.name} failed: {error}; correct it there") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"reading {path.name} failed: {where}: {first['msg']}; correct it there") from None


def now() -> datetime:
    """The moment, to the second: what is kept of it stays the same when it is written down and read."""
    return datetime.now(UTC).replace(microsecond=0)
