"""Works through a plan in a window with a hard end, and stops whenever it disturbs anybody.

Safety property: a guard with a session of its own looks twice a second. It breaks our statements off as soon as a
session has waited for us, within seconds of a rise of the application's latency or of a replica's lag, and at the end
of the window; without a guard nothing goes on. What a VACUUM has done on the heap stays done, and a rebuild's leftovers
are dropped.

A running VACUUM cannot be slowed: it reads ``vacuum_cost_delay`` when it begins. So a pause breaks it off, and what
comes after the pause is gentler; see docs/decisions/0012-maintenance.md.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from tasks import progress
from tasks.analysis.guard import Guard
from tasks.analysis.upkeep_plan import fits
from tasks.clients.upkeep_work import BrokenOff, NoLock, Watch, Worker, Workshop, skipped
from tasks.errors import Missing, PermanentError
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_models import Action, Effect, Ended, GuardNote

#: Milliseconds of ``vacuum_cost_delay``: full speed where nobody is at work, autovacuum's own where somebody is, and
#: gentler after each pause.
PACES = (0.0, 2.0, 10.0, 40.0, 100.0)
LOADED_PACE = 1
LOOK_EVERY = 0.5
#: A rebuild waits so long for older transactions. Nobody waits behind it meanwhile: the guard sees to that.
REBUILD_LOCK = timedelta(minutes=5)
#: Before it begins, no transaction may be older.
OLDER = timedelta(seconds=10)
MOST_LOCK_TRIES, MOST_REBUILDS, MOST_PAUSES = 3, 2, 8
CLEAN_UP = timedelta(seconds=60)
#: The server's clock and ours end the window at times so close.
A_MOMENT = timedelta(seconds=1)
Keep = Callable[[Effect], None]
_SESSION = re.compile(r"^session pid (\d+)")


class Window:
    """One run through a plan. ``guarded`` is off for a copy that nobody uses; ``pace`` is a place in ``PACES``."""

    def __init__(
        self, workshop: Workshop, policy: MaintenancePolicy, until: datetime, keep: Keep, *, guarded: bool = True,
        pace: int = 0,
    ) -> None:
        self._workshop, self._policy, self._until, self._keep = workshop, policy, until, keep
        self._guard = Guard(policy.rise_percent, policy.blocked_seconds)
        self._guarded = guarded
        self._go, self._over, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._busy: dict[int, Worker] = {}
        self._unguarded = False
        self._pace = pace
        self.effects: list[Effect] = []
        self.pauses: list[GuardNote] = []

    def run(self, actions: Sequence[Action]) -> None:
        """Do what can be done until the window ends; every effect is kept as soon as it is there."""
        todo = [action for action in actions if not action.refused]
        for action in actions:
            if action.refused:
                self._end(action, "refused", action.refused)
        if not todo:
            return
        self._go.clear()
        with ThreadPoolExecutor(1, "guard") as pool:
            guard = pool.submit(self._watch_over)
            try:
                self._await_go()
                self._work_through([action for action in todo if action.light], self._jobs())
                self._work_through([action for action in todo if not action.light], 1)
            finally:
                self._over.set()
        guard.result()

    # --- working -----------------------------------------------------------------------------------------------------

    def _jobs(self) -> int:
        """Under a load, one table at a time."""
        return 1 if self._guard.loaded else self._policy.jobs

    def _work_through(self, actions: Sequence[Action], jobs: int) -> None:
        queue, tries = deque(actions), dict.fromkeys((action.key for action in actions), 0)
        jobs = min(jobs, len(queue))
        if not jobs:
            return

        def work() -> None:
            with self._workshop.worker() as worker:
                while (action := self._next(queue)) is not None:
                    tries[action.key] += 1
                    again = self._do(worker, action, tries[action.key])
                    if again:
                        queue.append(action)

        with ThreadPoolExecutor(jobs, "maintain") as pool:
            for done in [pool.submit(work) for _ in range(jobs)]:
                done.result()

    def _next(self, queue: deque[Action]) -> Action | None:
        """The next action; the others wait here while the guard has us pause."""
        self._await_go()
        with self._lock:
            return queue.popleft() if queue and not self._unguarded else None

    def _do(self, worker: Worker, action: Action, attempt: int) -> bool:
        """Do one action; whether it is to be tried again later. Raises TransientError when the server is lost."""
        left = self._until - datetime.now(UTC)
        if left <= timedelta(0) or not fits(action, left):
            return self._end(action, "postponed", "the window is over" if left <= timedelta(0) else "does not fit in")
        if waits := self._would_wait(worker, action):
            return self._later(action, attempt, "held_back", waits)
        began = datetime.now(UTC)
        self._clean_up(worker, action)  # a server that was restarted under an earlier attempt kept what that left
        try:
            before = worker.measure(action)
            clock = time.monotonic()
            warnings = self._at_work(worker, action, left)
            seconds = time.monotonic() - clock
        except BrokenOff as error:
            return self._broken_off(worker, action, attempt, str(error))
        except NoLock as error:
            self._clean_up(worker, action)
            return self._later(action, attempt, "postponed", str(error))
        except Missing:
            return self._end(action, "skipped", "it is gone")
        except PermanentError as error:
            self._clean_up(worker, action)
            return self._end(action, "failed", str(error))
        self._done(worker, action, skipped(warnings), began, seconds, attempt, before)
        return False

    def _at_work(self, worker: Worker, action: Action, left: timedelta) -> list[str]:
        lock = self._policy.lock_timeout if action.kind != "reindex" else REBUILD_LOCK
        with self._lock:
            self._busy[worker.pid] = worker
        try:
            return worker.run(action.statement, left, lock, PACES[self._pace], f"{action.kind} of {action.target}")
        finally:
            with self._lock:
                self._busy.pop(worker.pid, None)

    def _done(
        self, worker: Worker, action: Action, skip: str, began: datetime, seconds: float, attempt: int,
        before: dict[str, float],
    ) -> None:
        ended: Ended
        try:
            after = worker.measure(action)
            ended, why = _judged(action, skip, before, after)
        except NoLock:
            after, ended, why = {}, "done", "somebody has locked it since: not measured"
        self._record(
            Effect(
                action=action, ended=ended, why=why, began=began, seconds=round(seconds, 3), attempts=attempt,
                before=before, after=after,
            )
        )  # fmt: skip

    def _would_wait(self, worker: Worker, action: Action) -> str:
        """Whom an action would wait for, or work in vain for; empty where nobody."""
        if session := _SESSION.search(action.held_by):
            return action.held_by if worker.still_open(int(session[1])) else ""
        if action.kind not in ("reindex", "drop_leftover"):
            return ""
        return "; ".join(worker.old_transactions(list(self._busy), OLDER)[:3])

    def _later(self, action: Action, attempt: int, ended: Ended, why: str) -> bool:
        if attempt >= MOST_LOCK_TRIES:
            return self._end(action, ended, why, attempt)
        self._over.wait(LOOK_EVERY)
        return True

    def _broken_off(self, worker: Worker, action: Action, attempt: int, why: str) -> bool:
        self._clean_up(worker, action)
        if datetime.now(UTC) >= self._until - A_MOMENT:
            return self._end(action, "postponed", "the window ended while it ran", attempt)
        if attempt >= (MOST_REBUILDS if action.kind == "reindex" else MOST_PAUSES):
            return self._end(action, "disturbed", self._guard.why or why, attempt)
        return True

    def _clean_up(self, worker: Worker, action: Action) -> None:
        """Drop what a broken-off rebuild left on the table."""
        if action.kind != "reindex":
            return
        for name, quoted in worker.leftovers(action.table_oid):
            try:
                statement = f"DROP INDEX CONCURRENTLY IF EXISTS {quoted}"
                worker.run(statement, CLEAN_UP, self._policy.lock_timeout, 0.0, f"dropping {name}")
            except (BrokenOff, NoLock) as error:
                progress.report("maintain", name, f"left for the next run: {error}")

    def _end(self, action: Action, ended: Ended, why: str, attempts: int = 1) -> bool:
        self._record(Effect(action=action, ended=ended, why=why, attempts=attempts))
        return False

    def _record(self, effect: Effect) -> None:
        with self._lock:
            self.effects.append(effect)
        self._keep(effect)

    # --- watching ----------------------------------------------------------------------------------------------------

    def _await_go(self) -> None:
        self._go.wait(max(0.0, (self._until - datetime.now(UTC)).total_seconds()))

    def _watch_over(self) -> None:
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
            self._stop_unguarded()
            raise
        finally:
            self._go.set()

    def _stop_unguarded(self) -> None:
        self._unguarded = True
        with self._lock:
            busy = list(self._busy.values())
        for worker in busy:
            worker.break_off()

    def _look(self, watch: Watch) -> None:
        ours = list(self._busy)
        for step in watch.steps(ours):
            progress.report("maintain", step.name, step.phase, step.done)
        if datetime.now(UTC) >= self._until:
            watch.cancel(ours)
            self._go.set()
        elif self._guarded:
            self._judge(watch, ours)

    def _judge(self, watch: Watch, ours: list[int]) -> None:
        before = self._guard.mood
        mood = self._guard.see(watch.sample(ours))
        if mood == "calm" and before != "calm":
            self._resume(before == "learning")
        elif mood != "calm" and before == "calm":
            self._go.clear()
            self.pauses.append(GuardNote(at=datetime.now(UTC), seconds=0, why=self._guard.why))
            progress.report("maintain", "guard", f"pausing: {self._guard.why}")
        if mood != "calm":
            watch.cancel(list(self._busy))

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


def _judged(action: Action, skip: str, before: dict[str, float], after: dict[str, float]) -> tuple[Ended, str]:
    """How a statement that ended without an error ended, by looking at its object."""
    if skip:
        return "skipped", skip
    if action.kind == "reindex" and not after.get("valid"):
        return "failed", "it is still invalid"
    if action.kind == "drop_leftover" and after:
        return "failed", "it is still there"
    dead = before.get("dead_rows", 0), after.get("dead_rows", 0)
    if action.kind == "vacuum" and _about_dead(action) and dead[1] >= 0.9 * dead[0] > 0:
        who = action.held_by or "an older transaction"
        return "held_back", f"{dead[1]:,.0f} dead rows are still seen by {who}"
    return "done", ""


def _about_dead(action: Action) -> bool:
    return any("dead rows" in reason for reason in action.reasons)
