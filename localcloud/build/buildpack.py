"""What Google's buildpacks find out about a source before they build it, for Python sources.

The texts of failures are those of github.com/GoogleCloudPlatform/buildpacks where it has one; where the local cloud
can do less than Google, the text says so.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcloud.build.running import failed

_PROCESS = re.compile(r"^([A-Za-z0-9_-]+):[ \t]*(\S.*)$", re.MULTILINE)
_NO_ENTRYPOINT = (
    'for Python, provide a main.py or app.py file or set an entrypoint with "GOOGLE_ENTRYPOINT" env var or by creating '
    'a "Procfile" file'
)
_NO_DEFAULT = "; the local cloud has no default entrypoint for main.py or app.py: name the command in a Procfile"


@dataclass(frozen=True)
class Plan:
    """How to build and run a source. ``python`` is the version asked for, empty for the local cloud's own."""

    procfile: dict[str, str]
    python: str
    requirements: Path | None

    @property
    def entrypoint(self) -> tuple[str, ...]:
        return ("/bin/sh", "-c", self.procfile["web"])


def detect(app: Path, build_env: Mapping[str, str]) -> Plan:
    """Decide how to build a source. Raises BuildStopped with the way out when there is none."""
    if not any(app.rglob("*.py")) and not (app / "requirements.txt").is_file():
        raise failed("No buildpack groups passed detection: the local cloud builds Python sources only")
    return Plan(_processes(app, build_env), _python(app, build_env), _requirements(app))


def _processes(app: Path, build_env: Mapping[str, str]) -> dict[str, str]:
    if build_env.get("GOOGLE_ENTRYPOINT"):
        return {"web": build_env["GOOGLE_ENTRYPOINT"]}
    procfile = app / "Procfile"
    if not procfile.is_file():
        has_default = (app / "main.py").is_file() or (app / "app.py").is_file()
        raise failed(_NO_ENTRYPOINT + (_NO_DEFAULT if has_default else ""))
    found = {name: command.strip() for name, command in _PROCESS.findall(procfile.read_text())}
    if "web" not in found:
        raise failed(f"web process not found in Procfile, found processes: [{' '.join(found)}]")
    return found


def _python(app: Path, build_env: Mapping[str, str]) -> str:
    wanted = build_env.get("GOOGLE_PYTHON_VERSION") or build_env.get("GOOGLE_RUNTIME_VERSION")
    if wanted:
        return wanted
    version_file = app / ".python-version"
    return version_file.read_text().strip() if version_file.is_file() else ""


def _requirements(app: Path) -> Path | None:
    requirements = app / "requirements.txt"
    if requirements.is_file():
        return requirements
    if _declares_dependencies(app / "pyproject.toml"):
        why = "the local cloud installs from requirements.txt alone"
        raise failed(f"{why}; write one with: uv export --format requirements-txt -o requirements.txt")
    return None


def _declares_dependencies(pyproject: Path) -> bool:
    if not pyproject.is_file():
        return False
    try:
        return bool(tomllib.loads(pyproject.read_text()).get("project", {}).get("dependencies"))
    except tomllib.TOMLDecodeError as error:
        raise failed(f"pyproject.toml cannot be read: {error}") from error
