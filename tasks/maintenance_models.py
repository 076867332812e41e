"""What is meant to be done for a database, and how it ended: frozen values, without a client.

Safety property: what is heavier than VACUUM and ANALYZE is told from what is light here, and nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.maintenance_facts import StatementsSnapshot
from tasks.models import Finding, Frozen

Kind = Literal["vacuum", "analyze", "reindex", "drop_leftover"]
#: What runs without being asked for. Everything else waits for a person.
LIGHT: frozenset[Kind] = frozenset({"vacuum", "analyze"})


class Action(Frozen):
    """One thing to do, in the order of ``rank``. ``seconds`` and ``disk_bytes`` are estimates until ``measured``.

    ``held_by``: whoever keeps its dead rows; ``held_pid`` is the session, ``held_since`` when its transaction began.
    """

    kind: Kind
    target: str
    quoted: str
    oid: int
    table: str
    table_oid: int
    statement: str
    reasons: tuple[str, ...]
    gain: str
    lock: str
    rank: int = 0
    bytes: int = 0
    seconds: float = 0
    disk_bytes: int = 0
    freeze: bool = False
    analyze: bool = False
    dead: bool = False
    refused: str = ""
    held_by: str = ""
    held_pid: int = 0
    held_since: datetime | None = None
    measured: bool = False
    rehearsed: bool = False

    @property
    def key(self) -> str:
        """What makes it the same action in another run."""
        return f"{self.kind} {self.target}"

    @property
    def light(self) -> bool:
        """Whether it runs without being asked for."""
        return self.kind in LIGHT


class Advice(Frozen):
    """What a person should do: it is a change of the application's schema, of flags, or of what is bought."""

    kind: Literal["duplicate index", "unused index", "missing index", "table bloat", "vacuum held back", "tune", "buy"]
    subject: str
    what: str
    way_out: str
    severity: Literal["info", "warning", "error"] = "warning"


class DaysLeft(Frozen):
    """When something runs out. ``per_day`` and ``days`` are None while the history is too short to tell."""

    what: str
    used: float
    limit: float
    per_day: float | None = None
    days: float | None = None
    shifted: datetime | None = None
    why: str = ""

    @property
    def used_percent(self) -> float:
        """How much of it is gone."""
        return 100.0 * self.used / self.limit if self.limit else 0.0


class StatementChange(Frozen):
    """A statement between two looks: how often and how long, and how long in the stretch before."""

    id: str
    text: str
    calls: int
    total_ms: float
    mean_ms: float
    before_ms: float | None = None

    @property
    def change_percent(self) -> float | None:
        """By how much its mean has changed; None for one that is new."""
        return None if not self.before_ms else 100.0 * (self.mean_ms / self.before_ms - 1)


class TableAge(Frozen):
    """How old a table's oldest rows are, in transactions and multixacts, and in how many days that is the end.

    The days are None while the burn is not known, and where there is none.
    """

    table: str
    xids: int
    mxids: int
    xid_days: float | None = None
    mxid_days: float | None = None


class MaintenancePlan(Frozen):
    """What would be done, what a person should do, and what runs out. ``digest`` stands for what needs approval."""

    database: str
    at: datetime
    actions: tuple[Action, ...] = ()
    advice: tuple[Advice, ...] = ()
    days_left: tuple[DaysLeft, ...] = ()
    statements: tuple[StatementChange, ...] = ()
    statements_since: str = ""
    compared_at: datetime | None = None
    oldest: tuple[TableAge, ...] = ()
    missing: tuple[Finding, ...] = ()
    digest: str = ""
    tables: int = 0
    healthy: int = 0

    @property
    def light(self) -> tuple[Action, ...]:
        """What is done without being asked for."""
        return tuple(action for action in self.actions if action.light and not action.refused)

    @property
    def refused(self) -> tuple[Action, ...]:
        """What is not done, whoever approves it."""
        return tuple(action for action in self.actions if action.refused)

    @property
    def heavy(self) -> tuple[Action, ...]:
        """What waits for approval."""
        return tuple(action for action in self.actions if not action.light and not action.refused)


# --- what was done ---------------------------------------------------------------------------------------------------

Ended = Literal["done", "postponed", "held_back", "skipped", "disturbed", "failed", "not_approved", "refused"]


class Effect(Frozen):
    """How an action ended, with what was measured before and after it."""

    action: Action
    ended: Ended
    why: str = ""
    began: datetime | None = None
    seconds: float = 0
    attempts: int = 1
    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)


class GuardNote(Frozen):
    """One pause: when, for how long, and what had risen."""

    at: datetime
    seconds: float
    why: str


class WindowState(Frozen):
    """A time in which is cared for, with the plan that was begun in it: what a killed run leaves for the next.

    ``approved`` are the statements that a person approved in it: what is left of them needs no second approval.
    ``renewed``: when it was given more time, where it was.
    """

    database: str
    began: datetime
    until: datetime
    renewed: datetime | None = None
    actions: tuple[Action, ...] = ()
    approved: tuple[str, ...] = ()

    @property
    def since(self) -> datetime:
        """What was done since then is not done again. What was done before is, where it is needed once more."""
        return self.renewed or self.began

    def is_over(self, now: datetime) -> bool:
        """Whether nothing may run in it any more."""
        return now >= self.until


class KeptStatements(Frozen):
    """What is compared with next time: the counters, and each statement's mean in the stretch that ended with them."""

    snapshot: StatementsSnapshot
    means: dict[str, float] = Field(default_factory=dict)


class MaintenanceVerdict(Frozen):
    """How the care of a database ended."""

    verdict: Literal["planned", "measured", "nothing_to_do", "maintained", "incomplete", "failed"]
    database: str
    why: str = ""
    plan: MaintenancePlan
    effects: tuple[Effect, ...] = ()
    pauses: tuple[GuardNote, ...] = ()
    began: datetime | None = None
    seconds: float = 0
    findings: tuple[Finding, ...] = ()
    swept: tuple[str, ...] = ()
    page: str = ""
    report: str = ""
