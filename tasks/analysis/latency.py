"""Is the candidate slower than the stable revision by more than is allowed?

Safety property: a revision that is just as fast is called slow with a chance of at most alpha, however often one looks.

Both sides are asked at the same instant, and pairs are judged. Why: on a busy machine slowness comes in bursts of up to
seconds. Samples that are compared as a whole take a burst for many independent slow answers of whichever side it met;
a healthy candidate was rolled back for that. What slows both sides at once cancels out within a pair.

A burst may also meet one side only, so neither test takes pairs that follow each other for independent ones:
- all answers: in which blocks of pairs was the candidate slower than allowed in most pairs? The sign test. A revision
  just as fast, or as slow as is allowed, loses at most every second block. A burst makes a few blocks, not the most.
- the slow tail: of the episodes in which one side was slow and the other not, how many are the candidate's? McNemar's
  test (Psychometrika 12, 1947, https://doi.org/10.1007/BF02295996; https://en.wikipedia.org/wiki/McNemar%27s_test):
  half of them if the two are alike. A burst is one episode, however many answers it holds.

Both are coin tosses, and are tested as errors are: by a likelihood ratio with Ville's bounds, see ``sprt``. "Slow" is
measured by earlier answers of the stable revision alone, so that it cannot depend on the toss that it decides. The
bounds are exact for tosses that do not depend on each other. For bursts that outlast a block there is no formula;
``tests/benchmarks/bench_canary_judge.py`` measures that the promise holds under them, too.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from statistics import median
from typing import Literal

from tasks.analysis.sprt import Sprt

#: A revision that has just started imports and connects; its first answers tell nothing about the later ones.
WARM_UP_PAIRS = 10
#: Odd, so that a block has a majority; a third of a second at 20 pairs a second.
BLOCK_PAIRS = 7
#: Smaller differences are noise of the machine, whatever their ratio.
LEAST_DIFFERENCE_SECONDS = 0.020
#: The share of blocks that a slow candidate loses, and that an equally fast one loses on a noisy machine.
SLOW_BLOCKS, FAST_BLOCKS = 0.85, 0.25
#: The share of episodes that are a slow-tailed candidate's.
SLOW_EPISODES = 0.8
#: A coin toss: the share of either, when the two sides do not differ by more than is allowed.
EVEN = 0.5
#: How many answers tell what is slow.
TAIL_FROM_PAIRS = 30
#: So many pairs without a slow answer end an episode …
QUIET_PAIRS = 3
#: … and it has at most so many pairs, since a candidate that is often slow has no quiet.
LONGEST_EPISODE_PAIRS = 20
#: A tail is called ok after so many pairs, and if the candidate has at most this many more episodes for each pair:
#: a tail of one answer in ten has three times as many. Found by simulation, see tests/benchmarks/bench_canary_judge.py.
TAIL_OK_PAIRS, TAIL_OK_LEAD = 100, 0.0175

LatencyVerdict = Literal["ok", "slow", "undecided"]


class Episode:
    """Pairs in which a side was slow, up to the next quiet."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._lead = self._pairs = self._quiet = 0

    def observe(self, candidate: bool, stable: bool) -> int:
        """Take into account which sides were slow. At the end, tell who was so more often: +1 the candidate, -1 stable.

        0: it goes on, there is none, or it was a draw.
        """
        if not (self._pairs or candidate or stable):
            return 0
        self._pairs += 1
        self._lead += candidate - stable
        self._quiet = 0 if candidate or stable else self._quiet + 1
        if self._quiet < QUIET_PAIRS and self._pairs < LONGEST_EPISODE_PAIRS:
            return 0
        winner = (self._lead > 0) - (self._lead < 0)
        self._start()
        return winner


class LatencyComparison:
    """Compares latencies, in seconds, of pairs of good answers to questions that were asked at the same instant.

    ``alpha`` bounds the chance that an equally fast candidate is ever called slow; each test gets one half. A candidate
    whose typical answer is slower than allowed is ever called ok with a chance of at most ``beta``. Of the tail nothing
    such is promised: it is not called ok while the candidate is clearly ahead in slow episodes. Slow is final.
    """

    def __init__(self, alpha: float, beta: float, max_ratio: float) -> None:
        self._ratio = max_ratio
        self._slow = Sprt(EVEN, SLOW_BLOCKS, alpha / 2, beta)
        self._fast = Sprt(FAST_BLOCKS, EVEN, alpha / 2, beta)
        self._tail = Sprt(EVEN, SLOW_EPISODES, alpha / 2, beta)
        self._block: list[bool] = []
        self._episode = Episode()
        self._cold = WARM_UP_PAIRS
        self.candidate: list[float] = []
        self.stable: list[float] = []
        self.said: LatencyVerdict = "undecided"

    def observe_pair(self, candidate: float, stable: float) -> None:
        """Take one pair into account. The first ones are dropped."""
        if self._cold:
            self._cold -= 1
            return
        self._toss_for_block(candidate > self._limit(stable))
        self._toss_for_tail(candidate, stable)
        insort(self.candidate, candidate)
        insort(self.stable, stable)
        if self.said != "slow":
            self.said = self._say()

    def _toss_for_block(self, slower: bool) -> None:
        self._block.append(slower)
        if len(self._block) == BLOCK_PAIRS:
            lost = sum(self._block) > BLOCK_PAIRS / 2
            self._slow.observe(not lost)
            self._fast.observe(not lost)
            self._block.clear()

    def _toss_for_tail(self, candidate: float, stable: float) -> None:
        if len(self.stable) < TAIL_FROM_PAIRS:
            return
        slow = self._limit(percentile(self.stable, 0.90))
        lead = self._episode.observe(candidate > slow, stable > slow)
        if lead:
            self._tail.observe(lead < 0)

    def _say(self) -> LatencyVerdict:
        if self._slow.verdict() == "unhealthy" or (self._tail.verdict() == "unhealthy" and self._high_is_slow()):
            return "slow"
        return "ok" if self._fast.verdict() == "healthy" and self._tail_is_ok() else "undecided"

    def _high_is_slow(self) -> bool:
        return percentile(self.candidate, 0.95) > self._limit(percentile(self.stable, 0.95))

    def _tail_is_ok(self) -> bool:
        lead = self._tail.failures - (self._tail.requests - self._tail.failures)
        return len(self.stable) >= TAIL_OK_PAIRS and lead <= TAIL_OK_LEAD * len(self.stable)

    def _limit(self, stable: float) -> float:
        return max(stable * self._ratio, stable + LEAST_DIFFERENCE_SECONDS)

    def fraction(self) -> float:
        """How near a verdict is, 0…1."""
        if self.said != "undecided":
            return 1.0
        towards_slow = self._slow.evidence / self._slow.unhealthy_at
        towards_ok = min(self._fast.evidence / self._fast.healthy_at, len(self.stable) / TAIL_OK_PAIRS)
        return min(1.0, max(0.0, towards_slow, towards_ok))

    @property
    def why(self) -> str:
        """The figures behind the verdict, for a person."""
        if not self.candidate:
            return "too few answers to compare latencies"
        middle = self._words("median", median(self.candidate), median(self.stable))
        high = self._words("95th percentile", percentile(self.candidate, 0.95), percentile(self.stable, 0.95))
        return f"{middle}, {high} (allowed: {self._ratio:g} times, from {LEAST_DIFFERENCE_SECONDS * 1000:.0f} ms on)"

    def _words(self, what: str, candidate: float, stable: float) -> str:
        return f"{what} {candidate * 1000:.0f} ms against the stable revision's {stable * 1000:.0f} ms"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of sorted values that at least this share of them does not exceed (nearest rank)."""
    return ordered[math.ceil(share * len(ordered)) - 1]
