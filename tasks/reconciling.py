"""Heals a delivery that never came, as steps of a flow: what is done is in ``tasks/lost_deliveries.py``.

Safety property: it releases nothing itself; every step is safe to repeat.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Literal

from prefect import task

from tasks import lost_deliveries
from tasks.hand_over import HandOver
from tasks.lost_deliveries import Followed
from tasks.models import Frozen
from tasks.policies import READ, WRITE
from tasks.site import Site

Verdict = Literal["unchanged", "planned", "held", "started"]


class Reconciled(Frozen):
    """What the branch has, and what was done about it."""

    verdict: Verdict
    why: str
    branch: str = ""
    commit: str = ""
    delivery: str = ""


#: Not every estate is released by itself.
NO_BRANCH = Reconciled(verdict="unchanged", why="the estate follows no branch: it has no [source]")


def told(followed: Followed, verdict: Verdict, delivery: str = "") -> Reconciled:
    """The flow's result."""
    why = f"{followed.found.why}; {followed.held}" if verdict == "held" else followed.found.why
    branch, head = followed.history.branch, followed.history.head
    return Reconciled(verdict=verdict, why=why, branch=branch, commit=head, delivery=delivery)


@task(**READ)
async def follow(site: Site) -> Followed:
    """Read the head of the branch, and judge whether somebody was told of it."""
    return await asyncio.to_thread(lambda: lost_deliveries.follow(HandOver(site, gather=timedelta(0))))


@task(**WRITE)
async def put_into_inbox(followed: Followed) -> str:
    """Write the lost delivery down, or that the head was seen. Safe to repeat: its id is the commit's."""
    return await asyncio.to_thread(lost_deliveries.put, followed)


@task(**WRITE)
async def hand_over_what_waits(followed: Followed) -> bool:
    """Hand over what waits in the inbox, as the receiver does; whether something is still open. Safe to repeat."""
    return await asyncio.to_thread(followed.hand_over.step)
