"""BigQuery's client: whole answers or an error of ours, and never a query without its bounds."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from google.cloud import bigquery

from tasks.clients.bigquery import BigQuery
from tasks.errors import BadInput, Missing, PermanentError, TransientError

MOST = 20_000_000


@pytest.fixture
def table(google) -> str:
    """A table with 25 numbers."""
    google.bigquery.create_dataset("d")
    name = f"{google.project}.d.t"
    google.bigquery.create_table(bigquery.Table(name, schema=[bigquery.SchemaField("n", "INTEGER")]))
    assert google.bigquery.insert_rows_json(name, [{"n": n} for n in range(25)]) == []
    return name


@pytest.fixture
def client(google, table) -> BigQuery:
    return BigQuery(google, MOST, page_rows=10)


def numbers(client: BigQuery, table: str) -> list[int]:
    return [row["n"] for row in client.query(f"SELECT n FROM `{table}` ORDER BY n", {}, "reading numbers").rows]


def test_every_page_of_an_answer_is_read(client, table):
    assert numbers(client, table) == list(range(25))


def test_values_travel_as_typed_parameters(client):
    values = {
        "a": True, "b": 7, "c": Decimal("0.000000001"), "d": 0.5, "e": datetime(2026, 1, 1, tzinfo=UTC),
        "f": date(2026, 1, 2), "g": "it's", "h": ("x", "y"),
    }  # fmt: skip
    names = ", ".join(f"@{name} AS {name}" for name in values if name != "h")
    (row,) = client.query(f"SELECT {names} WHERE 'y' IN UNNEST(@h)", values, "reading back").rows
    assert row == {name: value for name, value in values.items() if name != "h"}


def test_a_page_that_fails_half_way_is_an_error_and_never_a_shorter_answer(client, table, faults, project):
    planted = faults.plant("Jobs.GetQueryResults", "error", project=project, nth=2)
    with pytest.raises(TransientError, match="reading numbers failed: UNAVAILABLE planted fault; retrying"):
        numbers(client, table)
    assert faults.fault(planted)["met"] == 1
    assert numbers(client, table) == list(range(25))


@pytest.mark.parametrize(
    ("message", "words"),
    [("Quota exceeded: Your project exceeded quota", "quotaExceeded: Quota exceeded"),
     ("Exceeded rate limits: too many api requests", "rateLimitExceeded: Exceeded rate limits")],
)  # fmt: skip
def test_a_quota_is_no_missing_role(client, table, faults, project, message, words):
    planted = faults.plant("Jobs.Query", "error", project=project, code="RESOURCE_EXHAUSTED", message=message)
    with pytest.raises(TransientError, match=words):
        numbers(client, table)
    assert faults.fault(planted)["met"] == 1


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED"])
def test_an_outage_is_worth_a_retry_of_ours_and_of_nobody_else(client, table, faults, project, code):
    planted = faults.plant("Jobs.Query", "error", project=project, code=code, times=5)
    with pytest.raises(TransientError):
        numbers(client, table)
    assert faults.fault(planted)["met"] == 1


def test_what_is_not_there_is_missing_with_its_name(client, google):
    with pytest.raises(Missing, match=rf"NOT_FOUND Not found: Dataset {google.project}:none; check the name"):
        client.query(f"SELECT 1 FROM `{google.project}.none.t`", {}, "reading")
    with pytest.raises(Missing, match=rf"Not found: Table {google.project}:d.none"):
        client.query(f"SELECT 1 FROM `{google.project}.d.none`", {}, "reading")


def test_a_query_that_would_read_too_much_names_the_key_to_raise(google, table):
    with pytest.raises(BadInput, match=r"bytesBilledLimitExceeded: .* 10485760 or higher required; raise max"):
        BigQuery(google, 10_000).query(f"SELECT n FROM `{table}`", {}, "reading")


def test_an_estimate_reads_nothing(client, table, local_cloud, project):
    assert client.estimate(f"SELECT n FROM `{table}` WHERE n > @least", {"least": 3}, "looking") == 25 * 8
    assert [call.method for call in local_cloud.control.calls(project)][-1] == "Jobs.Insert"


@pytest.mark.parametrize(("sql", "kind"), [("SELEC 1", BadInput), ("SELECT SOUNDEX('a')", PermanentError)])
def test_what_no_retry_clears_is_permanent(client, sql, kind):
    with pytest.raises(kind):
        client.query(sql, {}, "reading")
