"""Who accepts two versions of a secret, who follows an alias, and what that forbids, by tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis import rotation, rotation_attempts
from tasks.analysis.rotation import CURRENT
from tasks.analysis.rotation_receivers import unready
from tasks.analysis.rotation_refusals import refusals
from tasks.analysis.rotation_release import plan_release
from tasks.analysis.rotation_use import blockers, explained
from tasks.estate import Estate
from tasks.models import RevisionSpec, SecretPin
from tasks.release_models import ServiceGround
from tasks.rotation_models import Reference, RotationGround, RotationMark, SecretState, Version

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ESTATE = Estate.load(Path(__file__).parents[3] / "estate.toml")
TOKEN = "sync-token"
UNIT = rotation.units(ESTATE, (TOKEN,))[0]
MARK = RotationMark(run="r", began=NOW, after={TOKEN: 1})


def secret(versions: int, **aliases: int) -> SecretState:
    made = (Version(number=n, state="ENABLED", created=NOW - timedelta(days=1)) for n in range(versions, 0, -1))
    return SecretState(name=TOKEN, etag="", versions=tuple(made), aliases=aliases)


def ground(
    versions: int = 1, *references: Reference, pins: dict[str, int] | None = None, **more: Any
) -> RotationGround:
    pins = {"api": 1} if pins is None else pins
    previous = more.pop("previous", {"api": 1})
    return RotationGround(
        secrets={TOKEN: secret(versions, **more)}, references=references, pins=pins, previous=previous
    )


def reads(version: str, **more: Any) -> Reference:
    return Reference(**{
        "kind": "job", "name": "nightly", "secret": TOKEN, "version": version, "variable": "T", "why": "a job", **more
    })  # fmt: skip


FOREIGN = {"kind": "revision", "name": "other-1", "service": "other", "why": "serves 100 %"}


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (reads("latest"), f"gcloud run jobs update nightly --update-secrets=T={TOKEN}:{CURRENT}"),
        (reads("latest", **FOREIGN), f"gcloud run services update other --update-secrets=T={TOKEN}:1"),
        (reads("latest", **{**FOREIGN, "ours": True}), "caretaker run deploy"),
        (reads("mine", **FOREIGN), "reads sync-token by its alias mine"),
    ],
)
def test_what_would_move_by_itself_is_refused_with_the_way_out(one: Reference, words: str) -> None:
    assert words in "; ".join(refusals(ESTATE, UNIT, ground(1, one), None))


@pytest.mark.parametrize(
    "one",
    [
        reads(CURRENT), reads("1"), reads("latest", why=""), reads("latest", until=NOW),
        reads(CURRENT, **{**FOREIGN, "ours": True}),
    ],
)  # fmt: skip
def test_a_job_may_follow_an_alias_that_is_moved_when_everybody_is_ready(one: Reference) -> None:
    assert refusals(ESTATE, UNIT, ground(1, one), None) == ()


def test_services_that_would_refuse_each_other_meanwhile_are_refused_until_a_receiver_takes_both() -> None:
    api, frontend = ESTATE.services
    sends = frontend.model_copy(update={"secrets": {"SYNC_TOKEN": TOKEN}})
    takes_one = api.model_copy(update={"secrets": {"SYNC_TOKEN": TOKEN}})
    alone = ESTATE.model_copy(update={"services": (takes_one, sends)})
    assert f"name the second {TOKEN}@previous" in "; ".join(refusals(alone, UNIT, ground(), None))
    both = ESTATE.model_copy(update={"services": (api, sends)})
    assert refusals(both, UNIT, ground(), None) == ()
    assert [service.name for service in rotation.receivers(both, UNIT)] == ["api"]
    assert "api does not have SYNC_TOKEN_PREVIOUS yet" in refusals(both, UNIT, ground(previous={}), None)[0]


def test_a_receiver_is_released_with_new_and_old_and_at_the_end_with_the_new_one_alone() -> None:
    pins = dict.fromkeys(("SYNC_TOKEN", "SYNC_TOKEN_PREVIOUS"), SecretPin(secret=TOKEN, version="1"))
    pins["DATABASE_URL"] = SecretPin(secret="db-connection-string", version="7")
    running = RevisionSpec(image="i@sha256:1", secret_env=pins)
    stands = ServiceGround(service="api", state=None, stable="api-1", stable_spec=running, pins=pins)

    def released(before: dict[str, int]) -> dict[str, str]:
        plan = plan_release(ESTATE, ESTATE.service("api"), stands, {TOKEN: 2}, {}, before)
        return {name: pin.version for name, pin in plan.spec.secret_env.items()}

    assert released({TOKEN: 1}) == {"SYNC_TOKEN": "2", "SYNC_TOKEN_PREVIOUS": "1", "DATABASE_URL": "7"}
    assert released({}) == {"SYNC_TOKEN": "2", "SYNC_TOKEN_PREVIOUS": "2", "DATABASE_URL": "7"}
    assert rotation.version_before(secret(3), 3) == 2
    assert rotation.version_before(secret(1), 1) == 1


def test_the_second_variable_holds_the_old_version_until_it_is_moved_and_is_no_hindrance_to_that() -> None:
    kept = reads("1", **{**FOREIGN, "kept": True, "ours": True})
    both = ground(2, kept, pins={"api": 2})
    assert rotation_attempts.next_stage(UNIT, both, MARK).do == "retire"
    assert rotation_attempts.orphans(UNIT, both, MARK) == {TOKEN: ()}
    assert blockers(UNIT, both, {TOKEN: (1,)}, {TOKEN: 2}, NOW, False, kept=False) == ()
    assert len(blockers(UNIT, both, {TOKEN: (1,)}, {TOKEN: 2}, NOW, False)) == 1


def test_an_alias_that_stands_for_the_old_version_is_a_use_of_it_and_one_that_was_moved_is_none() -> None:
    state = {TOKEN: secret(2, mine=1, current=2)}
    uses = explained([reads("mine"), reads(CURRENT)], {}, frozenset(), NOW, state)
    found = blockers(UNIT, ground(2, *uses, pins={"api": 2}), {TOKEN: (1,)}, {TOKEN: 2}, NOW, False)
    assert [one.what for one in found] == [f"job nightly is pinned to {TOKEN} version 1 by its alias mine (a job)"]
    assert found[0].way_out == f"gcloud secrets update {TOKEN} --update-version-aliases=mine=2"


@pytest.mark.parametrize("emergency", [False, True])
def test_an_alias_holds_its_version_for_readers_that_nobody_can_see(emergency: bool) -> None:
    """A person's script and CI read by alias, and stand nowhere on Cloud Run."""
    aliased = ground(2, ci=1, mine=2, current=2, pins={"api": 2})
    found = blockers(UNIT, aliased, {TOKEN: (1,)}, {TOKEN: 2}, NOW, emergency)
    what = f"alias ci of {TOKEN} stands for version 1, for whoever reads it by that name"
    assert [one.what for one in found] == [what]
    assert found[0].way_out == f"gcloud secrets update {TOKEN} --update-version-aliases=ci=2"
    assert found[0].until is None
    read = reads("ci", points_to=1)
    both = blockers(UNIT, ground(2, read, ci=1, pins={"api": 2}), {TOKEN: (1,)}, {TOKEN: 2}, NOW, emergency)
    assert [one.what for one in both] == [f"job nightly is pinned to {TOKEN} version 1 by its alias ci (a job)"]


def test_an_alias_of_the_passwords_secret_moves_to_the_version_that_belongs_to_the_new_login() -> None:
    login = rotation.units(ESTATE, ("db-connection-string",))[0]
    states = {name: secret(2).model_copy(update={"name": name, "aliases": {"ci": 1}}) for name in login.secrets}
    old = dict.fromkeys(login.secrets, (1,))
    targets = {"db-connection-string": 2, "db-password": 7}
    found = blockers(login, RotationGround(secrets=states), old, targets, NOW, False)
    assert [one.way_out for one in found] == [
        f"gcloud secrets update {name} --update-version-aliases=ci={number}" for name, number in targets.items()
    ]


def test_what_senders_have_already_is_not_taken_back() -> None:
    nobody = ground(2, pins={}, previous={})
    assert rotation_attempts.orphans(UNIT, nobody, MARK) == {TOKEN: ()}
    strange = RotationMark(run="r", began=NOW, after={})
    assert rotation_attempts.orphans(UNIT, ground(2), strange) == {TOKEN: ()}


def serves(version: str, share: int = 100, **more: Any) -> Reference:
    """A receiver's revision with a share of the traffic."""
    given = {**FOREIGN, "service": "api", "ours": True, "name": f"api-{version}", "why": f"serves {share} %", **more}
    return reads(version, **given)


SPLIT = (serves("1", 90), serves("2", 10))


def test_the_alias_moves_only_once_every_receiver_accepts_the_version_with_all_its_traffic() -> None:
    def waiting(*found: Reference) -> list[str]:
        return [f"{one.what} → {one.way_out}" for one in unready(ESTATE, UNIT, ground(2, *found, pins={}), 2)]

    assert waiting() == waiting(serves("2")) == waiting(serves("2"), serves("1", variable="OLD", kept=True)) == []
    assert waiting(serves("2", kept=True), serves("3")) == [], "a receiver accepts the one before too"
    assert "does not accept version 2 of sync-token with all its traffic (api-1 serves 100 %" in waiting(serves("1"))[0]
    assert "the alias current stays" in waiting(serves("1"))[0]
    split = waiting(*SPLIT)[0]
    assert "(api-1 serves 90 % with version 1, api-2 serves 10 % with version 2)" in split
    assert "gcloud run services update-traffic api --to-revisions=api-2=100" in split
    foreign = waiting(serves("2"), reads("1", **FOREIGN))
    assert len(foreign) == 1
    assert f"gcloud run services update other --update-secrets=T={TOKEN}:2" in foreign[0]
    assert waiting(reads("1"), reads("1", why=""), reads("1", **{**FOREIGN, "why": "reached by its tag x"})) == []


def test_what_serves_is_what_the_alias_stands_for_and_not_what_an_attempt_added_since() -> None:
    """Taken for the newest one, the user that serves would be the one whose password is changed."""
    read = serves("current", points_to=1)
    assert rotation.newest_pinned(ground(2, read, pins={"api": 0}), UNIT) == 1
    assert rotation.newest_pinned(ground(2, pins={}), UNIT) == 2


def test_senders_among_our_services_are_not_waited_for_and_a_login_is_given_out_at_once() -> None:
    api, frontend = ESTATE.services
    both = ESTATE.model_copy(
        update={"services": (api, frontend.model_copy(update={"secrets": {"SYNC_TOKEN": TOKEN}}))}
    )
    sender = serves("1", service="frontend")
    assert unready(both, UNIT, ground(2, serves("2"), sender, pins={}), 2) == ()
    login = rotation.units(ESTATE, ("db-connection-string",))[0]
    assert unready(both, login, ground(2, serves("1", secret="db-connection-string"), pins={}), 2) == ()


def test_a_split_is_gone_on_with_where_a_share_has_the_new_version_and_is_never_taken_for_no_receiver_at_all() -> None:
    def stage(*found: Reference, **more: Any) -> Any:
        return rotation_attempts.next_stage(UNIT, ground(2, *found, pins={}, **more), MARK)

    assert (stage(*SPLIT).do, stage(*SPLIT).target) == ("retire", 2)
    assert stage(serves("1", 90), serves("1", 10, name="api-0")).do == "begin"
    assert stage().target == 2, "receivers outside take every enabled version"


def test_a_version_that_senders_were_given_is_gone_on_with_after_its_receiver_was_rolled_back() -> None:
    back = ground(2, serves("1"), current=2)
    stage = rotation_attempts.next_stage(UNIT, back, MARK)
    assert (stage.do, stage.target, stage.services) == ("release", 2, ("api",))
    assert rotation_attempts.orphans(UNIT, back, MARK) == {TOKEN: ()}
    wanted = serves("2", name="api-2", why="could be rolled back to", until=NOW + timedelta(days=1))
    assert rotation_attempts.next_stage(UNIT, ground(2, serves("1"), wanted), MARK).target == 2


@pytest.mark.parametrize(
    ("uses", "aliases", "words"),
    [
        ((serves("2", why="reached by its tag x"),), {}, "is used by revision api-2 (reached by its tag x)"),
        ((reads("2"),), {}, "is used by job nightly (a job)"),
        ((), {"mine": 2}, "is used by alias mine (--remove-version-aliases=mine)"),
    ],
)
def test_what_a_failed_attempt_made_is_not_taken_from_whoever_uses_it_and_that_is_said(
    uses: tuple[Reference, ...], aliases: dict[str, int], words: str
) -> None:
    found = ground(2, serves("1"), *uses, **aliases)
    assert rotation_attempts.next_stage(UNIT, found, MARK).do == "begin"
    assert rotation_attempts.orphans(UNIT, found, MARK) == {TOKEN: ()}
    assert refused_as(found) == f"version 2 of secret {TOKEN}, of an attempt that failed, {words}"
    assert rotation_attempts.orphans(UNIT, ground(2, serves("1")), MARK) == {TOKEN: (2,)}


def refused_as(found: RotationGround) -> str:
    return "; ".join(refusals(ESTATE, UNIT, found, MARK))
