"""Writes a rotation down as Markdown: what a tired person reads first, first. No value of a secret can come here."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.markdown import cell, finding_line
from tasks.models import Finding
from tasks.rotation_models import Reference, Retired, RotationOutcome, RotationVerdict

_MARKS = {
    "rotated": "✓", "unchanged": "✓", "prepared": "✓", "planned": "→", "waiting": "…", "held": "‖", "refused": "✗",
    "failed": "✗",
}  # fmt: skip


def rotation_report(verdict: RotationVerdict, title: str) -> str:
    """How a rotation ended, or what it would do: each secret, who uses which version, what is to be done."""
    head = f"# {_MARKS[verdict.verdict]} {title}: {verdict.verdict}"
    kind = ["An emergency: nothing is waited for."] if verdict.emergency else []
    dry = ["A dry run: nothing was changed."] if verdict.dry_run else []
    parts = [head, *kind, *dry, *(_outcome(one) for one in verdict.outcomes), _findings(verdict.findings)]
    return "\n\n".join(part for part in parts if part)


def _outcome(one: RotationOutcome) -> str:
    versions = ", ".join(f"{name} version {number}" for name, number in one.versions.items())
    facts = {
        "kind": one.kind,
        "in use": versions,
        "login": f"`{one.user}`" if one.user else "",
        "whose versions are": ", ".join(f"{number}: `{user}`" for number, user in sorted(one.logins.items())),
        "locked": ", ".join(f"`{user}`" for user in one.locked),
        "released": ", ".join(f"{service} as `{revision}`" for service, revision in one.revisions.items()),
        "canary": ", ".join(
            f"{service} {step.percent} %: {step.verdict}, {step.failures} of {step.requests} failed"
            for service, steps in one.canary.items() for step in steps
        ),
    }  # fmt: skip
    lines = [f"## {_MARKS[one.verdict]} {' and '.join(one.secrets)}: {one.verdict}", ""]
    lines += [cell(one.why), ""] if one.why else []
    lines += [f"- **{name}**: {cell(value)}" for name, value in facts.items() if value]
    return "\n".join([*lines, *_retired(one), *_references(one.references), "", _findings(one.findings)]).strip()


def _retired(one: RotationOutcome) -> list[str]:
    if not one.retired:
        return []
    lines = ["", "Disabled. To take one back before it is destroyed:", "", "```"]
    return [*lines, *(f"{retired.undo}  # until {_until(retired)}" for retired in one.retired), "```"]


def _until(retired: Retired) -> str:
    return f"{retired.destroyed_at:%Y-%m-%d %H:%M} UTC" if retired.destroyed_at else "its secret's own time"


def _references(references: Iterable[Reference]) -> list[str]:
    """Who uses which version: what leads to something first, what nothing leads to as a number."""
    used = [one for one in references if one.why]
    idle = sum(1 for one in references if not one.why)
    if not used and not idle:
        return ["", "Nothing on Cloud Run refers to it."]
    lines = ["", "| what | service | secret | version | why |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {one.kind} `{one.name}` | {one.service} | {_place(one)} | {one.version} | {cell(one.why)} |"
        for one in sorted(used, key=lambda one: (one.secret, one.kind, one.service, one.name))
    ]
    return [*lines, *(["", f"{idle} more revisions refer to it, and nothing leads to them."] if idle else [])]


def _place(one: Reference) -> str:
    return f"{one.secret}, beside the newest" if one.kept else one.secret


def _findings(findings: Iterable[Finding]) -> str:
    return "\n".join(map(finding_line, findings))
