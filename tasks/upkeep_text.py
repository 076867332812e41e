"""Writes the plan and the verdict of a database's care as Markdown: what a tired person reads first, first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.analysis.units import counted, megabytes
from tasks.maintenance_models import Action, Advice, DaysLeft, Effect, MaintenancePlan, MaintenanceVerdict
from tasks.markdown import SEVERITIES, cell

#: What is shown of a long list; the page has all of it.
MOST = 40
WORDS = {
    "done": "✓ done", "postponed": "‖ not in this window", "held_back": "‖ held back", "skipped": "– skipped",
    "disturbed": "‖ given up: it disturbed", "failed": "✗ failed", "not_approved": "‖ not approved",
    "refused": "✗ refused",
}  # fmt: skip
VERDICTS = {
    "planned": "→ planned", "measured": "✓ looked at", "nothing_to_do": "✓ nothing to do", "maintained": "✓ maintained",
    "incomplete": "‖ not all of it", "failed": "✗ failed",
}  # fmt: skip


def plan_report(plan: MaintenancePlan) -> str:
    """What would be done, and what it costs."""
    parts = [f"# Plan: care of {plan.database}", _summary(plan), _actions(plan.actions), _advice(plan.advice)]
    return "\n\n".join(part for part in (*parts, _days(plan.days_left), _missing(plan)) if part)


def verdict_report(verdict: MaintenanceVerdict) -> str:
    """What was done, what it changed, and what is coming."""
    head = f"# {VERDICTS[verdict.verdict]}: {verdict.database}"
    facts = [
        _outcome(verdict.effects), _left_alone(verdict.plan) if verdict.effects else _summary(verdict.plan),
        f"It took {verdict.seconds:.0f} s." if verdict.effects else "",
        f"The guard paused {counted(len(verdict.pauses), 'time')}: {verdict.pauses[-1].why}." if verdict.pauses else "",
        f"Swept: {', '.join(verdict.swept)}." if verdict.swept else "",
        f"[As a page]({verdict.page})" if verdict.page else "",
    ]  # fmt: skip
    lines = "\n".join(f"- {cell(line)}" for line in facts if line)
    body = _effects(verdict.effects) if verdict.effects else _actions(verdict.plan.actions)
    plan = verdict.plan
    parts = (head, cell(verdict.why), lines, body, _advice(plan.advice), _days(plan.days_left), _missing(plan))
    return "\n\n".join(part for part in parts if part)


def _summary(plan: MaintenancePlan) -> str:
    digest = f"; what is heavier than VACUUM and ANALYZE has the digest `{plan.digest[:12]}`" if plan.digest else ""
    return f"{counted(len(plan.actions), 'action')}; {_left_alone(plan)}{digest}"


def _outcome(effects: Sequence[Effect]) -> str:
    """How many actions ended how."""
    ends = Counter(WORDS[effect.ended] for effect in effects)
    return ", ".join(f"{words}: {number}" for words, number in ends.items())


def _left_alone(plan: MaintenancePlan) -> str:
    return f"{plan.healthy} of {counted(plan.tables, 'table')} are healthy and are left alone"


def _actions(actions: Sequence[Action]) -> str:
    if not actions:
        return ""
    lines = ["| | what | why | gain | lock | about | disk |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for action in actions[:MOST]:
        cells = (
            str(action.rank), f"`{action.statement}`", "; ".join((*action.reasons, *_notes(action))), action.gain,
            action.lock, seconds(action), megabytes(action.disk_bytes) if action.disk_bytes else "",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join(["## Actions", "", *lines, *_more(actions)])


def _notes(action: Action) -> tuple[str, ...]:
    held = f"held back by {action.held_by}" if action.held_by else ""
    return tuple(filter(None, (held, f"refused: {action.refused}" if action.refused else "")))


def _effects(effects: Sequence[Effect]) -> str:
    lines = ["| how it ended | what | seconds | before → after |", "| --- | --- | --- | --- |"]
    for effect in open_first(effects)[:MOST]:
        ended = WORDS[effect.ended] + (f": {effect.why}" if effect.why else "")
        cells = (ended, f"`{effect.action.statement}`", f"{effect.seconds:.2f}", change_of(effect))
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join(["## Done", "", *lines, *_more(effects)])


def _advice(advice: Sequence[Advice]) -> str:
    if not advice:
        return ""
    lines = [
        f"- {SEVERITIES[one.severity]} **{cell(one.subject)}**: {cell(one.what)} → {cell(one.way_out)}"
        for one in advice[:MOST]
    ]
    return "\n".join(["## For a person", "", *lines, *_more(advice)])


def _days(found: Sequence[DaysLeft]) -> str:
    if not found:
        return ""
    lines = ["| what | used | a day | days left |", "| --- | --- | --- | --- |"]
    for one in found:
        cells = (one.what, f"{one.used_percent:.1f} %", per_day(one), days(one))
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join(["## What runs out", "", *lines])


def _missing(plan: MaintenancePlan) -> str:
    if not plan.missing:
        return ""
    lines = [f"- **{cell(one.subject)}**: {cell(one.what)} → `{cell(one.way_out)}`" for one in plan.missing]
    return "\n".join(["## What was not seen", "", *lines])


def change_of(effect: Effect) -> str:
    """What an action changed, as numbers."""
    found = []
    for name, before in effect.before.items():
        after = effect.after.get(name)
        if after is None and not effect.after and effect.ended == "done":
            return f"gone; it took {megabytes(effect.before.get('bytes', 0))}"
        if after is not None and after != before:
            shown = (megabytes(before), megabytes(after)) if name == "bytes" else (number(before), number(after))
            found.append(f"{name.replace('_', ' ')} {shown[0]} → {shown[1]}")
    return ", ".join(found)


def open_first(effects: Sequence[Effect]) -> list[Effect]:
    """What failed, then what is not done, then the rest, each in its order: a long list is cut off at its end."""
    place = {"failed": 0, "done": 2, "skipped": 2}
    return sorted(effects, key=lambda effect: place.get(effect.ended, 1))


def per_day(one: DaysLeft) -> str:
    """What it takes a day."""
    return megabytes(one.per_day) if one.what == "disk" and one.per_day is not None else number(one.per_day)


def days(one: DaysLeft) -> str:
    """Days left, or why there is no number."""
    if one.days is not None:
        return f"{one.days:,.0f}"
    return "not known yet" if one.per_day is None else "it does not grow"


def seconds(action: Action) -> str:
    """How long an action takes, and how that is known."""
    return f"{action.seconds:.1f} s{' measured' if action.measured else ''}"


def number(value: float | None) -> str:
    """A number for a person."""
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3g}"


def _more(items: Sequence[object]) -> tuple[str, ...]:
    return ("", f"And {len(items) - MOST} more, on the page.") if len(items) > MOST else ()
