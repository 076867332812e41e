"""Tells people: something failed, was rolled back, needs an approval, or got worse. Silent when all is well.

Safety property: the URLs are secrets, read by name when they are used; they are no parameter, result or message. What
was told is remembered in the ledger after it was sent, so a kill in between says it twice and never not at all.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_logger

from tasks import telling
from tasks.analysis.news import fingerprint, is_news
from tasks.clients.notify import count, send
from tasks.models import Measurement
from tasks.policies import READ, WRITE
from tasks.runs import run_link, run_name
from tasks.site import Site, open_site

#: Runs of this process that have told how they ended.
_ended: set[str] = set()


async def notify_end(site: Site, title: str, body: str, topic: str, aloud: bool, run: str = "") -> None:
    """Tell how a run ended, unless all is well (not ``aloud``) or the same was told of this topic already."""
    run = run or run_name()
    failed = await _news(site, title, body, topic, aloud, run) if telling.has_targets(site) else []
    if not failed or len(failed) < await count_targets(site):
        _ended.add(run)
    raise_first(failed)


async def _news(site: Site, title: str, body: str, topic: str, aloud: bool, run: str) -> list[BaseException]:
    """Send what is news and remember it, once one target took it; the errors."""
    said = fingerprint(title, body)
    last = await last_told(site, topic) if topic else None
    if not aloud and last and last.value:
        await remember(site, topic, "", False)
    if not aloud or not is_news(said, last, datetime.now(UTC)):
        return []
    failed = await _call(site, title, body, run)
    if topic and len(failed) < await count_targets(site):
        await remember(site, topic, said, True)
    return failed


async def call(site: Site, title: str, body: str) -> None:
    """Send a short text with a link to this run to every target. Raises the first error, after all were tried."""
    if telling.has_targets(site):
        raise_first(await _call(site, title, body, ""))


async def _call(site: Site, title: str, body: str, run: str) -> list[BaseException]:
    """Send to every target; the errors. One that is out of order keeps the others from nothing."""
    text = "\n".join(filter(None, (telling.shortened(body), run_link(run))))
    sent = (notify(site, number, title, text) for number in range(await count_targets(site)))
    return [one for one in await asyncio.gather(*sent, return_exceptions=True) if isinstance(one, BaseException)]


def raise_first(errors: list[BaseException]) -> None:
    """Raise the first error, where there is one."""
    if errors:
        raise errors[0]


@task(**READ)
async def count_targets(site: Site) -> int:
    """How many targets the estate's notifications have."""
    return await asyncio.to_thread(lambda: count(site.notify_urls()))


@task(**WRITE)
async def notify(site: Site, number: int, title: str, body: str) -> None:
    """Send a short text to one target. Safe to repeat: it says the same thing twice and changes nothing."""
    await asyncio.to_thread(lambda: send(site.notify_urls(), title, body, number))


@task(**READ)
async def last_told(site: Site, topic: str) -> Measurement | None:
    """What was last remembered of a topic."""
    return await asyncio.to_thread(telling.last_told, site, topic)


@task(**WRITE)
async def remember(site: Site, topic: str, said: str, told: bool) -> None:
    """Remember what was told of a topic, or that all is well again. Safe to repeat: the newest line counts."""
    await asyncio.to_thread(telling.remember, site, topic, said, told)


async def tell_failure(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Tell that a run failed or crashed before it could tell it itself: a hook of every flow.

    The names are those by which a worker calls it for a run that was killed. Prefect logs what a hook raises, and the
    run stays as it ended.
    """
    request, run = (flow_run.parameters or {}).get("request") or {}, str(flow_run.id)
    given = request if isinstance(request, dict) else request.model_dump()
    if run in _ended or given.get("dry_run"):
        return
    site = open_site(Path(given.get("estate") or "estate.toml"))
    title = f"{flow.name} of {site.estate.name}: {(state.name or 'failed').lower()}"
    await notify_end(site, title, state.message or "it said nothing", flow.name, True, run)
    get_logger("caretaker").info("told: %s", title)


#: For the decorator of every flow: whatever happens to a run, somebody hears of it.
TELLS: dict[str, Any] = {"on_failure": [tell_failure], "on_crashed": [tell_failure]}
