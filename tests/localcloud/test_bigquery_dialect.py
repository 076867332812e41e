"""BigQuery's SQL as DuckDB runs it: a table of expressions with the answers that Google documents."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from google.api_core import exceptions

from localcloud.bigquery.dialect import Kept, Name, translate
from localcloud.bigquery.engine import Engine
from localcloud.bigquery.parameters import Parameter
from localcloud.bigquery.types import checked_schema

FIELDS = checked_schema([
    {"name": "n", "type": "INT64"},
    {"name": "ts", "type": "TIMESTAMP"},
    {"name": "f", "type": "FLOAT64"},
    {"name": "s", "type": "STRING"},
    {"name": "j", "type": "JSON"},
    {"name": "list", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "v", "type": "FLOAT64"}]},
])
PAYLOAD = r'{"s": "a\"b", "n": 7, "o": {"a": 1}}'
ROWS = [
    {"n": 1, "ts": "2026-03-08T07:59:59Z", "f": 0.1, "s": "a", "j": PAYLOAD, "list": [{"v": 0.1}, {"v": 0.2}]},
    {"n": 2, "ts": "2026-03-08T08:00:00Z", "f": 0.2, "s": "b", "list": []},
    {"n": None, "ts": "2026-11-01T08:30:00Z", "f": 2.5, "s": None, "list": [{"v": None}]},
]
T = "FROM d.t"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = Engine(tmp_path_factory.mktemp("bigquery"))
    engine.create("t1", FIELDS)
    engine.insert("t1", FIELDS, ROWS)
    return engine


def find(name: Name) -> Kept:
    assert name == Name("p", "d", "t")
    return Kept("t1", tuple(field["name"] for field in FIELDS))


def run(engine: Engine, sql: str, **parameters: Parameter) -> list[tuple]:
    translated = translate(sql, "p", "", parameters, find)
    _, rows = engine.run("j", translated.sql, translated.values)
    return engine.rows("j", 0, rows)


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        # https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
        ("SELECT CAST('0.1234567894' AS NUMERIC)", [(Decimal("0.123456789"),)]),
        (f"SELECT SUM(CAST(f AS NUMERIC)) {T}", [(Decimal("2.8"),)]),
        ("SELECT CAST(1 AS NUMERIC) * CAST('0.000000001' AS NUMERIC)", [(Decimal("0.000000001"),)]),
        # https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
        ("SELECT JSON_VALUE(j, '$.s'), JSON_VALUE(j, '$.n'), JSON_VALUE(j, '$.o'), JSON_VALUE(j, '$.none') "
         f"{T} WHERE n = 1", [('a"b', "7", None, None)]),
        (f"SELECT TO_JSON_STRING(JSON_QUERY(j, '$.o')) {T} WHERE n = 1", [('{"a":1}',)]),
        # mathematical, string and timestamp functions
        ("SELECT DIV(12 - 5, 4), CEIL(-1.5), LN(1.0), BYTE_LENGTH('абв')", [(1, -1.0, 0.0, 6)]),
        (f"SELECT UNIX_MICROS(ts) {T} WHERE n = 1", [(1772956799000000,)]),
        (r"SELECT REGEXP_REPLACE('/a?b?c', r'\?.*', '')", [("/a",)]),
        # halfway cases are rounded away from zero
        ("SELECT ROUND(2.5), ROUND(-2.5), CAST(2.5 AS INT64)", [(3.0, -3.0, 3)]),
        # the day begins at midnight of the zone, in winter and in summer
        (f"SELECT DATE(ts, 'America/Los_Angeles') AS day, COUNT(*) {T} GROUP BY day ORDER BY day",
         [(date(2026, 3, 7), 1), (date(2026, 3, 8), 1), (date(2026, 11, 1), 1)]),
        (f"SELECT DATE(MAX(ts)) {T}", [(date(2026, 11, 1),)]),
        # NULLs come first when sorted upwards, last when downwards
        (f"SELECT n {T} ORDER BY n", [(None,), (1,), (2,)]),
        (f"SELECT n {T} ORDER BY n DESC", [(2,), (1,), (None,)]),
        (f"SELECT COUNT(n), COUNT(*), COUNTIF(f > 0.15), COUNT(DISTINCT s) {T}", [(2, 3, 2, 2)]),
        (f"SELECT (SELECT SUM(x.v) FROM UNNEST(list) AS x) {T} WHERE n = 2", [(None,)]),
        (f"SELECT IFNULL((SELECT SUM(CAST(x.v AS NUMERIC)) FROM UNNEST(list) AS x), 0) {T} ORDER BY f",
         [(Decimal("0.3"),), (Decimal(0),), (Decimal(0),)]),
        (f"SELECT (SELECT SUM(x.v) FROM UNNEST(list) AS x WHERE x.v > 0.15) {T} WHERE n = 1", [(0.2,)]),
        (f"SELECT n, x.v {T}, UNNEST(list) AS x ORDER BY n, x.v", [(None, None), (1, 0.1), (1, 0.2)]),
        (f"SELECT s {T} WHERE s NOT IN ('a')", [("b",)]),
        (f"SELECT IF(f > 1, 'dear', 'cheap') AS what, COUNT(*) AS c {T} GROUP BY what HAVING c > 1", [("cheap", 2)]),
        (f"WITH big AS (SELECT n {T} WHERE n > 1) SELECT * FROM big UNION ALL SELECT 7 ORDER BY 1", [(2,), (7,)]),
        ("SELECT STARTS_WITH('abc', 'ab'), UPPER('ab'), LENGTH('äb'), COALESCE(NULL, 3), NULLIF(1, 1)",
         [(True, "AB", 2, 3, None)]),
        ("SELECT CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END, GREATEST(1, 3), LEAST(1, 3), 2 BETWEEN 1 AND 3, 'ab' LIKE 'a%'",
         [("b", 3, 1, True, True)]),
    ],
)  # fmt: skip
def test_an_expression_has_the_answer_that_google_documents(engine: Engine, sql: str, answer: list[tuple]) -> None:
    assert run(engine, sql) == answer


def test_a_parameter_is_a_value_and_never_sql(engine: Engine) -> None:
    evil = Parameter("VARCHAR", "a' OR '1'='1")
    assert run(engine, f"SELECT n {T} WHERE s = @s", s=evil) == []
    stamp = Parameter("TIMESTAMP WITH TIME ZONE", "2026-03-08 08:00:00+00:00")
    assert run(engine, f"SELECT MIN(ts) {T} WHERE ts >= @at", at=stamp) == [(datetime(2026, 3, 8, 8, tzinfo=UTC),)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT SOUNDEX('a')", "SELECT n / 2 FROM d.t", "SELECT CAST('1' AS BIGNUMERIC)", "SELECT 1; SELECT 2",
        "UPDATE d.t SET n = 1 WHERE TRUE", "CREATE TABLE d.x AS SELECT 1", "SELECT RANK() OVER (ORDER BY n) FROM d.t",
        "SELECT * FROM d.t TABLESAMPLE SYSTEM (10 PERCENT)", "SELECT * FROM `d.t*`", "SELECT [1, 2]",
        "SELECT n FROM d.t QUALIFY TRUE", "SELECT SESSION_USER()", "SELECT TIMESTAMP_TRUNC(ts, DAY) FROM d.t",
    ],
)  # fmt: skip
def test_what_was_not_compared_with_google_is_refused(sql: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="does not implement"):
        translate(sql, "p", "", {}, find)


def test_only_the_columns_that_are_named_are_read() -> None:
    def read(sql: str) -> tuple[str, ...]:
        ((_, columns),) = translate(sql, "p", "", {}, find).reads
        return columns

    assert read(f"SELECT SUM(f) {T} WHERE s = 'x'") == ("f", "s")
    assert read(f"SELECT COUNT(*) {T}") == ()
    assert read(f"SELECT * {T}") == tuple(field["name"] for field in FIELDS)


def test_a_query_uses_no_more_memory_than_it_may_and_fails_by_its_name(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    with engine.cursor() as cursor:
        cursor.execute("SET GLOBAL memory_limit = '40MB'")
        cursor.execute("SET GLOBAL max_temp_directory_size = '1MB'")
    with pytest.raises(exceptions.BadRequest, match="Resources exceeded"):
        engine.run("j", "SELECT r.range, md5(CAST(r.range AS VARCHAR)) AS h FROM range(5000000) r ORDER BY h", {})
    engine.close()
