"""A sample of the chaos cases: each kind of writing call, each kind of fault. ``make chaos`` runs them all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.cases import KINDS, generate, sample
from tests.chaos.deploy_scenario import DeployScenario
from tests.chaos.harness import Harness, run_all
from tests.chaos.weekly_review_scenario import WeeklyReviewScenario
from tests.flows.conftest import deployed, new_sample
from tests.sample import Sample
from tests.stack import Stack

__all__ = ["new_sample"]

pytestmark = [pytest.mark.stack, pytest.mark.chaos]


@pytest.mark.timeout(900)
def test_a_deploy_killed_or_faulted_at_any_kind_of_writing_call_converges(
    stack: Stack, new_sample: Callable[..., Sample]
) -> None:
    estate = deployed(new_sample("chaos", steps=((50, 20),)))
    harness = Harness(stack.control, DeployScenario(estate, stack.control))
    cases = generate(harness.clean_run())
    chosen = sample(cases, len(cases))
    assert {case.method for case in chosen} == {case.method for case in cases}
    assert {case.kind for case in chosen} == set(KINDS)
    outcomes = run_all(harness, chosen, lambda outcome: print(outcome))
    assert [outcome for outcome in outcomes if not outcome.ok] == []


@pytest.mark.timeout(600)
def test_a_review_killed_at_a_writing_call_leaves_one_report(stack: Stack, new_sample: Callable[..., Sample]) -> None:
    harness = Harness(stack.control, WeeklyReviewScenario(new_sample("chaos-review"), stack.control))
    cases = generate(harness.clean_run())
    chosen = sample(cases, len(cases))
    assert {case.method for case in chosen} == {"Objects.Insert", "Objects.Delete"}
    outcomes = run_all(harness, chosen, lambda outcome: print(outcome))
    assert [outcome for outcome in outcomes if not outcome.ok] == []
