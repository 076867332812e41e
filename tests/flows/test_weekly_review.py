"""The weekly review: it finds what was planted, reads on where it was killed, and leaves one report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

from tasks import log_weeks
from tasks.clients import log_pages
from tasks.clients.google import UNRETRIED
from tasks.log_models import Week
from tasks.models import Change
from tasks.review_models import ReviewVerdict
from tests import corpus, log_analytics
from tests.billing import TABLE
from tests.flows.steps import calls, newest
from tests.inbox import Inbox, inbox
from tests.sample import Sample, ended
from tests.stack import Stack

__all__ = ["inbox"]
pytestmark = pytest.mark.stack

ENTRIES = 1500
STATEMENTS = frozenset(
    ("api.rendered", "api.login", "api.keyerror", "frontend.get", "worker.done", "billing.charged", "mailer.sent",
     "nginx.access", "new.timeout", "new.trace", "back.dns", "more.retry", "gone.heartbeat")
)  # fmt: skip
LIST = "LoggingServiceV2.ListLogEntries"
CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def weeks(count: int) -> list[Week]:
    """The last weeks that are over, oldest first."""
    today = datetime.now(UTC).astimezone(ZoneInfo(corpus.ZONE)).date()
    return [Week.of(today - timedelta(days=7 * back), corpus.ZONE) for back in range(count, 0, -1)]


def write(sample: Sample, entries: Iterable[Any]) -> None:
    client, rest = sample.site.google.client(LoggingServiceV2Client), iter(entries)
    while batch := list(islice(rest, 800)):
        client.write_log_entries(request={"entries": batch}, **UNRETRIED)


def review(sample: Sample, week: Week, **parameters: Any) -> Any:
    """Review a week; the verdict, or the exception it ended with."""
    from flows.weekly_review import WeeklyReview, weekly_review

    request = WeeklyReview(estate=sample.estate_file, week=week.name, **parameters)
    return ended(weekly_review(request, return_state=True))


def stored(sample: Sample, week: Week) -> dict[str, bytes]:
    names = sample.site.bucket.list(f"reviews/{sample.site.estate.name}/{week.name}/")
    return {name.rsplit("/", 1)[1]: sample.site.bucket.get(name) for name in names}


def entries_of_the_ledger(sample: Sample, week: Week) -> list[Change]:
    found = sample.site.ledger.changes(kind="review")
    return [c for c in found if c.inputs["week"] == week.name and c.inputs["project"] == sample.project]


def with_logs(sample: Sample, numbers: tuple[int, ...]) -> Sample:
    """The sample with its last weeks of logs."""
    unhurried(sample)
    for number, week in zip(numbers, weeks(len(numbers)), strict=True):
        write(sample, corpus.entries(number, ENTRIES, week, sample.project, only=STATEMENTS))
    return sample


def unhurried(sample: Sample) -> Sample:
    """The estate with more of the quota than there is: here nobody else reads this project."""
    text = sample.estate_file.read_text()
    sample.estate_file.write_text(text.replace("[review]\n", "[review]\ncalls_per_minute = 6000\n"))
    return sample


def without_costs(sample: Sample, *, review: str = "") -> Sample:
    """The estate without a billing export, with more lines in ``[review]``."""
    text = sample.estate_file.read_text()
    bill = text[text.index("[costs]") : text.index("# The weekly review")]
    sample.estate_file.write_text(text.replace(bill, "").replace("[review]\n", f"[review]\n{review}"))
    return sample


def with_costs(sample: Sample, stack: Stack) -> Sample:
    """The estate as it is shipped, and a bill in the local cloud."""
    sample.write_estate()
    unhurried(sample)
    now = datetime.now(UTC)
    began = str((now - timedelta(days=100)).date())
    stack.control.export_billing(sample.project, "billing", TABLE, began, currency="EUR", seed=5, until=now.isoformat())
    return sample


@pytest.fixture(scope="module")
def reviewed(new_sample: Callable[..., Sample], stack: Stack) -> Sample:
    """An estate with three weeks of logs, of which the first two are reviewed, and a deploy before the new error."""
    sample = without_costs(with_logs(new_sample("review"), (2, 3, 4)))
    at = weeks(1)[0].start + timedelta(hours=30)
    sample.site.ledger.append(
        Change.new(
            kind="deploy", subject="api", verdict="released", key=f"{sample.project}/deploy", at=at, why="new palette",
            inputs={"project": sample.project}, after={"revision": "api-00042"},
        )
    )  # fmt: skip
    for week in weeks(3)[:2]:
        result = review(sample, week)
        assert result.verdict == "reviewed", result
    return with_costs(sample, stack)


@pytest.fixture(scope="module")
def told(reviewed: Sample, stack: Stack) -> ReviewVerdict:
    """The review of the last week, after a dry run that wrote nothing."""
    after = newest(stack, reviewed)
    dry = review(reviewed, weeks(1)[0], dry_run=True)
    assert dry.verdict == "planned", dry
    assert dry.read == ENTRIES
    assert calls(stack, reviewed, after) == []
    result = review(reviewed, weeks(1)[0])
    assert result.verdict == "reviewed", result
    assert result.findings == dry.findings
    return result


def test_what_is_new_worse_and_gone_is_told_beside_what_was_changed(told: ReviewVerdict) -> None:
    assert {"new", "escalating", "vanished"} <= {one.kind for one in told.findings}
    renderer = next(one for one in told.findings if "renderer" in one.template)
    assert (renderer.kind, renderer.subject, renderer.severity) == ("new", "api", "error")
    assert "deploy of api as api-00042 (released: new palette)" in renderer.changes[0]
    assert any(one.kind == "vanished" and "heartbeat" in one.template for one in told.findings)
    assert any(f"{ENTRIES:,} of {ENTRIES:,} log entries were read" in line for line in told.summary)
    assert any(line.startswith("Costs: ") and "EUR" in line for line in told.summary)


def test_a_week_reviewed_again_leaves_the_same_bytes_and_one_line_in_the_ledger(
    reviewed: Sample, told: ReviewVerdict, stack: Stack
) -> None:
    week = weeks(1)[0]
    kept = stored(reviewed, week)
    assert set(kept) == {"asked.json", "history.json", "report.html", "report.md", "findings.json", "told.json"}
    after = newest(stack, reviewed)
    assert review(reviewed, week).findings == told.findings
    assert calls(stack, reviewed, after) == []
    reviewed.site.bucket.delete(f"reviews/pyplots/{week.name}/findings.json")  # as if killed before the last write
    assert review(reviewed, week).findings == told.findings
    assert stored(reviewed, week) == kept
    anew = review(reviewed, week, again=True)
    assert (anew.verdict, anew.read, anew.findings) == ("reviewed", ENTRIES, told.findings), anew
    assert but_for_the_moment(stored(reviewed, week)) == but_for_the_moment(kept)
    assert len(entries_of_the_ledger(reviewed, week)) == 1


def but_for_the_moment(kept: dict[str, bytes]) -> dict[str, Any]:
    """The history, without the moment as of which costs were told: a review that is made anew is of another one."""
    history = json.loads(kept["history.json"])
    assert history["costs"].pop("as_of")
    return history


def test_nothing_that_is_kept_holds_a_secret_or_a_person(reviewed: Sample, told: ReviewVerdict) -> None:
    for name, data in stored(reviewed, weeks(1)[0]).items():
        text = data.decode()
        assert not re.search(r"@example|4111 1111|\b\d+\.\d+\.\d+\.\d+\b(?<!127\.0\.0\.1)", text), name


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no browser here")
def test_the_page_fits_a_phone_and_asks_nobody_for_anything(
    reviewed: Sample, told: ReviewVerdict, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    file.write_bytes(stored(reviewed, weeks(1)[0])["report.html"])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        page = browser.new_page(viewport={"width": 390, "height": 844})
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator("svg[role=img]").count() >= 4
        assert page.locator("h1").inner_text().startswith("Week ")
        page.get_by_text("The figures").first.click()
        assert page.locator("details[open] table").first.is_visible()
        browser.close()
    assert asked == [file.as_uri()]
    assert said == []


def test_quota_a_failed_page_and_an_empty_one_shorten_nothing_and_a_broken_run_is_gone_on_with(
    new_sample: Callable[..., Sample], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "PAGE", 60)
    monkeypatch.setattr(log_weeks, "PAGES_BETWEEN_CHECKPOINTS", 3)
    sample, week = without_costs(with_logs(new_sample("halfway"), (4,))), weeks(1)[0]
    plant = stack.control.plant
    planted = [
        plant(
            LIST, "error", project=sample.project, nth=2, times=2, code="RESOURCE_EXHAUSTED", message="Quota exceeded"
        ),
        plant("LoggingServiceV2.Page", "page_cut", project=sample.project, nth=3),
        # Met until it is taken away: an answer that a busy machine lost is asked for again.
        plant(LIST, "error", project=sample.project, nth=15, times=99, code="PERMISSION_DENIED", message="no"),
    ]
    assert "roles/logging.viewer" in str(review(sample, week))
    assert all(stack.control.fault(one)["met"] for one in planted)
    stack.control.remove(planted[-1])
    assert set(stored(sample, week)) == {"asked.json", "reading-day.json.gz", "reading-page.json.gz"}
    after = newest(stack, sample)
    result = review(sample, week)
    assert (result.verdict, result.read) == ("reviewed", ENTRIES), result
    asked = [call for call in stack.control.calls(project=sample.project, after=after) if call.method == LIST]
    assert len(asked) < 20, "it began from the week's beginning"
    assert len(entries_of_the_ledger(sample, week)) == 1


def test_a_week_that_is_not_read_to_its_end_says_so(new_sample: Callable[..., Sample]) -> None:
    sample = without_costs(with_logs(new_sample("bounded"), (4,)), review="most_entries = 1000\n")
    result = review(sample, weeks(1)[0])
    assert result.verdict == "incomplete", result
    assert "most_entries is 1,000" in result.why
    assert result.findings[0].kind == "coverage"
    assert "most_entries" in result.findings[0].way_out


def test_marks_mute_and_resolve_and_a_mute_that_ran_out_is_told(reviewed: Sample, told: ReviewVerdict) -> None:
    new = next(one for one in told.findings if one.kind == "new" and one.severity == "error")
    marks = reviewed.folder / "review-marks.toml"
    marks.write_text(
        f'[[mute]]\npattern = "{new.pattern}"\nreason = "known"\nuntil = 2099-01-01\n'
        '[[mute]]\npattern = "abcdef"\nreason = "over"\nuntil = 2020-01-01\n'
    )
    try:
        result = review(reviewed, weeks(1)[0], dry_run=True)
        assert next(one for one in result.findings if one.pattern == new.pattern).muted == "known"
        assert new.template not in result.report
        assert any(one.kind == "mute" and "ran out" in one.what for one in result.findings)
        marks.write_text('[[mute]]\npattern = "abcdef"\nuntil = 2020-01-01\n')
        assert "mute.0.reason" in str(review(reviewed, weeks(1)[0], dry_run=True))
    finally:
        marks.unlink()


def test_a_week_that_is_not_over_and_one_that_never_was_are_refused(reviewed: Sample) -> None:
    this_week = Week.of(datetime.now(UTC).date(), corpus.ZONE)
    assert "wait, or name another" in str(review(reviewed, this_week))
    for name in ("2026-W54", "9999-W52", "0001-W01"):
        refused = review(reviewed, this_week.model_copy(update={"name": name}))
        assert f"{name} failed: there is none of that name" in str(refused)


def test_a_week_in_a_log_analytics_view_is_read_by_one_query_and_told_once(
    new_sample: Callable[..., Sample], stack: Stack, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", inbox.url)
    sample, (week,) = new_sample("view"), weeks(1)
    raw = corpus.entries(4, ENTRIES, week, sample.project, only=STATEMENTS)
    table = log_analytics.fill(sample.site.google, raw)
    without_costs(sample, review=f'log_dataset = "{table}"\n')
    result = review(sample, week)
    assert (result.verdict, result.read) == ("reviewed", ENTRIES), result
    report = stored(sample, week)["report.md"].decode()
    assert f"{len(STATEMENTS)} patterns of lines are known from now on" in report
    assert [call for call in stack.control.calls(project=sample.project) if call.method == LIST] == []
    assert review(sample, week).asked == result.asked
    assert inbox.titles == [f"Week {week.name} of pyplots: 1 warning"]
    # As if killed when it had begun to make the review anew: what is told then is no longer the old one.
    anew = result.asked + timedelta(hours=1)
    place = f"reviews/pyplots/{week.name}/asked.json"
    sample.site.bucket.converge(place, json.dumps({"at": anew.isoformat()}).encode(), "application/json")
    assert review(sample, week).asked == anew
    assert json.loads(stored(sample, week)["findings.json"])["asked"] == anew.isoformat().replace("+00:00", "Z")
