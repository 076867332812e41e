"""Heals a delivery that never came: compares the head of the branch with what was released, and puts it into the inbox.

Safety property: it releases nothing itself. What it finds goes the way of every delivery, so it is judged again there,
against the same rules and at the moment of the release; and its id is the commit's, so twice is once.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Literal

from prefect import task

from tasks.analysis.lost import RECONCILE, Found, look
from tasks.analysis.standing import standings
from tasks.delivery_models import Arrival, BranchHistory
from tasks.hand_over import WAITS, HandOver
from tasks.models import Frozen
from tasks.policies import READ, WRITE
from tasks.site import Site

#: Whether a commit's tests passed is not to be read off the branch.
GATED = "a workflow run that passes must tell of it: [source] gate is tests; deliver that event again"


class Reconciled(Frozen):
    """What the branch has, and what was done about it."""

    verdict: Literal["unchanged", "planned", "held", "started"]
    why: str
    branch: str = ""
    commit: str = ""
    delivery: str = ""


#: Not every estate is released by itself.
NO_BRANCH = Reconciled(verdict="unchanged", why="the estate follows no branch: it has no [source]")


class Followed:
    """An estate's branch, inbox and deployment, and what the branch has now. A plain class, as ``Site`` is."""

    def __init__(self, hand_over: HandOver, history: BranchHistory, found: Found, held: str) -> None:
        self.hand_over, self.history, self.found, self.held = hand_over, history, found, held

    @property
    def name(self) -> str:
        """What a person reads in the name of a step."""
        return self.history.branch

    def told(self, verdict: Literal["unchanged", "planned", "held", "started"], delivery: str = "") -> Reconciled:
        """The flow's result."""
        why = f"{self.found.why}; {self.held}" if verdict == "held" else self.found.why
        return Reconciled(
            verdict=verdict, why=why, branch=self.history.branch, commit=self.history.head, delivery=delivery
        )


@task(**READ)
async def follow(site: Site) -> Followed:
    """Read the head of the branch, and judge whether somebody was told of it."""
    return await asyncio.to_thread(_follow, site)


def _follow(site: Site) -> Followed:
    hand_over = HandOver(site, gather=timedelta(0))
    history = hand_over.mirror.history()
    outcomes, changes = hand_over.inbox.with_commit(), hand_over.changes()
    known = [*hand_over.inbox.open(), *outcomes]
    found = look(history, standings(changes, outcomes, hand_over.services), changes, known, datetime.now(UTC))
    gated = hand_over.source.gate == "tests" and found.kind == "lost"
    held = GATED if gated else hand_over.held(datetime.now(UTC))
    return Followed(hand_over, history, found, held)


@task(**WRITE)
async def put_into_inbox(followed: Followed) -> str:
    """Write the lost delivery down, or that the head was seen. Safe to repeat: its id is the commit's."""
    return await asyncio.to_thread(_put, followed)


def _put(followed: Followed) -> str:
    head, tries = followed.history.head, followed.found.tries
    number = f"{head}.{tries}" if tries else head
    if followed.found.aloud:
        followed.hand_over.tell(WAITS, followed.found.why)
    arrival = Arrival(
        source=RECONCILE, delivery=number, event=RECONCILE, digest=number, branch=followed.history.branch, commit=head,
        ignored=followed.found.why if followed.found.kind == "seen" else "",
    )  # fmt: skip
    return followed.hand_over.inbox.accept(arrival, datetime.now(UTC)).name


@task(**WRITE)
async def hand_over_what_waits(followed: Followed) -> bool:
    """Hand over what waits in the inbox, as the receiver does; whether something is still open. Safe to repeat."""
    return await asyncio.to_thread(followed.hand_over.step)
