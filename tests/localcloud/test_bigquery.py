"""BigQuery through its official client: datasets, tables, queries, pages, errors, faults, kills."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter, SchemaField

EXPORT, SINCE, UNTIL = "gcp_billing_export_v1_X", "2026-09-01", "2026-10-20T07:30:00+00:00"
SCHEMA = [
    SchemaField("id", "INTEGER"),
    SchemaField("name", "STRING"),
    SchemaField("cost", "FLOAT"),
    SchemaField("price", "NUMERIC"),
    SchemaField("at", "TIMESTAMP"),
    SchemaField("day", "DATE"),
    SchemaField("good", "BOOLEAN"),
    SchemaField("service", "RECORD", fields=[SchemaField("description", "STRING")]),
    SchemaField(
        "credits", "RECORD", mode="REPEATED", fields=[SchemaField("name", "STRING"), SchemaField("amount", "FLOAT")]
    ),
]
ROWS = [
    {
        "id": n, "name": f"n{n}", "cost": n / 8, "price": f"{n}.000000001", "at": "2026-03-08T09:30:00Z",
        "day": "2026-03-08", "good": n % 2 == 0, "service": {"description": f"s{n % 2}"},
        "credits": [{"name": "a", "amount": -0.25}, {"name": "b", "amount": -0.5}] if n == 3 else [],
    }
    for n in range(10)
]  # fmt: skip


def connected(url: str, project: str) -> bigquery.Client:
    return bigquery.Client(project, credentials=AnonymousCredentials(), client_options={"api_endpoint": url})


@pytest.fixture
def client(local_cloud, project) -> bigquery.Client:
    return connected(local_cloud.bigquery, project)


@pytest.fixture
def table(client, project) -> str:
    """The full name of a table with ten rows."""
    return filled(client, project)


def filled(client: bigquery.Client, project: str) -> str:
    client.create_dataset("d")
    client.create_table(bigquery.Table(f"{project}.d.costs", schema=SCHEMA))
    assert client.insert_rows_json(f"{project}.d.costs", ROWS) == []
    return f"{project}.d.costs"


def ask(client: bigquery.Client, sql: str, *parameters: object, page_size: int | None = None, **config: object) -> list:
    """Query without a retry of the library's."""
    wanted = bigquery.QueryJobConfig(query_parameters=list(parameters), **config)
    found = client.query_and_wait(sql, job_config=wanted, page_size=page_size, retry=None, job_retry=None)
    return [tuple(row.values()) for row in found]


def test_every_type_comes_back_as_it_was_written(client, table):
    (row,) = client.query_and_wait(f"SELECT * FROM `{table}` WHERE id = 3")
    assert dict(row.items()) == {
        "id": 3, "name": "n3", "cost": 0.375, "price": Decimal("3.000000001"),
        "at": datetime(2026, 3, 8, 9, 30, tzinfo=UTC), "day": date(2026, 3, 8), "good": False,
        "service": {"description": "s1"}, "credits": [{"name": "a", "amount": -0.25}, {"name": "b", "amount": -0.5}],
    }  # fmt: skip


def test_parameters_keep_their_types(client, table):
    sql = """SELECT @text, @number, @exact, @at, @day, @yes, id FROM `{}`
        WHERE name IN UNNEST(@names) AND at >= @at AND day = @day ORDER BY id"""
    rows = ask(
        client, sql.format(table), ScalarQueryParameter("text", "STRING", "it's ` -- a test"),
        ScalarQueryParameter("number", "INT64", 2**53 + 1), ScalarQueryParameter("exact", "NUMERIC", Decimal("0.1")),
        ScalarQueryParameter("at", "TIMESTAMP", datetime(2026, 3, 8, 9, 30, tzinfo=UTC)),
        ScalarQueryParameter("day", "DATE", date(2026, 3, 8)), ScalarQueryParameter("yes", "BOOL", True),
        ArrayQueryParameter("names", "STRING", ["n1", "n4", "none"]),
    )  # fmt: skip
    fixed = "it's ` -- a test", 2**53 + 1, Decimal("0.1"), datetime(2026, 3, 8, 9, 30, tzinfo=UTC), date(2026, 3, 8)
    assert rows == [(*fixed, True, 1), (*fixed, True, 4)]


def test_a_long_answer_comes_in_pages_without_a_gap(client, table, local_cloud, project):
    rows = ask(client, f"SELECT id FROM `{table}` ORDER BY id", page_size=3)
    assert rows == [(n,) for n in range(10)]
    pages = [call for call in local_cloud.control.calls(project) if call.method == "Jobs.GetQueryResults"]
    assert len(pages) >= 3


def test_a_query_is_a_read_in_the_call_log_and_a_row_a_write(client, table, local_cloud, project):
    ask(client, f"SELECT COUNT(*) FROM `{table}`")
    calls = local_cloud.control.calls(project)
    assert {call.method for call in calls if call.writes} == {"Datasets.Insert", "Tables.Insert", "Tabledata.InsertAll"}
    (query,) = [call for call in calls if call.method == "Jobs.Query"]
    assert table in query.resource
    assert "gl-python" in query.caller


def test_a_job_is_found_again_with_its_statistics(client, table):
    job = client.query(f"SELECT name FROM `{table}`")
    assert len(list(job.result())) == 10
    found = client.get_job(job.job_id)
    assert (found.state, found.total_bytes_processed) == ("DONE", 10 * (2 + 2))
    assert client.cancel_job(job.job_id).job_id == job.job_id


def test_a_dry_run_tells_the_bytes_and_the_schema_and_runs_nothing(client, table):
    config = bigquery.QueryJobConfig(dry_run=True)
    job = client.query(f"SELECT id, service.description AS service FROM `{table}`", job_config=config)
    # 8 for an integer; 2 and the UTF-8 bytes for a string
    assert job.total_bytes_processed == 10 * 8 + 10 * (2 + 2)
    assert [(field.name, field.field_type) for field in job.schema] == [("id", "INTEGER"), ("service", "STRING")]


def test_a_query_that_would_read_too_much_is_refused_with_googles_words(client, table):
    words = "limit for bytes billed: 1000. 10485760 or higher required"
    with pytest.raises(exceptions.BadRequest, match=words) as caught:
        ask(client, f"SELECT id FROM `{table}`", maximum_bytes_billed=1000)
    assert caught.value.errors[0]["reason"] == "bytesBilledLimitExceeded"
    assert ask(client, f"SELECT COUNT(*) FROM `{table}`", maximum_bytes_billed=10_485_760) == [(10,)]


@pytest.mark.parametrize(
    ("sql", "error", "reason", "words"),
    [
        ("SELECT 1 FROM nope.t", exceptions.NotFound, "notFound", "Not found: Dataset {project}:nope"),
        ("SELECT 1 FROM d.nope", exceptions.NotFound, "notFound", "Not found: Table {project}:d.nope"),
        ("SELEC 1", exceptions.BadRequest, "invalidQuery", "Syntax error"),
        ("SELECT nope FROM d.costs", exceptions.BadRequest, "invalidQuery", "nope"),
        ("SELECT @nope", exceptions.BadRequest, "invalidQuery", "Query parameter 'nope' not found"),
        ("SELECT id, id FROM d.costs", exceptions.BadRequest, "invalidQuery", "Duplicate column names"),
        ("SELECT PERCENTILE_CONT(cost, 0.5) OVER () FROM d.costs", exceptions.MethodNotImplemented, "notImplemented",
         "Window"),
        ("SELECT SOUNDEX(name) FROM d.costs", exceptions.MethodNotImplemented, "notImplemented", "Soundex"),
        ("DELETE FROM d.costs WHERE TRUE", exceptions.MethodNotImplemented, "notImplemented", "statement DELETE"),
        ("SELECT 1 FROM `d.c*`", exceptions.MethodNotImplemented, "notImplemented", "wildcard tables"),
        ("SELECT * FROM read_text('/etc/hostname')", exceptions.GoogleAPICallError, "", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_served_is_told_by_its_name(client, table, project, sql, error, reason, words):
    with pytest.raises(error) as caught:
        ask(client, sql)
    told = caught.value.errors[0]
    assert not reason or told["reason"] == reason
    assert words.format(project=project) in told["message"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (lambda t: setattr(t, "time_partitioning", bigquery.TimePartitioning()), "Table.timePartitioning"),
        (lambda t: setattr(t, "schema", [SchemaField("g", "GEOGRAPHY")]), "the type GEOGRAPHY"),
    ],
)
def test_a_table_that_would_not_be_as_asked_is_refused_by_name(client, project, wanted, words):
    client.create_dataset("d")
    table = bigquery.Table(f"{project}.d.t", schema=SCHEMA)
    wanted(table)
    with pytest.raises(exceptions.MethodNotImplemented, match=words):
        client.create_table(table, retry=None)


def test_a_row_that_does_not_fit_is_refused_and_none_of_its_request_stays(client, table):
    for row, words in (({"nope": 1}, "no such field: nope"), ({"price": "abc"}, "abc")):
        with pytest.raises(exceptions.BadRequest, match=words):
            client.insert_rows_json(table, [ROWS[0], row], retry=None)
    assert client.get_table(table).num_rows == 10


def test_datasets_and_tables_are_listed_and_deleted(client, table):
    assert [found.table_id for found in client.list_tables("d")] == ["costs"]
    with pytest.raises(exceptions.Conflict, match="Already Exists"):
        client.create_dataset("d", retry=None)
    with pytest.raises(exceptions.BadRequest, match="still in use"):
        client.delete_dataset("d", retry=None)
    client.delete_table(table)
    assert list(client.list_tables("d")) == []
    client.delete_dataset("d")
    assert list(client.list_datasets()) == []


@pytest.mark.parametrize(
    ("code", "message", "error", "reason"),
    [
        ("RESOURCE_EXHAUSTED", "Quota exceeded: your project", exceptions.Forbidden, "quotaExceeded"),
        ("RESOURCE_EXHAUSTED", "Exceeded rate limits: too many", exceptions.Forbidden, "rateLimitExceeded"),
        ("UNAVAILABLE", "gone", exceptions.ServiceUnavailable, "backendError"),
        ("INTERNAL", "oops", exceptions.InternalServerError, "internalError"),
    ],
)
def test_a_planted_fault_is_answered_as_google_would(client, table, faults, project, code, message, error, reason):
    planted = faults.plant("Jobs.Query", "error", project=project, code=code, message=message)
    with pytest.raises(error) as caught:
        ask(client, f"SELECT COUNT(*) FROM `{table}`")
    assert caught.value.errors[0]["reason"] == reason
    assert faults.fault(planted)["met"] == 1


def test_rows_jobs_and_results_survive_a_kill(own_local_cloud):
    url = own_local_cloud.bigquery
    client = connected(url, "t-kill")
    table = filled(client, "t-kill")
    job = client.query(f"SELECT id FROM `{table}` ORDER BY id")
    assert len(list(job.result())) == 10
    held = own_local_cloud.control.plant("Tabledata.InsertAll", "hold_after", project="t-kill")
    with ThreadPoolExecutor(1) as pool:
        unanswered = pool.submit(client.insert_rows_json, table, [{"id": 10}], retry=None)
        own_local_cloud.control.wait_until_met(held)
        own_local_cloud.restart(kill=True)
        assert unanswered.exception() is not None
    assert own_local_cloud.bigquery == url
    again = connected(url, "t-kill")
    assert [row[0] for row in again.get_job(job.job_id).result()] == list(range(10))
    assert ask(again, f"SELECT COUNT(*), MAX(id) FROM `{table}`") == [(11, 10)]


def test_an_export_goes_on_from_where_it_was_also_after_a_kill(own_local_cloud) -> None:
    project, day = "t-billing", "2026-09-20T00:00:00+00:00"
    own_local_cloud.control.export_billing(project, "billing", EXPORT, SINCE, seed=3, until=day)
    sql = f"SELECT COUNT(*), SUM(CAST(cost AS NUMERIC)), MAX(export_time) FROM `{project}.billing.{EXPORT}`"
    first = ask(connected(own_local_cloud.bigquery, project), sql)
    own_local_cloud.restart(kill=True)
    assert ask(connected(own_local_cloud.bigquery, project), sql) == first
    own_local_cloud.control.export_billing(project, "billing", EXPORT, "1999-01-01", seed=99, until=UNTIL)
    ((count, cost, newest),) = ask(connected(own_local_cloud.bigquery, project), sql)
    assert count > first[0][0]
    assert cost > first[0][1]
    assert first[0][2] < newest <= datetime.fromisoformat(UNTIL)
    kinds = f"SELECT cost_type FROM `{project}.billing.{EXPORT}` WHERE cost_type <> 'regular' ORDER BY cost_type"
    assert [kind for (kind,) in ask(connected(own_local_cloud.bigquery, project), kinds)][-1:] == ["tax"]


def test_an_export_that_is_not_understood_is_refused(local_cloud, project) -> None:
    with pytest.raises(ValueError, match="unknown field sede"):
        local_cloud.control.export_billing(project, "billing", EXPORT, SINCE, sede=3)
    with pytest.raises(ValueError, match="no billing export"):
        local_cloud.control.export_billing(project, "billing", EXPORT, "yesterday")


def test_the_lines_lie_in_a_folder_that_only_its_user_reads(own_local_cloud) -> None:
    folder = own_local_cloud.state / "bigquery"
    assert folder.stat().st_mode & 0o077 == 0
