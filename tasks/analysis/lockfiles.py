"""Reads locks by structure: ``uv.lock``, a compiled ``requirements.txt``, ``package-lock.json``.

Safety property: a lock that is not understood is refused; it is never read as a shorter one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tasks.dependency_models import Kind, Locked, LockGraph
from tasks.errors import BadInput

_VIA = re.compile(r"^\s*#\s+(?:via\s+)?(\S.*)$")


def read_lock(kind: Kind, text: str, subject: str) -> LockGraph:
    """Read a lock. Raises BadInput, naming ``subject``, where it is none of that kind."""
    readers = {"uv": read_uv, "requirements": read_requirements, "npm": read_npm}
    try:
        return readers[kind](text)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidRequirement) as error:
        raise BadInput(
            f"reading the lock {subject} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}; "
            "make it anew, or correct the manifest's kind"
        ) from error


def read_uv(text: str) -> LockGraph:
    """``uv.lock``: https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile."""
    document = tomllib.loads(text)
    if document.get("version") != 1:
        raise ValueError(f"version {document.get('version')} of the format is not known")
    packages: list[Locked] = []
    direct: set[str] = set()
    for entry in document.get("package", []):
        source = entry["source"]
        if "virtual" in source or "editable" in source:
            direct |= set(_uv_needs(entry))
        packages.append(
            Locked(
                name=canonicalize_name(entry["name"]),
                versions=(str(entry.get("version", "")),),
                needs=_uv_needs(entry),
                registry="registry" in source,
                index=str(source.get("registry", "")),
            )
        )
    return _graph(packages, direct)


def _uv_needs(entry: Mapping[str, Any]) -> tuple[str, ...]:
    groups = [entry.get("dependencies", [])]
    for key in ("optional-dependencies", "dev-dependencies"):
        groups += entry.get(key, {}).values()
    return tuple(dict.fromkeys(canonicalize_name(need["name"]) for group in groups for need in group))


def read_requirements(text: str) -> LockGraph:
    """A file that ``uv pip compile`` or pip-tools wrote: a pin a line, each with ``# via`` who asks for it."""
    versions: dict[str, list[str]] = {}
    asked_by: dict[str, list[str]] = {}
    name = ""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith(("#", "-")):
            name, version = _pin(line)
            versions.setdefault(name, []).append(version)
        elif name and (via := _VIA.match(line)) and via.group(1) != "via":
            asked_by.setdefault(name, []).append(via.group(1).strip())
    needs: dict[str, list[str]] = {}
    for package, askers in asked_by.items():
        for asker in askers:
            needs.setdefault(canonicalize_name(asker.partition(" ")[0]), []).append(package)
    packages = [Locked(name=n, versions=tuple(v), needs=tuple(needs.get(n, ()))) for n, v in versions.items()]
    direct = {n for n in versions if any(_is_file(asker) for asker in asked_by.get(n, ["-r"]))}
    return _graph(packages, direct)


def _pin(line: str) -> tuple[str, str]:
    requirement = Requirement(re.split(r"\s+(?:#|--hash)", line)[0].strip())
    pins = [s for s in requirement.specifier if s.operator == "=="]
    if len(pins) != 1:
        raise ValueError(f"'{line.strip()}' is not pinned")
    return canonicalize_name(requirement.name), pins[0].version


def _is_file(asker: str) -> bool:
    return asker.startswith(("-r", "-c")) or asker.endswith((".in", ".txt", ".toml", ")"))


def read_npm(text: str) -> LockGraph:
    """``package-lock.json``, versions 2 and 3: https://docs.npmjs.com/cli/v11/configuring-npm/package-lock-json."""
    document = json.loads(text)
    if document.get("lockfileVersion") not in (2, 3):
        raise ValueError(f"lockfileVersion {document.get('lockfileVersion')} is not known")
    packages: list[Locked] = []
    direct: set[str] = set()
    for path, entry in document["packages"].items():
        if "node_modules/" not in path:
            direct |= set(_npm_needs(entry))
        elif not entry.get("link"):
            packages.append(
                Locked(
                    name=entry.get("name") or path.rpartition("node_modules/")[2],
                    versions=(entry["version"],),
                    needs=_npm_needs(entry),
                    registry=str(entry.get("resolved", "http")).startswith("http"),
                    licence=str(entry.get("license", "")),
                    deprecated=str(entry.get("deprecated", "")),
                )
            )
    return _graph(packages, direct)


def _npm_needs(entry: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
    return tuple(dict.fromkeys(name for key in keys for name in entry.get(key, {})))


def _graph(packages: Iterable[Locked], direct: Iterable[str]) -> LockGraph:
    """Entries of one name become one package with several versions."""
    merged: dict[str, Locked] = {}
    for package in packages:
        known = merged.get(package.name)
        merged[package.name] = package if known is None else _merged(known, package)
    return LockGraph(packages=dict(sorted(merged.items())), direct=frozenset(direct))


def _merged(one: Locked, other: Locked) -> Locked:
    return one.model_copy(
        update={
            "versions": tuple(sorted({*one.versions, *other.versions})),
            "needs": tuple(dict.fromkeys((*one.needs, *other.needs))),
        }
    )
