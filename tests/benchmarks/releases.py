"""Simulated releases for the canary's judge: a candidate, a stable revision, and a machine that is busy in bursts.

The seed is fixed, so that the numbers are the same on every machine. Time passes as it does for real: the default rate
asks 20 pairs a second, or the candidate alone 40 times, while errors are suspected.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tasks.analysis.canary import CanaryJudge
from tasks.estate import Canary

#: A burst lasts 0.2 to 2 s and multiplies latencies by 3 to 10.
BURST_SECONDS, BURST_FACTOR = (0.2, 2.0), (3.0, 10.0)
SEED = 20261123


@dataclass(frozen=True)
class Candidate:
    """What a candidate is like: its error rate by step, and how its latency differs from the stable revision's."""

    error_rates: tuple[float, ...] = (0.0, 0.0)
    factor: float = 1.0
    added_seconds: float = 0.0
    tail_share: float = 0.0
    tail_factor: float = 1.0
    cold_requests: int = 0

    def latency(self, seconds: float, asked: int, draw: random.Random) -> float:
        """What becomes of the time that the stable revision would take."""
        factor = self.factor * (self.tail_factor if draw.random() < self.tail_share else 1)
        return seconds * factor * (10 if asked < self.cold_requests else 1) + self.added_seconds


@dataclass(frozen=True)
class Machine:
    """How latencies spread, and the mean seconds between bursts, of both sides at once and of each; 0: there are none.

    The median is what the sample service takes, the spread a long tail: the 95th percentile is 2.7 times the median.
    """

    median_seconds: float = 0.03
    sigma: float = 0.6
    between_common: float = 0.0
    between_own: float = 0.0


QUIET = Machine()
BUSY = Machine(median_seconds=0.1, between_common=4.0, between_own=10.0)


class Bursts:
    """A source of slowness that is on and off by turns, and was so for long."""

    def __init__(self, between: float, draw: random.Random) -> None:
        self._between, self._draw = between, draw
        self._begin = self._end = -60.0
        self._factor = 1.0

    def factor(self, now: float) -> float:
        """By how much everything is slower at this time; time only goes forward."""
        while self._between and now >= self._end:
            self._begin = self._end + self._draw.expovariate(1 / self._between)
            self._end = self._begin + self._draw.uniform(*BURST_SECONDS)
            self._factor = self._draw.uniform(*BURST_FACTOR)
        return self._factor if self._begin <= now < self._end else 1.0


@dataclass
class Release:
    """How one simulated release ended, and the candidate's answers and the seconds that it took."""

    verdict: str = ""
    requests: int = 0
    seconds: float = 0.0
    first_bad: tuple[int, float] | None = field(default=None)

    def answered(self, ok: bool) -> None:
        if not ok and self.first_bad is None:
            self.first_bad = self.requests, self.seconds
        self.requests += 1

    @property
    def since_first_bad(self) -> tuple[int, float]:
        """The candidate's answers and the seconds from the first bad answer, itself included, to the verdict."""
        requests, seconds = self.first_bad or (self.requests, self.seconds)
        return self.requests - requests, self.seconds - seconds


def simulate(candidate: Candidate, machine: Machine, releases: int, canary: Canary) -> list[Release]:
    """Take as many candidates through all steps."""
    draw = random.Random(SEED)
    return [_release(candidate, machine, canary, draw) for _ in range(releases)]


def _release(candidate: Candidate, machine: Machine, canary: Canary, draw: random.Random) -> Release:
    release = Release()
    for step, error_rate in zip(canary.steps, candidate.error_rates, strict=True):
        _Step(candidate, machine, CanaryJudge(canary), draw).run(
            release, error_rate, 1 / canary.requests_per_second, step.max_seconds
        )
        if release.verdict != "healthy":
            break
    return release


class _Step:
    def __init__(self, candidate: Candidate, machine: Machine, judge: CanaryJudge, draw: random.Random) -> None:
        self._candidate, self._machine, self._judge, self._draw = candidate, machine, judge, draw
        between = machine.between_common, machine.between_own, machine.between_own
        self._bursts = [Bursts(mean, draw) for mean in between]
        self._asked = 0

    def run(self, release: Release, error_rate: float, interval: float, most_seconds: float) -> None:
        end = release.seconds + most_seconds
        while release.seconds < end and self._judge.verdict() == "undecided":
            alone = self._judge.suspects_errors
            ok = self._draw.random() >= error_rate
            release.answered(ok)
            self._judge.observe(True, ok)
            release.seconds += interval if alone else 2 * interval
            if not alone:
                self._pair(ok, release.seconds)
        release.verdict = self._judge.verdict()

    def _pair(self, ok: bool, now: float) -> None:
        self._judge.observe(False, True)
        common, ours, theirs = (bursts.factor(now) for bursts in self._bursts)
        self._asked += 1
        if ok:
            candidate = self._candidate.latency(self._typical(), self._asked, self._draw) * common * ours
            self._judge.observe_pair(candidate, self._typical() * common * theirs)

    def _typical(self) -> float:
        return self._machine.median_seconds * self._draw.lognormvariate(0, self._machine.sigma)


