"""The latency comparison: seldom wrong about equals, also on a busy machine, and quick about slow ones."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tasks.analysis.latency import LONGEST_EPISODE_PAIRS, WARM_UP_PAIRS, Episode, LatencyComparison, percentile

Draw = Callable[[random.Random], float]


def compare(candidate: Draw, stable: Draw, pairs: int, draw: random.Random, alpha: float = 0.01) -> LatencyComparison:
    comparison = LatencyComparison(alpha=alpha, beta=0.05, max_ratio=1.1)
    for _ in range(pairs):
        comparison.observe_pair(candidate(draw), stable(draw))
    return comparison


def typical(draw: random.Random) -> float:
    return draw.lognormvariate(-2.5, 0.6)


def steady(draw: random.Random) -> float:
    return draw.uniform(0.05, 0.06)


@pytest.mark.parametrize(
    "answer",
    [
        typical,
        lambda draw: draw.lognormvariate(-3, 1.5),
        lambda draw: 0.02 * draw.paretovariate(1.2),
        lambda draw: draw.choice([0.01, 0.01, 0.2]),
        lambda draw: round(draw.expovariate(20), 2),
    ],
    ids=["lognormal", "long tail", "Pareto", "two humps", "ties"],
)
def test_an_equally_fast_candidate_is_seldom_called_slow_however_often_one_looks(answer: Draw) -> None:
    draw = random.Random(5)
    slow = sum(compare(answer, answer, 400, draw).said == "slow" for _ in range(300))
    assert slow <= 8


def test_a_candidate_twice_as_slow_is_found() -> None:
    draw = random.Random(6)
    said = [compare(lambda d: 2 * typical(d), typical, 300, draw).said for _ in range(100)]
    assert said.count("slow") >= 98


def test_a_candidate_that_is_always_slow_is_found_within_a_hundred_pairs_after_the_warm_up() -> None:
    assert compare(lambda d: 0.15 + steady(d), steady, WARM_UP_PAIRS + 100, random.Random(6)).said == "slow"


def test_a_candidate_slower_than_allowed_is_called_ok_in_at_most_one_of_twenty() -> None:
    """Just beyond the limit, where a pair is all but a coin toss; ever called ok, not at the end only."""
    draw, released = random.Random(13), 0
    for _ in range(200):
        comparison = LatencyComparison(alpha=0.01, beta=0.05, max_ratio=1.1)
        said = set()
        for _ in range(400):
            comparison.observe_pair(1.11 * draw.uniform(1, 3), draw.uniform(1, 3))
            said.add(comparison.said)
        released += "ok" in said
    assert released <= 0.05 * 200


def test_a_slow_tail_is_found_though_the_median_is_the_same() -> None:
    def tailed(draw: random.Random) -> float:
        return draw.uniform(1, 2) if draw.random() < 0.12 else steady(draw)

    draw = random.Random(7)
    found = [compare(tailed, steady, 400, draw) for _ in range(50)]
    assert sum(one.said == "slow" for one in found) >= 48
    assert all("median 55 ms against the stable revision's 55 ms" in one.why.replace("54", "55").replace("56", "55")
               for one in found)


def test_a_tail_that_is_not_yet_proven_slow_is_not_called_ok() -> None:
    """One slow answer in ten: after a hundred pairs the episodes are too few for slow, and too many for ok."""
    comparison = LatencyComparison(alpha=0.001, beta=0.05, max_ratio=1.1)
    for number in range(WARM_UP_PAIRS + 110):
        comparison.observe_pair(1.0 if number % 10 == 0 else 0.05, 0.05)
    assert comparison.said == "undecided"
    assert comparison.fraction() == 1.0


def test_a_burst_that_meets_both_sides_speaks_for_neither() -> None:
    """Ten pairs in thirty are ten times as slow, on both sides, and the noise within them is as large as ever."""
    draw = random.Random(14)
    for _ in range(20):
        comparison = LatencyComparison(alpha=0.01, beta=0.05, max_ratio=1.5)
        for number in range(400):
            factor = 10 if number % 30 < 10 else 1
            comparison.observe_pair(factor * typical(draw), factor * typical(draw))
        assert comparison.said != "slow"


@pytest.mark.parametrize("begin", [0, 50, 150])
def test_a_burst_of_two_seconds_that_meets_the_candidate_only_does_not_condemn_it(begin: int) -> None:
    comparison = LatencyComparison(alpha=0.0025, beta=0.05, max_ratio=1.5)
    draw = random.Random(15)
    said = set()
    for number in range(400):
        comparison.observe_pair((8 if begin <= number < begin + 40 else 1) * steady(draw), steady(draw))
        said.add(comparison.said)
    assert "slow" not in said
    assert comparison.said == "ok"


def test_a_few_milliseconds_are_never_slow_whatever_their_ratio() -> None:
    found = compare(lambda d: d.uniform(0.008, 0.012), lambda d: d.uniform(0.001, 0.002), 200, random.Random(8))
    assert found.said == "ok"


def test_the_first_answers_of_a_cold_revision_do_not_count() -> None:
    comparison = LatencyComparison(alpha=0.01, beta=0.05, max_ratio=1.5)
    for _ in range(WARM_UP_PAIRS):
        comparison.observe_pair(9.0, 0.01)
    assert comparison.why == "too few answers to compare latencies"
    comparison.observe_pair(0.02, 0.01)
    assert (comparison.candidate, comparison.stable) == ([0.02], [0.01])


def test_slow_is_final() -> None:
    comparison = compare(lambda d: 1.0, lambda d: 0.1, 200, random.Random(9))
    for _ in range(1000):
        comparison.observe_pair(0.1, 0.1)
    assert comparison.said == "slow"


def winners(pairs: str) -> list[int]:
    """Who won the episodes, from who was slow: the candidate (c), the stable revision (s), both (b), none (.)."""
    episode = Episode()
    return [winner for pair in pairs if (winner := episode.observe(pair in "cb", pair in "sb"))]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("c...", [1]),
        ("s...", [-1]),
        ("b...", []),
        ("cs...", []),
        ("ccscc...", [1]),
        ("c.c..c...", [1]),
        ("c...c...", [1, 1]),
        ("....c...s....", [1, -1]),
        ("c..", []),
    ],
)
def test_slow_answers_up_to_the_next_quiet_are_one_episode(pairs: str, expected: list[int]) -> None:
    assert winners(pairs) == expected


def test_a_candidate_that_knows_no_quiet_has_an_episode_for_each_longest_one() -> None:
    assert winners("c" * (3 * LONGEST_EPISODE_PAIRS)) == [1, 1, 1]


def test_a_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.01, 0.5, 0.90, 0.95, 1.0)] == [1, 50, 90, 95, 100]
