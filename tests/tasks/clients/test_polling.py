"""The poller and the pace: they wait, and never past their deadline."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta

import pytest

from tasks.clients.polling import Pace, wait_for
from tasks.errors import PermanentError, TransientError

SECOND = timedelta(seconds=1)
TICK = timedelta(milliseconds=1)


def test_the_value_that_satisfied_the_condition_is_given_back():
    numbers = itertools.count()
    seen: list[int] = []
    assert wait_for(lambda: next(numbers), lambda n: n == 4, SECOND, "four", first=TICK, on_poll=seen.append) == 4
    assert seen == [0, 1, 2, 3, 4]


def test_a_deadline_is_a_transient_error_that_says_what_was_waited_for():
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"waiting for the tide failed: not done after 0\.2 s"):
        wait_for(lambda: 1, lambda _: False, timedelta(seconds=0.2), "the tide")
    assert 0.2 <= time.monotonic() - began < 30


def test_something_that_is_done_already_is_not_waited_for():
    began = time.monotonic()
    assert wait_for(lambda: "done", lambda _: True, timedelta(0), "it", first=SECOND) == "done"
    assert time.monotonic() - began < 0.9


def test_a_short_outage_is_borne():
    answers = iter([TransientError("503"), TransientError("503"), "up"])

    def read() -> str:
        answer = next(answers)
        if isinstance(answer, TransientError):
            raise answer
        return answer

    assert wait_for(read, lambda _: True, SECOND, "it", first=TICK) == "up"


def test_an_outage_until_the_deadline_is_told_with_its_last_error():
    def read() -> str:
        raise TransientError("reading it failed: 503")

    with pytest.raises(TransientError, match="the last read failed: reading it failed: 503"):
        wait_for(read, lambda _: True, timedelta(seconds=0.05), "it", first=TICK)


def test_a_permanent_error_ends_the_waiting_at_once():
    def read() -> str:
        raise PermanentError("no")

    with pytest.raises(PermanentError, match="no"):
        wait_for(read, lambda _: True, timedelta(minutes=5), "it")


def test_pauses_grow_to_the_longest():
    times: list[float] = []
    wait_for(
        lambda: times.append(time.monotonic()), lambda _: len(times) == 12, SECOND, "it",
        first=timedelta(milliseconds=5), most=timedelta(milliseconds=20),
    )
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert min(pauses[:3]) < 0.019
    assert min(pauses[-3:]) >= 0.02
    assert min(pauses[-3:]) < 1


def test_a_pace_lets_a_burst_through_and_then_makes_wait():
    pace = Pace(3, timedelta(seconds=0.3))
    began = time.monotonic()
    for _ in range(3):
        pace.take(SECOND, "asking")
    assert time.monotonic() - began < 0.3
    pace.take(SECOND, "asking")
    assert time.monotonic() - began >= 0.3


def test_a_pace_refuses_a_turn_that_comes_too_late_and_does_not_use_it_up():
    pace = Pace(1, timedelta(seconds=0.4))
    pace.take(SECOND, "asking")
    for _ in range(3):
        with pytest.raises(TransientError, match="asking failed: more than 1 calls"):
            pace.take(timedelta(seconds=0.1), "asking")
    began = time.monotonic()
    pace.take(SECOND, "asking")
    assert time.monotonic() - began < 0.8
