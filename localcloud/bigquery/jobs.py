"""Query jobs: translated, bounded in bytes, run in threads of their own, their results kept a day.

Safety property: a job that was acknowledged is on disk. One that a ``kill -9`` interrupted is run again when its result
is asked for; it only reads, so a repeat changes nothing.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from google.api_core import exceptions

from localcloud.bigquery import errors, parameters
from localcloud.bigquery.catalog import Catalog
from localcloud.bigquery.dialect import Translated, translate
from localcloud.bigquery.engine import Engine
from localcloud.store import Store

LOG = logging.getLogger("localcloud.bigquery")
Document = dict[str, Any]
_MEGABYTE = 1024 * 1024
#: https://cloud.google.com/bigquery/pricing: each table counts 10 MB at least, and whole megabytes.
_LEAST_BILLED = 10 * _MEGABYTE
_KEPT_SECONDS = 24 * 3600
#: Two at once: DuckDB's own threads are what is shared.
_AT_ONCE = 2
_QUERY_FIELDS = frozenset({
    "query", "useLegacySql", "parameterMode", "queryParameters", "defaultDataset", "maximumBytesBilled",
    "useQueryCache", "priority",
})  # fmt: skip


class Jobs:
    """The query jobs of every project. Safe to use from any thread."""

    def __init__(self, store: Store, catalog: Catalog, engine: Engine) -> None:
        self._store, self._catalog, self._engine = store, catalog, engine
        self._jobs = store.documents("bigquery.jobs")
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="query")
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}

    def remove_leftovers(self) -> None:
        """Drop results that are older than a day, and those of no job."""
        kept = set()
        for key, document in self._jobs.list():
            if document["created"] < time.time() - _KEPT_SECONDS:
                self._jobs.delete(key)
            else:
                kept.add(document["inside"])
        for inside in self._engine.names("results") - kept:
            self._engine.drop("results", inside)

    def dry_run(self, project: str, query: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
        """The schema of a query's answer, and how many bytes it would read. Raises QueryError."""
        translated = self._translated(project, query)
        processed = self._check_bytes(query, translated)
        return self._engine.describe(translated.sql, translated.values), processed

    def insert(self, project: str, job: str, configuration: Mapping[str, Any]) -> Document:
        """Begin a job, which may have failed at once. Raises AlreadyExists, MethodNotImplemented."""
        query = configuration.get("query")
        if query is None:
            raise errors.not_implemented(f"jobs other than queries ({', '.join(sorted(configuration))})")
        _refuse_others(query)
        job = job or f"job_{secrets.token_urlsafe(20)}"
        document = {
            "project": project, "job": job, "inside": f"j{self._store.next('bigquery.jobs')}", "state": "RUNNING",
            "configuration": dict(configuration), "created": time.time(), "bytes": 0, "error": None,
        }  # fmt: skip
        with self._store.transaction():
            if self._jobs.get(f"{project}/{job}"):
                raise errors.exists(f"Job {project}:{job}")
            self._jobs.put(f"{project}/{job}", document)
        self._start(document)
        return document

    def get(self, project: str, job: str) -> Document:
        """Raises NotFound."""
        found = self._jobs.get(f"{project}/{job}")
        if found is None:
            raise errors.no_job(project, job)
        return found

    def wait(self, project: str, job: str, seconds: float) -> Document:
        """A job once it is done, or as it is after this time."""
        found = self.get(project, job)
        if found["state"] == "RUNNING":
            wait([self._start(found)], timeout=seconds)
            found = self.get(project, job)
        return found

    def cancel(self, project: str, job: str) -> Document:
        """Ask a job to stop. Succeeds when it is done already."""
        found = self.get(project, job)
        self._engine.interrupt(found["inside"])
        return found

    def rows(self, document: Document, first: int, count: int) -> list[tuple[Any, ...]]:
        """Rows of a done job's result."""
        return self._engine.rows(document["inside"], first, count) if count else []

    def close(self) -> None:
        for inside in list(self._running):
            self._engine.interrupt(inside)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, document: Document) -> Future[None]:
        with self._lock:
            inside = document["inside"]
            if inside in self._running:
                return self._running[inside]
            if self.get(document["project"], document["job"])["state"] == "DONE":  # meanwhile
                done: Future[None] = Future()
                done.set_result(None)
                return done
            self._running[inside] = self._pool.submit(self._run, document)
            return self._running[inside]

    def _run(self, document: Document) -> None:
        done = dict(document)
        try:
            query = document["configuration"]["query"]
            translated = self._translated(document["project"], query)
            done["bytes"] = self._check_bytes(query, translated)
            done["fields"], done["rows"] = self._engine.run(document["inside"], translated.sql, translated.values)
        except exceptions.GoogleAPICallError as error:
            done["error"] = errors.proto(error)
        except Exception as error:
            done["error"] = {"reason": "internalError", "message": f"local cloud: {type(error).__name__}: {error}"}
            LOG.exception("query %s failed inside the local cloud", document["job"])
        finally:
            done |= {"state": "DONE", "ended": time.time()}
            self._jobs.put(f"{done['project']}/{done['job']}", done)
            with self._lock:
                self._running.pop(document["inside"], None)

    def _translated(self, project: str, query: Mapping[str, Any]) -> Translated:
        if query.get("useLegacySql", True):
            raise errors.not_implemented("legacy SQL")
        default = query.get("defaultDataset") or {}
        given = parameters.read(str(query.get("parameterMode", "")), query.get("queryParameters") or [])
        return translate(
            str(query.get("query", "")), default.get("projectId") or project, default.get("datasetId", ""), given,
            self._catalog.kept,
        )  # fmt: skip

    def _check_bytes(self, query: Mapping[str, Any], translated: Translated) -> int:
        """How many bytes a query reads. Raises QueryError where it would be billed for more than it may."""
        each = [self._catalog.bytes(name, columns) for name, columns in translated.reads]
        needed = billed(each)
        limit = int(query.get("maximumBytesBilled") or 0)
        if limit and needed > limit:
            raise errors.too_many_bytes(limit, needed)
        return sum(each)


def billed(each: list[int]) -> int:
    """The bytes that a query is billed for, from those of each table that it reads."""
    return sum(max(_LEAST_BILLED, -(-size // _MEGABYTE) * _MEGABYTE) for size in each)


def _refuse_others(query: Mapping[str, Any]) -> None:
    """What would not be honoured (a destination, a UDF, clustering) is refused by name."""
    for field, value in query.items():
        if field not in _QUERY_FIELDS and value not in (None, "", [], {}, False):
            raise errors.not_implemented(f"a query with {field}")
