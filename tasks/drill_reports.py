"""Writes a drill as Markdown, for the UI: the verdict first, then the ladder, then what each level rests on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tasks.analysis import ladder
from tasks.analysis.content import in_time
from tasks.analysis.units import megabytes
from tasks.backup_models import DrillVerdict, LevelResult
from tasks.markdown import cell, finding_line
from tasks.models import Measurement

MARKS = {"passed": "✓", "failed": "✗", "not_possible": "∅", "skipped": "–", "incomplete": "∅", "planned": "→"}
WORDS = {"passed": "passed", "failed": "failed", "not_possible": "not possible", "skipped": "not asked for"}


#: What was measured, by name, oldest first.
History = dict[str, list[Measurement]]
#: What the trend tells, and how it is called.
TOLD = {
    ladder.LEVEL: "highest level", ladder.RTO: "RTO", ladder.RPO: "RPO", ladder.SIZE: "size as a backup",
    ladder.RESTORED: "size restored",
}  # fmt: skip
BARS = "▁▂▃▄▅▆▇█"


def drill_report(verdict: DrillVerdict, history: History | None = None) -> str:
    """The report of a drill, with the trend over the ones before it."""
    head = f"# {MARKS[verdict.verdict]} Backups of {verdict.database}: {headline(verdict)}"
    parts = [head, cell(verdict.why), *(f"- {line}" for line in figures(verdict))]
    body = [
        _ladder(verdict.levels),
        _trend(history or {}),
        *(_level(item) for item in verdict.levels),
        _findings(verdict),
    ]
    return "\n\n".join([parts[0], *filter(None, parts[1:2]), "\n".join(parts[2:]), *filter(None, body)])


def headline(verdict: DrillVerdict) -> str:
    """The verdict in a few words."""
    if verdict.verdict == "planned":
        return f"would restore {verdict.target.what}"
    reached = f"L{verdict.highest}" if verdict.highest >= 0 else "none"
    return f"{verdict.verdict}, highest level passed: {reached}"


def figures(verdict: DrillVerdict) -> list[str]:
    """What was measured, a line each."""
    days = verdict.days_since_full_pass
    lines = [
        f"restored: {verdict.target.what} ({verdict.target.pick.replace('_', ' ')})",
        f"days since the last full pass: {'there never was one' if days is None else f'{days:g}'}",
        "" if verdict.rto_seconds is None else f"RTO, the time to restore: {seconds(verdict.rto_seconds)}",
        "" if verdict.rpo_seconds is None else f"RPO, what would be lost: {seconds(verdict.rpo_seconds)}",
        f"size: {megabytes(verdict.backup_bytes)} as a backup, {megabytes(verdict.restored_bytes)} restored",
        f"the drill took {seconds(verdict.seconds)}" if verdict.seconds else "",
        f"cost: {verdict.cost}" if verdict.cost else "",
        f"worse than last time: {verdict.worse}" if verdict.worse else "",
        f"swept: {', '.join(verdict.swept)}" if verdict.swept else "",
        f"[as a page]({verdict.page})" if verdict.page else "",
    ]
    return [cell(line) for line in lines if line]


def seconds(value: float) -> str:
    """A span for a person."""
    from datetime import timedelta

    return in_time(timedelta(seconds=value))


def _ladder(levels: tuple[LevelResult, ...]) -> str:
    lines = ["| level | what | verdict | seconds |", "| --- | --- | --- | --- |"]
    for item in levels:
        why = f": {cell(item.why)}" if item.why else ""
        spent = f"{item.seconds:.1f}" if item.seconds else ""
        lines.append(f"| {item.name} | {item.title} | {MARKS[item.verdict]} {WORDS[item.verdict]}{why} | {spent} |")
    return "\n".join(lines)


def _trend(history: History) -> str:
    rows = [_line(name, [item.value for item in history.get(name, ())]) for name in TOLD]
    if not any(rows):
        return ""
    head = [
        "## Over the drills",
        "",
        "| figure | oldest to newest | before, in the median | now |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *filter(None, rows)])


def _line(name: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    before = _figure(name, median(values[:-1])) if len(values) > 1 else "–"
    return f"| {TOLD[name]} | {bars(values)} | {before} | {_figure(name, values[-1])} |"


def bars(values: Sequence[float]) -> str:
    """Values as a row of bars, each from nothing to the greatest of them."""
    top = max(values, default=0.0)
    return "".join(BARS[round(max(0.0, value) / top * (len(BARS) - 1)) if top > 0 else 0] for value in values)


def _figure(name: str, value: float) -> str:
    if name == ladder.LEVEL:
        return f"L{value:g}" if value >= 0 else "none"
    return seconds(value) if name in (ladder.RTO, ladder.RPO) else megabytes(round(value))


def _level(item: LevelResult) -> str:
    if not item.evidence:
        return ""
    lines = [f"## {MARKS[item.verdict]} {item.name} {item.title}", ""]
    return "\n".join([*lines, *(f"- {'✓' if line.ok else '✗'} {cell(line.what)}" for line in item.evidence)])


def _findings(verdict: DrillVerdict) -> str:
    if not verdict.findings:
        return ""
    return "\n".join(["## Findings", "", *map(finding_line, verdict.findings)])
