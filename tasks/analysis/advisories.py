"""Reads advisories in the OSV format, and finds the lowest version that mends each.

The format: https://ossf.github.io/osv-schema/. Safety property: a version that cannot be compared is never taken for a
fix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import total_ordering
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tasks.dependency_models import Kind, LockGraph, Vulnerability

ECOSYSTEMS: dict[Kind, str] = {"uv": "PyPI", "requirements": "PyPI", "npm": "npm"}


@total_ordering
class Semantic:
    """A version of the npm registry, ordered as https://semver.org/#spec-item-11 says."""

    def __init__(self, text: str) -> None:
        release, _, pre = text.lstrip("v=").partition("+")[0].partition("-")
        self.release = tuple(int(part) for part in release.split("."))
        self.pre = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in pre.split(".")) if pre else ()

    def _key(self) -> tuple[Any, ...]:
        return (self.release, not self.pre, self.pre)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semantic) and self._key() == other._key()

    def __lt__(self, other: Semantic) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def comparable(kind: Kind, version: str) -> Any:
    """A version that compares as its ecosystem says; None where it is none."""
    try:
        return Semantic(version) if kind == "npm" else Version(version)
    except (InvalidVersion, ValueError):
        return None


def asked_about(kind: Kind, graph: LockGraph) -> tuple[tuple[str, str], ...]:
    """Name and version of every package of a lock that comes from an index."""
    return tuple((p.name, version) for p in graph.packages.values() if p.registry for version in p.versions if version)


def vulnerability(advisory: Mapping[str, Any], manifest: str, kind: Kind, package: str, version: str) -> Vulnerability:
    """One advisory, as it concerns one locked version."""
    published = advisory.get("published")
    references = [r["url"] for r in advisory.get("references", []) if r.get("url")]
    return Vulnerability(
        id=advisory["id"],
        manifest=manifest,
        package=package,
        version=version,
        fixed=lowest_fix(advisory, kind, package, version),
        aliases=tuple(advisory.get("aliases", ())),
        summary=advisory.get("summary", ""),
        link=references[0] if references else f"https://osv.dev/vulnerability/{advisory['id']}",
        published=datetime.fromisoformat(published) if published else None,
    )


def lowest_fix(advisory: Mapping[str, Any], kind: Kind, package: str, version: str) -> str:
    """The lowest fixed version above the locked one; empty where the advisory knows none."""
    here = comparable(kind, version)
    fixes = [fix for fix in _fixes(advisory, kind, package) if comparable(kind, fix) is not None]
    above = [fix for fix in fixes if here is not None and comparable(kind, fix) > here]
    return min(above, key=lambda fix: comparable(kind, fix), default="")


def _fixes(advisory: Mapping[str, Any], kind: Kind, package: str) -> Iterable[str]:
    for affected in advisory.get("affected", []):
        about = affected.get("package", {})
        if about.get("ecosystem") != ECOSYSTEMS[kind] or not _same(kind, about.get("name", ""), package):
            continue
        for bounds in affected.get("ranges", []):
            if bounds.get("type") in ("ECOSYSTEM", "SEMVER"):
                yield from (event["fixed"] for event in bounds.get("events", []) if "fixed" in event)


def _same(kind: Kind, one: str, other: str) -> bool:
    return one == other if kind == "npm" else canonicalize_name(one) == canonicalize_name(other)


def wanted_fixes(kind: Kind, open_: Iterable[Vulnerability]) -> dict[str, str]:
    """For each package of a manifest the lowest version that mends all that is known of it and has a fix."""
    fixes: dict[str, str] = {}
    for one in open_:
        known = fixes.get(one.package, "")
        if one.fixed and (not known or comparable(kind, one.fixed) > comparable(kind, known)):
            fixes[one.package] = one.fixed
    return fixes
