"""Hands what waits in the inbox over to Prefect: one release at a time, of the newest commit.

It imports no Prefect, so that the receiver can do it too. Safety property: what is about to be done is written down
before it is done, and every step may be repeated: killed between any two, the next pass goes on from the inbox. A run
is made with a key derived from the delivery and its attempt, so a lost answer makes no second run. One pass at a time:
a lock of the ledger, which ends with its holder.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from tasks.analysis import branch, freeze
from tasks.analysis.standing import standings
from tasks.clients.branch_mirror import BranchMirror
from tasks.clients.inbox import Inbox
from tasks.clients.prefect_api import PrefectApi, RunFound
from tasks.delivery_models import AFTER_IT_WAS_ASKED, STACK_STOPPED, UNDER_WAY, Delivery, Standing, Status
from tasks.errors import Conflict, Missing, NotAllowed, OpsError, PermanentError
from tasks.followed import repository_token, repository_url, source_of
from tasks.models import Change
from tasks.site import Site
from tasks.telling import all_well, tell_people

#: Deliveries that come together are judged together: several pushes in a row become one release.
GATHER = timedelta(seconds=0.4)
#: The repository is asked again about deliveries that wait on, such as in a freeze window, no more often than this.
ASK_AGAIN = timedelta(seconds=15)
#: Longer than a request to Prefect can be on its way.
ON_ITS_WAY = timedelta(seconds=60)
#: When a run that came to nothing by no fault of its own is made again.
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0, 10, 30, 60, 120))
#: A roll-back, a rotation or a release by hand holds the service for as long as its canary takes: two hours of tries.
MOST_LOCKED = 60
#: The newest changes of each service that a commit's standing is read from.
HISTORY = 1000
#: What a run says that came to nothing by no fault of its release: somebody else is changing the same service, or did
#: so, or a freeze window began, between its choosing and its start.
NO_FAULT = ("taking the lock ", AFTER_IT_WAS_ASKED, freeze.REFUSED)
#: Under which the notifications of this module are remembered.
TOPIC = "webhooks"
WAITS = "a push waits for a person"
log = logging.getLogger("caretaker.hand_over")


class HandOver:
    """One estate's inbox, branch and deployment. ``gather``: how long is waited for more that comes together."""

    def __init__(self, site: Site, inbox: Inbox | None = None, gather: timedelta = GATHER) -> None:
        self.site, self.source = site, source_of(site)
        self._given, self._gather = inbox, gather
        self._judged: tuple[tuple[int, ...], datetime] = ((), datetime.min.replace(tzinfo=UTC))

    @property
    def name(self) -> str:
        """What a person reads in the name of a step."""
        return self.deployment

    @property
    def project(self) -> str:
        return self.site.estate.google.project

    @property
    def deployment(self) -> str:
        """Prefect's deployment that a release is a run of."""
        return self.source.deployment or f"deploy/{self.site.estate.name}"

    @cached_property
    def inbox(self) -> Inbox:
        inbox = self._given or Inbox(self.site.settings.ledger(), self.project)
        inbox.ensure()
        return inbox

    @property
    def mirror(self) -> BranchMirror:
        """The branch, read with the token as it is now: a receiver outlives many of them."""
        return BranchMirror(repository_url(self.site), self.source.branch, self._clones, repository_token(self.site))

    @property
    def _clones(self) -> Path:
        return (self.site.settings.state / "branches").resolve()

    @cached_property
    def prefect(self) -> PrefectApi:
        machine = self.site.settings
        return PrefectApi(machine.prefect(), machine.prefect_login, machine.prefect_key)

    def standings(self) -> dict[str, Standing]:
        """What became of each commit that somebody released."""
        return standings(self.changes(), self.inbox.with_commit(), self.services)

    @property
    def services(self) -> frozenset[str]:
        """The names of the estate's services."""
        return frozenset(service.name for service in self.site.estate.services)

    def changes(self) -> list[Change]:
        """The newest changes of the estate's services."""
        return [
            change
            for service in self.site.estate.services
            for change in self.site.ledger.changes(subject=service.name, limit=HISTORY)
            if change.inputs.get("project", self.project) == self.project
        ]

    def held(self, now: datetime) -> str:
        """Why nothing may be released now; empty where it may."""
        window = freeze.active(self.site.estate.freeze, now)
        return f"frozen until {window.until:%Y-%m-%d %H:%M} UTC ({window.reason})" if window else ""

    def step(self) -> bool:
        """One pass; whether something is still open. Safe to repeat; a pass of somebody else is left alone.

        Raises TransientError where the repository, Prefect or the ledger does not answer: what waits waits on.
        """
        if not self.inbox.open(1):
            return False
        try:
            with self.site.ledger.lock(f"{self.project}/inbox"):
                self._pass()
        except Conflict as conflict:
            log.debug("leaving the inbox to another pass: %s", conflict)
        return bool(self.inbox.open(1))

    def _pass(self) -> None:
        for one in self.inbox.open():
            if one.status in UNDER_WAY:
                self._follow(one)
        opened, now = self.inbox.open(), datetime.now(UTC)
        waiting = [one for one in opened if one.status == "waiting" and one.due <= now]
        if waiting and waiting[0].received + self._gather <= now and self._worth_asking(opened, now):
            self._judge(waiting, next((one for one in opened if one.status in UNDER_WAY), None), now)

    def _worth_asking(self, opened: list[Delivery], now: datetime) -> bool:
        """Whether the inbox is another than when it was judged last, or that is some time ago."""
        seen = tuple(hash((one.id, one.status, one.due <= now)) for one in opened)
        if seen == self._judged[0] and now < self._judged[1] + ASK_AGAIN:
            return False
        self._judged = (seen, now)
        return True

    def _judge(self, waiting: list[Delivery], under_way: Delivery | None, now: datetime) -> None:
        mirror = self.mirror
        history = mirror.history()
        tags = {one.tag: mirror.commit_of_tag(one.tag) for one in waiting if one.tag}
        found = branch.judge(waiting, history, tags, self.standings(), under_way, self.held(now), now)
        for one in (one for one in found.settled if one.aloud):
            self.tell(WAITS, one.note)
        if found.carrier is None:
            self.inbox.settle(found.settled, now)
        elif self.inbox.choose(found.carrier, found.commit, found.settled, now):
            self._start(next(one for one in self.inbox.open() if one.id == found.carrier))

    def _follow(self, one: Delivery) -> None:
        """Bring a delivery whose release is under way one step on."""
        now = datetime.now(UTC)
        if one.status == "chosen":
            self._begin_again(one, now)
            return
        run = self.prefect.run(one.run)
        if run is None or run.state == "CRASHED":
            self._again(one, f"run {one.run} {'is gone' if run is None else 'crashed'}", now)
        elif run.message == STACK_STOPPED:
            self._again(one, run.message, now)
        elif run.state == "FAILED" and any(words in run.message for words in NO_FAULT):
            self._again(one, run.message, now, MOST_LOCKED)
        elif run.ended:
            status, note = self._outcome(one, run)
            self.inbox.ended(one.id, status, note, now)
            log.info("delivery %s: %s, %s", one.name, status, note)
            if status == "deployed":
                self._well()

    def _begin_again(self, one: Delivery, now: datetime) -> None:
        """Go on from where a pass was killed, or Prefect did not answer.

        A request that is still on its way makes the same run. Later than that, and where no run was made, the delivery
        waits again: there may be a newer commit by now.
        """
        if one.due + ON_ITS_WAY > now or self.prefect.find(self._key(one)):
            self._start(one)
        else:
            self.inbox.unchoose(one.id)

    def _key(self, one: Delivery) -> str:
        return f"caretaker/{self.project}/{one.name}/{one.attempts}"

    def _outcome(self, one: Delivery, run: RunFound) -> tuple[Status, str]:
        if run.state != "COMPLETED":
            return "failed", f"run {run.id} {run.state.lower()}: {run.message or 'it says nothing'}"
        if any(change.run == run.id and change.verdict == "released" for change in self.changes()):
            return "deployed", f"deployed by run {run.id}"
        return "already_released", f"run {run.id} found nothing to change at {one.commit[:12]}"

    def _start(self, one: Delivery) -> None:
        """Make the run of a chosen delivery. Safe to repeat: its key is the delivery's and the attempt's."""
        key = self._key(one)
        log.info("handing %s over: %s with key %s", one.name, one.commit[:12], key)
        deployment = self.prefect.deployment(self.deployment)
        try:
            # Runs wait for their turn: what was released by hand meanwhile is not taken back.
            mine = {"ref": one.commit, "reason": _reason(one), "since": one.due.isoformat()}
            request = {**deployment.parameters.get("request", {}), **mine}
            run = self.prefect.create_run(deployment.id, {"request": request}, key, ("webhook",))
        except (Missing, NotAllowed):
            raise  # a person can mend it: it waits
        except PermanentError as error:
            self._fail(one, f"handing over failed: {error}", datetime.now(UTC))
            return
        self.inbox.started(one.id, run.id)

    def _again(self, one: Delivery, why: str, now: datetime, most: int = len(PAUSES)) -> None:
        if one.attempts >= most:
            self._fail(one, f"{why}, {one.attempts + 1} times", now)
            return
        self.inbox.again(one, f"{why}; it is tried again", now + PAUSES[min(one.attempts, len(PAUSES) - 1)])

    def _fail(self, one: Delivery, why: str, now: datetime) -> None:
        """End a delivery that no run tells of: people are told before, so that a kill in between says it twice."""
        log.error("delivery %s failed: %s", one.name, why)
        self.tell("a delivery failed", why, f"{one.name}, {one.commit[:12]}")
        self.inbox.ended(one.id, "failed", why, now)

    def tell(self, what: str, why: str, about: str = "") -> None:
        """Tell people; one who cannot be told keeps nothing from going on, and that is in the log."""
        try:
            tell_people(self.site, f"webhooks of {self.site.estate.name}: {what}", why, TOPIC, about)
        except OpsError as error:
            log.error("%s; not told: %s", error, why)  # noqa: TRY400  it is one line that says all

    def _well(self) -> None:
        try:
            all_well(self.site, TOPIC)
        except OpsError as error:
            log.warning("%s", error)


def _reason(one: Delivery) -> str:
    return f"{one.event} of {one.commit[:12]} ({one.name})"[:300]
