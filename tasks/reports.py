"""Writes plans and verdicts as Markdown: what a tired person reads first, first."""

from __future__ import annotations

from tasks.markdown import cell, finding_line
from tasks.models import SEVEREST_FIRST, Finding
from tasks.release_models import CanaryStep, ReleasePlan, ReleaseVerdict, ServiceOutcome, ServicePlan

#: Signs that every font has: a report is read on whatever is at hand.
_MARKS = {
    "released": "✓", "unchanged": "✓", "planned": "→", "rolled_back": "↩", "held": "‖", "refused": "✗", "failed": "✗",
}  # fmt: skip


def plan_report(plan: ReleasePlan, refusals: tuple[str, ...] = (), needs: tuple[str, ...] = ()) -> str:
    """The plan of a release; ``needs`` is what a person is asked to approve."""
    parts = [f"# Plan: {plan.estate}", f"_{cell(plan.reason)}_"]
    if refusals:
        parts += ["## Refused", *(f"- ✗ {cell(reason)}" for reason in refusals)]
    if needs:
        parts += ["## Needs your approval", *(f"- ⚠ {cell(need)}" for need in needs)]
    parts += [*(_service_plan(item) for item in plan.services), _findings(plan.findings)]
    return "\n\n".join(part for part in parts if part)


def _service_plan(item: ServicePlan) -> str:
    what = "nothing to do: this release serves already" if item.already_released else f"release `{item.release}`"
    commit = f", commit `{item.source.commit[:12]}`" if item.source.commit else ""
    pins = ", ".join(f"{pin.secret}@{pin.version}" for pin in item.ground.pins.values())
    lines = [
        f"## {item.service}: {what}",
        "",
        f"- **serves now**: {f'`{item.ground.stable}`' if item.ground.stable else 'nothing: the first release'}",
        f"- **source**: {item.source.files} files, digest `{item.source.digest[:12]}`{commit}",
        f"- **secrets**: {pins or 'none'}",
        *_schema(item),
    ]
    if item.drift:
        lines += ["", "| field | runs | wanted |", "| --- | --- | --- |"]
        lines += [f"| {d.field} | {cell(d.running)} | {cell(d.wanted)} |" for d in item.drift]
    return "\n".join(lines)


def _schema(item: ServicePlan) -> list[str]:
    if item.migration is None:
        return []
    pending = " → ".join(f"`{revision}`" for revision in item.migration.pending) or "nothing pending"
    stands = f"`{item.migration.current}`" if item.migration.current else "empty"
    return [f"- **schema** of {item.migration.database}: {stands}, to be `{item.migration.target}`: {pending}"]


def verdict_report(verdict: ReleaseVerdict, title: str) -> str:
    """How a deploy or a roll-back ended."""
    head = f"# {_MARKS[verdict.verdict]} {title}: {verdict.verdict.replace('_', ' ')}"
    parts = [head, cell(verdict.why), f"In {verdict.seconds:.1f} s.", *(_outcome(o) for o in verdict.services)]
    return "\n\n".join(part for part in (*parts, _findings(verdict.findings)) if part)


def notice(verdict: ReleaseVerdict, reason: str) -> str:
    """How a deploy or a roll-back ended, in the few lines that fit a notification."""
    lines = [f"{one.service}: {one.verdict.replace('_', ' ')}, {_serves(one)}" for one in verdict.services]
    return "\n".join((reason, *([verdict.why] if verdict.why else []), *lines))


def _serves(outcome: ServiceOutcome) -> str:
    wanted = f", release {outcome.release}" if outcome.release else ""
    return f"{outcome.revision or 'nothing'} serves{wanted}"


def _outcome(outcome: ServiceOutcome) -> str:
    facts = {
        "revision": f"`{outcome.revision}`" if outcome.revision else "",
        "before": f"`{outcome.previous}`" if outcome.previous else "",
        "image": f"`{_short(outcome.image)}`" if outcome.image else "",
        "URL": outcome.url,
        "backup before the migration": f"{outcome.backup.id} of {outcome.backup.instance}" if outcome.backup else "",
    }
    lines = [f"## {_MARKS[outcome.verdict]} {outcome.service}: {outcome.verdict.replace('_', ' ')}", ""]
    lines += [cell(outcome.why), ""] if outcome.why else []
    lines += [f"- **{name}**: {value}" for name, value in facts.items() if value]
    return "\n".join([*lines, "", _canary(outcome.canary)])


def _short(image: str) -> str:
    """An image's name and the beginning of its digest: the whole is too long for a line, and stands in the result."""
    name, at, digest = image.rpartition("/")[2].partition("@sha256:")
    return f"{name}{at}{digest[:12]}"


def _canary(steps: tuple[CanaryStep, ...]) -> str:
    if not steps:
        return ""
    lines = [
        "| canary | verdict | requests | failed | seconds | median, candidate | median, stable |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for step in steps:
        reasons = f" ({cell('; '.join(step.reasons))})" if step.reasons else ""
        lines.append(
            f"| {step.percent} % | {step.verdict}{reasons} | {step.requests} | {step.failures} | {step.seconds:.1f} "
            f"| {_milliseconds(step.candidate_latency)} | {_milliseconds(step.stable_latency)} |"
        )
    return "\n".join(lines)


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


def _findings(findings: tuple[Finding, ...]) -> str:
    """The findings, the worst first."""
    if not findings:
        return ""
    ordered = sorted(findings, key=lambda f: SEVEREST_FIRST.index(f.severity))
    return "\n".join(["## Findings", "", *map(finding_line, ordered)])
