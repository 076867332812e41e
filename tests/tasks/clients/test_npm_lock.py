"""npm over a registry of the tests: the cooldown, one package alone, and no script of any package run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.analysis.lockfiles import read_lock
from tasks.clients.npm_lock import NpmLock
from tasks.clients.resolver_errors import Unsolvable
from tasks.dependency_models import Wish
from tasks.errors import BadInput, OpsError
from tests.dependencies.npm_registry import Registry, needs_npm, npm_registry
from tests.dependencies.package_index import LOCKED, NOW, OLD, RIPE, YOUNG

pytestmark = needs_npm
WEEK_AGO = NOW - timedelta(days=7)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with npm_registry() as served, pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_cache", str(tmp_path_factory.mktemp("npm-cache")))
        for name in ("inner", "other"):
            served.add(name, "1.0.0", at=OLD).add(name, "1.1.0", at=RIPE).add(name, "1.2.0", at=YOUNG)
        for version, at in (("1.0.0", OLD), ("1.0.1", RIPE)):
            served.add("outer", version, at=at, inner="^1.0.0", script="touch $INIT_CWD/ran")
        served.add("outer", "2.0.0", at=RIPE)
        yield served


@pytest.fixture
def project(registry: Registry, tmp_path: Path) -> NpmLock:
    """A project locked before anything ripe was published."""
    needs = {"outer": "^1.0.0", "other": "^1.0.0"}
    (tmp_path / "package.json").write_text(json.dumps({"name": "app", "version": "1.0.0", "dependencies": needs}))
    (tmp_path / ".npmrc").write_text(f"registry={registry.url}/\n")
    lock = NpmLock(tmp_path)
    lock._npm("locking", "install", "--package-lock-only", "--ignore-scripts", "--before", LOCKED.isoformat())
    assert versions(lock) == {"inner": "1.0.0", "other": "1.0.0", "outer": "1.0.0"}
    return lock


def locked(registry: Registry, folder: Path, *needs: str) -> NpmLock:
    """A project locked before anything ripe was published."""
    document = {"name": "app", "version": "1.0.0", "dependencies": dict.fromkeys(needs, "^1.0.0")}
    (folder / "package.json").write_text(json.dumps(document))
    (folder / ".npmrc").write_text(f"registry={registry.url}/\ncache={folder}/cache\n")
    lock = NpmLock(folder)
    lock._npm("locking", "install", "--package-lock-only", "--ignore-scripts", "--before", LOCKED.isoformat())
    return lock


def versions(lock: NpmLock) -> dict[str, str]:
    return {name: one.versions[0] for name, one in read_lock("npm", lock.lock.read_text(), "").packages.items()}


def test_everything_moves_as_far_as_the_cooldown_and_the_ranges_allow(project: NpmLock) -> None:
    wanted = (project.folder / "package.json").read_text()
    project.resolve(Wish(cutoff=WEEK_AGO))
    assert versions(project) == {"inner": "1.1.0", "other": "1.1.0", "outer": "1.0.1"}
    assert (project.folder / "package.json").read_text() == wanted


def test_a_package_that_stays_stays_and_an_exempt_one_alone_is_taken_young(project: NpmLock) -> None:
    project.resolve(Wish(cutoff=WEEK_AGO, stays={"other": "1.0.0"}, exempt=frozenset({"inner"})))
    assert versions(project) == {"inner": "1.2.0", "other": "1.0.0", "outer": "1.0.1"}


def test_an_installation_runs_no_script_and_a_lock_that_does_not_fit_is_refused(project: NpmLock) -> None:
    project.install()
    assert (project.packages / "outer" / "index.js").exists()
    assert not (project.folder / "ran").exists()
    document = json.loads((project.folder / "package.json").read_text())
    document["dependencies"]["other"] = "^7.0.0"
    (project.folder / "package.json").write_text(json.dumps(document))
    with pytest.raises(BadInput):
        project.install()


def test_a_hurried_fix_is_not_passed_by_a_younger_release_and_brings_nothing_young_with_it(tmp_path: Path) -> None:
    with npm_registry() as registry:
        for name in ("holed", "helper"):
            registry.add(name, "1.0.0", at=OLD).add(name, "1.1.0", at=YOUNG)
        registry.add("holed", "1.2.0", at=YOUNG + timedelta(hours=1), helper="^1.0.0")
        lock = locked(registry, tmp_path, "holed")
        before = lock.lock.read_text()
        wish = Wish(cutoff=WEEK_AGO, names=("holed",), pins={"holed": "1.1.0"}, exempt=frozenset({"holed"}))
        lock.resolve(wish)
        assert versions(lock) == {"holed": "1.1.0"}
        lock.lock.write_text(before)
        with pytest.raises(Unsolvable, match=r"brings helper 1\.1\.0, which is younger"):
            lock.resolve(wish.model_copy(update={"pins": {"holed": "1.2.0"}}))


def test_a_dependency_that_is_called_like_an_option_is_not_one(tmp_path: Path) -> None:
    with npm_registry() as registry:
        registry.add("a", "1.0.0", at=OLD, script="touch $INIT_CWD/ran").add("a", "1.1.0", at=RIPE)
        lock = locked(registry, tmp_path, "a")
        document = json.loads(lock.lock.read_text())
        for option in ("--no-ignore-scripts", "--no-package-lock-only"):
            document["packages"][f"node_modules/{option}"] = {**document["packages"]["node_modules/a"], "name": "a"}
        lock.lock.write_text(json.dumps(document))
        with suppress(OpsError):  # what npm makes of such a name is npm's affair
            lock.resolve(Wish(cutoff=WEEK_AGO))
        assert not lock.packages.exists()
