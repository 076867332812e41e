"""Which revision a roll-back means, from the ledger's lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.history import earlier, of_last_release, verified
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


def released(*lines: str) -> dict[str, list[Change]]:
    """``RUN SERVICE REVISION`` or ``RUN SERVICE back REVISION``, in order of time: each service's, the newest first."""
    made: dict[str, list[Change]] = {"api": [], "frontend": []}
    for number, line in enumerate(lines):
        run, service, *back, revision = line.split()
        made[service].insert(
            0,
            Change.new(
                kind="roll_back" if back else "deploy", subject=service, verdict="released", key=str(number), run=run,
                at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number),
                after={"revision": revision, "verified": True},
            ),
        )  # fmt: skip
    return made


FIRST = ("R1 api a1", "R1 frontend f1")


@pytest.mark.parametrize(
    ("lines", "serving", "meant"),
    [
        (FIRST, ("a1", "f1"), {"api", "frontend"}),
        ((*FIRST, "R2 api a2"), ("a2", "f1"), {"api"}),
        ((*FIRST, "R2 frontend f2", "R3 api a2"), ("a2", "f2"), {"api"}),
        ((*FIRST, "R2 api a2", "R2 frontend f2"), ("a2", "f2"), {"api", "frontend"}),
        ((*FIRST, "R2 api a2", "R2 frontend f2", "B api back a1"), ("a1", "f2"), {"frontend"}),
        ((), ("a1", "f1"), set()),
    ],
)
def test_a_roll_back_that_names_no_service_means_those_of_the_last_release(
    lines: tuple[str, ...], serving: tuple[str, str], meant: set[str]
) -> None:
    assert of_last_release(released(*lines), dict(zip(("api", "frontend"), serving, strict=True))) == meant


def test_a_release_that_was_killed_before_it_was_recorded_is_the_last_one() -> None:
    ledger = released(*FIRST, "R2 api a2")
    assert of_last_release(ledger, {"api": "a2", "frontend": "f2"}) == {"frontend"}


def test_a_roll_back_that_was_killed_before_it_was_recorded_means_the_same_services_again() -> None:
    ledger = released(*FIRST, "R2 api a2")
    assert of_last_release(ledger, {"api": "a1", "frontend": "f1"}) == {"api"}
