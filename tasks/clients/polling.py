"""The one place in tasks that sleeps: a poller with a deadline, and a pace for APIs with a quota per minute.

Safety property: neither waits past its deadline.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TypeVar

from tasks.errors import TransientError

T = TypeVar("T")

FIRST = timedelta(seconds=0.05)
MOST = timedelta(seconds=5)
GROWTH = 1.25


def wait_for(
    read: Callable[[], T],
    done: Callable[[T], bool],
    deadline: timedelta,
    what: str,
    *,
    first: timedelta = FIRST,
    most: timedelta = MOST,
    on_poll: Callable[[T], None] | None = None,
) -> T:
    """Read until ``done``, and return what was read last.

    The pause grows from ``first`` to ``most``. ``on_poll`` gets every value read. A ``TransientError`` of ``read`` is
    borne until the deadline: waiting through a short outage is what a poller is for. Raises TransientError at the
    deadline; any other error of ``read`` at once.
    """
    end = time.monotonic() + deadline.total_seconds()
    pause = first.total_seconds()
    while True:
        failure: TransientError | None = None
        try:
            value = read()
        except TransientError as error:
            failure = error
        else:
            if on_poll is not None:
                on_poll(value)
            if done(value):
                return value
        left = end - time.monotonic()
        if left <= 0:
            raise _too_late(what, deadline, failure) from failure
        time.sleep(min(pause, left))
        pause = min(pause * GROWTH, most.total_seconds())


def _too_late(what: str, deadline: timedelta, failure: TransientError | None) -> TransientError:
    last = f"; the last read failed: {failure}" if failure else ""
    return TransientError(
        f"waiting for {what} failed: not done after {deadline.total_seconds():g} s{last}; "
        "retrying goes on waiting where this stopped"
    )


class Turns(Protocol):
    """Whatever says when the next call may be made."""

    def take(self, deadline: timedelta, what: str) -> None:
        """Wait for a turn. Raises TransientError when none comes before the deadline; no turn is used up then."""


class Reservations(Protocol):
    """Where turns are taken that several processes share."""

    def reserve(self, name: str, calls: int, per: timedelta, longest: timedelta) -> timedelta | None:
        """Take the next turn; how long to wait for it, None where that would be longer than ``longest``."""


class SharedPace:
    """At most ``calls`` in any ``per``, of all processes together that take their turns in the same place."""

    def __init__(
        self,
        place: Reservations,
        name: str,
        calls: int,
        per: timedelta,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._place, self._name, self._calls, self._per = place, name, calls, per
        self._sleep = sleep

    def take(self, deadline: timedelta, what: str) -> None:
        """Wait for a turn. Raises TransientError when none comes before the deadline; no turn is used up then."""
        pause = self._place.reserve(self._name, self._calls, self._per, deadline)
        if pause is None:
            raise _no_turn(what, self._calls, self._per)
        if pause > timedelta():
            self._sleep(pause.total_seconds())


def _no_turn(what: str, calls: int, per: timedelta) -> TransientError:
    return TransientError(
        f"{what} failed: more than {calls} calls in {per.total_seconds():g} s would break the API's quota; "
        "retrying in a minute may clear this"
    )


class Pace:
    """At most ``calls`` in any ``per``; the next one waits for its turn. Safe to use from any thread."""

    def __init__(
        self,
        calls: int,
        per: timedelta,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._calls, self._per = calls, per.total_seconds()
        self._clock, self._sleep = clock, sleep
        self._taken: deque[float] = deque()
        self._lock = threading.Lock()

    def take(self, deadline: timedelta, what: str) -> None:
        """Wait for a turn. Raises TransientError when none comes before the deadline; no turn is used up then."""
        pause = self._reserve(deadline.total_seconds())
        if pause is None:
            raise _no_turn(what, self._calls, timedelta(seconds=self._per))
        if pause > 0:
            self._sleep(pause)

    def _reserve(self, longest: float) -> float | None:
        with self._lock:
            now = self._clock()
            while self._taken and self._taken[0] <= now - self._per:
                self._taken.popleft()
            turn = now if len(self._taken) < self._calls else self._taken[-self._calls] + self._per
            if turn - now > longest:
                return None
            self._taken.append(turn)
            return turn - now
