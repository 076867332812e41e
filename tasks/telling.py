"""What was told to people, and telling them from a process without Prefect, such as the webhook receiver.

Safety property: it is remembered in the ledger after it was sent, in the lines that ``tasks/notifications`` reads and
writes too, so a kill in between says it twice and never not at all. The URLs are secrets, read by name when used.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.analysis.news import fingerprint, is_news
from tasks.clients.notify import count, send
from tasks.errors import OpsError
from tasks.models import Measurement
from tasks.site import Site

TOLD = "told"
#: Chat services refuse longer texts; the report in the UI says everything.
MOST_CHARACTERS = 1500


def tell_people(site: Site, title: str, why: str, topic: str, about: str = "") -> bool:
    """Send to every target what is news of a topic, and remember it; whether anything was sent.

    ``about``: what it happened to, such as a delivery; of two that it happened to for one reason the first is told.

    Raises the last error where no target took it. Safe to repeat: of a topic the same is told once a day.
    """
    said = fingerprint(title, why)
    if not has_targets(site) or not is_news(said, last_told(site, topic), datetime.now(UTC)):
        return False
    _send(site, title, shortened(": ".join(filter(None, (about, why)))))
    remember(site, topic, said, True)
    return True


def all_well(site: Site, topic: str) -> None:
    """Remember that a topic is well again, so that the next time is told at once."""
    last = last_told(site, topic)
    if last and last.value:
        remember(site, topic, "", False)


def _send(site: Site, title: str, body: str) -> None:
    urls = site.notify_urls()
    targets, failed = count(urls), list[OpsError]()
    for number in range(targets):
        try:
            send(urls, title, body, number)
        except OpsError as error:
            failed.append(error)
    if len(failed) == targets:
        raise failed[-1]


def shortened(body: str) -> str:
    """A text as chat services take it."""
    return body if len(body) <= MOST_CHARACTERS else f"{body[:MOST_CHARACTERS]} …"


def has_targets(site: Site) -> bool:
    """Whether the machine or the estate names anybody to tell."""
    return bool(site.settings.notify_url.get_secret_value() or site.estate.notify.url_secret)


def last_told(site: Site, topic: str) -> Measurement | None:
    """What was last remembered of a topic."""
    found = site.ledger.measurements(TOLD, _subject(site, topic), limit=1)
    return found[-1] if found else None


def remember(site: Site, topic: str, said: str, told: bool) -> None:
    """Remember what was told of a topic, or that all is well again. Safe to repeat: the newest line counts."""
    site.ledger.measure(TOLD, _subject(site, topic), float(told), "1", labels={"what": said})


def _subject(site: Site, topic: str) -> str:
    return f"{site.estate.google.project}/{site.estate.name}/{topic}"
