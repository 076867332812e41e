"""What of an entry is counted as a request, and what as a line."""

from __future__ import annotations

from tasks.analysis.log_tally import HOUR, LineKey, Tally
from tasks.analysis.service_trends import service_weeks
from tasks.log_models import Entry, Request

REQUEST = Request("GET", "/specs", 500, 0.1)


def test_a_line_of_the_application_that_bears_its_request_is_a_line_and_no_second_request() -> None:
    tally = Tally(0.0)
    tally.take([
        Entry(1.0, "api", "run.googleapis.com/requests", 500, "", 90, "", REQUEST),
        Entry(1.1, "api", "run.googleapis.com/stderr", 500, "palette is empty", 90, "", REQUEST),
    ])  # fmt: skip
    assert [week.requests for week in service_weeks(tally)] == [1]
    assert list(tally.lines) == [LineKey("api", "error", "line", "palette is empty")]


def test_the_last_hour_of_a_week_of_169_hours_is_one_of_its_sunday() -> None:
    tally = Tally(0.0)
    tally.take([Entry(168.5 * HOUR, "api", "run.googleapis.com/requests", 500, "", 90, "", REQUEST)])
    (week,) = service_weeks(tally)
    assert sum(day[0] for day in week.daily) == week.requests == 1
