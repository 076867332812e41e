"""Reading a week by one query: where it ends, and what is said where that is too early."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks import log_weeks
from tasks.estate.review import Review
from tasks.log_models import Coverage, Entry, Page, Week

WEEK = Week.named("2026-W47", "Europe/Berlin")


def page(day: int, times: int, token: str) -> Page:
    at = WEEK.days[day][0].timestamp() + 3600
    return Page([Entry(at, "api", "stdout", 200, "tick", times, times=times, last=at + 1)], token)


def read(*pages: Page, most: int = 1000) -> Coverage:
    rules: Any = Review(log_dataset="a-project.logs._AllLogs", most_entries=most)
    site: Any = SimpleNamespace(
        estate=SimpleNamespace(review=rules), log_analytics=SimpleNamespace(between=lambda start, end: iter(pages))
    )
    return log_weeks.coverage(log_weeks._read_dataset(site, WEEK), most)


def test_a_week_that_is_read_to_its_last_page_is_complete_however_early_its_last_entry_came():
    seen = read(page(0, 900, "more"), page(2, 600, ""))
    assert (seen.read, seen.complete, seen.why) == (1500, True, "")


def test_a_bound_that_is_reached_says_on_which_day():
    seen = read(page(0, 900, "more"), page(2, 600, "more"), page(6, 5, ""))
    assert (seen.read, seen.complete) == (1500, False)
    assert seen.why == "stopped on day 3 of 7, after 1,500 entries: most_entries is 1,000"


def test_an_empty_week_is_complete():
    assert read(Page([], "")).complete


def test_a_filter_of_cloud_logging_is_refused_beside_a_dataset():
    with pytest.raises(ValueError, match="leave one of them out"):
        Review(log_dataset="a-project.logs._AllLogs", log_filter="severity>=ERROR")


def test_a_dataset_is_held_to_the_names_that_bigquery_takes():
    with pytest.raises(ValueError, match="log_dataset"):
        Review.model_validate({"log_dataset": "a-project.logs._AllLogs` UNION ALL SELECT"})
