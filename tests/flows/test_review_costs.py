"""The review of costs under Prefect, against the local cloud: whole, or with a finding that says what is missing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from prefect import flow

import tasks.costs as steps
from tasks.cost_models import CostReview, CostsTold
from tasks.site import Site, open_site
from tests.billing import TABLE, Export, Line
from tests.sample import Sample, run
from tests.stack import Stack

pytestmark = pytest.mark.stack
WEEK = date(2026, 10, 26)  # the clocks go back on its last day, which has 25 hours
NOW = datetime(2026, 11, 4, 6, tzinfo=UTC)
DAY = timedelta(days=1)


@flow(name="test-review-costs")
async def review(site: Site, week: date, now: datetime, told: CostsTold | None = None) -> CostReview:
    """What the weekly review does of costs."""
    return await steps.review_costs(site, week, now, told)


def site_of(folder: Path, stack: Stack, **export: object) -> Site:
    """An estate in a project of its own; with an export where one is described."""
    project = f"c-{secrets.token_hex(3)}"
    sample = Sample(folder / project, project)
    sample.folder.mkdir()
    sample.write_estate()
    if export:
        more = {"currency": "EUR", "seed": 5, "random_anomalies": False, **export}
        stack.control.export_billing(project, "billing", TABLE, "2026-06-01", **more)
    return open_site(sample.estate_file)


@pytest.fixture(scope="module")
def site(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Five months of a bill, with an anomaly in the week."""
    planted = [["Log Storage cost", str(WEEK + 2 * DAY), 2, 6.0]]
    return site_of(tmp_path_factory.mktemp("costs"), stack, until=NOW.isoformat(), planted=planted)


@pytest.fixture(scope="module")
def told(site: Site) -> CostReview:
    return run(review(site, WEEK, NOW))


def test_the_week_is_told_to_the_cent(site: Site, told: CostReview) -> None:
    export = Export(site.google, since=WEEK - 7 * DAY)
    lines = [line for line in export.lines if line.kind == "regular" and line.exported <= NOW]
    this = sum((line.net for line in lines if WEEK <= line.day < WEEK + 7 * DAY), Decimal(0))
    before = sum((line.net for line in lines if WEEK - 7 * DAY <= line.day < WEEK), Decimal(0))
    assert told.state == "judged", told.why
    assert told.this is not None
    assert told.before is not None
    assert (told.this.net, told.before.net) == (this, before)
    assert sum((one.this.net for one in told.services), Decimal(0)) == this
    assert sum((one.this.net for one in told.skus), Decimal(0)) == this
    assert [week.complete for week in told.weeks] == [True] * 8
    assert told.bytes_processed > 0


def test_each_part_of_the_report_is_there(told: CostReview) -> None:
    assert told.forecast is not None
    assert told.forecast.low <= told.forecast.expected <= told.forecast.high
    assert told.forecast.backtests
    assert told.budget is not None
    assert {unit.name for unit in told.units if unit.this} == {"1,000 requests", "GB stored and month"}
    assert {(one.of, one.name) for one in told.labels} == {("service", "api"), ("service", "frontend")}
    assert [invoice.month for invoice in told.invoices] == [f"2026{month:02d}" for month in range(6, 12)]
    assert told.invoices[-3].tax > 0
    spikes = [one for one in told.anomalies if one.kind == "spike"]
    assert [(one.sku, one.days) for one in spikes] == [("Log Storage cost", (WEEK + 2 * DAY, WEEK + 3 * DAY))]
    assert any("Log Storage" in finding.subject and "EUR" in finding.what for finding in told.findings)


def test_a_review_reads_and_never_writes(site: Site, told: CostReview, stack: Stack) -> None:
    assert told.state == "judged"
    assert stack.control.calls(project=site.google.project, writes_only=True) == []


def test_a_page_that_fails_half_way_and_a_quota_that_is_exceeded_are_tried_again(
    site: Site, told: CostReview, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.BigQuery.__init__, "__defaults__", (200,))
    project, quota = site.google.project, "Quota exceeded: Your project exceeded quota for concurrent queries"
    page = stack.control.plant("Jobs.GetQueryResults", "error", project=project, nth=3)
    exceeded = stack.control.plant(
        "Jobs.Query", "error", project=project, nth=2, code="RESOURCE_EXHAUSTED", message=quota
    )
    again = run(review(site, WEEK, NOW))
    assert [stack.control.fault(one)["met"] for one in (page, exceeded)] == [1, 1]
    assert again.model_dump_json() == told.model_dump_json()


def test_a_question_that_stays_unanswered_is_a_gap_that_is_told(
    site: Site, told: CostReview, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = steps.read_invoices.with_options(retry_delay_seconds=[0, 0, 0, 0])
    monkeypatch.setattr(steps, "read_invoices", impatient)
    project = site.google.project
    planted = stack.control.plant(
        "Jobs.Query", "error", project=project, nth=4, times=5, code="RESOURCE_EXHAUSTED", message="Quota exceeded"
    )
    found = run(review(site, WEEK, NOW))
    assert stack.control.fault(planted)["met"] == 5
    assert found.invoices == ()
    assert found.findings[0].severity == "error"
    assert found.findings[0].what.startswith("invoices not in this report: reading the invoices from")
    assert "quotaExceeded" in found.findings[0].what
    assert (found.this, found.anomalies) == (told.this, told.anomalies)


def test_an_export_that_is_a_week_old_is_told_and_not_judged(stack: Stack, tmp_path: Path) -> None:
    old = datetime(2026, 10, 28, 6, tzinfo=UTC)
    found = run(review(site_of(tmp_path, stack, until=old.isoformat()), WEEK, NOW))
    assert found.state == "stale"
    assert found.this is None
    assert found.anomalies == ()
    assert found.findings[0].severity == "error"
    assert "7.0 days old" in found.findings[0].what
    assert "2026-10-26 to 2026-11-01 of the week cannot be judged" in found.findings[0].what


def test_days_that_still_fill_are_left_out_of_both_weeks(stack: Stack, tmp_path: Path) -> None:
    now = datetime(2026, 11, 1, 6, tzinfo=UTC)
    found = run(review(site_of(tmp_path, stack, until=now.isoformat()), WEEK, now))
    assert found.state == "partial"
    assert found.freshness is not None
    assert found.freshness.judged == tuple(WEEK + n * DAY for n in range(4))
    assert found.this is not None
    assert found.before is not None
    assert found.before.net == pytest.approx(found.this.net, rel=Decimal("0.3"))


def test_an_export_that_is_not_there_is_a_finding(stack: Stack, tmp_path: Path) -> None:
    found = run(review(site_of(tmp_path, stack), WEEK, NOW))
    assert found.state == "unavailable"
    (finding,) = found.findings
    assert "Not found: Dataset" in finding.what
    assert "check the name in the estate file, and that the export is switched on" in finding.what


def test_three_mondays_in_a_row_judge_every_day_once_and_restate_only_what_they_told(site: Site) -> None:
    export, told, judged, restated = Export(site.google, since=WEEK - 28 * DAY), None, [], []
    for week in (WEEK - 14 * DAY, WEEK - 7 * DAY, WEEK):
        monday = datetime(week.year, week.month, week.day, 6, tzinfo=UTC) + 7 * DAY
        found = run(review(site, week, monday, told))
        assert found.freshness is not None
        assert found.this is not None
        days, known = found.freshness.judged, [line for line in export.lines if line.exported <= monday]
        assert found.this.net == _net(known, days)
        if told is not None and found.restatement is not None:
            then = [told.since + n * DAY for n in range((told.through - told.since).days + 1)]
            assert found.restatement.told == _net([line for line in known if line.exported <= told.as_of], then)
            assert found.restatement.now == _net(known, then)
            restated.append(found.restatement.late_lines)
        judged += days
        told = steps.told_by(found, monday, told)
    assert judged == [WEEK - 14 * DAY + n * DAY for n in range(19)], "to the Friday of the third week, no day twice"
    assert len(restated) == 2
    assert all(restated), "the export has no late line: nothing would be shown"


def _net(lines: Sequence[Line], days: Sequence[date]) -> Decimal:
    return sum((line.net for line in lines if line.kind == "regular" and line.day in days), Decimal(0))
