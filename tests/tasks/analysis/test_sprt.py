"""The sequential test keeps what it promises."""

from __future__ import annotations

import random

import pytest

from tasks.analysis.sprt import Sprt, judge

DEFAULT = {"acceptable": 0.005, "unacceptable": 0.05, "alpha": 0.01, "beta": 0.05}
TESTS = [
    DEFAULT,
    {**DEFAULT, "alpha": 0.0025},
    {"acceptable": 0.01, "unacceptable": 0.02, "alpha": 0.05, "beta": 0.1},
    {"acceptable": 0.001, "unacceptable": 0.5, "alpha": 0.01, "beta": 0.01},
    {"acceptable": 0.1, "unacceptable": 0.3, "alpha": 0.2, "beta": 0.2},
]


def chances(parameters: dict[str, float], rate: float, most: int) -> tuple[float, float]:
    """The exact chances of the first verdict being healthy or unhealthy within ``most`` requests, without any drawing.

    The chance of each number of failures is carried on from request to request; what has a verdict is taken out.
    """
    healthy = unhealthy = 0.0
    undecided = {0: 1.0}
    for requests in range(1, most + 1):
        ahead: dict[int, float] = {}
        for failures, chance in undecided.items():
            ahead[failures] = ahead.get(failures, 0.0) + chance * (1 - rate)
            ahead[failures + 1] = ahead.get(failures + 1, 0.0) + chance * rate
        undecided = {}
        for failures, chance in ahead.items():
            verdict = judge(requests, failures, **parameters)
            healthy += chance * (verdict == "healthy")
            unhealthy += chance * (verdict == "unhealthy")
            if verdict == "undecided" and chance > 1e-15:
                undecided[failures] = chance
    return healthy, unhealthy


@pytest.mark.parametrize("parameters", TESTS)
def test_both_promises_hold_exactly(parameters: dict[str, float]) -> None:
    released, rolled_back = chances(parameters, parameters["acceptable"], 800)
    assert rolled_back <= parameters["alpha"]
    assert released + rolled_back <= 1 + 1e-9
    assert chances(parameters, parameters["unacceptable"], 800)[0] <= parameters["beta"]


def test_the_default_test_nearly_always_comes_to_a_verdict_in_three_hundred_requests() -> None:
    assert sum(chances(DEFAULT, 0.005, 300)) > 0.97
    assert sum(chances(DEFAULT, 0.05, 300)) > 0.97


def test_the_promise_for_acceptable_revisions_holds_even_when_nobody_stops_at_healthy() -> None:
    draw, condemned = random.Random(3), 0
    for _ in range(500):
        test = Sprt(**DEFAULT)
        for _ in range(2000):
            test.observe(draw.random() >= 0.005)
        condemned += test.verdict() == "unhealthy"
    assert condemned <= 0.01 * 500 + 3 * 2.2, "the bound is 1 %; three standard deviations of the sample are added"


@pytest.mark.parametrize(
    ("requests", "failures", "verdict"),
    [(0, 0, "undecided"), (64, 0, "undecided"), (65, 0, "healthy"), (65, 1, "undecided"), (1, 1, "undecided"),
     (2, 2, "healthy_not"), (3, 3, "unhealthy"), (100, 3, "undecided"), (100, 5, "unhealthy"), (1000, 10, "healthy")],
)
def test_counts_are_judged_as_wald_does(requests: int, failures: int, verdict: str) -> None:
    found = judge(requests, failures, **DEFAULT)
    assert found != "healthy" if verdict == "healthy_not" else found == verdict


def test_unhealthy_is_final_and_healthy_is_not() -> None:
    test = Sprt(**DEFAULT)
    test.observe_many(65, 0)
    assert test.verdict() == "healthy"
    test.observe_many(10, 10)
    assert test.verdict() == "unhealthy"
    test.observe_many(10_000, 0)
    assert test.verdict() == "unhealthy"


def test_the_fewest_requests_are_those_that_are_needed() -> None:
    test = Sprt(**DEFAULT)
    test.observe_many(test.fewest_requests - 1, 0)
    assert test.verdict() == "undecided"
    assert test.fraction() > 0.97
    test.observe(True)
    assert (test.verdict(), test.fraction()) == ("healthy", 1.0)


@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.05, 0.005), (0.0, 0.05), (0.005, 1.0)])
def test_rates_that_cannot_be_told_apart_are_refused(rates: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no test of"):
        Sprt(*rates, alpha=0.01, beta=0.05)
