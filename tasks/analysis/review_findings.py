"""What of a week is worth a word: each finding beside the changes that were made shortly before it.

They come by severity, and of one severity the kinds take turns, each with its gravest first: a week of two hundred new
errors hides neither a budget that is over nor a drill that failed.

Safety property: what could not be read is a finding of its own, so a report is never shorter without saying so. A mute
takes a finding out of the list, and its number is told; a mute that has run out is told too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

from tasks.analysis import service_trends
from tasks.analysis.masking import hide
from tasks.cost_models import CostReview
from tasks.log_models import Judged, LogReview, Week
from tasks.models import SEVEREST_FIRST, Change, Finding, Severity
from tasks.review_models import Around, SecretAge, Told

#: A change explains what began within this time after it.
EXPLAINS = timedelta(hours=24)
MOST_CHANGES = 3
DUE_SOON_DAYS = 7
_CHANGED = ("deploy", "roll_back", "migration", "rotation", "dependencies", "maintenance", "sync")
_WORDS = {
    "new": "is new", "regressed": "is back", "escalating": "escalates", "vanished": "has stopped",
}  # fmt: skip
#: Of the same severity and turn: what is missing from the report first, then the patterns, then the rest.
_KINDS = (
    "coverage", "new", "regressed", "vanished", "escalating", "requests", "out of memory", "restart", "budget", "costs",
    "restatement", "backups", "secret",
)  # fmt: skip
#: What the review of costs finds is of the kind "costs" but for these.
_KINDS_OF_COSTS = ("budget", "restatement", "forecast", "invoice")


def told(logs: LogReview, costs: CostReview, around: Around, asked: datetime) -> tuple[Told, ...]:
    """Everything worth a word, the worst first."""
    found = [
        *_coverage(logs),
        *(_pattern(one, around.changes) for one in logs.judged if one.judgement in _WORDS),
        *_services(logs, around.changes),
        *_platform(logs, around.changes),
        *(_plain(finding, _kind_of_costs(finding)) for finding in costs.findings),
        *(_plain(finding, "backups") for finding in _backups(around)),
        *(_secret(age) for age in around.secrets if _is_due(age)),
        *_marks(around, asked),
        *_unread_changes(around),
    ]
    return in_turns(found)


def in_turns(found: Sequence[Told]) -> tuple[Told, ...]:
    """The worst first; of one severity the gravest of each kind, then the second of each kind, and so on."""
    turns: Counter[tuple[bool, str, str]] = Counter()
    ranked = []
    for one in sorted(found, key=lambda one: -_impact(one)):  # what has none stays in the order in which it was told
        place = (bool(one.muted), one.severity, one.kind)
        ranked.append((bool(one.muted), SEVEREST_FIRST.index(one.severity), turns[place], _kind_order(one.kind), one))
        turns[place] += 1
    return tuple(entry[-1] for entry in sorted(ranked, key=lambda entry: (*entry[:4], entry[4].kind)))


def chosen(told: Sequence[Told], most: int) -> tuple[Told, ...]:
    """So many of the findings, in their order: of each kind at least its worst, then the worst of all."""
    first = {one.kind: place for place, one in reversed(list(enumerate(told)))}
    rest = [place for place in range(len(told)) if place not in first.values()]
    places = [*sorted(first.values()), *rest][:most]
    return tuple(told[place] for place in sorted(places))


def others(told: Sequence[Told], shown: Sequence[Told]) -> str:
    """How many findings are not shown, by kind: ``34 more: 20 new, 14 escalating``; empty where there is none."""
    more = Counter(one.kind for one in told) - Counter(one.kind for one in shown)
    counts = sorted(more.items(), key=lambda item: (-item[1], item[0]))
    return f"{more.total()} more: {', '.join(f'{count} {kind}' for kind, count in counts)}" if counts else ""


def _impact(one: Told) -> int:
    """How many lines more, or fewer, than were to be expected; 0 where it is no count."""
    return abs((one.count or 0) - (one.expected or 0))


def _kind_order(kind: str) -> int:
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def _kind_of_costs(finding: Finding) -> str:
    return finding.subject if finding.subject in _KINDS_OF_COSTS else "costs"


def _pattern(one: Judged, changes: Sequence[Change]) -> Told:
    pattern = one.pattern
    since = datetime.fromtimestamp(one.since, UTC)
    count = f"{pattern.count:,} × " if pattern.count else ""
    why = f": {one.why}" if one.why and one.judgement != "new" else ""
    return Told(
        severity=_severity(one), kind=one.judgement, subject=pattern.service,
        what=f"{_thing(one)} {_WORDS[one.judgement]} ({count}since {since:%a %H:%M} UTC){why}",
        way_out=f"to mute it or mark it resolved: {pattern.id}", pattern=pattern.id, template=pattern.template,
        count=pattern.count, expected=round(one.expected), since=since, muted=one.muted,
        changes=beside(since, changes, pattern.service),
    )  # fmt: skip


def _thing(one: Judged) -> str:
    if one.pattern.kind == "stack":
        return "an exception"
    return {"error": "an error", "warning": "a warning", "info": "a line"}[one.pattern.level]


def _severity(one: Judged) -> Severity:
    """An error is an error. A heartbeat that stops is one too, since nothing else may tell of what it stood for."""
    if one.judgement == "vanished":
        return "error"
    return one.pattern.level


def beside(since: datetime, changes: Sequence[Change], service: str) -> tuple[str, ...]:
    """The changes shortly before a moment, in words: those of the service first, then the nearest."""
    near = [change for change in changes if change.kind in _CHANGED and since - EXPLAINS <= change.at <= since]
    near.sort(key=lambda change: (change.subject != service, -change.at.timestamp(), change.id))
    return tuple(f"{in_words(change)}, {_before(since - change.at)} earlier" for change in near[:MOST_CHANGES])


def in_words(change: Change) -> str:
    """A change in a line."""
    revision = change.after.get("revision")
    of = f" as {revision}" if revision else ""
    why = hide(change.why)  # a person wrote it, or a webhook
    return f"{change.kind.replace('_', ' ')} of {change.subject}{of} ({change.verdict.replace('_', ' ')}: {why})"


def _before(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


def _coverage(logs: LogReview) -> Iterator[Told]:
    seen = logs.coverage
    if not seen.complete:
        what = f"the logs were not read to the week's end: {seen.why}; what came later is in no figure"
        yield Told(severity="error", kind="coverage", subject="coverage", what=what,
                   way_out="raise review.most_entries, or leave logs out by review.log_filter")  # fmt: skip
    if seen.written is not None and seen.complete and seen.read < 0.99 * seen.written:
        what = f"{seen.read:,} of {seen.written:,} entries were found"
        yield Told(severity="warning", kind="coverage", subject="coverage", what=what,
                   way_out="look at log_filter, exclusion filters and the buckets' retention")  # fmt: skip
    if seen.unknown:
        what = f"it is not known how many entries were written: {seen.unknown}"
        yield Told(severity="warning", kind="coverage", subject="coverage", what=what)
    if seen.unmatched:
        what = f"{seen.unmatched:,} lines are of too many different kinds to find their patterns"
        yield Told(severity="warning", kind="coverage", subject="coverage", what=what,
                   way_out="let the noisiest loggers log fields apart from their message")  # fmt: skip
    usual = median(logs.read_before) if logs.read_before else 0
    if seen.complete and seen.read < usual / 2:
        what = f"only {seen.read:,} entries are there; {usual:,.0f} are usual"
        yield Told(severity="error", kind="coverage", subject="coverage", what=what,
                   way_out="look whether services still log, and at exclusion filters")  # fmt: skip


def _services(logs: LogReview, changes: Sequence[Change]) -> Iterator[Told]:
    for finding in service_trends.worse(logs.services, logs.before):
        service = finding.subject.partition(":")[0]
        since = _worst_day(logs, service, finding.subject)
        yield _plain(finding, "requests").model_copy(
            update={"since": since, "changes": beside(since + timedelta(days=1), changes, service)}
        )


def _worst_day(logs: LogReview, service: str, subject: str) -> datetime:
    week = next(one for one in logs.services if one.service == service)
    worst = [day[1] / max(1, day[0]) if subject.endswith("errors") else day[2] for day in week.daily]
    return logs.week.days[worst.index(max(worst))][0]


def _platform(logs: LogReview, changes: Sequence[Change]) -> Iterator[Told]:
    for one in logs.happened:
        if one.what == "cold start":
            continue
        since = datetime.fromtimestamp(one.first, UTC)
        memory = one.what == "out of memory"
        what = f"{'ran out of memory' if memory else 'an instance ended by itself'} {one.count} ×"
        yield Told(
            severity="error" if memory else "warning", kind=one.what, subject=one.service, what=what, count=one.count,
            since=since, changes=beside(since, changes, one.service),
            way_out="raise the service's memory, or lower its concurrency" if memory else "",
        )  # fmt: skip


def _plain(finding: Finding, kind: str) -> Told:
    return Told(
        severity=finding.severity, kind=kind, subject=finding.subject, what=finding.what.rstrip("."),
        way_out=finding.way_out,
    )  # fmt: skip


def _backups(around: Around) -> Iterator[Finding]:
    failed = [one for one in around.backups if one.name == "backup.level" and one.labels.get("verdict") == "failed"]
    for one in failed:
        what = f"the drill of {one.at:%a %-d %b} failed: level {one.value:.0f} is the highest passed"
        yield Finding(severity="error", subject=f"backups of {one.subject}", what=what)
    if not around.backups:
        what = "no drill of this week is in the ledger: nobody knows whether the backups can be restored"
        yield Finding(severity="warning", subject="backups", what=what, way_out="caretaker run verify-backups")


def _is_due(age: SecretAge) -> bool:
    return age.days is None or age.days > age.most_days - DUE_SOON_DAYS


def _secret(age: SecretAge) -> Told:
    late = age.days is None or age.days > age.most_days
    what = (
        f"{age.days} days old, at most {age.most_days}: {'overdue' if late else 'due within a week'}"
        if age.days is not None
        else age.why or "has no enabled version"
    )
    return Told(
        severity="warning" if late else "info", kind="secret", subject=f"secret {age.secret}", what=what,
        way_out="caretaker run rotate-secrets",
    )  # fmt: skip


def _marks(around: Around, asked: datetime) -> Iterator[Told]:
    for mute in around.marks.mute:
        if mute.until < asked.date():
            what = f"the mute of {mute.pattern} ran out on {mute.until:%-d %B %Y} ({mute.reason})"
            yield Told(severity="info", kind="mute", subject="marks", what=what, way_out="renew it or take it out")


def _unread_changes(around: Around) -> Iterator[Told]:
    if around.changes_since is not None:
        what = (
            f"the ledger holds more changes of this time than are read: those before {around.changes_since:%a %-d %b} "
            f"{around.changes_since:%H:%M} UTC stand beside no finding"
        )
        yield Told(severity="warning", kind="coverage", subject="ledger", what=what)


def hours_of(week: Week) -> str:
    """What a clock change did to a week; empty in every other one."""
    return "" if week.hours == 168 else f"The clocks were changed: this week had {week.hours} hours, not 168."
