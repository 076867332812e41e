"""What is planned where the outside does not answer as it should: nothing is taken for granted, nothing is pushed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tasks import dependency_plan
from tasks.clients.git_repository import GitRepository
from tasks.clients.installed import read_installed
from tasks.clients.package_index import statuses
from tasks.clients.sandbox import Sandbox
from tasks.dependency_checkout import Checkout, open_checkout
from tasks.dependency_plan import make_plan
from tasks.dependency_trials import Trials
from tasks.errors import BadInput, TransientError
from tasks.estate.dependencies import Dependencies, Manifest
from tests.dependencies.package_index import OLD, RIPE, YOUNG
from tests.dependencies.scene import Scene, scene_in


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    with scene_in(tmp_path, "no-cloud") as made:
        yield made


def checked_out(scene: Scene) -> Checkout:
    section = Dependencies(
        repository=scene.repository.url, manifests=(Manifest(test=("true",)),), advisories=scene.advisories.url
    )
    scratch = scene.folder / "scratch"
    return open_checkout(section, GitRepository(scene.repository.url, scratch / "repository"), scratch, "ours")


def test_an_index_that_does_not_answer_is_worth_a_retry_and_leaves_nothing(scene: Scene) -> None:
    scene.index.add("a", "1.0", at=OLD).add("a", "1.1", at=RIPE)
    checkout = checked_out(scene.project_of("a"))
    scene.index.down = True
    with pytest.raises(TransientError, match="the package index does not answer"):
        make_plan(checkout)
    assert set(scene.repository.branches()) == {"main"}


def test_an_advisory_database_that_does_not_answer_is_a_finding_and_hurries_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependency_plan, "PATIENCE", timedelta(seconds=0.1))
    scene.index.add("a", "1.0", at=OLD).add("a", "1.1", at=RIPE)
    scene.advisories.down = True
    plan = make_plan(checked_out(scene.project_of("a")))
    (finding,) = plan.findings
    assert (finding.severity, plan.units) == ("error", ("a",))
    assert "503" in finding.what
    with pytest.raises(TransientError, match="the advisory database"):
        make_plan(checked_out(scene), only_security=True)


def test_a_fix_that_a_requirement_forbids_is_a_finding_and_the_rest_goes_on(scene: Scene) -> None:
    scene.index.add("a", "1.0", at=OLD).add("b", "1.0", at=OLD)
    scene.project_of("a<2", "b")
    scene.index.add("a", "2.0", at=YOUNG).add("b", "1.1", at=RIPE)
    scene.advisories.add("GHSA-1", "a", fixed="2.0")
    plan = make_plan(checked_out(scene))
    assert plan.units == ("b",)
    assert "cannot be taken" in plan.findings[0].what
    assert [one.id for one in plan.left] == ["GHSA-1"]


def test_a_locked_release_that_is_younger_than_the_cooldown_does_not_go_back(scene: Scene) -> None:
    scene.index.add("a", "1.0", at=OLD).add("a", "1.1", at=YOUNG).add("b", "1.0", at=OLD).add("b", "1.1", at=RIPE)
    scene.project_of("a", "b")
    path = scene.repository.work / "uv.lock"
    plain = dependency_plan.Wish(cutoff=YOUNG + timedelta(hours=1), names=("a",))
    checkout = checked_out(scene)
    tool = checkout.tool(".", scene.repository.work)
    tool.resolve(plain)
    assert 'version = "1.1"' in path.read_text()
    scene.repository.commit("took it early")
    assert make_plan(checked_out(scene)).units == ("b",)


def test_an_update_that_needs_another_ones_new_release_does_not_move_without_it(scene: Scene) -> None:
    for name in ("inner", "outer"):
        scene.index.add(name, "1.0", at=OLD)
    scene.project_of("outer", "inner")
    scene.index.add("inner", "2.0", at=RIPE).add("outer", "2.0", "inner>=2", at=RIPE).add("outer", "1.5", at=RIPE)
    checkout = checked_out(scene)
    trials = Trials(checkout, make_plan(checkout))
    assert trials.plan.units == ("inner", "outer")
    parts = {key: trials.updates(trials.locks(frozenset({key}))) for key in trials.plan.units}
    assert {key: [(u.package, u.new) for u in part] for key, part in parts.items()} == {
        "inner": [("inner", "2.0")], "outer": [("outer", "1.5")]
    }  # fmt: skip
    trials.checkout.texts["."] = trials.plan.texts["."]
    tool = checkout.tool(".", checkout.scratch / "plan")
    tool.lock.write_text(trials.plan.texts["."])
    tool.check()


def test_a_set_that_cannot_be_installed_here_fails_and_is_not_tested(scene: Scene) -> None:
    scene.index.add("a", "1.0", at=OLD).add("a", "1.1", at=RIPE, tag="cp311-cp311-win_amd64")
    checkout = checked_out(scene.project_of("a"))
    trials = Trials(checkout, make_plan(checkout))
    assert trials.run(frozenset({"a"})).failed == ("installation",)
    assert trials.run(frozenset()).passed


def test_a_lock_that_the_project_itself_would_refuse_is_not_proposed(scene: Scene) -> None:
    scene.index.add("a", "1.0", at=OLD).add("a", "1.1", at=RIPE)
    scene.project_of("a", allowed=f'[tool.uv]\nexclude-newer = "{OLD + timedelta(days=1):%Y-%m-%d}T00:00:00Z"\n')
    checkout = checked_out(scene)
    plan = make_plan(checkout)
    tool = checkout.tool(".", checkout.scratch / "plan")
    tool.lock.write_text(plan.texts["."])
    with pytest.raises(BadInput, match=r"does pyproject\.toml say exclude-newer"):
        tool.check()


def test_an_index_tells_what_was_yanked_and_which_projects_do_not_go_on(scene: Scene) -> None:
    scene.index.add("a", "1.0", at=OLD, yanked="broke").add("b", "1.0", at=OLD)
    scene.index.statuses["b"] = "archived"
    found = statuses([(f"{scene.index.url}/simple", name) for name in ("a", "b", "c")])
    assert found["a"] is not None
    assert found["a"].yanked == {"1.0": "broke"}
    assert found["b"] is not None
    assert found["b"].status == "archived"
    assert found["c"] is None


def test_what_is_installed_is_read_and_not_run(scene: Scene, tmp_path: Path) -> None:
    scene.index.add("a", "1.0", at=OLD, code="raise SystemExit('run')\n", licence="MPL-2.0")
    scene.project_of("a", check="\n")
    tool = checked_out(scene).tool(".", scene.repository.work)
    tool.install()
    found = read_installed(tool.packages)
    assert found.licences == {"a": "MPL-2.0"}
    assert found.size_bytes > 100


def test_an_environment_that_the_worker_names_for_itself_is_left_alone(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", str(tmp_path / "the-workers"))
    scene.index.add("a", "1.0", at=OLD)
    tool = checked_out(scene.project_of("a")).tool(".", scene.repository.work)
    tool.install()
    assert not (tmp_path / "the-workers").exists()
    assert (tool.packages / "a").exists() or (tool.packages / "a.py").exists()


def test_tests_of_one_folder_do_not_choose_what_those_of_the_next_can_read(scene: Scene, tmp_path: Path) -> None:
    if why := Sandbox().why_not:
        pytest.skip(why)
    (tmp_path / "account" / "x").mkdir(parents=True)
    (tmp_path / "account" / "secret").write_text("hunter2")
    for folder in ("one", "two"):
        name = f"in{folder}"
        scene.index.add(name, "1.0", at=OLD).add(name, "1.1", at=RIPE)
        scene.repository.python_project(scene.index, name, folder=folder)
    scene.repository.commit("two folders")
    turned = f"ln -sfn {tmp_path}/account/x/python ../two/.venv/bin/python"
    section = Dependencies(
        repository=scene.repository.url,
        advisories="",
        manifests=(
            Manifest(folder="one", test=("sh", "-c", turned)),
            Manifest(folder="two", test=("sh", "-c", f"! cat {tmp_path}/account/secret")),
        ),
    )
    scratch = scene.folder / "scratch"
    checkout = open_checkout(section, GitRepository(scene.repository.url, scratch / "repository"), scratch, "ours")
    trials = Trials(checkout, make_plan(checkout))
    run = trials.run(frozenset(trials.plan.units))
    assert run.passed, run.tail
