"""Finds what the branch has and no delivery told of, and puts it into the inbox. It imports no Prefect.

Safety property: it releases nothing itself. What it finds goes the way of every delivery, so it is judged again there,
against the same rules and at the moment of the release; and its id is the commit's, so twice is once.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from tasks.analysis.lost import RECONCILE, Found, look
from tasks.analysis.standing import standings
from tasks.delivery_models import Arrival, BranchHistory
from tasks.hand_over import WAITS, HandOver

#: Whether a commit's tests passed is not to be read off the branch.
GATED = "a workflow run that passes must tell of it: [source] gate is tests; deliver that event again"
log = logging.getLogger("caretaker.lost_deliveries")


class Followed:
    """An estate's branch, inbox and deployment, and what the branch has now. A plain class, as ``Site`` is."""

    def __init__(self, hand_over: HandOver, history: BranchHistory, found: Found, held: str) -> None:
        self.hand_over, self.history, self.found, self.held = hand_over, history, found, held

    @property
    def name(self) -> str:
        """What a person reads in the name of a step."""
        return self.history.branch


def follow(hand_over: HandOver) -> Followed:
    """Read the head of the branch, and judge whether somebody was told of it. Raises TransientError."""
    history = hand_over.mirror.history()
    outcomes, changes = hand_over.inbox.with_commit(), hand_over.changes()
    known = [*hand_over.inbox.open(), *outcomes]
    found = look(history, standings(changes, outcomes, hand_over.services), changes, known, datetime.now(UTC))
    gated = hand_over.source.gate == "tests" and found.kind == "lost"
    return Followed(hand_over, history, found, GATED if gated else hand_over.held(datetime.now(UTC)))


def put(followed: Followed) -> str:
    """Write the lost delivery down, or that the head was seen, and give its name. Safe to repeat."""
    head, tries = followed.history.head, followed.found.tries
    number = f"{head}.{tries}" if tries else head
    if followed.found.aloud:
        followed.hand_over.tell(WAITS, followed.found.why)
    arrival = Arrival(
        source=RECONCILE, delivery=number, event=RECONCILE, digest=number, branch=followed.history.branch, commit=head,
        ignored=followed.found.why if followed.found.kind == "seen" else "",
    )  # fmt: skip
    return followed.hand_over.inbox.accept(arrival, datetime.now(UTC)).name


class Lookout:
    """Looks at the branch again and again: the receiver's own reconcile, without a run."""

    def __init__(self, hand_over: HandOver) -> None:
        self._hand_over, self._judged = hand_over, ""

    def moved(self) -> bool:
        """Whether the head is another than the one that needs nothing: one ``git ls-remote``. Raises TransientError."""
        return self._hand_over.mirror.remote_head()[1] != self._judged

    def look(self) -> bool:
        """Judge the head; whether something was put into the inbox. Raises TransientError."""
        followed = follow(self._hand_over)
        if followed.found.kind != "nothing" and not followed.held:
            name = put(followed)
            log.warning("%s: %s", name, followed.found.why)
        self._judged = followed.history.head if followed.found.kind == "nothing" else ""
        return followed.found.kind == "lost" and not followed.held
