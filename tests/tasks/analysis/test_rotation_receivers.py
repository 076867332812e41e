"""Who accepts two versions of a secret, who follows an alias, and what that forbids, by tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis import rotation
from tasks.analysis.rotation import CURRENT
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
    assert rotation.next_stage(UNIT, both, MARK).do == "retire"
    assert rotation.orphans(UNIT, both, MARK) == {TOKEN: ()}
    assert blockers(UNIT, both, {TOKEN: (1,)}, 2, NOW, False, kept=False) == ()
    assert len(blockers(UNIT, both, {TOKEN: (1,)}, 2, NOW, False)) == 1


def test_an_alias_that_stands_for_the_old_version_is_a_use_of_it_and_one_that_was_moved_is_none() -> None:
    state = {TOKEN: secret(2, mine=1, current=2)}
    uses = explained([reads("mine"), reads(CURRENT)], {}, frozenset(), NOW, state)
    found = blockers(UNIT, ground(2, *uses, pins={"api": 2}), {TOKEN: (1,)}, 2, NOW, False)
    assert [one.what for one in found] == [f"job nightly is pinned to {TOKEN} version 1 by its alias mine (a job)"]
    assert found[0].way_out == f"gcloud secrets update {TOKEN} --update-version-aliases=mine=2"


def test_what_senders_have_already_is_not_taken_back() -> None:
    nobody = ground(2, pins={}, previous={})
    assert rotation.orphans(UNIT, nobody, MARK) == {TOKEN: ()}
    strange = RotationMark(run="r", began=NOW, after={})
    assert rotation.orphans(UNIT, ground(2), strange) == {TOKEN: ()}
