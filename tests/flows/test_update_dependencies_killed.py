"""The flow killed with ``kill -9`` between any two calls to the outside, and run again: one branch, one pull request.

The outside calls that change something are the push of the branch and the opening and editing of the pull request; a
ledger entry follows. The remote's hooks and the forge hold each of them before and after its work.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pytest

from tests.chaos.runner import Run, context
from tests.dependencies.package_index import OLD, RIPE
from tests.dependencies.scene import BRANCH, Scene, scene_in
from tests.stack import Stack

pytestmark = pytest.mark.stack

SECONDS = 120.0
POINTS = (
    ("before the forge is asked", "GET pulls", False),
    ("while the branch is pushed", "pre-receive", False),
    ("after the branch was pushed", "post-receive", True),
    ("before the pull request is opened", "POST pulls", False),
    ("after the pull request was opened", "POST pulls", True),
)
EDITS = (("before its text is written", "PATCH pulls", False), ("after its text was written", "PATCH pulls", True))


@pytest.fixture(scope="module")
def scene(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("killed")
    with scene_in(folder, f"deps-{secrets.token_hex(3)}") as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_CACHE_DIR", str(folder / "uv-cache"))
        made.index.add("a", "1.0", at=OLD).add("a", "1.1", at=RIPE)
        made.token().project_of("a").write_estate()
        yield made


def hold(scene: Scene, where: str, done: bool) -> None:
    """Have the next call at a point wait until it is let go."""
    scene.forge.held.clear()
    scene.forge.go.clear()
    for mark in ("held", "go"):
        (scene.folder / mark).unlink(missing_ok=True)
    if where.endswith("receive"):
        marks = scene.folder
        scene.repository.hook(where, f"touch {marks}/held; while [ ! -e {marks}/go ]; do sleep 0.02; done")
    else:
        scene.forge.hold = (where, done)


def let_go(scene: Scene) -> None:
    scene.forge.go.set()
    (scene.folder / "go").touch()


def held(scene: Scene) -> bool:
    return scene.forge.held.is_set() or (scene.folder / "held").exists()


def killed_at(scene: Scene, where: str, done: bool) -> None:
    """Run the flow, and kill it while a call is held."""
    hold(scene, where, done)
    run = start(scene)
    deadline = time.monotonic() + SECONDS
    while not held(scene):
        assert run.alive, f"the run ended before the call: {run.wait(1)}"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.kill()
    let_go(scene)
    if where.endswith("receive"):
        waited(lambda: bool(scene.tip))  # git was not killed: it ends its push by itself
        (scene.repository.remote / "hooks" / where).unlink()


def waited(seen: object) -> None:
    deadline = time.monotonic() + 20
    while not seen():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(scene: Scene) -> Run:
    parameters = {"request": {"estate": str(scene.estate), "reason": "killed"}}
    return Run(context(), "update-dependencies", parameters["request"], scene.folder)


def run_again(scene: Scene) -> None:
    """The run after a kill, and what must hold then."""
    verdict = start(scene).wait(SECONDS)
    assert verdict["verdict"] == "proposed", verdict["why"]
    assert set(scene.repository.branches()) == {"main", BRANCH}
    assert [one["number"] for one in scene.forge.open()] == [1]
    assert scene.locked() == {"a": "1.1"}
    changes = scene.site().ledger.changes(kind="dependencies", subject=scene.repository.url, limit=50)
    assert [change.after["commit"] for change in changes].count(scene.tip) == 1


@pytest.mark.parametrize(("what", "where", "done"), POINTS, ids=[point[0] for point in POINTS])
def test_killed_at_a_first_run_and_run_again_there_is_one_branch_and_one_pull_request(
    scene: Scene, what: str, where: str, done: bool
) -> None:
    if scene.tip:
        scene.repository.delete(BRANCH)
    scene.forge.pulls.clear()
    killed_at(scene, where, done)
    run_again(scene)


@pytest.mark.parametrize(("what", "where", "done"), EDITS, ids=[point[0] for point in EDITS])
def test_killed_while_the_text_is_brought_up_to_date_and_run_again_it_is_right(
    scene: Scene, what: str, where: str, done: bool
) -> None:
    if not scene.tip:
        run_again(scene)
    scene.forge.pulls[0]["body"] = "an old text"
    killed_at(scene, where, done)
    run_again(scene)
    assert "| `a` | `1.0` | `1.1` |" in scene.forge.open()[0]["body"]
