"""The calls of BigQuery's REST API: their arguments read, their answers written.

Paths, parameters and shapes are those of https://cloud.google.com/bigquery/docs/reference/rest/v2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.bigquery import errors
from localcloud.bigquery.catalog import Catalog, Document
from localcloud.bigquery.dialect import Name
from localcloud.bigquery.engine import Engine
from localcloud.bigquery.jobs import Jobs, billed
from localcloud.bigquery.types import cell
from localcloud.pages import page

Answer = dict[str, Any] | None
_WAIT_MS = 10_000
_PAGE_ROWS = 10_000
#: Fields of a jobs.query request that stand beside those of the query's own configuration.
_REQUEST_ONLY = frozenset({
    "kind", "dryRun", "timeoutMs", "maxResults", "formatOptions", "location", "requestId", "labels", "jobCreationMode",
    "jobTimeoutMs",
})  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """One call: the arguments in its path, its query, its JSON body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def project(self) -> str:
        return self.path["project"]

    @property
    def table(self) -> Name:
        return Name(self.project, self.path["dataset"], self.path["table"])

    def number(self, name: str, default: int) -> int:
        """A number of the query. Raises InvalidArgument."""
        text = self.query.get(name, "")
        if text and not text.isdigit():
            raise errors.invalid(f"Invalid value for {name}: {text}")
        return int(text) if text else default


class Api:
    """Each method answers one call with its JSON, or None for an empty answer."""

    def __init__(self, catalog: Catalog, jobs: Jobs, engine: Engine) -> None:
        self._catalog, self._jobs, self._engine = catalog, jobs, engine

    def insert_dataset(self, ask: Ask) -> Answer:
        return _dataset(self._catalog.insert_dataset(ask.project, ask.body))

    def get_dataset(self, ask: Ask) -> Answer:
        return _dataset(self._catalog.dataset(ask.project, ask.path["dataset"]))

    def list_datasets(self, ask: Ask) -> Answer:
        found, token = self._catalog.datasets(ask.project, ask.number("maxResults", 0), ask.query.get("pageToken", ""))
        return _listed("bigquery#datasetList", token, datasets=[_dataset(document) for document in found])

    def delete_dataset(self, ask: Ask) -> Answer:
        contents = ask.query.get("deleteContents", "").lower() == "true"
        self._catalog.delete_dataset(ask.project, ask.path["dataset"], contents=contents)
        return None

    def insert_table(self, ask: Ask) -> Answer:
        return self._table(self._catalog.insert_table(ask.project, ask.path["dataset"], ask.body))

    def get_table(self, ask: Ask) -> Answer:
        return self._table(self._catalog.table(ask.table))

    def list_tables(self, ask: Ask) -> Answer:
        dataset, token = ask.path["dataset"], ask.query.get("pageToken", "")
        found, more = self._catalog.tables(ask.project, dataset, ask.number("maxResults", 0), token)
        return _listed("bigquery#tableList", more, tables=[_table(document) for document in found])

    def delete_table(self, ask: Ask) -> Answer:
        self._catalog.delete_table(ask.table)
        return None

    def insert_all(self, ask: Ask) -> Answer:
        for name in ("templateSuffix", "ignoreUnknownValues", "skipInvalidRows"):
            if ask.body.get(name):
                raise errors.not_implemented(f"Tabledata.InsertAll with {name}")
        self._catalog.insert_rows(ask.table, [row.get("json") or {} for row in ask.body.get("rows") or []])
        return {"kind": "bigquery#tableDataInsertAllResponse"}

    def insert_job(self, ask: Ask) -> Answer:
        configuration, reference = ask.body.get("configuration") or {}, ask.body.get("jobReference") or {}
        if configuration.get("dryRun"):
            return self._dry_run_job(ask.project, configuration)
        return _job(self._jobs.insert(ask.project, str(reference.get("jobId") or ""), configuration))

    def get_job(self, ask: Ask) -> Answer:
        return _job(self._jobs.wait(ask.project, ask.path["job"], 0))

    def cancel_job(self, ask: Ask) -> Answer:
        return {"kind": "bigquery#jobCancelResponse", "job": _job(self._jobs.cancel(ask.project, ask.path["job"]))}

    def query(self, ask: Ask) -> Answer:
        query = {name: value for name, value in ask.body.items() if name not in _REQUEST_ONLY}
        if ask.body.get("dryRun"):
            fields, processed = self._jobs.dry_run(ask.project, query)
            return _complete(ask.project, fields, processed) | {"totalRows": "0"}
        started = self._jobs.insert(ask.project, "", {"query": query, "labels": ask.body.get("labels") or {}})
        seconds = int(ask.body.get("timeoutMs", _WAIT_MS)) / 1000
        document = self._jobs.wait(ask.project, started["job"], seconds)
        options = ask.body.get("formatOptions") or {}
        most = ask.body.get("maxResults")
        return self._results(document, "", None if most is None else int(most), bool(options.get("useInt64Timestamp")))

    def query_results(self, ask: Ask) -> Answer:
        seconds = ask.number("timeoutMs", _WAIT_MS) / 1000
        document = self._jobs.wait(ask.project, ask.path["job"], seconds)
        token, most = ask.query.get("pageToken", ""), ask.query.get("maxResults")
        whole = ask.query.get("formatOptions.useInt64Timestamp", "").lower() == "true"
        first = ask.number("startIndex", 0)
        return self._results(document, token, None if most is None else int(most), whole, first)

    def _results(self, document: Document, token: str, most: int | None, whole: bool, first: int = 0) -> Answer:
        """A page of a job's result; without rows while it runs. Raises what the job ended with."""
        if document["state"] != "DONE":
            return {"kind": "bigquery#queryResponse", "jobReference": _reference(document), "jobComplete": False}
        if document["error"]:
            raise errors.of_proto(document["error"])
        answer = _complete(document["project"], document["fields"], document["bytes"])
        answer |= {"jobReference": _reference(document), "totalRows": str(document["rows"])}
        if most == 0:
            return answer
        numbers, more = page(range(first, document["rows"]), most or 0, token, default=_PAGE_ROWS, most=_PAGE_ROWS)
        rows = self._jobs.rows(document, numbers[0], len(numbers)) if numbers else []
        answer["rows"] = [{"f": [cell(value, whole_timestamps=whole) for value in row]} for row in rows]
        return answer | ({"pageToken": more} if more else {})

    def _dry_run_job(self, project: str, configuration: Mapping[str, Any]) -> Answer:
        query = configuration.get("query")
        if query is None:
            raise errors.not_implemented(f"jobs other than queries ({', '.join(sorted(configuration))})")
        fields, processed = self._jobs.dry_run(project, query)
        statistics = {"totalBytesProcessed": str(processed), "query": _query_statistics(processed, fields)}
        return {
            "kind": "bigquery#job", "configuration": {**configuration, "jobType": "QUERY"},
            "jobReference": {"projectId": project}, "status": {"state": "DONE"}, "statistics": statistics,
        }  # fmt: skip

    def _table(self, document: Document) -> Document:
        """A table with what is counted: rows, and the bytes of its columns."""
        name = Name(document["project"], document["dataset"], document["table"])
        columns = [field["name"] for field in document["fields"]]
        counted = {
            "numRows": str(self._engine.count(document["inside"])),
            "numBytes": str(self._catalog.bytes(name, columns)),
        }
        return _table(document) | counted | {"schema": {"fields": document["fields"]}}


Work = Callable[[Api, Ask], Answer]


def _dataset(document: Document) -> Document:
    reference = {"projectId": document["project"], "datasetId": document["dataset"]}
    told = _told(document, "location", "labels", "description", "friendlyName")
    return {
        "kind": "bigquery#dataset", "id": f"{document['project']}:{document['dataset']}",
        "datasetReference": reference, "creationTime": document["created"], "lastModifiedTime": document["created"],
        **told,
    }  # fmt: skip


def _table(document: Document) -> Document:
    reference = {"projectId": document["project"], "datasetId": document["dataset"], "tableId": document["table"]}
    told = _told(document, "labels", "description", "friendlyName")
    return {
        "kind": "bigquery#table", "id": f"{document['project']}:{document['dataset']}.{document['table']}",
        "tableReference": reference, "type": "TABLE", "creationTime": document["created"],
        "lastModifiedTime": document["modified"], **told,
    }  # fmt: skip


def _told(document: Document, *names: str) -> Document:
    return {name: document[name] for name in names if name in document}


def _job(document: Document) -> Document:
    status: Document = {"state": document["state"]}
    if document["error"]:
        status |= {"errorResult": document["error"], "errors": [document["error"]]}
    statistics: Document = {"creationTime": _millis(document["created"]), "startTime": _millis(document["created"])}
    if document["state"] == "DONE":
        statistics["endTime"] = _millis(document["ended"])
        statistics["totalBytesProcessed"] = str(document["bytes"])
        statistics["query"] = _query_statistics(document["bytes"], document.get("fields") or [])
    return {
        "kind": "bigquery#job", "id": f"{document['project']}:US.{document['job']}",
        "jobReference": _reference(document), "configuration": {**document["configuration"], "jobType": "QUERY"},
        "status": status, "statistics": statistics,
    }  # fmt: skip


def _query_statistics(processed: int, fields: list[dict[str, Any]]) -> Document:
    return {
        "totalBytesProcessed": str(processed), "totalBytesBilled": str(billed([processed])), "cacheHit": False,
        "statementType": "SELECT", "schema": {"fields": fields},
    }  # fmt: skip


def _complete(project: str, fields: list[dict[str, Any]], processed: int) -> Document:
    return {
        "kind": "bigquery#queryResponse", "jobReference": {"projectId": project}, "jobComplete": True,
        "schema": {"fields": fields}, "totalBytesProcessed": str(processed), "cacheHit": False,
    }  # fmt: skip


def _reference(document: Document) -> Document:
    return {"projectId": document["project"], "jobId": document["job"], "location": "US"}


def _listed(kind: str, token: str, **lists: list[Any]) -> Document:
    answer: Document = {"kind": kind} | {name: found for name, found in lists.items() if found}
    return answer | ({"nextPageToken": token} if token else {})


def _millis(seconds: float) -> str:
    return str(int(seconds * 1000))
