"""Which migrations are pending, which are undone, and when neither can be said."""

from __future__ import annotations

import pytest

from tasks.analysis import migrations
from tasks.errors import BadInput, Refused
from tasks.models import MigrationHistory, MigrationRevision

#: 1 - 2 - 3a - 4 - 5, and 3b beside 3a.
HISTORY = MigrationHistory(
    folder="migrations", head="5",
    revisions=tuple(
        MigrationRevision(revision=name, down=tuple(down))
        for name, down in [("1", ""), ("2", "1"), ("3a", "2"), ("3b", "2"), ("4", ("3a", "3b")), ("5", "4")]
    ),
)


def names(found: tuple[MigrationRevision, ...]) -> list[str]:
    return [item.revision for item in found]


@pytest.mark.parametrize(
    ("current", "pending"),
    [
        (None, ["1", "2", "3a", "3b", "4", "5"]),
        ("2", ["3a", "3b", "4", "5"]),
        ("3a", ["3b", "4", "5"]),
        ("4", ["5"]),
        ("5", []),
    ],
)
def test_pending_is_what_the_database_has_not_seen_in_order(current: str | None, pending: list[str]) -> None:
    assert names(migrations.pending(current, HISTORY)) == pending


def test_a_database_at_a_revision_that_the_code_does_not_know_is_refused() -> None:
    with pytest.raises(Refused, match=r"revision 9 refused: .* does not know it, its head is 5; deploy the code"):
        migrations.pending("9", HISTORY)


@pytest.mark.parametrize(
    ("current", "target", "undone"),
    [("5", "4", ["5"]), ("5", "2", ["5", "4", "3b", "3a"]), ("2", "1", ["2"]), ("2", "2", [])],
)
def test_going_back_undoes_the_newest_first(current: str, target: str, undone: list[str]) -> None:
    assert names(migrations.undone(current, target, HISTORY)) == undone


@pytest.mark.parametrize(("current", "target"), [("2", "5"), ("3a", "3b"), ("5", "9"), ("9", "5")])
def test_going_back_to_what_is_not_behind_is_refused(current: str, target: str) -> None:
    with pytest.raises(Refused):
        migrations.undone(current, target, HISTORY)


def test_a_schema_on_two_branches_at_once_is_refused() -> None:
    assert migrations.current_of([], "pyplots") is None
    assert migrations.current_of(["2"], "pyplots") == "2"
    with pytest.raises(Refused, match="stands at 3a, 3b at once"):
        migrations.current_of(["3b", "3a"], "pyplots")


def test_a_revision_is_found_by_name_or_refused() -> None:
    assert migrations.revision("4", HISTORY).down == ("3a", "3b")
    with pytest.raises(BadInput, match="unknown schema revision 9"):
        migrations.revision("9", HISTORY)
