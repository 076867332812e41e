"""The report of a week as a page: what is new or worse first, then requests, volume, costs, and what else is known.

Safety property: everything on it is masked already, and no moment of its making is on it, so the same review gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from tasks.analysis.review_findings import chosen, hours_of, in_words, others
from tasks.log_models import Judged, LogReview
from tasks.pages import Band, Page, Section, Series, Sparkline, Table, line_chart
from tasks.pages.charts import Chart
from tasks.review_costs_section import costs_section
from tasks.review_models import Review, Told, left_out, shortened

MOST_FINDINGS, MOST_PATTERNS, MOST_NOISY, MOST_CHARTED = 20, 25, 10, 5
GIB = 1024**3


def page_of(review: Review, headline: str, summary: tuple[str, ...]) -> Page:
    """The page of a review."""
    shown = [one for one in review.told if not one.muted]
    worst = {one.severity for one in shown}
    return Page(
        title=f"Week {review.week.name} of {review.estate}",
        verdict=headline,
        mark="bad" if "error" in worst else "warning" if "warning" in worst else "good",
        summary=summary,
        sections=tuple(section for section in _sections(review, shown) if section is not None),
        foot=f"caretaker, flow weekly-review; logs and costs as they stood on {_moment(review.asked, review)}",
    )  # fmt: skip


def _sections(review: Review, shown: Sequence[Told]) -> Iterator[Section | None]:
    yield _findings(shown)
    yield _patterns(review.logs)
    yield _requests(review.logs)
    yield _volume(review)
    yield costs_section(review.costs)
    yield _around(review)
    yield _muted(review.told)


def _findings(shown: Sequence[Told]) -> Section:
    told = chosen(shown, MOST_FINDINGS)
    more = others(shown, told)
    all_ = f"The gravest of {len(shown)}, each kind among them; {more}, in findings.json beside this page."
    paragraphs = (all_,) if more else ()
    return Section(
        heading="What needs a look", findings=tuple(one.finding for one in told),
        paragraphs=paragraphs or (() if shown else ("Nothing new, nothing worse, nothing missing.",)),
    )  # fmt: skip


def _patterns(logs: LogReview) -> Section | None:
    rows = [one for one in logs.judged if one.judgement not in ("steady", "first")]
    rows.sort(key=lambda one: (one.judgement, one.pattern.level != "error", -one.pattern.count, one.pattern.id))
    if not rows:
        return None
    table = Table(
        caption="Patterns that are new, back, escalating or gone",
        columns=("pattern", "what", "service", "this week", "weeks before", "id"), numeric=("this week",),
        rows=tuple(_pattern_row(one) for one in rows[:MOST_PATTERNS]), note=left_out(len(rows), MOST_PATTERNS),
    )  # fmt: skip
    charted = [one for one in rows if one.judgement == "escalating"][:MOST_CHARTED]
    return Section(heading="Patterns", tables=(table,), charts=tuple(_by_day(logs, one) for one in charted))


def _pattern_row(one: Judged) -> tuple[str | Sparkline, ...]:
    pattern = one.pattern
    past = Sparkline(values=(*map(float, one.past), float(pattern.count))) if one.past else "–"
    what = one.judgement + (", muted" if one.muted else "")
    return shortened(pattern.template), what, pattern.service, f"{pattern.count:,}", past, pattern.id


def _by_day(logs: LogReview, one: Judged) -> Chart:
    counts = [0] * 7
    for hour, count in one.pattern.hourly.items():
        counts[logs.week.day_of(hour)] += count
    names = logs.week.day_names
    usual, most = one.expected / 7, one.limit / 7
    return line_chart(
        f"{one.pattern.service}: {shortened(one.pattern.template, 60)}", "lines a day",
        [Series(name="this week", points=tuple(zip(names, map(float, counts), strict=True)))],
        bands=[Band(name="to be expected", points=tuple((name, min(usual, most), most) for name in names))],
    )  # fmt: skip


def _requests(logs: LogReview) -> Section | None:
    if not logs.services and not logs.happened:
        return None
    shown, names = logs.services[:MOST_CHARTED], logs.week.day_names
    failed = [
        Series(name=one.service, points=_days(names, [100 * bad / n if n else None for n, bad, _ in one.daily]))
        for one in shown
    ]
    slow = [
        Series(name=one.service, points=_days(names, [1000 * p95 if n else None for n, _, p95 in one.daily]))
        for one in shown
    ]
    charts = (line_chart("Failed requests", "% of a day", failed), line_chart("Latency, p95", "ms", slow))
    return Section(
        heading="Requests and instances", charts=charts if shown else (), tables=tuple(_request_tables(logs))
    )


def _days(names: Sequence[str], values: Sequence[float | None]) -> tuple[tuple[str, float | None], ...]:
    return tuple(zip(names, values, strict=True))


def _request_tables(logs: LogReview) -> Iterator[Table]:
    if logs.services:
        rows = tuple(
            (one.service, f"{one.requests:,}", f"{one.error_rate:.2%}", *map(_ms, (one.p50, one.p95, one.p99)))
            for one in logs.services
        )
        columns = ("service", "requests", "failed", "p50", "p95", "p99")
        yield Table(caption="Services", columns=columns, rows=rows, numeric=columns[1:])
    if logs.routes:
        columns = ("route", "service", "requests", "failed", "p50", "p95")
        rows = tuple(
            (one.route, one.service, f"{one.requests:,}", f"{one.errors:,}", _ms(one.p50), _ms(one.p95))
            for one in logs.routes
        )
        yield Table(caption="Slowest routes", columns=columns, rows=rows, numeric=columns[2:])
    if logs.happened:
        rows = tuple((one.service, one.what, f"{one.count:,}") for one in logs.happened)
        yield Table(caption="Instances", columns=("service", "what", "times"), rows=rows, numeric=("times",))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def _volume(review: Review) -> Section | None:
    logs = review.logs
    if not logs.loggers:
        return None
    first, total = logs.loggers[0], max(1, logs.coverage.size)
    said = (
        f"The noisiest logger is {first.service}, {first.log}: {first.size / total:.0%} of "
        f"{_size(logs.coverage.size)}, as the entries were read.",
        _read(logs), hours_of(logs.week),
    )  # fmt: skip
    tables = (_loggers(logs), _noisy(review))
    return Section(heading="Volume of logs", paragraphs=tuple(filter(None, said)), tables=tables)


def _read(logs: LogReview) -> str:
    """The statement of coverage."""
    seen = logs.coverage
    whole = f" of {seen.written:,}" if seen.written is not None else ""
    end = "to the last page of the week" if seen.complete else f"not to the end: {seen.why}"
    return f"{seen.read:,}{whole} entries were read, {end}."


def _loggers(logs: LogReview) -> Table:
    rows = tuple(
        (one.service, one.log, f"{one.entries:,}", _size(one.size)) for one in logs.loggers[:MOST_NOISY]
    )
    return Table(
        caption="Loggers", columns=("service", "log", "entries", "size"), rows=rows, numeric=("entries", "size"),
        note=left_out(len(logs.loggers), MOST_NOISY),
    )  # fmt: skip


def _noisy(review: Review) -> Table:
    logs, rules = review.logs, review.price
    largest = sorted(logs.judged, key=lambda one: (-one.pattern.size, one.pattern.id))[:MOST_NOISY]
    rows = tuple(
        (shortened(one.pattern.template), one.pattern.service, f"{one.pattern.count:,}", _size(one.pattern.size),
         f"{one.pattern.size / GIB * rules.per_gib:,.2f} {rules.currency}")
        for one in largest if one.pattern.size
    )  # fmt: skip
    columns = ("pattern", "service", "lines", "size", "list price")
    return Table(
        caption="What fills the logs", columns=columns, rows=rows, numeric=columns[2:],
        note=f"{rules.per_gib:g} {rules.currency} a GiB; a project's first 50 GiB a month are free",
    )  # fmt: skip


def _size(size: int) -> str:
    for unit, bytes_ in (("GiB", GIB), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= bytes_:
            return f"{size / bytes_:,.1f} {unit}"
    return f"{size} bytes"


def _around(review: Review) -> Section | None:
    tables = tuple(_around_tables(review))
    return Section(heading="Changes, backups, secrets", tables=tables) if tables else None


def _around_tables(review: Review) -> Iterator[Table]:
    yield from _change_table(review)
    if review.around.backups:
        rows = tuple(
            (_moment(one.at, review), one.subject, one.name.removeprefix("backup."), f"{one.value:,.0f} {one.unit}")
            for one in review.around.backups
        )
        columns = ("when", "database", "what", "value")
        yield Table(caption="Backups: drills of the week", columns=columns, rows=rows, numeric=("value",))
    if review.around.secrets:
        ages = tuple(
            (one.secret, str(one.version or "–"), "–" if one.days is None else f"{one.days}", f"{one.most_days}")
            for one in review.around.secrets
        )
        columns = ("secret", "version", "days old", "at most")
        yield Table(caption="Secrets", columns=columns, rows=ages, numeric=columns[1:])


def _change_table(review: Review) -> Iterator[Table]:
    changes = [change for change in review.around.changes if review.week.start <= change.at < review.week.end]
    if changes:
        rows = tuple((_moment(change.at, review), in_words(change)) for change in changes[:MOST_PATTERNS])
        note = left_out(len(changes), MOST_PATTERNS)
        yield Table(caption="Changes of the week", columns=("when", "what"), rows=rows, note=note)


def _muted(told: Sequence[Told]) -> Section | None:
    muted = [one for one in told if one.muted]
    if not muted:
        return None
    rows = tuple((shortened(one.template), one.kind, one.muted, one.pattern) for one in muted[:MOST_PATTERNS])
    table = Table(
        caption=f"{len(muted)} muted", columns=("pattern", "what", "why", "id"), rows=rows,
        note=left_out(len(muted), MOST_PATTERNS),
    )  # fmt: skip
    return Section(heading="Muted", tables=(table,))


def _moment(at: datetime, review: Review) -> str:
    return f"{at.astimezone(ZoneInfo(review.week.timezone)):%a %-d %b %H:%M}"
