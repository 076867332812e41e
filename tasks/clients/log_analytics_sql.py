"""The one query of the review of logs over a Log Analytics view, in BigQuery's SQL.

Equal entries of an hour come as one row with their number: an hour is as fine as the review counts. Those of a stream
that prints stack traces line by line come singly and in order, since a line of a trace means nothing alone. Requests
come by path and by bucket of latency, ``@per_bucket`` buckets for each unit of the natural logarithm. An entry that is
stored twice counts once: the view does not remove what was written again, as Cloud Logging's own pages do.

The view's columns are those of https://cloud.google.com/logging/docs/analyze/examples. ``{table}`` is the one thing
that cannot be a parameter; the estate holds its name to BigQuery's rules.
"""
# ruff: noqa: S608  what is put together here are constants of this module and a name that the estate has checked

from __future__ import annotations

from tasks.clients.log_pages import MESSAGES, SERVICES, TRACES


def _first(expressions: list[str], otherwise: str) -> str:
    return f"COALESCE({', '.join([*expressions, otherwise])})"


def _string(name: str) -> str:
    """A field of the payload, where it is a string that is not empty."""
    is_string = f"STARTS_WITH(TO_JSON_STRING(JSON_QUERY(json_payload, '$.{name}')), '\"')"
    return f"NULLIF(IF({is_string}, JSON_VALUE(json_payload, '$.{name}'), NULL), '')"


_SERVICE = _first([f"JSON_VALUE(resource.labels, '$.{name}')" for name in SERVICES], "resource.type")
_SAID = _first([_string(name) for name in MESSAGES], "NULL")
_TRACE = _first([_string(name) for name in TRACES], "NULL")
_LATENCY = "IFNULL(http_request.latency.seconds, 0) + IFNULL(http_request.latency.nanos, 0) * 0.000000001"
_BUCKET = f"CAST(CEIL(LN(GREATEST({_LATENCY}, @shortest)) * @per_bucket) AS INT64)"

WEEK = f"""
WITH stored AS (
  SELECT UNIX_MICROS(timestamp) AS micros, IFNULL(insert_id, '') AS entry_id, log_name AS log, severity AS level,
    {_SERVICE} AS service, IFNULL(JSON_VALUE(labels, '$.instanceId'), '') AS instance,
    http_request IS NOT NULL AS requested, http_request.request_method AS method,
    REGEXP_REPLACE(http_request.request_url, r'(?s)\\?.*', '') AS address, http_request.status >= 500 AS failed,
    IF(http_request IS NULL, NULL, {_BUCKET}) AS bucket,
    text_payload AS plain, {_SAID} AS message, {_TRACE} AS stack,
    TO_JSON_STRING(json_payload) AS payload, json_payload IS NOT NULL AS structured,
    proto_payload.audit_log IS NOT NULL AS audited,
    IF(http_request IS NULL, 0, BYTE_LENGTH(TO_JSON_STRING(http_request))) AS request_bytes
  FROM `{{table}}`
  WHERE timestamp >= @since AND timestamp < @until
),
told AS (
  SELECT DISTINCT micros, entry_id, log, level, service, instance, requested, method, address, failed, bucket,
    IF(requested, NULL, COALESCE(plain, message)) AS said,
    IF(requested OR NOT structured, NULL, IF(stack LIKE '%\\n%', stack, NULL)) AS trace,
    IF(requested OR NOT structured OR message IS NOT NULL OR IFNULL(stack LIKE '%\\n%', FALSE), NULL, payload) AS rest,
    IF(requested OR NOT audited, NULL, @audit) AS kind,
    IF(structured, BYTE_LENGTH(payload), IFNULL(BYTE_LENGTH(plain), 0)) + request_bytes AS bytes
  FROM stored
),
printing AS (
  SELECT DISTINCT service AS p_service, instance AS p_instance, log AS p_log
  FROM told
  WHERE STARTS_WITH(said, 'Traceback (most recent call last)')
),
keyed AS (
  SELECT told.*, IF(p_log IS NULL, '', instance) AS source, IF(p_log IS NULL, '', entry_id) AS single,
    IF(p_log IS NULL, 0, micros) AS moment, DIV(micros - @start, 3600000000) AS hour
  FROM told LEFT JOIN printing ON service = p_service AND instance = p_instance AND log = p_log
)
SELECT service, log, level, source, requested, method, address, failed, bucket, said, trace, rest, kind,
  COUNT(*) AS times, SUM(bytes) AS size, MIN(micros) AS first_at, MAX(micros) AS last_at
FROM keyed
GROUP BY service, log, level, source, requested, method, address, failed, bucket, said, trace, rest, kind,
  single, moment, hour
ORDER BY first_at, MIN(entry_id)"""
