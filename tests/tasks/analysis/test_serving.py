"""Which revision served at a moment: named where it is known, and doubted where it could fail by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.analysis import release, serving
from tasks.estate import Probe
from tasks.models import Change, RevisionSpec, RevisionState

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
PROBES = (Probe(name="specs", path="/specs", body="x", touches_database=True), Probe(name="health", path="/health"))
DIGEST = serving.digest_of(PROBES)


def at(hour: float) -> datetime:
    """So many hours ago: 9 is before 5."""
    return NOW - timedelta(hours=hour)


def revision(name: str, made: float, schema: str = "") -> RevisionState:
    spec = RevisionSpec(image=f"registry/api@{name}", annotations={release.SCHEMA: schema} if schema else {})
    return RevisionState(name=name, service="api", spec=spec, ready=True, created=at(made))


def change(hour: float, left: str, found: str, kind: str = "deploy", schema: str = "", **inputs: Any) -> Change:
    return Change.new(
        kind=kind, subject="api", verdict="released", key=str(hour), at=at(hour), inputs={"probes": DIGEST, **inputs},
        before={"revision": found, "schema": schema}, after={"revision": left, "verified": True},
    )  # fmt: skip


#: ``a`` was released 9 h ago on schema 1, ``b`` 5 h ago on schema 2; ``b`` serves.
REVISIONS = (revision("b", 5.1, "2"), revision("a", 9.1, "1"))
CHANGES = (change(5, "b", "a", schema="1"), change(9, "a", ""))


def served(hour: float, schema: str = "", **known: Any) -> serving.Served:
    scene: dict[str, Any] = {
        "service": "api", "moment": at(hour), "stands_at": schema, "serving": "b", "revisions": REVISIONS,
        "changes": CHANGES, "probes": DIGEST,
    }  # fmt: skip
    return serving.served_at(serving.Scene(**{**scene, **known}))


def name(found: serving.Served) -> str:
    return found.revision.name if found.revision else ""


@pytest.mark.parametrize(
    ("hour", "schema", "expected"),
    [(1, "2", "b"), (5, "2", "b"), (7, "1", "a"), (7, "", "a"), (9, "1", "a")],
    ids=["after both", "at the very moment", "between", "between, without alembic", "just after the first"],
)
def test_the_ledger_tells_what_served_between_two_releases(hour: float, schema: str, expected: str) -> None:
    found = served(hour, schema)
    assert (name(found), found.doubt) == (expected, "")


def test_before_the_first_release_nothing_served_and_that_is_said() -> None:
    found = served(10)
    assert (name(found), found.why) == ("", "api was not released yet at 2026-11-24 17:00 UTC")


def test_a_moment_while_a_release_had_migrated_already_belongs_to_the_release() -> None:
    found = served(5.05, "2")
    assert (name(found), found.doubt) == ("b", "")
    assert "a release was under way" in found.why


def test_a_moment_before_the_migration_of_a_release_under_way_belongs_to_the_revision_before() -> None:
    assert name(served(5.05, "1")) == "a"


def test_a_release_under_way_that_moved_no_schema_is_a_doubt() -> None:
    found = served(5.05, "1")
    assert (name(found), found.doubt) == ("a", "b was being released")
    assert served(5.2, "1").doubt == ""


def test_a_change_that_names_no_revision_left_what_it_found() -> None:
    assert name(served(1, "2", changes=(change(2, "", "b"), *CHANGES))) == "b"


def test_a_backup_that_ended_after_a_release_and_began_before_it_belongs_to_the_revision_before() -> None:
    assert name(served(4.99, "1")) == "a"


def test_a_revision_that_is_not_kept_any_more_is_named_as_the_reason() -> None:
    found = served(7, "1", revisions=REVISIONS[:1])
    assert found.revision is None
    assert "revision a is not kept any more" in found.why


def test_a_schema_that_no_release_explains_is_a_doubt() -> None:
    found = served(7, "0")
    assert name(found) == "a"
    assert found.doubt == "it was released on schema 1, the copy stands at 0"


def test_a_roll_back_proved_its_target_on_the_schema_that_it_found() -> None:
    back = change(2, "a", "b", kind="roll_back", schema="2")
    found = served(1, "2", changes=(back, *CHANGES), serving="a")
    assert (name(found), found.doubt) == ("a", "")


def test_a_release_that_failed_leaves_what_served() -> None:
    failed = change(2, "b", "b", schema="2")
    assert name(served(1, "2", changes=(failed, *CHANGES))) == "b"


@pytest.mark.parametrize(
    ("made", "expected", "doubted"),
    [(0.5, "b", False), (2.0, "c", True), (7.0, "", False)],
    ids=["made after the moment", "made since the last release", "an old one, given the traffic by hand"],
)
def test_what_somebody_else_released_is_known_by_when_it_was_made(made: float, expected: str, doubted: bool) -> None:
    found = served(1, "2", serving="c", revisions=(revision("c", made, "2"), *REVISIONS))
    assert (name(found), bool(found.doubt)) == (expected, doubted)
    assert expected or "since when the ledger does not know" in found.why


def test_what_serves_now_and_is_gone_leaves_the_ledgers_word_with_a_doubt() -> None:
    found = served(1, "2", serving="gone")
    assert (name(found), bool(found.doubt)) == ("b", True)


@pytest.mark.parametrize(
    ("hour", "revisions", "expected", "doubted"),
    [
        (4, REVISIONS, "b", False),
        (7, REVISIONS, "", False),
        (4, (revision("c", 4.5), *REVISIONS), "b", True),
        (4, (), "", False),
    ],
    ids=["made before", "made later", "something newer was made before the moment", "not kept"],
)
def test_without_a_ledger_what_serves_now_must_have_been_there(
    hour: float, revisions: tuple[RevisionState, ...], expected: str, doubted: bool
) -> None:
    found = served(hour, "2", changes=(), revisions=revisions)
    assert (name(found), bool(found.doubt)) == (expected, doubted)


def test_a_ledger_that_begins_later_tells_what_it_found() -> None:
    assert name(served(7, "1", changes=CHANGES[:1])) == "a"
    assert name(served(9.5, "1", changes=CHANGES[:1])) == ""


def test_probes_that_were_declared_otherwise_are_a_doubt_and_their_order_is_none() -> None:
    assert serving.digest_of(reversed(PROBES)) == DIGEST
    other = serving.digest_of(PROBES[:1])
    assert "declared otherwise" in served(7, "1", probes=other).doubt
    assert "declared otherwise" in served(1, "2", probes=other).doubt


def test_a_release_that_failed_says_nothing_of_the_probes_of_what_it_left() -> None:
    other = serving.digest_of(PROBES[:1])
    failed = change(2, "b", "b", schema="2", probes=other)
    failed = failed.model_copy(update={"after": {"revision": "b", "verified": False}})
    assert "declared otherwise" in served(1, "2", changes=(failed, *CHANGES), probes=other).doubt


def test_a_release_of_which_nobody_wrote_the_probes_down_is_doubted_unless_it_serves_now() -> None:
    plain = tuple(item.model_copy(update={"inputs": {}}) for item in CHANGES)
    assert "does not know by which probes" in served(7, "1", changes=plain).doubt
    assert served(1, "2", changes=plain).doubt == ""
