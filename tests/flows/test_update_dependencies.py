"""The flow from the clone to the pull request, on real git and uv, with an index, a forge and a database of ours."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.clients.sandbox import Sandbox
from tasks.errors import BadInput, NotAllowed, Refused
from tasks.models import Change
from tests.dependencies.npm_registry import needs_npm, npm_registry
from tests.dependencies.package_index import OLD, RIPE, YOUNG
from tests.dependencies.repositories import git
from tests.dependencies.scene import BRANCH, Scene, scene_in
from tests.stack import Stack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_CACHE_DIR", str(tmp_path_factory.mktemp("uv-cache")))
        yield


@pytest.fixture
def scene(stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path, f"deps-{secrets.token_hex(3)}") as made:
        yield made.token()


def with_updates(scene: Scene, *names: str, check: str = "") -> Scene:
    """Packages with a release each that is old enough and was not there when the lock was made."""
    for name in names:
        scene.index.add(name, "1.0", at=OLD).add(name, "1.1", at=RIPE)
    return scene.project_of(*names, check=check)


def test_an_update_becomes_one_branch_and_one_pull_request_and_the_second_run_changes_nothing(scene: Scene) -> None:
    with_updates(scene, "alpha")
    dry = scene.update(dry_run=True)
    assert (dry.verdict, scene.tip, scene.forge.calls) == ("planned", "", []), dry
    first = scene.update()
    assert (first.verdict, scene.locked()) == ("proposed", {"alpha": "1.1"}), first
    pull, tip = scene.forge.open()[0], scene.tip
    assert "| `alpha` | `1.0` | `1.1` | direct | asked for |" in pull["body"]
    assert "own tests passed" in pull["body"]
    again = scene.update()
    assert (again.verdict, again.commit, scene.tip) == ("proposed", tip, tip)
    assert (len(scene.forge.pulls), scene.forge.calls.count("POST pulls")) == (1, 1)
    assert set(scene.repository.branches()) == {"main", BRANCH}
    changes = scene.site().ledger.changes(kind="dependencies", subject=scene.repository.url, limit=9)
    assert [change.after["commit"] for change in changes] == [tip]


def test_without_a_forge_the_branch_is_pushed_and_the_report_is_the_same_text(scene: Scene) -> None:
    scene.with_forge = False
    result = with_updates(scene, "alpha").update()
    assert (result.verdict, result.commit, scene.forge.calls) == ("proposed", scene.tip, [])
    assert "| `alpha` | `1.0` | `1.1` |" in result.text


def test_a_pair_that_only_breaks_together_is_found_and_one_of_it_is_held_back_the_next_time_too(scene: Scene) -> None:
    check = "import a, b, c, d\nassert (b.VERSION, d.VERSION) != ('1.1', '1.1')\n"
    result = with_updates(scene, "a", "b", "c", "d", check=check).update()
    assert [(one.package, one.together) for one in result.held] == [("d", ("b",))]
    assert scene.locked() == {"a": "1.1", "b": "1.1", "c": "1.1", "d": "1.0"}
    assert 'package = "d"' in scene.repository.read(BRANCH, ".caretaker/held-back.toml")
    tip, again = scene.tip, scene.update()
    assert (again.test_runs, scene.tip, len(scene.forge.pulls)) == (1, tip, 1)
    assert "`d` stays at `1.0`, not `1.1` together with `b`" in scene.forge.open()[0]["body"]


#: Fails in the first trial and in no other.
FLAKY = """import a, b, pathlib
if pathlib.Path.cwd().name == "trial-0":
    print("FAILED test_sea.py::test_waves")
    exit(1)
"""


def test_a_flaky_test_is_named_and_no_package_is_blamed(scene: Scene) -> None:
    result = with_updates(scene, "a", "b", check=FLAKY).update()
    assert (result.verdict, result.held, scene.locked()) == ("proposed", (), {"a": "1.1", "b": "1.1"}), result
    body = scene.forge.open()[0]["body"]
    assert "**flaky**" in body
    assert "`test_sea.py::test_waves`" in body


def test_tests_that_fail_without_any_update_stop_the_flow_and_nothing_is_pushed(scene: Scene) -> None:
    result = with_updates(scene, "a", "b", check="print('FAILED test_x')\nexit(1)\n").update()
    assert (result.verdict, scene.tip, scene.forge.calls) == ("refused", "", [])
    assert "fail without any update" in result.why


def test_the_cooldown_holds_for_transitive_packages_and_a_security_fix_alone_comes_at_once(scene: Scene) -> None:
    for name in ("inner", "other"):
        scene.index.add(name, "1.0", at=OLD)
    scene.index.add("outer", "1.0", "inner", "other", at=OLD)
    scene.project_of("outer")
    for name in ("inner", "other"):
        scene.index.add(name, "1.1", at=YOUNG).add(name, "1.2", at=YOUNG)
    scene.index.add("outer", "1.1", "inner", "other", at=RIPE)
    assert scene.update(dry_run=True).verdict == "planned"
    scene.advisories.add("GHSA-1", "inner", fixed="1.1", days=40)
    scene.advisories.add("GHSA-2", "outer", fixed="", days=3)
    result = scene.update()
    assert scene.locked() == {"inner": "1.1", "other": "1.0", "outer": "1.1"}
    assert [one.id for one in result.closed] == ["GHSA-1"]
    body = scene.forge.open()[0]["body"]
    assert "1 known vulnerability closed" in scene.forge.open()[0]["title"]
    assert "| `inner` | `1.0`, mended in `1.1` | 40 days |" in body
    assert "| `outer` | `1.1`, no fix is known | 3 days |" in body
    assert "| `inner` | `1.0` | `1.1` | transitive | `outer` → `inner` |" in body


def test_a_daily_run_takes_security_fixes_alone_and_has_a_branch_of_its_own(scene: Scene) -> None:
    with_updates(scene, "a", "b")
    assert scene.update(only_security=True).verdict == "unchanged"
    scene.advisories.add("GHSA-1", "b", fixed="1.1")
    result = scene.update(only_security=True)
    assert (result.verdict, scene.locked(f"{BRANCH}-security")) == ("proposed", {"a": "1.0", "b": "1.1"})
    assert scene.tip == ""


def test_a_conflict_with_the_base_is_gone_with_the_next_run(scene: Scene) -> None:
    with_updates(scene, "a", "b").update()
    first = scene.tip
    scene.repository.python_project(scene.index, "b")
    scene.repository.write("check.py", "import b\n")
    base = scene.repository.commit("a is not needed any more")
    assert scene.update().verdict == "proposed"
    assert scene.tip != first
    assert git(scene.repository.remote, "merge-base", "main", BRANCH).strip() == base
    assert (scene.locked(), len(scene.forge.pulls)) == ({"b": "1.1"}, 1)


@pytest.mark.parametrize("how", ["a commit on top", "our commit amended and pushed by force"])
def test_what_people_do_on_the_branch_is_never_overwritten(scene: Scene, how: str) -> None:
    with_updates(scene, "a").update()
    scene.repository.take(BRANCH)
    scene.repository.write("note.txt", "mine\n")
    if how == "a commit on top":
        theirs = scene.repository.commit("mine", BRANCH)
    else:
        git(scene.repository.work, "add", "note.txt")
        git(scene.repository.work, "commit", "--quiet", "--amend", "--no-edit")
        git(scene.repository.work, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{BRANCH}")
        theirs = git(scene.repository.work, "rev-parse", "HEAD").strip()
    scene.forge.calls.clear()
    refused = scene.update()
    assert isinstance(refused, Refused), refused
    assert "somebody worked on it" in str(refused)
    assert (scene.tip, scene.forge.calls) == (theirs, [])


def test_a_pull_request_that_a_person_closed_stays_closed(scene: Scene) -> None:
    with_updates(scene, "a").update()
    scene.forge.pulls[0] |= {"state": "closed", "sha": scene.tip}
    result = scene.update()
    assert (len(scene.forge.pulls), scene.forge.open()) == (1, [])
    assert "closed by a person" in result.findings[0].what


def test_a_protected_branch_is_said_and_nothing_is_pushed(scene: Scene) -> None:
    scene.repository.hook("pre-receive", "")
    with_updates(scene, "a")
    scene.repository.hook("pre-receive", 'echo "error: GH006: Protected branch update failed" >&2; exit 1')
    result = scene.update()
    assert isinstance(result, NotAllowed), result
    assert "protected" in str(result)
    assert (scene.tip, scene.forge.pulls) == ("", [])


def test_an_expired_token_is_said_before_anything_is_pushed_and_is_in_no_message(scene: Scene) -> None:
    with_updates(scene, "a").token("ghp_expired")
    result = scene.update()
    assert isinstance(result, NotAllowed), result
    assert "not valid any more" in str(result)
    assert "ghp_" not in str(result)
    assert (scene.tip, scene.forge.pulls) == ("", [])


def test_a_lock_that_cannot_be_solved_is_said_and_nothing_is_pushed(scene: Scene) -> None:
    with_updates(scene, "a")
    text = (scene.repository.work / "pyproject.toml").read_text()
    scene.repository.write("pyproject.toml", text.replace('["a"]', '["a>=7"]'))
    scene.repository.commit("wants too much")
    result = scene.update()
    assert isinstance(result, BadInput), result
    assert "there is no solution" in str(result)
    assert (scene.tip, scene.forge.calls) == ("", [])


def test_merging_is_off_and_where_it_is_on_the_forge_decides(scene: Scene) -> None:
    with_updates(scene, "a").more = "merge = true"
    scene.forge.protected = True
    assert "does not let it be merged" in scene.update().findings[0].what
    scene.forge.protected = False
    scene.update()
    assert scene.locked("main") == {"a": "1.1"}


def released(scene: Scene, commit: str, verdict: str, minutes: int) -> None:
    """Write into the ledger what the deploy flow writes about a release of that commit."""
    change = Change.new(
        kind="deploy", subject="api", verdict=verdict, key=f"deploy/{commit}", who="test",
        at=datetime.now(UTC) + timedelta(minutes=minutes), inputs={"commit": commit, "project": scene.project},
        after={"verified": verdict == "released", "judged_bad": verdict == "rolled_back"},
    )  # fmt: skip
    scene.site().ledger.append(change)


def test_an_update_that_was_merged_and_rolled_back_by_the_canary_is_held_back_and_taken_back(scene: Scene) -> None:
    with_updates(scene, "a", "b").more = "merge = true"
    released(scene, scene.repository.branches()["main"], "released", -9)
    scene.update()
    assert scene.locked("main") == {"a": "1.1", "b": "1.1"}
    released(scene, scene.repository.branches()["main"], "rolled_back", -1)
    scene.more = ""
    result = scene.update()
    assert {(one.package, one.stays, one.refused) for one in result.held} == {("a", "1.0", "1.1"), ("b", "1.0", "1.1")}
    assert scene.locked() == {"a": "1.0", "b": "1.0"}
    assert "the canary of api rolled the release with it back" in scene.forge.open()[0]["body"]


@needs_npm
def test_a_frontend_is_updated_by_npm_and_tested_with_node(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_cache", str(scene.folder / "npm-cache"))
    with npm_registry() as registry:
        for name in ("left", "right"):
            registry.add(name, "1.0.0", at=OLD).add(name, "1.1.0", at=RIPE).add(name, "1.2.0", at=YOUNG)
        scene.npm_project(registry, "left", "right")
        check = "if (require('right') !== '1.0.0') { console.log('× right'); process.exit(1) }"
        scene.repository.write("check.js", check)
        scene.repository.commit("frontend")
        result = scene.update()
    assert (result.verdict, scene.locked()) == ("proposed", {"left": "1.1.0", "right": "1.0.0"}), result
    assert [(one.package, one.reason) for one in result.held] == [("right", "the tests fail with it: right")]


STEAL = """
import glob, os, socket, sys
got = [name for name in os.environ if "SECRET" in name]
for path in [*glob.glob("/proc/[0-9]*/environ"), "{file}", *glob.glob("{state}/secrets/*")]:
    try:
        data = open(path, "rb").read()
        got += [path] if b"hunter2" in data or path.startswith("{state}") else []
    except OSError:
        pass
for host, port in [("127.0.0.1", {port}), ("192.0.2.1", 53)]:
    try:
        socket.create_connection((host, port), 1).close()
        got.append(host)
    except OSError:
        pass
VERSION = "1.1"
if got:
    print("FAILED stolen:" + ",".join(got))
    sys.exit(1)
"""


def test_a_malicious_package_gets_no_variable_no_file_no_process_and_no_network(
    scene: Scene, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := Sandbox().why_not:
        pytest.skip(why)
    (tmp_path / "credentials").write_text("hunter2")
    monkeypatch.setenv("DEPLOY_SECRET", "hunter2")
    port = int(scene.index.url.split(":")[2].split("/")[0])
    code = STEAL.format(file=tmp_path / "credentials", state=stack.state, port=port)
    outside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert "DEPLOY_SECRET" in outside.stdout
    assert "credentials" in outside.stdout
    assert "127.0.0.1" in outside.stdout
    scene.index.add("evil", "1.0", at=OLD).add("evil", "1.1", at=RIPE, code=code)
    result = scene.project_of("evil").update()
    assert (result.verdict, scene.locked()) == ("proposed", {"evil": "1.1"}), result
    assert "They ran without secrets, and without a network but loopback." in result.text


@pytest.mark.timeout(600)
def test_one_of_64_updates_that_breaks_is_found_in_7_runs_and_the_other_63_are_shipped(scene: Scene) -> None:
    names = [f"p{number:02d}" for number in range(64)]
    with_updates(scene, *names)
    scene.index.add("p37", "1.1", at=RIPE, code="raise SystemExit('FAILED test_p37')\n")
    result = scene.update()
    assert [one.package for one in result.held] == ["p37"]
    assert scene.locked() == {name: "1.0" if name == "p37" else "1.1" for name in names}
    assert "found after 7 test runs" in result.text
    assert result.test_runs == 11
