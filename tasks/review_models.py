"""What the weekly review hands from step to step and keeps: frozen values without a secret in them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from tasks.cost_models import CostReview
from tasks.estate.review import Price
from tasks.log_models import LogReview, Week
from tasks.models import Change, Finding, Frozen, Measurement, Severity


class Mute(Frozen):
    """A pattern that nobody wants to hear of until a day. ``pattern`` is its id, or the beginning of it."""

    pattern: str = Field(pattern=r"^[0-9a-f]{6,12}$")
    reason: str = Field(min_length=1)
    until: date


class Resolved(Frozen):
    """A pattern whose cause was mended at a moment: seen after it, it has regressed."""

    pattern: str = Field(pattern=r"^[0-9a-f]{6,12}$")
    at: AwareDatetime
    reason: str = ""


class Marks(Frozen):
    """What people said of patterns."""

    mute: tuple[Mute, ...] = ()
    resolved: tuple[Resolved, ...] = ()

    def muted(self, pattern: str, day: date) -> str:
        """Why a pattern is muted on a day; empty where it is not."""
        return next((m.reason for m in self.mute if pattern.startswith(m.pattern) and day <= m.until), "")


class SecretAge(Frozen):
    """The newest enabled version of a secret: its number, and how many days old. None: there is none."""

    secret: str
    version: int | None
    days: int | None
    most_days: int
    why: str = ""


class Around(Frozen):
    """What else is known of a week: what was changed, what backups proved, which secrets are due."""

    changes: tuple[Change, ...] = ()
    backups: tuple[Measurement, ...] = ()
    secrets: tuple[SecretAge, ...] = ()
    marks: Marks = Marks()
    changes_since: datetime | None = Field(None, description="The oldest change that was read, where some were not")


class Told(Frozen):
    """One finding as other tools read it: a finding, what it is of, since when, and the changes of that time."""

    severity: Severity
    kind: str
    subject: str
    what: str
    way_out: str = ""
    pattern: str = ""
    template: str = ""
    count: int | None = None
    expected: int | None = None
    since: datetime | None = None
    changes: tuple[str, ...] = ()
    muted: str = ""

    @property
    def finding(self) -> Finding:
        """As a report shows it."""
        beside = f" Shortly before: {'; '.join(self.changes)}." if self.changes else ""
        quoted = f" “{shortened(self.template)}”" if self.template else ""
        return Finding(
            severity=self.severity, subject=self.subject, what=f"{self.what}.{quoted}{beside}", way_out=self.way_out
        )


class Review(Frozen):
    """A week's review: everything that a report says."""

    estate: str
    week: Week
    asked: datetime
    logs: LogReview
    costs: CostReview
    around: Around
    told: tuple[Told, ...]
    price: Price = Price()


class ReviewVerdict(Frozen):
    """How a review ended, and where its parts are. ``incomplete``: something could not be read; ``why`` says what."""

    verdict: Literal["reviewed", "incomplete", "planned"]
    why: str = ""
    week: str
    headline: str
    summary: tuple[str, ...] = ()
    findings: tuple[Told, ...] = ()
    read: int = 0
    asked: AwareDatetime | None = Field(None, description="The moment as of which the week was reviewed")
    page: str = ""
    link: str = ""
    report: str = ""


def shortened(text: str, most: int = 160) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def left_out(count: int, most: int) -> str:
    """How many rows a table leaves out; empty where it has them all."""
    return f"the first {most} of {count}" if count > most else ""
