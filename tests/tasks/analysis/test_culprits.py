"""The search for the updates that break the tests, on simulated tests: its cost, its blame, its doubt."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.analysis.culprits import judge
from tasks.dependency_models import Judgement, TestRun

Keys = frozenset[str]
PASSED, FAILED = TestRun(passed=True), TestRun(passed=False, failed=("test_x",))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"p{number:03d}" for number in range(count))


def searched(units: Sequence[str], passes: Callable[[Keys], bool], reruns: int = 1) -> tuple[Judgement, list[Keys]]:
    """The judgement of tests that pass as told, and the sets that were tested."""
    asked: list[Keys] = []
    questions = judge(units, max, reruns)
    keys = next(questions)
    while True:
        asked.append(keys)
        try:
            keys = questions.send(PASSED if passes(keys) else FAILED)
        except StopIteration as end:
            return end.value, asked


@pytest.mark.parametrize("place", range(64))
def test_one_culprit_among_64_is_found_in_7_runs_wherever_it_stands(place: int) -> None:
    units = names(64)
    found, asked = searched(units, lambda keys: units[place] not in keys)
    assert [blame.members for blame in found.blamed] == [(units[place],)]
    assert found.ship == frozenset(units) - {units[place]}
    assert found.runs_until_found == 7
    assert found.runs == len(asked) <= 11
    assert asked[-1] == found.ship


def test_what_is_shipped_was_the_last_set_tested_and_passed() -> None:
    found, asked = searched(names(5), lambda keys: True)
    assert (found.ship, asked, found.verdict) == (frozenset(names(5)), [frozenset(names(5))], "passed")


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.data())
def test_every_failing_set_is_found_smallest_and_one_of_it_is_held_back(count: int, data: st.DataObject) -> None:
    units = names(count)
    sets = st.frozensets(st.sampled_from(units), min_size=1, max_size=3)
    culprits = data.draw(st.lists(sets, min_size=1, max_size=3))

    def passes(keys: Keys) -> bool:
        return not any(culprit <= keys for culprit in culprits)

    found, _ = searched(units, passes)
    assert found.verdict in ("passed", "none_passes")
    assert passes(found.ship)
    for blame in found.blamed:
        members = frozenset(blame.members)
        assert not passes(members)
        assert all(passes(members - {one}) for one in members)
        assert blame.held in members
    assert found.ship == frozenset(units) - {blame.held for blame in found.blamed}


def test_a_pair_among_64_costs_two_searches() -> None:
    units = names(64)
    found, _ = searched(units, lambda keys: not {"p011", "p050"} <= keys)
    assert [blame.members for blame in found.blamed] == [("p011", "p050")]
    assert found.runs <= 2 * 6 + 7


def test_tests_that_fail_without_any_update_blame_nothing() -> None:
    found, asked = searched(names(8), lambda keys: False)
    assert (found.verdict, found.blamed, found.ship) == ("base_fails", (), frozenset())
    assert asked.count(frozenset()) == 2


def test_a_test_that_fails_once_is_called_flaky_and_everything_is_shipped() -> None:
    answers = iter([False])
    found, _ = searched(names(64), lambda keys: next(answers, True))
    assert (found.verdict, found.blamed, found.ship) == ("flaky", (), frozenset(names(64)))
    assert found.flaky == ("test_x",)


def test_a_base_that_fails_although_updates_passed_is_called_flaky() -> None:
    found, _ = searched(names(4), lambda keys: bool(keys) and "p002" not in keys)
    assert (found.verdict, found.blamed) == ("flaky", ())


@pytest.mark.parametrize(
    ("rate", "reruns", "most"), [(0.02, 1, 0.001), (0.1, 1, 0.001), (0.3, 1, 0.02), (0.5, 1, 0.07), (0.5, 2, 0.03)]
)
def test_flaky_tests_seldom_get_a_package_blamed(rate: float, reruns: int, most: float) -> None:
    """Of runs over 64 good updates with tests that fail by chance: the share that blames any update at all."""
    chance, blamed, runs = random.Random(6), 0, 1500
    for _ in range(runs):
        found, _ = searched(names(64), lambda keys: chance.random() >= rate, reruns)
        blamed += bool(found.blamed)
    assert blamed / runs <= most
