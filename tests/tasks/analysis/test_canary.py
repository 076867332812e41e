"""The judge of a canary step, and of whole simulated releases."""

from __future__ import annotations

import pytest

from tasks.analysis.canary import CanaryJudge
from tasks.estate import Canary, CanaryStep
from tests.benchmarks.bench_canary_judge import DELAYED, HEALTHY, MACHINE_OF_TAIL, MACHINES, SLOW, TAILED
from tests.benchmarks.releases import BUSY, QUIET, Candidate, Machine, simulate

CANARY = Canary()
SAMPLE = 1000


def fed(*, requests: int, failures: int = 0, latency: float = 0.03, stable_failures: int = 0) -> CanaryJudge:
    """A judge that saw this many answers of each side, the bad ones first."""
    judge = CanaryJudge(CANARY)
    for number in range(requests):
        judge.observe(True, number >= failures)
        judge.observe(False, number >= stable_failures)
        if number >= max(failures, stable_failures):
            judge.observe_pair(latency + number % 7 / 1000, 0.03 + number % 7 / 1000)
    return judge


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_healthy_releases_are_rolled_back_in_at_most_one_of_a_hundred(machine: Machine) -> None:
    ended = simulate(HEALTHY, machine, SAMPLE, CANARY)
    assert sum(one.verdict == "unhealthy" for one in ended) <= CANARY.alpha * SAMPLE
    least = {QUIET: 0.97, BUSY: 0.8}.get(machine, 0.6)
    assert sum(one.verdict == "healthy" for one in ended) >= least * SAMPLE


def test_a_candidate_that_is_cold_at_first_is_not_rolled_back_for_that() -> None:
    ended = simulate(Candidate(cold_requests=30), BUSY, SAMPLE // 3, CANARY)
    assert sum(one.verdict == "unhealthy" for one in ended) <= 8


def test_releases_that_are_bad_in_the_last_step_only_are_released_in_at_most_one_of_twenty() -> None:
    ended = simulate(Candidate((0.0, CANARY.unacceptable_error_rate)), QUIET, SAMPLE, CANARY)
    released = sum(one.verdict == "healthy" for one in ended)
    assert released <= 0.07 * SAMPLE, "the bound is 5 %; three standard deviations of the sample are added"


@pytest.mark.parametrize("machine", [QUIET, BUSY], ids=["quiet", "busy"])
@pytest.mark.parametrize("candidate", [SLOW, DELAYED], ids=["2.5 times as slow", "150 ms slower"])
def test_slow_releases_are_caught_or_held(candidate: Candidate, machine: Machine) -> None:
    ended = simulate(candidate, machine, SAMPLE // 5, CANARY)
    assert sum(one.verdict == "healthy" for one in ended) <= CANARY.beta * len(ended)
    assert sum(one.verdict == "unhealthy" for one in ended) >= (0.99 if machine is QUIET else 0.8) * len(ended)


def test_releases_with_a_slow_tail_are_caught_or_held() -> None:
    ended = simulate(TAILED, MACHINE_OF_TAIL, SAMPLE // 5, CANARY)
    assert sum(one.verdict == "healthy" for one in ended) <= 0.08 * len(ended)
    assert sum(one.verdict == "unhealthy" for one in ended) >= 0.5 * len(ended)


def test_from_the_first_bad_answer_a_verdict_takes_less_than_seven_seconds_in_19_of_20() -> None:
    """Ten are allowed to the stable revision at 100 %. Real requests, which are not simulated, make it quicker."""
    ended = simulate(Candidate((0.05, 0.05)), QUIET, SAMPLE, CANARY)
    seconds = sorted(one.since_first_bad[1] for one in ended if one.verdict == "unhealthy")
    assert seconds[int(0.95 * len(seconds))] < 7


def test_a_step_more_does_not_make_false_alarms_more_likely() -> None:
    steps = tuple(CanaryStep(percent=percent, max_seconds=20) for percent in (5, 20, 50, 80))
    canary = CANARY.model_copy(update={"steps": steps})
    ended = simulate(Candidate((0.005,) * 4), QUIET, SAMPLE // 3, canary)
    assert sum(one.verdict == "unhealthy" for one in ended) <= 8


def test_a_candidate_that_always_fails_is_unhealthy_after_three_answers() -> None:
    assert fed(requests=2, failures=2).verdict() == "undecided"
    judge = fed(requests=3, failures=3)
    assert judge.verdict() == "unhealthy"
    assert judge.reasons()[0] == "the error rate is above 0.5 %; 3 of 3 requests failed (100.0 %)"


def test_a_good_candidate_is_healthy_once_errors_and_latency_are_known() -> None:
    assert fed(requests=109).verdict() == "undecided"
    judge = fed(requests=110)
    assert judge.verdict() == "healthy"
    assert judge.fraction() == 1.0
    assert judge.reasons()[1].startswith("latency is as allowed: median 33 ms")


def test_a_slow_candidate_is_unhealthy_though_every_answer_is_right() -> None:
    judge = fed(requests=110, latency=0.2)
    assert judge.verdict() == "unhealthy"
    assert "slower than allowed: median 203 ms against the stable revision's 33 ms" in judge.reasons()[1]


def test_where_latency_is_not_judged_errors_alone_decide() -> None:
    canary = CANARY.model_copy(update={"judge_latency": False})
    slow, failing = CanaryJudge(canary), CanaryJudge(canary)
    for _ in range(200):
        slow.observe_pair(1.0, 0.01)
        slow.observe_request(True)
        failing.observe_request(False)
    assert (slow.verdict(), failing.verdict()) == ("healthy", "unhealthy")
    assert slow.fraction() == 1.0
    assert slow.reasons()[-1] == "latency is not judged, as the estate says"


def test_without_pairs_there_are_no_latencies() -> None:
    judge = CanaryJudge(CANARY)
    judge.observe(True, False)
    assert judge.candidate_median is None
    assert judge.stable_median is None


def test_errors_are_suspected_from_a_bad_answer_until_good_ones_outweigh_it() -> None:
    judge = CanaryJudge(CANARY)
    for _ in range(40):
        judge.observe(True, True)
    assert not judge.suspects_errors
    judge.observe(True, False)
    suspected = 0
    while judge.suspects_errors:
        judge.observe(True, True)
        suspected += 1
    assert suspected == 50


def test_the_stable_revisions_errors_do_not_make_the_candidate_suspect() -> None:
    judge = CanaryJudge(CANARY)
    judge.observe(False, False)
    assert not judge.suspects_errors


def test_real_requests_count_for_errors_and_not_for_latency() -> None:
    judge = CanaryJudge(CANARY)
    for _ in range(500):
        judge.observe_request(True)
    assert (judge.requests, judge.failures) == (500, 0)
    assert judge.verdict() == "undecided"
    assert "latency is undecided: too few answers" in judge.reasons()[1]


def test_a_fix_is_released_although_the_stable_revision_fails() -> None:
    judge = fed(requests=65, stable_failures=65)
    assert judge.verdict() == "healthy"
    assert judge.reasons()[1:] == (
        "the stable revision failed too: 65 of 65; the fault may lie outside of both",
        "latency is not compared: the stable revision fails",
    )


def test_when_both_fail_the_candidate_is_not_released_and_the_reason_says_so() -> None:
    judge = fed(requests=5, failures=5, stable_failures=5)
    assert judge.verdict() == "unhealthy"
    assert "the fault may lie outside of both" in judge.reasons()[1]


def test_an_undecided_verdict_says_what_is_missing() -> None:
    judge = CanaryJudge(CANARY)
    for number in range(99):
        judge.observe_request(number % 33 != 20)
    assert (judge.requests, judge.failures) == (99, 3)
    assert judge.verdict() == "undecided"
    assert judge.reasons()[0].startswith("the error rate is undecided: evidence +2.5")
    assert 0 < judge.fraction() < 1
