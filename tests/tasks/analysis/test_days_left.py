"""Burn rates on simulated histories, with weekends, noise, resets, jumps and changes for good."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.days_left import burn, days_left, until
from tasks.models import Measurement

START = datetime(2026, 1, 1, tzinfo=UTC)
NOISE, WEEKEND = 0.3, 0.35
A_WEEK = (5 + 2 * WEEKEND) / 7


def history(
    seed: int, days: int, *, jump: bool = False, reset: bool = False, change: float = 1.0
) -> tuple[list[Measurement], float]:
    """Daily measurements of a counter, and what it will gain a day from here on."""
    chance = random.Random(seed)
    base = 10 ** chance.uniform(3, 8)
    value = chance.random() * base * 1000
    jumps, resets = (chance.randrange(3, days - 3) if wanted else None for wanted in (jump, reset))
    found = []
    for day in range(days):
        at = START + timedelta(days=day)
        found.append(Measurement(name="x", subject="y", value=value, unit="1", at=at))
        rate = base * (1 if at.weekday() < 5 else WEEKEND) * chance.lognormvariate(0, NOISE)
        value += rate * (change if day >= days // 2 else 1.0)
        value += base * chance.choice([15, 60, 400]) if day == jumps else 0
        value *= 0.1 if day == resets else 1.0
    return found, base * A_WEEK * math.exp(NOISE**2 / 2) * change


def plain(values: Sequence[float], every: timedelta = timedelta(days=1)) -> list[Measurement]:
    times = [START + n * every for n in range(len(values))]
    return [
        Measurement(name="x", subject="y", value=value, unit="1", at=at)
        for value, at in zip(values, times, strict=True)
    ]


@pytest.mark.parametrize(
    ("what", "options"),
    [("steady", {}), ("a reset and a jump", {"jump": True, "reset": True}), ("twice the burn", {"change": 2.0})],
)
def test_days_left_are_within_a_fifth_on_simulated_histories(what: str, options: dict[str, object]) -> None:
    errors = []
    for seed in range(200):
        measured, truth = history(seed, 60 + seed % 90, **options)  # type: ignore[arg-type]
        told = days_left("ids", 0, truth * 100, measured)
        assert told.days is not None
        errors.append(abs(told.days / 100 - 1))
    within = sum(error <= 0.2 for error in errors) / len(errors)
    assert within >= 0.97, f"{what}: {within:.3f}"


def test_without_the_rule_for_jumps_and_resets_the_same_histories_would_be_missed() -> None:
    """The simulated histories are hard enough: the plain slope fails on most of them."""
    missed = 0
    for seed in range(50):
        measured, truth = history(seed, 60 + seed, jump=True, reset=True)
        slope = (measured[-1].value - measured[0].value) / (len(measured) - 1)
        missed += abs(slope / truth - 1) > 0.2
    assert missed >= 40


def test_a_burn_that_changed_for_good_is_told_with_the_day_of_the_change() -> None:
    found = burn(history(3, 120, change=3.0)[0])
    assert found is not None
    assert found[1] is not None
    assert abs(found[1] - (START + timedelta(days=60))) <= timedelta(days=8)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, 2.0, 3.0]])
def test_nothing_is_said_of_too_short_a_history(values: list[float]) -> None:
    assert days_left("ids", 5, 100, plain(values)).days is None


def test_nothing_is_said_of_many_looks_within_a_day() -> None:
    assert burn(plain([float(n) for n in range(30)], timedelta(minutes=5))) is None


def test_what_does_not_grow_never_runs_out() -> None:
    told = days_left("sequence s", 5, 100, plain([5.0] * 40))
    assert (told.per_day, told.days) == (0.0, None)


def test_what_is_beyond_its_limit_has_no_day_left() -> None:
    assert days_left("sequence s", 120, 100, plain([float(n) for n in range(40)])).days == 0


def test_what_a_clock_that_was_ahead_has_measured_is_left_out() -> None:
    measured = plain([float(10 * day) for day in range(30)])
    ahead = measured[-1].model_copy(update={"at": START + timedelta(days=3650)})
    assert burn([*measured, ahead]) is None
    told = days_left("ids", 0, 1000, until(measured[-1].at, [*measured, ahead]))
    assert told.per_day == pytest.approx(10)


@pytest.mark.parametrize("points", [0, 1, 2, 3])
def test_too_few_points_tell_nothing(points: int) -> None:
    assert days_left("ids", 5, 1000, plain([10.0, 20.0, 30.0][:points])).days is None
