"""Python environments that images share, installed by uv from ``requirements.txt``.

An environment is a folder under ``state/venvs`` named after what is installed in it. It appears by one rename, so it is
complete or not there. A source whose requirements were installed less than a day ago reuses the environment, as
Google's Python buildpack reuses its dependency layer.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import uv

from localcloud.build.buildpack import Plan
from localcloud.build.digest import of_tree
from localcloud.build.running import RunningBuild, failed

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

REUSED_FOR = timedelta(days=1)
#: What a build may see of the local cloud's environment: where packages come from, and nothing that holds a secret
#: of somebody else.
_PASSED_ON = re.compile(
    r"PATH|HOME|TMPDIR|XDG_CACHE_HOME|SSL_CERT_(FILE|DIR)|(https?|all|no)_proxy|"
    r"UV_(CACHE_DIR|DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|OFFLINE|INDEX_STRATEGY|SYSTEM_CERTS)",
    re.IGNORECASE,
)
_INCLUDE = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)", re.MULTILINE)
_LOCAL_PATH = re.compile(r"^\s*(?:\.|/|file:|\S+\s*@\s*file:|-e\b|--editable\b)", re.MULTILINE)
_EDITABLE = re.compile(r"^\s*(?:-e\b|--editable\b)", re.MULTILINE)


@dataclass(frozen=True)
class Environment:
    """An installed environment: its folder under the state folder, and its packages as ``name==version``."""

    venv: str
    packages: tuple[str, ...]
    python: str


class Environments:
    """The environments of one local cloud. Safe to use from any thread."""

    def __init__(self, cloud: Cloud) -> None:
        self._state = cloud.state
        self.folder = cloud.state / "venvs"
        self.folder.mkdir(exist_ok=True)
        self._known = cloud.store.documents("build.environments")
        self._locks: dict[str, threading.Lock] = {}

    def prepare(self, app: Path, plan: Plan, build_env: Mapping[str, str], running: RunningBuild) -> Environment:
        """Give the environment that a source asks for, installing it when it is not there."""
        env = environment_of_a_build() | dict(build_env)
        python = self._python(app, plan.python, env, running)
        key = _key(app, plan.requirements, python)
        with self._locks.setdefault(key, threading.Lock()):
            known = self._reusable(key)
            if known is not None:
                running.log(f"Reusing the environment {Path(known.venv).name}: the requirements did not change")
                return known
            made = self._make(app, plan, python, env, running)
            self._known.put(key, {"venv": made.venv, "packages": made.packages, "python": made.python,
                                  "at": time.time()})
            return made

    def _reusable(self, key: str) -> Environment | None:
        known = self._known.get(key)
        if known is None or time.time() - known["at"] > REUSED_FOR.total_seconds():
            return None
        if not (self._state / known["venv"] / "bin" / "python").exists():
            return None
        return Environment(known["venv"], tuple(known["packages"]), known["python"])

    def _python(self, app: Path, wanted: str, env: Mapping[str, str], running: RunningBuild) -> str:
        if not wanted:
            return str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
        found = running.run([uv.find_uv_bin(), "python", "find", "--no-project", "--quiet", wanted], cwd=app, env=env)
        return found.strip()

    def _make(
        self, app: Path, plan: Plan, python: str, env: Mapping[str, str], running: RunningBuild
    ) -> Environment:
        made = Path(tempfile.mkdtemp(dir=self.folder, prefix=".making-"))
        try:
            packages = _install(made / "venv", app, plan.requirements, python, env, running)
            version = _version(made / "venv")
            name = hashlib.sha256(json.dumps([python, version, packages]).encode()).hexdigest()[:24]
            if not (self.folder / name).exists():
                (made / "venv").rename(self.folder / name)
            return Environment(f"{self.folder.name}/{name}", packages, version)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _install(
    venv: Path, app: Path, requirements: Path | None, python: str, env: Mapping[str, str], running: RunningBuild
) -> tuple[str, ...]:
    binary = uv.find_uv_bin()
    # Relocatable: it is made under a name that no image ever has, and moved when it is complete.
    running.run([binary, "venv", "--quiet", "--no-project", "--relocatable", "--python", python, venv], cwd=app,
                env=env)
    if requirements is None:
        return ()
    # Compiled here, so that instances that start together do not all compile the same files.
    install = [binary, "pip", "install", "--compile-bytecode", "--python", str(venv), "-r", str(requirements)]
    running.run(install, cwd=app, env=env)
    frozen = running.run([binary, "pip", "freeze", "--quiet", "--python", venv], cwd=app, env=env, logged=False)
    return tuple(sorted(line.replace(str(app), ".") for line in frozen.splitlines() if line.strip()))


def _version(venv: Path) -> str:
    found = re.search(r"^version_info\s*=\s*(\S+)", (venv / "pyvenv.cfg").read_text(), re.MULTILINE)
    return found.group(1) if found else ""


def _key(app: Path, requirements: Path | None, python: str) -> str:
    texts = list(_closure(app, requirements)) if requirements else []
    # A requirement that is a folder of the source changes whenever the source does.
    source = of_tree(app, {}) if any(_LOCAL_PATH.search(text) for text in texts) else ""
    facts = [texts, python, sys.version, source, platform.platform()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _closure(app: Path, requirements: Path) -> Iterator[str]:
    seen, waiting = set(), [requirements]
    while waiting:
        path = waiting.pop().resolve()
        if path in seen:
            continue
        seen.add(path)
        if not path.is_relative_to(app.resolve()) or not path.is_file():
            raise failed(f"{path.name}, which the requirements include, is not a file of the source")
        text = path.read_text()
        if _EDITABLE.search(text):
            raise failed(f"{path.name} asks for an editable install, which an image cannot hold: drop the -e")
        yield text
        waiting += [path.parent / included for included in _INCLUDE.findall(text)]


def environment_of_a_build() -> dict[str, str]:
    """The little of the local cloud's own environment that a build may see."""
    passed = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    return passed | {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "LANG": "C.UTF-8"}
