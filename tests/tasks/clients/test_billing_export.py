"""The figures of the billing export, equal to a plain loop over its lines: late ones and credits included."""

from __future__ import annotations

import secrets
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from tasks.clients.bigquery import BigQuery
from tasks.clients.billing_export import BillingExport, Scope
from tasks.clients.google import Google
from tasks.settings import Settings
from tests.billing import DETAILED, SINCE, TABLE, UNTIL, ZONE, Export, Line, add_up
from tests.tasks.clients.conftest import Place

WEEK = date(2026, 10, 26)  # the clocks go back on its last day
AS_OF = datetime(2026, 11, 8, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def told(local_cloud) -> Export:
    """A bill of ten weeks, of which the last days are still filling."""
    google = Google(Place(f"b-{secrets.token_hex(3)}"), Settings(state=local_cloud.state))
    local_cloud.control.export_billing(
        google.project, "billing", TABLE, str(SINCE), currency="EUR", seed=11, until=UNTIL.isoformat()
    )
    return Export(google)


@pytest.fixture(scope="module")
def known(told) -> list[Line]:
    """The lines that were there at the moment of asking."""
    lines = [line for line in told.lines if line.exported <= AS_OF]
    assert 10_000 < len(lines) < len(told.lines)
    return lines


@pytest.fixture(scope="module")
def export(told) -> BillingExport:
    return BillingExport(BigQuery(told.google, 10**9, page_rows=500), Scope(told.table, "EUR", ZONE, AS_OF))


def test_every_invoice_is_right_to_the_cent_and_beyond(export, known):
    asked = {(line.month, line.cost_type): line.spend for line in export.invoices("202601")}
    expected = {
        "cost": add_up(known, lambda line: (line.month, line.kind), lambda line: line.cost),
        "credits": add_up(known, lambda line: (line.month, line.kind), lambda line: line.credits),
    }
    assert {key: spend.cost for key, spend in asked.items()} == expected["cost"]
    assert {key: spend.credits for key, spend in asked.items()} == expected["credits"]
    assert {month for month, _ in asked} == {"202609", "202610", "202611"}
    assert {kind for _, kind in asked} == {"regular", "tax", "rounding_error", "adjustment"}
    assert all(spend.credits < 0 for (_, kind), spend in asked.items() if kind == "regular")
    for month in ("202609", "202610"):
        parts = [spend.net for (of, kind), spend in asked.items() if of == month and kind != "adjustment"]
        whole = sum(parts, Decimal(0))
        assert whole == round(whole, 2)  # the rounding error makes an invoice one of whole cents


def test_late_lines_stand_on_the_next_invoice_and_are_counted_once(known):
    late = [line for line in known if line.month > f"{line.day:%Y%m}"]
    assert late
    assert all((line.exported - line.start).days >= 1 for line in late)


def test_every_day_is_right_and_begins_at_midnight_of_its_zone(export, known):
    asked = {(line.day, line.cost_type): line.spend.net for line in export.days(SINCE, date(2026, 11, 30))}
    assert asked == add_up(known, lambda line: (line.day, line.kind), lambda line: line.net)


def test_every_sku_of_every_day_is_right_with_its_amount(export, known):
    lines = [line for line in known if line.kind == "regular" and WEEK <= line.day < WEEK + 7 * DAY]
    asked = export.sku_days(WEEK, WEEK + 7 * DAY)
    key = lambda line: (line.day, line.service, line.sku)  # noqa: E731
    assert {key(line): line.spend.net for line in asked} == add_up(lines, key, lambda line: line.net)
    assert {key(line): line.amount for line in asked} == add_up(lines, key, lambda line: round(line.amount, 9))
    assert {line.unit for line in asked if line.sku == "Requests"} == {"count"}


def test_every_label_is_right_in_both_weeks(export, known):
    before = WEEK - 7 * DAY
    asked = {(line.key, line.value, line.this_week): line.spend.net
             for line in export.labels(("service", "env"), before, WEEK, WEEK + 7 * DAY)}  # fmt: skip
    spread = [
        (label, line) for line in known if line.kind == "regular" and before <= line.day < WEEK + 7 * DAY
        for label in line.labels
    ]  # fmt: skip
    expected: dict[tuple[str, str, bool], Decimal] = {}
    for (name, value), line in spread:
        key = name, value, line.day >= WEEK
        expected[key] = expected.get(key, Decimal(0)) + line.net
    assert asked == expected
    assert {value for _, value, _ in asked} == {"api", "frontend", "prod"}


def test_what_came_late_is_told_apart(export, known):
    told_at = datetime(2026, 11, 2, 6, tzinfo=UTC)
    asked = export.restated(WEEK, WEEK + 7 * DAY, told_at)
    lines = [line for line in known if line.kind == "regular" and WEEK <= line.day < WEEK + 7 * DAY]
    early = [line for line in lines if line.exported <= told_at]
    assert {one.service: one.now for one in asked} == add_up(lines, lambda line: line.service, lambda line: line.net)
    assert {one.service: one.told for one in asked if one.told} == add_up(
        early, lambda line: line.service, lambda line: line.net
    )
    assert sum(one.late_lines for one in asked) == len(lines) - len(early) > 0


def test_how_far_the_export_has_come(export, known):
    state = export.state(SINCE)
    assert state.newest_export == max(line.exported for line in known)
    assert (state.lines, state.foreign_lines) == (len(known), 0)


def test_lines_in_another_currency_are_counted_and_left_out(told, known):
    dollars = BillingExport(BigQuery(told.google, 10**9), Scope(told.table, "USD", ZONE, AS_OF))
    assert dollars.state(SINCE).foreign_lines == len(known)
    assert dollars.days(SINCE, date(2026, 12, 1)) == []


def test_the_detailed_export_is_read_alike(told, local_cloud):
    more = {"currency": "EUR", "seed": 11, "copies": 2, "until": "2026-09-12T00:00:00+00:00"}
    local_cloud.control.export_billing(told.google.project, "billing", DETAILED, str(SINCE), **more)
    detailed = Export(told.google, DETAILED)
    scope = Scope(detailed.table, "EUR", ZONE, AS_OF)
    asked = BillingExport(BigQuery(told.google, 10**9), scope).days(SINCE, date(2026, 10, 1))
    assert {line.day: line.spend.net for line in asked} == add_up(
        detailed.lines, lambda line: line.day, lambda line: line.net
    )
    row = told.google.bigquery.query_and_wait(f"SELECT resource.name AS name FROM `{detailed.table}` LIMIT 1")
    assert next(iter(row))["name"] in ("r-0", "r-1")
