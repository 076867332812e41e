"""What of a week is worth a word, and how it is told: without a cloud."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from tasks import review_text
from tasks.analysis.review_findings import chosen, others, told
from tasks.cost_models import CostReview
from tasks.log_models import Coverage, Happened, Judged, LogReview, PatternWeek, ServiceWeek, Week
from tasks.models import Change, Finding
from tasks.pages import render
from tasks.review_models import Around, Marks, Mute, Review, ReviewVerdict, SecretAge, Told
from tasks.review_page import page_of

WEEK = Week.named("2026-W47", "Europe/Berlin")
ASKED = datetime(2026, 11, 23, 6, tzinfo=UTC)
COSTS = CostReview(state="off", week=date(2026, 11, 16))
BEGAN = WEEK.start + timedelta(hours=30)


def judged(judgement: str = "new", level: str = "error", template: str = "boom <n>", muted: str = "") -> Judged:
    pattern = PatternWeek(
        id="a" * 12, service="api", level=level, kind="line", template=template, count=7, size=700,
        first=BEGAN.timestamp(), last=BEGAN.timestamp() + 60, hourly={30: 7},
    )  # fmt: skip
    return Judged(pattern=pattern, judgement=judgement, since=BEGAN.timestamp(), muted=muted, why="because")


def service(errors: int, p95: float) -> ServiceWeek:
    return ServiceWeek(
        service="api", requests=1000, errors=errors, p50=0.01, p95=p95, p99=0.5, daily=((143, errors // 7, p95),) * 7
    )


def logs(*patterns: Judged, **more: object) -> LogReview:
    fields = {"coverage": Coverage(read=100, size=1000), "services": (), "read_before": (100,), **more}
    return LogReview.model_validate({"week": WEEK, "judged": patterns, **fields})


def change(at: datetime, subject: str = "api", kind: str = "deploy") -> Change:
    return Change.new(
        kind=kind,
        subject=subject,
        verdict="released",
        key=f"{subject}{at}",
        at=at,
        why="w",
        after={"revision": "api-2"},
    )


def kinds(made: LogReview, costs: CostReview = COSTS, **around: object) -> list[str]:
    full = {"backups": (), "changes": (), **around}
    return [one.kind for one in told(made, costs, Around.model_validate(full), ASKED)]


def test_a_finding_stands_beside_the_changes_of_the_day_before_it_and_no_others() -> None:
    changes = (
        change(BEGAN - timedelta(hours=25)), change(BEGAN - timedelta(hours=3), "frontend"),
        change(BEGAN - timedelta(minutes=12)), change(BEGAN + timedelta(minutes=1)),
        change(BEGAN - timedelta(minutes=1), kind="backup"),
    )  # fmt: skip
    new = next(one for one in told(logs(judged()), COSTS, Around(changes=changes), ASKED) if one.kind == "new")
    assert new.changes == (
        "deploy of api as api-2 (released: w), 12 min earlier",
        "deploy of frontend as api-2 (released: w), 3 h earlier",
    )


def test_what_is_not_read_is_the_first_finding_whatever_else_there_is() -> None:
    cut = Coverage(read=100, size=1, complete=False, why="stopped")
    assert kinds(logs(judged(), coverage=cut))[0] == "coverage"


@pytest.mark.parametrize(
    "coverage",
    [
        Coverage(read=40, size=1), Coverage(read=100, size=1, written=200), Coverage(read=100, size=1, unmatched=5),
        Coverage(read=100, size=1, unknown="not allowed"),
    ],
    ids=["less than half of the usual", "less than was written", "without a pattern", "not known"],
)  # fmt: skip
def test_a_report_is_never_shorter_without_saying_so(coverage: Coverage) -> None:
    assert "coverage" in kinds(logs(coverage=coverage))


def test_a_review_of_which_everything_is_well_says_nothing() -> None:
    fine = Around(backups=(_level("passed"),), secrets=(SecretAge(secret="s", version=1, days=3, most_days=90),))
    assert told(logs(judged("steady")), COSTS, fine, ASKED) == ()


def _level(verdict: str) -> dict[str, object]:
    return {"name": "backup.level", "subject": "p/db", "value": 3.0, "unit": "level", "at": BEGAN,
            "labels": {"verdict": verdict}}  # fmt: skip


def test_a_failed_drill_and_a_week_without_one_are_told() -> None:
    assert kinds(logs()) == ["backups"]
    assert kinds(logs(), backups=(_level("failed"),)) == ["backups"]
    assert kinds(logs(), backups=(_level("passed"),)) == []


@pytest.mark.parametrize(
    ("days", "severity"),
    [(None, "warning"), (91, "warning"), (85, "info"), (70, "")],
    ids=["none", "over", "soon", "fine"],
)
def test_a_secret_that_is_due_is_told_before_it_is_over(days: int | None, severity: str) -> None:
    ages = (SecretAge(secret="s", version=1, days=days, most_days=90),)
    found = [one for one in told(logs(), COSTS, Around(secrets=ages), ASKED) if one.kind == "secret"]
    assert [one.severity for one in found] == ([severity] if severity else [])


def test_errors_and_latency_are_compared_with_the_weeks_before() -> None:
    before = {"api": (service(2, 0.1), service(3, 0.1))}
    assert "requests" not in kinds(logs(services=(service(4, 0.11),), before=before))
    assert kinds(logs(services=(service(50, 0.4),), before=before)).count("requests") == 2


def test_memory_and_restarts_are_told_and_cold_starts_are_not() -> None:
    happened = [
        Happened(service="api", what=what, count=2, first=BEGAN.timestamp(), last=BEGAN.timestamp())
        for what in ("out of memory", "restart", "cold start")
    ]
    assert set(kinds(logs(happened=tuple(happened)))) == {"out of memory", "restart", "backups"}


def test_a_mute_takes_a_finding_out_of_the_report_until_its_last_day() -> None:
    marks = Marks(mute=(Mute(pattern="aaaaaa", reason="known", until=date(2026, 11, 23)),))
    assert marks.muted("a" * 12, ASKED.date()) == "known"
    assert marks.muted("a" * 12, ASKED.date() + timedelta(days=1)) == ""
    assert marks.muted("b" * 12, ASKED.date()) == ""
    made = review(judged(muted="known"))
    assert "boom" not in review_text.markdown(made, "h", (), "")
    assert "1 finding muted" in review_text.markdown(made, "h", (), "")


def review(*patterns: Judged) -> Review:
    made = logs(*patterns)
    return Review(
        estate="pyplots", week=WEEK, asked=ASKED, logs=made, costs=COSTS, around=Around(),
        told=told(made, COSTS, Around(), ASKED),
    )  # fmt: skip


def test_a_log_line_is_neither_markdown_nor_markup_in_a_report() -> None:
    nasty = judged(template="# <img src=x onerror=alert(1)> [a](http://evil) **b** | `c`")
    made = review(nasty)
    text = review_text.markdown(made, review_text.headline(made), review_text.summary(made), "http://x")
    assert "\\# \\<img" in text
    assert "[a](http" not in text.replace("\\[a\\](http", "")
    html = render(page_of(made, "h", ()))
    assert "<img" not in html
    assert html == render(page_of(made, "h", ()))


def test_a_notification_is_short_and_says_the_worst_first() -> None:
    made = review(*(judged(template=f"error {word} " + "x" * 300) for word in ("one", "two") * 10))
    text = review_text.notification(
        ReviewVerdict(
            verdict="reviewed", week=WEEK.name, headline="h", summary=review_text.summary(made), findings=made.told,
            link="http://link",
        )
    )  # fmt: skip
    lines = text.splitlines()
    assert len(lines) <= 12
    assert all(len(line) < 300 for line in lines)
    assert lines[-1] == "http://link"
    assert "and 16 more: 15 new, 1 backups" in text


def test_the_costs_findings_are_in_the_list_and_the_summary() -> None:
    costs = CostReview(
        state="unavailable", why="no such table", week=date(2026, 11, 16),
        findings=(Finding(severity="error", subject="costs", what="not in this report"),),
    )  # fmt: skip
    assert "costs" in kinds(logs(), costs)
    assert "not judged, no such table" in review_text.costs_line(costs)


def crowded() -> tuple[Told, ...]:
    """A week of sixty new errors, in which a budget is over, a drill failed and a secret is late."""
    patterns = tuple(
        judged(template=f"error {number}").model_copy(update={"pattern": pattern_of(number)}) for number in range(60)
    )
    costs = COSTS.model_copy(update={"findings": (
        Finding(severity="error", subject="budget", what="over"),
        Finding(severity="warning", subject="Cloud Run: CPU", what="cost 30.00 EUR"),
    )})  # fmt: skip
    around = Around.model_validate({
        "backups": (_level("failed"),), "secrets": (SecretAge(secret="s", version=1, days=99, most_days=90),),
    })  # fmt: skip
    return told(logs(*patterns), costs, around, ASKED)


def pattern_of(number: int) -> PatternWeek:
    made = judged().pattern
    return made.model_copy(update={"id": f"{number:012}", "count": number + 1, "template": f"error {number}"})


def test_of_one_severity_the_kinds_take_turns_each_with_its_gravest_first() -> None:
    found = crowded()
    assert [one.kind for one in found[:5]] == ["new", "budget", "backups", "new", "new"]
    assert [one.count for one in found if one.kind == "new"] == list(range(60, 0, -1))
    assert [one.severity for one in found] == ["error"] * 62 + ["warning"] * 2


def test_every_kind_is_among_those_that_are_shown_and_the_rest_are_counted_by_kind() -> None:
    found = crowded()
    shown = chosen(found, 6)
    assert {one.kind for one in shown} == {"new", "budget", "backups", "costs", "secret"}
    assert list(shown) == [one for one in found if one in shown], "in their order"
    assert others(found, shown) == "58 more: 58 new"
    assert others(shown, shown) == ""
    made = review().model_copy(update={"told": found})
    assert "more: " in review_text.markdown(made, "h", (), "")
    assert "in findings.json" in review_text.markdown(made, "h", (), "")
    for text in (review_text.markdown(made, "h", (), ""), render(page_of(made, "h", ()))):
        assert "secret s" in text
        assert "budget" in text


def test_what_a_person_wrote_of_a_change_is_masked_like_a_line() -> None:
    careless = change(BEGAN - timedelta(minutes=5)).model_copy(update={"why": "password=hunter2 was wrong"})
    (new,) = (one for one in told(logs(judged()), COSTS, Around(changes=(careless,)), ASKED) if one.kind == "new")
    assert "hunter2" not in new.changes[0]
    assert "password=<secret>" in new.changes[0]


def test_changes_that_were_not_read_are_told() -> None:
    (found,) = (one for one in told(logs(), COSTS, Around(changes_since=BEGAN), ASKED) if one.subject == "ledger")
    assert "those before Tue 17 Nov 05:00 UTC stand beside no finding" in found.what
