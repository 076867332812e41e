"""What is known of a delivery, from its arrival to its one outcome.

Safety property: nothing of what a sender wrote gets further than these fields, and each is held to a pattern: no text
of a stranger reaches the database, a command line or a log as it came.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tasks.models import Frozen

#: What the worker says of a run that it ended because the stack was stopped: nobody decided against it.
STACK_STOPPED = "The stack was stopped; run it again, it converges."
#: What a release says that found another one to have been faster, or a roll-back.
AFTER_IT_WAS_ASKED = "after this release was asked for"
#: SHA-1 or SHA-256, as git writes them.
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")]
#: git allows more; what is not allowed here cannot be an option, a refspec or a path that leads out.
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+@#-]*"
RefName = Annotated[str, StringConstraints(pattern=rf"^({_PART}(/{_PART})*)?$", max_length=200)]
DeliveryId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
EventName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]

#: Waiting → chosen (its run is about to be made) → running → one of the outcomes.
Status = Literal["waiting", "chosen", "running", "deployed", "superseded", "already_released", "ignored", "failed"]
OPEN: tuple[Status, ...] = ("waiting", "chosen", "running")
UNDER_WAY: tuple[Status, ...] = ("chosen", "running")


class Arrival(Frozen):
    """A delivery that proved to be authentic: who sent it, and what it asks to be released.

    ``commit`` and ``tag`` are empty where the branch's newest commit is meant. ``ignored`` says why it asks for
    nothing. ``digest`` is the SHA-256 of what was signed: the same content under another id is the same delivery.
    ``secret_version`` is the number of the version of the sender's secret that proved it; 0 where that is not known.
    """

    source: str
    delivery: DeliveryId
    event: EventName
    digest: str
    branch: RefName = ""
    commit: Commit = ""
    tag: RefName = ""
    ignored: str = ""
    secret_version: int = 0


class Delivery(Arrival):
    """A delivery in the inbox. ``note`` says why it ended as it did, or what it waits for."""

    id: int
    project: str
    ticket: str
    received: datetime
    due: datetime
    settled: datetime | None = None
    status: Status
    attempts: int = 0
    run: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """How it is told apart by a person."""
        return f"{self.source}/{self.delivery}"


class Settlement(Frozen):
    """One delivery's outcome. ``commit`` is the one that it meant, where it named none itself.

    ``aloud``: people are told, since the branch's newest commit waits for one of them.
    """

    id: int
    status: Status
    note: str
    commit: str = ""
    aloud: bool = False


class Signature(Frozen):
    """A version of its secret that a sender's deliveries were proved by, and when the first and the last one came."""

    source: str
    version: int
    first: datetime
    last: datetime


StandingKind = Literal["released", "withdrawn", "tried", "partly"]


class Standing(Frozen):
    """What became of a commit when somebody released it.

    ``released`` serves or served, ``withdrawn`` was rolled back by a person or by its canary, ``tried`` did not get so
    far, ``partly`` was released for some of the services alone. ``words`` say when and by whom. ``by_hand``: a person
    rolled it back.
    """

    kind: StandingKind
    words: str
    at: datetime
    by_hand: bool = False


class BranchHistory(Frozen):
    """A branch as its repository has it now: its name, and each commit with its parents, children before parents."""

    branch: str
    parents: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def head(self) -> str:
        """The newest commit."""
        return next(iter(self.parents))


class Judgement(Frozen):
    """What is to be done with the waiting deliveries: outcomes, and the one whose commit is released now."""

    settled: tuple[Settlement, ...] = ()
    carrier: int | None = None
    commit: str = ""
