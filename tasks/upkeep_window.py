"""Works through a plan in a window with a hard end, under the guard of ``upkeep_oversight``.

Safety property: what a VACUUM that was broken off has done on the heap stays done, and the leftovers of a rebuild are
dropped; every action ends as an effect that says how, as soon as it has ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from threading import Lock

from tasks import progress
from tasks.analysis.upkeep_plan import SKIPS_THE_MARK, fits
from tasks.analysis.upkeep_verdicts import judged
from tasks.clients.upkeep_work import Workshop
from tasks.clients.upkeep_worker import BrokenOff, NoLock, Worker, skipped
from tasks.errors import Missing, PermanentError
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_models import Action, Effect, Ended, GuardNote
from tasks.upkeep_oversight import Oversight

#: A rebuild waits so long for older transactions. Nobody waits behind it meanwhile: the guard sees to that.
REBUILD_LOCK = timedelta(minutes=5)
#: Before it begins, no transaction may be older.
OLDER = timedelta(seconds=10)
MOST_LOCK_TRIES, MOST_REBUILDS, MOST_PAUSES = 3, 2, 8
#: What it does already needs nobody to be woken up.
AUTOVACUUM = "autovacuum worker"
#: The server's clock and ours end the window at times so close.
A_MOMENT = timedelta(seconds=1)
Keep = Callable[[Effect], None]


class Window:
    """One run through a plan. For ``guarded`` and ``pace`` see ``Oversight``."""

    def __init__(
        self, workshop: Workshop, policy: MaintenancePolicy, until: datetime, keep: Keep, *, guarded: bool = True,
        pace: int = 0,
    ) -> None:
        self._workshop, self._policy, self._keep = workshop, policy, keep
        self._guard = Oversight(workshop, policy, until, guarded=guarded, pace=pace)
        self._lock = Lock()
        self.effects: list[Effect] = []

    @property
    def pauses(self) -> list[GuardNote]:
        """When the guard had us stop, and why."""
        return self._guard.pauses

    def run(self, actions: Sequence[Action]) -> None:
        """Do what can be done until the window ends; every effect is kept as soon as it is there."""
        todo = [action for action in actions if not action.refused]
        for action in actions:
            if action.refused:
                self._end(action, "refused", action.refused)
        if not todo:
            return
        with ThreadPoolExecutor(1, "guard") as pool:
            watching = pool.submit(self._guard.watch_over)
            try:
                self._work([action for action in todo if action.light], [one for one in todo if not one.light])
            finally:
                self._guard.end()
        watching.result()

    # --- working -----------------------------------------------------------------------------------------------------

    def _work(self, light: Sequence[Action], heavy: Sequence[Action]) -> None:
        """The sessions are opened while the guard learns. Under a load, one table at a time; heavy work always so."""
        with ExitStack() as opened:
            jobs = max(1, min(self._policy.jobs, len(light)))
            workers = [opened.enter_context(self._workshop.worker()) for _ in range(jobs)]
            self._guard.await_go()
            self._work_through(light, workers[:1] if self._guard.loaded else workers)
            self._mark_oldest(workers[0])
            self._work_through(heavy, workers[:1])

    def _work_through(self, actions: Sequence[Action], workers: Sequence[Worker]) -> None:
        queue, tries = deque(actions), dict.fromkeys((action.key for action in actions), 0)

        def work(worker: Worker) -> None:
            while (action := self._next(queue)) is not None:
                tries[action.key] += 1
                again = self._do(worker, action, tries[action.key])
                if again:
                    queue.append(action)

        with ThreadPoolExecutor(len(workers), "maintain") as pool:
            for done in [pool.submit(work, worker) for worker in workers]:
                done.result()

    def _next(self, queue: deque[Action]) -> Action | None:
        """The next action; the others wait here while the guard has us pause."""
        self._guard.await_go()
        with self._lock:
            return queue.popleft() if queue and not self._guard.failed else None

    def _do(self, worker: Worker, action: Action, attempt: int) -> bool:
        """Do one action; whether it is to be tried again later. Raises TransientError when the server is lost."""
        left = self._guard.left
        if left <= timedelta(0) or not fits(action, left):
            return self._end(action, "postponed", "the window is over" if left <= timedelta(0) else "does not fit in")
        if waits := self._would_wait(worker, action):
            done_for_us = action.light and AUTOVACUUM in waits
            return self._later(action, attempt, "skipped" if done_for_us else "held_back", waits)
        self._clean_up(worker, action)  # a server that was restarted under an earlier attempt kept what that left
        try:
            self._attempt(worker, action, attempt, left)
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
        return False

    def _attempt(self, worker: Worker, action: Action, attempt: int, left: timedelta) -> None:
        began, before = datetime.now(UTC), worker.measure(action)
        if action.kind == "drop_leftover" and before.get("valid"):
            self._end(action, "skipped", "it is valid by now: somebody has rebuilt it", attempt)
            return
        lock = self._policy.lock_timeout if action.kind != "reindex" else REBUILD_LOCK
        clock, what = time.monotonic(), f"{action.kind} of {action.target}"
        with self._guard.at_work(worker):
            warnings = worker.run(action.statement, left, lock, self._guard.cost_delay_ms, what)
        seconds = time.monotonic() - clock
        ended: Ended
        try:
            after = worker.measure(action)
            ended, why = judged(action, skipped(warnings), before, after)
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
        if action.held_since is not None and worker.still_open(action.held_pid, action.held_since):
            return action.held_by
        if (at_it := worker.at_it_already(action, self._guard.busy)) or action.light:
            return at_it
        return "; ".join(worker.in_the_way(action, self._guard.busy, OLDER)[:3])

    def _later(self, action: Action, attempt: int, ended: Ended, why: str) -> bool:
        if attempt >= MOST_LOCK_TRIES:
            return self._end(action, ended, why, attempt)
        self._guard.wait_a_little()
        return True

    def _broken_off(self, worker: Worker, action: Action, attempt: int, why: str) -> bool:
        self._clean_up(worker, action)
        if self._guard.left <= A_MOMENT:
            return self._end(action, "postponed", "the window ended while it ran", attempt)
        if attempt >= (MOST_REBUILDS if action.kind == "reindex" else MOST_PAUSES):
            return self._end(action, "disturbed", self._guard.why or why, attempt)
        return True

    def _clean_up(self, worker: Worker, action: Action) -> None:
        """Drop what a broken-off rebuild left on the table."""
        if action.kind == "reindex":
            _, left = worker.drop_leftovers(action.table_oid, self._policy.lock_timeout)
            for why in left:
                progress.report("maintain", action.target, f"left for the next run: {why}")

    def _mark_oldest(self, worker: Worker) -> None:
        """Tell the database its oldest table, once for all tables that were vacuumed."""
        skipped_it = (effect.ended == "done" and SKIPS_THE_MARK in effect.action.statement for effect in self.effects)
        if self._guard.left <= timedelta(0) or not any(skipped_it):
            return
        try:
            with self._guard.at_work(worker):
                worker.mark_oldest()
        except (BrokenOff, NoLock) as error:
            progress.report("maintain", "the oldest table", f"left for autovacuum to mark: {error}")

    def _end(self, action: Action, ended: Ended, why: str, attempts: int = 1) -> bool:
        self._record(Effect(action=action, ended=ended, why=why, attempts=attempts))
        return False

    def _record(self, effect: Effect) -> None:
        with self._lock:
            self.effects.append(effect)
        self._keep(effect)
