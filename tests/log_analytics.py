"""A Log Analytics view in the local cloud: the documented columns that the review reads, filled from raw entries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

from google.cloud import bigquery
from google.logging.type.log_severity_pb2 import LogSeverity
from google.protobuf.json_format import MessageToDict

from tasks.clients.google import Google


def _field(name: str, kind: str, *fields: bigquery.SchemaField) -> bigquery.SchemaField:
    return bigquery.SchemaField(name, kind, fields=fields)


SCHEMA = [
    _field("timestamp", "TIMESTAMP"), _field("insert_id", "STRING"), _field("log_name", "STRING"),
    _field("severity", "STRING"), _field("text_payload", "STRING"), _field("json_payload", "JSON"),
    _field("proto_payload", "RECORD", _field("audit_log", "RECORD", _field("method_name", "STRING"))),
    _field("labels", "JSON"),
    _field("resource", "RECORD", _field("type", "STRING"), _field("labels", "JSON")),
    _field(
        "http_request", "RECORD", _field("request_method", "STRING"), _field("request_url", "STRING"),
        _field("status", "INTEGER"),
        _field("latency", "RECORD", _field("seconds", "INTEGER"), _field("nanos", "INTEGER")),
    ),
]  # fmt: skip


def fill(google: Google, entries: Iterable[Any], dataset: str = "logs") -> str:
    """Make ``_AllLogs`` of raw entries; its full name."""
    google.bigquery.create_dataset(dataset)
    name = f"{google.project}.{dataset}._AllLogs"
    google.bigquery.create_table(bigquery.Table(name, schema=SCHEMA))
    rest = iter(entries)
    while batch := list(islice(rest, 2000)):
        assert google.bigquery.insert_rows_json(name, [_row(raw) for raw in batch]) == []
    return name


def _row(raw: Any) -> dict[str, Any]:
    kind = raw.WhichOneof("payload")
    return {
        "timestamp": raw.timestamp.ToJsonString(), "insert_id": raw.insert_id, "log_name": raw.log_name,
        "severity": LogSeverity.Name(raw.severity), "labels": json.dumps(dict(raw.labels)),
        "text_payload": raw.text_payload if kind == "text_payload" else None,
        "json_payload": json.dumps(MessageToDict(raw.json_payload)) if kind == "json_payload" else None,
        "proto_payload": {"audit_log": {"method_name": ""}} if kind == "proto_payload" else None,
        "resource": {"type": raw.resource.type, "labels": json.dumps(dict(raw.resource.labels))},
        "http_request": _request(raw.http_request) if raw.HasField("http_request") else None,
    }  # fmt: skip


def _request(request: Any) -> dict[str, Any]:
    return {
        "request_method": request.request_method, "request_url": request.request_url, "status": request.status,
        "latency": {"seconds": request.latency.seconds, "nanos": request.latency.nanos},
    }  # fmt: skip
