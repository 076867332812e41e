"""Which revision a roll-back means, from the ledger's lines."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.analysis.history import earlier, verified
from tasks.models import Change


def changes(*lines: str) -> list[Change]:
    """``deploy A``, ``roll_back A``, ``failed A``: as the ledger gives them, the newest first."""
    made = []
    for number, line in enumerate(lines):
        what, revision = line.split()
        good = what != "failed"
        kind = what if good else "deploy"
        made.append(
            Change.new(
                kind=kind, subject="api", verdict="released" if good else "failed", key=str(number),
                at=datetime(2026, 1, 1, tzinfo=UTC), after={"revision": revision, "verified": good},
            )
        )  # fmt: skip
    return made[::-1]


@pytest.mark.parametrize(
    ("lines", "standing"),
    [
        ((), ()),
        (("deploy A", "deploy B"), ("B", "A")),
        (("deploy A", "failed B"), ("A",)),
        (("deploy A", "deploy B", "deploy C", "roll_back A"), ("A",)),
        (("deploy A", "deploy B", "deploy A"), ("A", "B")),
        (("deploy A", "deploy B", "deploy A", "deploy C"), ("C", "A", "B")),
        (("deploy A", "deploy B", "roll_back A", "deploy C"), ("C", "A")),
    ],
)
def test_what_was_rolled_back_from_does_not_stand_any_more(lines: tuple[str, ...], standing: tuple[str, ...]) -> None:
    assert verified(changes(*lines)) == standing


@pytest.mark.parametrize(
    ("standing", "serving", "target"),
    [
        ((), "A", None),
        (("A",), "A", None),
        (("B", "A"), "B", "A"),
        (("B", "A"), "never-verified", "B"),
    ],
)
def test_a_roll_back_goes_to_what_was_verified_before(
    standing: tuple[str, ...], serving: str, target: str | None
) -> None:
    assert earlier(standing, serving) == target


def test_a_roll_back_that_was_killed_before_it_was_recorded_does_not_go_forward_again() -> None:
    assert earlier(("C", "B", "A"), "B") == "B"
