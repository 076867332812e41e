"""``caretaker watch``: reports each verdict that did not come, from outside Prefect.

It knows from ``prefect.yaml`` when a verdict was due and from the ledger whether it came; Prefect is not asked, so a
server, a worker or a scheduler that is down is what it notices first. One look, then it ends: the embedded stack takes
one every five minutes, a real estate from cron or Cloud Scheduler, on another machine than the worker's.
Safety property: what was told is written down after it was told, so a notification that fails is sent at the next look;
what this check remembers is in the ledger too, so it may move from machine to machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deployments.declared import declared, flow_name
from tasks.analysis import dead_man
from tasks.analysis.dead_man import BEGAN, EXPECTED, LOOKS_BACK, TOLD, TOLD_DEATH, VERDICT, Death, Missing, Watched
from tasks.analysis.due_times import Schedule, schedule_of
from tasks.clients.ledger import Ledger
from tasks.clients.notify import count, send
from tasks.errors import BadInput, OpsError, TransientError
from tasks.models import Measurement
from tasks.site import Site, open_site

MANY = 10_000
AGAIN = timedelta(hours=23)


def watch(file: Path, estate: Path, state: Path, now: datetime | None = None) -> int:
    """Take one look; exit status 1 when something is missing that was not told of before."""
    site, moment = open_site(estate), now or datetime.now(UTC)
    cannot = state / "watch-cannot-read"
    try:
        missing, died = look(site.ledger, schedules(file), moment)
    except TransientError as error:
        _tell_once_a_day(site, cannot, f"the dead-man check cannot tell what is missing: {error}", moment)
        raise
    cannot.unlink(missing_ok=True)
    return tell(site, missing, died, moment)


def schedules(file: Path) -> dict[str, Schedule]:
    """Every schedule of a ``prefect.yaml``, by its name in the ledger. Raises BadInput for two of one name."""
    found: dict[str, Schedule] = {}
    for name, written in _written(declared(file)):
        if name in found:
            raise BadInput(f"reading the schedules of {file} failed: there are two called {name}; give each a slug")
        found[name] = schedule_of(name, written)
    return found


def _written(deployments: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for deployment in deployments:
        flow = flow_name(deployment)
        for schedule in deployment.get("schedules") or []:
            yield dead_man.subject(flow, str(schedule.get("slug", ""))), schedule


def look(ledger: Ledger, expected: dict[str, Schedule], now: datetime) -> tuple[list[Missing], list[Death]]:
    """What is missing, and which runs died, of all that was not told of before."""
    watched = [_watched(ledger, name, schedule, now) for name, schedule in expected.items()]
    missing = [found for one in watched if (found := dead_man.missing(one, now))]
    known = {mark.labels["run"] for mark in _left(ledger, TOLD_DEATH, None, now)}
    return missing, dead_man.deaths(_left(ledger, VERDICT, None, now), known)


def tell(site: Site, missing: list[Missing], died: list[Death], now: datetime) -> int:
    """Print and send what is missing, then write down that it was told. Exit status 1 when there is anything."""
    lines = [*(one.line for one in missing), *(death.line for death in died)]
    if not lines:
        return 0
    print("\n".join(lines), flush=True)
    _send(site, f"{site.estate.name}: {_count(len(missing), len(died))}", "\n".join(lines))
    for one in missing:
        site.ledger.measure(TOLD, one.subject, len(one.due), "1", at=now, labels={"missed": one.due[-1].isoformat()})
    for death in died:
        site.ledger.measure(TOLD_DEATH, death.subject, 1, "1", at=now, labels={"run": death.run})
    return 1


def _watched(ledger: Ledger, name: str, schedule: Schedule, now: datetime) -> Watched:
    since = dead_man.expected_since(schedule, ledger.measurements(EXPECTED, name, limit=1))
    if since is None:
        ledger.measure(EXPECTED, name, 1, "1", at=now, labels={"written": schedule.model_dump_json()})
    told = dead_man.told_before(ledger.measurements(TOLD, name, limit=1))
    left = [mark for kind in (BEGAN, VERDICT) for mark in _left(ledger, kind, name, now)]
    return Watched(subject=name, schedule=schedule, since=since or now, left=tuple(left), told=told)


def _left(ledger: Ledger, kind: str, name: str | None, now: datetime) -> list[Measurement]:
    return ledger.measurements(kind, name, since=now - LOOKS_BACK - timedelta(days=1), limit=MANY)


def _count(missing: int, died: int) -> str:
    parts = [f"{missing} schedule{'s' * (missing > 1)} without a verdict"] * bool(missing)
    return ", ".join(parts + [f"{died} dead run{'s' * (died > 1)}"] * bool(died))


def _send(site: Site, title: str, body: str) -> None:
    """Send to every target. Raises the last error, after all were tried."""
    urls, failed = site.notify_urls(), None
    for number in range(count(urls) if urls.get_secret_value() else 0):
        try:
            send(urls, title, body, number)
        except OpsError as error:
            failed = error
    if failed:
        raise failed


def _tell_once_a_day(site: Site, mark: Path, text: str, now: datetime) -> None:
    """Tell what cannot be written into the ledger: the time of telling is a file's."""
    if not mark.exists() or now - datetime.fromtimestamp(mark.stat().st_mtime, UTC) > AGAIN:
        _send(site, f"{site.estate.name}: the ledger does not answer", text)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
