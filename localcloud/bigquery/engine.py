"""Rows on disk and queries over them: one DuckDB file.

Safety property: DuckDB commits to its log on disk before a call is acknowledged, so rows survive ``kill -9``. It may
use ``MEMORY`` and ``THREADS`` and no more, spills to a folder of ours, and can open no file but its own: whatever is
wrong in a translated query, it reads no other data of this machine.
"""

# ruff: noqa: S608  what is put together here are names that we gave, and checked field names

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localcloud.bigquery import errors
from localcloud.bigquery.types import Field, bytes_of, duckdb_type, filled, schema_of

MEMORY = "1GB"
THREADS = 2
_SCHEMAS = ("tables", "results", "exports")


class Engine:
    """Tables and results by the names that we give them. Safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        #: Called once the file is open: it is opened when it is first needed, since that takes half a second.
        self.at_open: list[Callable[[], None]] = []
        self._opened: Any = None
        self._running: dict[str, Any] = {}

    @contextmanager
    def cursor(self, job: str = "") -> Iterator[Any]:
        """A connection of one thread's own; that of a job can be interrupted."""
        cursor = self._database().cursor()
        try:
            if job:
                self._running[job] = cursor
            yield cursor
        finally:
            self._running.pop(job, None)
            cursor.close()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A cursor whose statements become visible and durable together, or not at all."""
        with self.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def interrupt(self, job: str) -> None:
        """Stop a job's query. Succeeds when it runs no more."""
        cursor = self._running.get(job)
        if cursor is not None:
            cursor.interrupt()

    def create(self, inside: str, schema: Sequence[Field]) -> None:
        """Make an empty table, anew where an earlier process died before it wrote the table down."""
        columns = ", ".join(f'"{field["name"]}" {duckdb_type(field)}' for field in schema)
        with self.transaction() as cursor:
            cursor.execute(f'DROP TABLE IF EXISTS tables."{inside}"')
            cursor.execute(f'CREATE TABLE tables."{inside}" ({columns})')

    def drop(self, kind: str, inside: str) -> None:
        with self.transaction() as cursor:
            cursor.execute(f'DROP TABLE IF EXISTS {kind}."{inside}"')

    def names(self, kind: str) -> set[str]:
        """The tables, or the results, that there are."""
        with self.cursor() as cursor:
            told = cursor.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = ?", [kind]).fetchall()
        return {name for (name,) in told}

    def insert(self, inside: str, schema: Sequence[Field], rows: Sequence[dict[str, Any]]) -> None:
        """Add rows, given as JSON objects. Raises InvalidArgument where a value does not fit its type."""
        import duckdb

        shape = json.dumps([{field["name"]: _shape(field) for field in schema}])
        with self.transaction() as cursor:
            try:
                cursor.execute(
                    f'INSERT INTO tables."{inside}" SELECT unnest(r) FROM (SELECT unnest(from_json_strict(?, ?)) AS r)',
                    [json.dumps([filled(row, schema) for row in rows]), shape],
                )
            except duckdb.Error as error:
                raise errors.invalid(first_line(error)) from error

    def count(self, inside: str) -> int:
        with self.cursor() as cursor:
            return int(cursor.execute(f'SELECT count(*) FROM tables."{inside}"').fetchone()[0])

    def sizes(self, inside: str, fields: Sequence[Field]) -> dict[str, int]:
        """The logical bytes of each of these columns."""
        sums = ", ".join(f"coalesce(sum({bytes_of(field, quoted(field))}), 0)" for field in fields)
        with self.cursor() as cursor:
            found = cursor.execute(f'SELECT {sums} FROM tables."{inside}"').fetchone()
        return {field["name"]: int(size) for field, size in zip(fields, found, strict=True)}

    def describe(self, sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        """The schema of a query's result, without running it. Raises QueryError."""
        with self.cursor() as cursor, _translated():
            return _schema(cursor, f"SELECT * FROM ({sql}) LIMIT 0", values)

    def run(self, job: str, sql: str, values: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        """Run a query, keep its result under the job's name; its schema and number of rows. Raises QueryError."""
        with self.cursor(job) as cursor, _translated():
            return self._kept(cursor, job, sql, values)

    def rows(self, job: str, first: int, count: int) -> list[tuple[Any, ...]]:
        """Rows of a kept result, in its order."""
        with self.cursor() as cursor:
            found = cursor.execute(
                f'SELECT * FROM results."{job}" WHERE rowid >= ? AND rowid < ? ORDER BY rowid', [first, first + count]
            )
            return list(found.fetchall())

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _kept(self, cursor: Any, job: str, sql: str, values: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        cursor.execute("BEGIN")
        cursor.execute(f'DROP TABLE IF EXISTS results."{job}"')
        cursor.execute(f'CREATE TABLE results."{job}" AS {sql}', values)
        schema = _schema(cursor, f'SELECT * FROM results."{job}" LIMIT 0', {})
        (count,) = cursor.execute(f'SELECT count(*) FROM results."{job}"').fetchone()
        cursor.execute("COMMIT")
        return schema, int(count)

    def _database(self) -> Any:
        with self._lock:
            if self._opened is None:
                self._opened = _open(self._folder)
                for function in self.at_open:
                    function()
            return self._opened


@contextmanager
def _translated() -> Iterator[None]:
    """Raise BigQuery's error in the place of DuckDB's."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise errors.QueryError(f"Resources exceeded: {first_line(error)}", "resourcesExceeded") from error
    except duckdb.InterruptException as error:
        raise errors.QueryError("Job execution was cancelled: User requested cancellation", "stopped") from error
    except duckdb.Error as error:
        raise errors.invalid_query(first_line(error)) from error


def _open(folder: Path) -> Any:
    import duckdb

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = duckdb.connect(
        str(folder / "rows.duckdb"),
        config={"memory_limit": MEMORY, "threads": THREADS, "temp_directory": str(folder / "spill")},
    )
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    # Only now: the folder to spill to counts as a file of the outside when it is set.
    database.execute("SET GLOBAL enable_external_access = false")
    for schema in _SCHEMAS:
        database.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    return database


def _schema(cursor: Any, sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    described = cursor.execute(sql, values).description
    return schema_of([column[0] for column in described], [column[1] for column in described])


def _shape(field: Field) -> Any:
    """A field as ``from_json`` takes it."""
    inner: Any = duckdb_type({**field, "mode": "NULLABLE"})
    if field["type"] == "RECORD":
        inner = {part["name"]: _shape(part) for part in field["fields"]}
    return [inner] if field["mode"] == "REPEATED" else inner


def quoted(field: Field) -> str:
    return f'"{field["name"]}"'


def first_line(error: Exception) -> str:
    """What DuckDB said, without its picture of the place."""
    return str(error).strip().splitlines()[0]
