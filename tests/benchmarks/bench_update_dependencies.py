"""Dependency updates end to end: the sample estate with real packages from the real index, and one of 64 that breaks.

The sample's two services, locked as they were 200 days ago, each with its own tests; no forge, an advisory database of
ours. The 64 packages come from an index of ours.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.clients.uv_lock import UvLock
from tasks.dependency_models import Wish
from tests.dependencies.package_index import OLD, RIPE
from tests.dependencies.scene import Scene, scene_in
from tests.memory import temporary_folder
from tests.stack import ROOT, running_stack

SERVICES = {"api": "import app.main, app.sync", "frontend": "import app.main"}
OPTIONS = ("--universal", "--python-version", "3.11", "--no-header")
AGE = timedelta(days=200)
GOAL_SECONDS = 300.0


def bench() -> list[dict[str, Any]]:
    """Measure both; the caches of uv are empty at the start of each."""
    with temporary_folder() as folder, running_stack(folder / "stack"):
        return [*sample(folder / "sample"), *one_of_64(folder / "many")]


def sample(folder: Path) -> list[dict[str, Any]]:
    """The sample estate, from the clone to the pushed branch."""
    with fresh(folder, "bench-sample") as scene:
        for service in SERVICES:
            old_service(scene, service)
        scene.repository.commit("as it was")
        scene.kind, scene.with_forge = "requirements", False
        began = time.monotonic()
        verdict = update(scene, [manifest(name, command) for name, command in SERVICES.items()])
        seconds = time.monotonic() - began
    assert verdict.verdict == "proposed", verdict
    packages = "2 services, real index, empty cache"
    return [
        row("update: sample estate, clone to pushed branch", seconds, "s", GOAL_SECONDS, packages),
        row("update: of that uv itself", verdict.tool_seconds, "s", None, packages),
        row("update: packages that moved", len(verdict.updates), "packages", None, f"locks {AGE.days} days old"),
        row("update: runs of the sample's tests", verdict.test_runs, "runs", None, packages),
    ]


def one_of_64(folder: Path) -> list[dict[str, Any]]:
    """64 updates of which one breaks the tests."""
    names = [f"p{number:02d}" for number in range(64)]
    with fresh(folder, "bench-many") as scene:
        for name in names:
            code = "raise SystemExit(1)\n" if name == "p37" else ""
            scene.index.add(name, "1.0", at=OLD).add(name, "1.1", at=RIPE, code=code)
        scene.project_of(*names)
        scene.with_forge = False
        began = time.monotonic()
        verdict = update(scene, [])
        seconds = time.monotonic() - began
    assert [one.package for one in verdict.held] == ["p37"], verdict
    found = int(verdict.text.partition("found after ")[2].split()[0])
    return [
        row("update: test runs until one of 64 is found", found, "runs", 7, "64 packages, one breaks"),
        row("update: test runs until that is proved", verdict.test_runs, "runs", None, "64 packages, one breaks"),
        row("update: one of 64, clone to pushed branch", seconds, "s", None, "64 packages, one breaks"),
        row("update: of that uv itself", verdict.tool_seconds, "s", None, "64 packages, one breaks"),
    ]


@contextmanager
def fresh(folder: Path, project: str) -> Iterator[Scene]:
    """A scene whose uv has an empty cache."""
    folder.mkdir()
    before = os.environ.get("UV_CACHE_DIR")
    os.environ["UV_CACHE_DIR"] = str(folder / "cache")
    try:
        with scene_in(folder, project) as scene:
            yield scene
    finally:
        os.environ.pop("UV_CACHE_DIR")
        if before is not None:
            os.environ["UV_CACHE_DIR"] = before


def old_service(scene: Scene, service: str) -> None:
    """Put a service of the sample into the repository, locked as it would have been then."""
    target = scene.repository.work / service
    shutil.copytree(ROOT / "examples/pyplots" / service, target, ignore=shutil.ignore_patterns("__pycache__"))
    lock = UvLock(target, requirements=True, options=OPTIONS)
    lock.resolve(Wish(cutoff=datetime.now(UTC) - AGE))


def manifest(folder: str, command: str) -> str:
    options = ", ".join(f'"{option}"' for option in OPTIONS)
    lines = ("[[dependencies.manifests]]", f'folder = "{folder}"', 'kind = "requirements"', f"options = [{options}]",
             f'test = ["python", "-c", "{command}"]')  # fmt: skip
    return "\n".join(lines) + "\n"


def update(scene: Scene, manifests: list[str]) -> Any:
    """Run the flow; on the manifests given, or on that of the scene."""
    scene.write_estate()
    if manifests:
        text = scene.estate.read_text()
        scene.estate.write_text(text[: text.index("[[dependencies.manifests]]")] + "\n".join(manifests))
    return scene.run()


def row(name: str, value: float, unit: str, goal: float | None, against: str) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 1), "unit": unit, "goal": None if goal is None else f"<= {goal:g}",
        "ok": goal is None or value <= goal, "against": against,
    }  # fmt: skip
