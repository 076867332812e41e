"""What a rotation does next, and what stands in its way, by tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis import history, rotation, rotation_attempts, rotation_refusals
from tasks.analysis.rotation import MARK, Unit
from tasks.analysis.rotation_use import blockers, explained, old_versions, rollback_targets, users_to_lock, worst
from tasks.errors import Refused
from tasks.estate import Estate
from tasks.models import Change
from tasks.rotation_models import (
    DatabaseGround,
    Login,
    Reference,
    RotationGround,
    RotationMark,
    RotationOutcome,
    SecretState,
    Session,
    Version,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ESTATE = Estate.load(Path(__file__).parents[3] / "estate.toml")
URL, PASSWORD = "db-connection-string", "db-password"
LOGIN = rotation.units(ESTATE, (URL,))[0]
TOKEN = rotation.units(ESTATE, ("sync-token",))[0]
MORE = frozenset({"SELECT on relation x"})
ALIKE = frozenset({"member of pyplots_owner"})


def secret(name: str, *states: str, age: int = 1) -> SecretState:
    """A secret whose versions 1, 2, … are in these states: E, D or X."""
    words: Any = {"E": "ENABLED", "D": "DISABLED", "X": "DESTROYED"}
    versions = tuple(
        Version(number=n, state=words[state], created=NOW - timedelta(days=age)) for n, state in enumerate(states, 1)
    )
    return SecretState(name=name, etag="", versions=versions[::-1])


def logins(**changes: Any) -> dict[str, Login]:
    found = {
        "pyplots_owner": Login(name="pyplots_owner", can_log_in=False),
        "caretaker_rotator": Login(name="caretaker_rotator", can_log_in=True),
        "pyplots_a": Login(name="pyplots_a", can_log_in=True, managed=True, traits=ALIKE),
        "pyplots_b": Login(name="pyplots_b", can_log_in=False, managed=True, traits=ALIKE),
    }
    return {**found, **changes}


def ground(urls: str = "E", passwords: str = "E", pins: dict[str, int] | None = None, **more: Any) -> RotationGround:
    database = DatabaseGround(
        serving="pyplots_a", logins=more.pop("logins", logins()), rotator=True,
        of=more.pop("of", {1: "pyplots_a", 2: "pyplots_b", 3: "pyplots_b"}), pairs={1: 1, 2: 2, 3: 3},
    )  # fmt: skip
    secrets = {URL: secret(URL, *urls), PASSWORD: secret(PASSWORD, *passwords)}
    return RotationGround(secrets=secrets, pins={"api": 1} if pins is None else pins, database=database, **more)


def mark(user: str = "pyplots_b", old: str = "pyplots_a") -> RotationMark:
    return RotationMark(run="r", began=NOW, after={URL: 1, PASSWORD: 1}, user=user, old_user=old)


def refused(found: RotationGround, under: RotationMark | None = None) -> str:
    return "; ".join(rotation_refusals.refusals(ESTATE, LOGIN, found, under))


@pytest.mark.parametrize(
    ("urls", "pins", "marked", "expected"),
    [
        ("E", {"api": 1}, False, ("begin", 0, ())),
        ("E", {"api": 1}, True, ("begin", 0, ())),
        ("EE", {"api": 1}, True, ("begin", 0, ())),
        ("EE", {"api": 2, "web": 1}, True, ("release", 2, ("web",))),
        ("EE", {"api": 2, "web": 2}, True, ("retire", 2, ())),
        ("DE", {"api": 2}, True, ("retire", 2, ())),
        ("EDE", {"api": 3}, True, ("retire", 3, ())),
        ("EE", {"api": 2, "web": 0}, True, ("release", 2, ("web",))),
    ],
)  # fmt: skip
def test_the_next_step_follows_from_what_serves(urls: str, pins: dict[str, int], marked: bool, expected: Any) -> None:
    stage = rotation_attempts.next_stage(LOGIN, ground(urls, urls, pins), mark() if marked else None)
    assert (stage.do, stage.target, stage.services) == expected


def test_what_was_made_and_serves_nowhere_is_an_orphan_and_what_somebody_else_added_is_not() -> None:
    assert rotation_attempts.orphans(LOGIN, ground("EE", "EE"), mark()) == {URL: (2,), PASSWORD: (2,)}
    assert rotation_attempts.orphans(LOGIN, ground("EEE", "EEE", {"api": 3}), mark()) == {URL: (2,), PASSWORD: (2,)}
    strange = ground("EE", "E", of={1: "pyplots_a", 2: "somebody"})
    assert rotation_attempts.orphans(LOGIN, strange, mark())[URL] == ()
    assert "version 2 of secret db-connection-string was added by somebody else" in refused(strange, mark())
    assert "version 2 of secret db-connection-string was added by somebody else" in refused(ground("EE", "EE"))
    assert refused(ground("EE", "EE"), mark()) == ""


def split(secret: str) -> tuple[Reference, ...]:
    """A service with a share of its traffic on the version before and one on the new one."""
    shares = (("api-1", "1", "serves 90 %"), ("api-2", "2", "serves 10 %"))
    return tuple(
        Reference(kind="revision", name=name, service="api", secret=secret, version=version, why=why, ours=True)
        for name, version, why in shares
    )


def test_what_a_canary_serves_is_no_orphan_and_nothing_is_begun_while_the_traffic_is_split() -> None:
    served = ground("EE", "EE", {}, references=split(URL))
    assert rotation_attempts.orphans(LOGIN, served, mark()) == {URL: (), PASSWORD: ()}
    assert "the traffic of api is split (api-1 serves 90 %, api-2 serves 10 %)" in refused(served)
    token = RotationGround(secrets={"sync-token": secret("sync-token", "E")}, pins={}, references=split("sync-token"))
    reasons = "; ".join(rotation_refusals.refusals(ESTATE, TOKEN, token, None))
    assert "the traffic of api is split" in reasons


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pyplots_b": Login(name="pyplots_b", can_log_in=False, managed=True, traits=ALIKE | MORE)},
         "pyplots_b and pyplots_a differ: pyplots_b has SELECT on relation x"),
        ({"pyplots_b": Login(name="pyplots_b", can_log_in=False, traits=ALIKE)}, "may not change pyplots_b"),
        ({"pyplots_owner": Login(name="pyplots_owner", can_log_in=True)}, "pyplots_owner can log in"),
    ],
)  # fmt: skip
def test_users_that_are_not_alike_or_not_prepared_are_refused(changes: dict[str, Login], words: str) -> None:
    assert words in refused(ground(logins=logins(**changes)))


def test_a_database_without_its_users_says_how_it_is_prepared() -> None:
    found = {name: login for name, login in logins().items() if name != "pyplots_b"}
    assert "pyplots_b is missing; prepare it once: caretaker run rotate-secrets --param prepare=true" in refused(
        ground(logins=found)
    )
    assert refused(ground()) == ""


def reference(**more: Any) -> Reference:
    return Reference(**{"kind": "revision", "name": "api-1", "service": "api", "secret": URL, "version": "1", **more})


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (reference(why="serves 100 %", ours=True), "revision api-1 is pinned"),
        (reference(why="reached by its tag x"), "gcloud run services update api"),
        (reference(kind="job", name="nightly", service="", why="a job"), "gcloud run jobs update nightly"),
        (reference(why="could be rolled back to", until=NOW + timedelta(days=1)), "emergency=true"),
    ],
)
def test_whatever_uses_an_old_version_is_named_with_the_way_out(one: Reference, words: str) -> None:
    found = blockers(LOGIN, ground("EE", references=(one,)), {URL: (1,)}, {URL: 2}, NOW, False)
    assert len(found) == 1
    assert words in f"{found[0].what} → {found[0].way_out}"
    emergency = blockers(LOGIN, ground("EE", references=(one,)), {URL: (1,)}, {URL: 2}, NOW, True)
    assert (emergency == ()) == (one.until is not None)


@pytest.mark.parametrize(
    "one",
    [
        reference(), reference(version="2", why="serves 100 %"), reference(version="latest", why="a job"),
        reference(secret=PASSWORD, why="a job"), reference(why="was", until=NOW - timedelta(days=1)),
    ],
)  # fmt: skip
def test_what_leads_nowhere_or_uses_another_version_is_no_hindrance(one: Reference) -> None:
    assert blockers(LOGIN, ground("EE", references=(one,)), {URL: (1,)}, {URL: 2}, NOW, False) == ()


def test_an_overlap_keeps_the_old_version_for_as_long_as_the_estate_says() -> None:
    unit = TOKEN.model_copy(update={"overlap": timedelta(days=3)})
    found = RotationGround(secrets={"sync-token": secret("sync-token", "E", "E", age=1)}, pins={"api": 2})
    held = blockers(unit, found, {"sync-token": (1,)}, {"sync-token": 2}, NOW, False)
    assert [one.until for one in held] == [NOW + timedelta(days=2)]
    assert blockers(unit, found, {"sync-token": (1,)}, {"sync-token": 2}, NOW, True) == ()


def change(kind: str, revision: str, day: int, before: str = "") -> Change:
    after = {"revision": revision, "verified": True}
    return Change.new(
        kind=kind, subject="api", verdict="released", key=f"{kind}{revision}", after=after,
        at=NOW + timedelta(days=day), before={"revision": before}, run=str(day),
    )  # fmt: skip


def test_a_rotation_takes_the_place_of_the_revision_that_it_copies_in_the_history() -> None:
    changes = [change("rotation", "two-b", 30, "two"), change("deploy", "two", 1), change("deploy", "one", 0)]
    assert history.verified(changes) == ("two-b", "one")
    assert history.of_last_release({"api": changes}, {"api": "two-b"}) == {"api"}
    assert rollback_targets(changes, "two-b", timedelta(days=7)) == {"one": NOW + timedelta(days=8)}


def test_a_revision_to_roll_back_to_counts_until_its_time_is_over() -> None:
    known: Any = {"api": ({"api-2": "serves 100 %"}, {"api-1": NOW + timedelta(days=1), "api-0": NOW})}
    found = explained([reference(), reference(name="api-2"), reference(name="api-0")], known, frozenset({"api"}), NOW)
    assert [(one.name, bool(one.why), one.until) for one in found] == [
        ("api-1", True, NOW + timedelta(days=1)), ("api-2", True, None), ("api-0", False, None),
    ]  # fmt: skip


def test_the_users_that_are_locked_are_never_the_one_that_serves() -> None:
    database = ground().database
    assert database is not None
    assert users_to_lock(database, ("pyplots_a", "pyplots_b"), (1,), 2, mark()) == ("pyplots_a",)
    assert users_to_lock(database, ("pyplots_a", "pyplots_b"), (), 2, mark(old="app")) == ("app", "pyplots_a")
    assert users_to_lock(database, ("pyplots_a", "pyplots_b"), (), 1, None) == ()


def test_only_older_enabled_versions_are_taken_out_of_use() -> None:
    assert old_versions(ground("EDEE", "EE"), {URL: 3, PASSWORD: 2}) == {URL: (1,), PASSWORD: (1,)}


def test_a_version_is_due_when_it_would_be_too_old_before_the_next_monthly_run() -> None:
    def due(age: int, unit: Unit) -> bool:
        return rotation.is_due(unit, RotationGround(secrets={unit.main: secret(unit.main, "E", age=age)}), NOW)

    assert [due(age, TOKEN) for age in (1, 64, 65)] == [False, False, True]


def test_a_mark_that_is_not_ours_is_refused_and_ours_comes_back() -> None:
    state = secret(URL, "E").model_copy(update={"annotations": {MARK: rotation.write_mark(mark())}})
    assert rotation.read_mark(state) == mark()
    assert rotation.read_mark(secret(URL, "E")) is None
    with pytest.raises(Refused, match="--remove-annotations"):
        rotation.read_mark(secret(URL, "E").model_copy(update={"annotations": {MARK: "mine"}}))


def test_the_units_of_the_sample_are_a_login_of_two_secrets_and_each_generated_one() -> None:
    assert [(unit.kind, unit.secrets) for unit in rotation.units(ESTATE)] == [
        ("database", (URL, PASSWORD)), ("generated", ("sync-token",)), ("generated", ("github-webhook",)),
        ("generated", ("n8n-webhook",)),
    ]  # fmt: skip
    assert rotation.units(ESTATE, (PASSWORD,)) == (LOGIN,)


def test_the_worst_verdict_is_the_whole_ones() -> None:
    outcomes = [RotationOutcome(name="x", kind="generated", verdict=one) for one in ("rotated", "held", "waiting")]
    assert worst(outcomes) == "held"
    assert worst([]) == "unchanged"


def test_an_open_session_is_named() -> None:
    from tasks.analysis.rotation_use import in_words, session_blockers

    session = Session(pid=7, user="pyplots_a", application="psql", since=NOW)
    found = session_blockers(DatabaseGround(serving="pyplots_b", sessions=(session,)), ("pyplots_a",))
    assert "session 7 of pyplots_a (psql) is open since 2026-11-25 00:00:00 UTC" in in_words(found)
