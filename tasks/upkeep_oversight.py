"""Watches over our work from a thread and a session of its own, and stops it whenever it disturbs anybody.

Safety property: it looks twice a second. It breaks our statements off as soon as a session has waited for us, within
seconds of a rise of the application's latency or of a replica's lag, and at the end of the window; where it fails,
nothing goes on and nothing begins.

A running VACUUM cannot be slowed: it reads ``vacuum_cost_delay`` when it begins. So a pause breaks it off, and what
comes after the pause is gentler; see docs/decisions/0012-maintenance.md.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tasks import progress
from tasks.analysis.guard import Guard
from tasks.clients.upkeep_watch import Watch
from tasks.clients.upkeep_work import Workshop
from tasks.clients.upkeep_worker import BrokenOff, Worker
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_models import GuardNote

#: Milliseconds of ``vacuum_cost_delay``: full speed where nobody is at work, autovacuum's own where somebody is, and
#: gentler after each pause.
PACES = (0.0, 2.0, 10.0, 40.0, 100.0)
LOADED_PACE = 1
LOOK_EVERY = 0.5


class Oversight:
    """The guard of one window. ``guarded`` is off for a copy that nobody uses; ``pace`` is a place in ``PACES``."""

    def __init__(
        self, workshop: Workshop, policy: MaintenancePolicy, until: datetime, *, guarded: bool, pace: int
    ) -> None:
        self._workshop, self._until, self._guarded, self._pace = workshop, until, guarded, pace
        self._guard = Guard(policy.rise_percent, policy.blocked_seconds)
        self._go, self._over, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._busy: dict[int, Worker] = {}
        self.pauses: list[GuardNote] = []
        self.failed = False

    # --- for those who work ------------------------------------------------------------------------------------------

    @property
    def left(self) -> timedelta:
        """What is left of the window."""
        return self._until - datetime.now(UTC)

    @property
    def loaded(self) -> bool:
        """Whether somebody is at work who may be disturbed."""
        return self._guard.loaded

    @property
    def why(self) -> str:
        """The reason of the last pause."""
        return self._guard.why

    @property
    def cost_delay_ms(self) -> float:
        """How gentle the next VACUUM is to be."""
        return PACES[self._pace]

    @property
    def busy(self) -> list[int]:
        """The sessions of ours that are at work."""
        return list(self._busy)

    def await_go(self) -> None:
        """Wait while there is a pause, until the window ends at the longest."""
        self._go.wait(max(0.0, self.left.total_seconds()))

    def wait_a_little(self) -> None:
        """Wait until something may have changed."""
        self._over.wait(LOOK_EVERY)

    @contextmanager
    def at_work(self, worker: Worker) -> Iterator[None]:
        """While inside, what the worker runs may be broken off. Raises BrokenOff where nobody would do that."""
        with self._lock:
            if self.failed:
                raise BrokenOff("the guard is gone; retrying may clear this")
            self._busy[worker.pid] = worker
        try:
            yield
        finally:
            with self._lock:
                self._busy.pop(worker.pid, None)

    def end(self) -> None:
        """All is done: the thread ends."""
        self._over.set()

    # --- the thread --------------------------------------------------------------------------------------------------

    def watch_over(self) -> None:
        """Look, judge, pause and let go, until all is done. An error here ends the work: nothing runs unguarded."""
        try:
            if not self._guarded:
                self._go.set()
            with self._workshop.watch() as watch:
                watch.choose()
                self._look(watch)
                while not self._over.wait(LOOK_EVERY):
                    self._look(watch)
        except BaseException:
            self._stop()
            raise
        finally:
            self._go.set()

    def _stop(self) -> None:
        with self._lock:
            self.failed, busy = True, list(self._busy.values())
        for worker in busy:
            worker.break_off()

    def _look(self, watch: Watch) -> None:
        for step in watch.steps(self.busy):
            progress.report("maintain", step.name, step.phase, step.done)
        if self.left <= timedelta(0):
            watch.cancel(self.busy)
            self._go.set()
        elif self._guarded:
            self._judge(watch)

    def _judge(self, watch: Watch) -> None:
        before = self._guard.mood
        mood = self._guard.see(watch.sample(self.busy))
        if mood == "calm" and before != "calm":
            self._resume(before == "learning")
        elif mood != "calm" and before == "calm":
            self._go.clear()
            self.pauses.append(GuardNote(at=datetime.now(UTC), seconds=0, why=self._guard.why))
            progress.report("maintain", "guard", f"pausing: {self._guard.why}")
        if mood != "calm":
            watch.cancel(self.busy)

    def _resume(self, learned: bool) -> None:
        if learned:
            self._pace = max(self._pace, LOADED_PACE if self._guard.loaded else 0)
        else:
            self._pace = min(self._pace + 1, len(PACES) - 1)
        if self.pauses and not self.pauses[-1].seconds:
            last = self.pauses[-1]
            seconds = round((datetime.now(UTC) - last.at).total_seconds(), 1)
            self.pauses[-1] = last.model_copy(update={"seconds": seconds})
            progress.report("maintain", "guard", f"going on after {seconds:.0f} s")
        self._go.set()
