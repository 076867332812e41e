"""The filter of ListBuilds: status, tags, images, build_id and times, as Cloud Build documents it.

https://cloud.google.com/build/docs/view-build-results#filtering_build_results_using_queries
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime

from google.api_core import exceptions
from google.cloud.devtools.cloudbuild_v1.types import Build

from localcloud import filters
from localcloud.build.records import Status

Matcher = Callable[[Build], bool]
_ORDER = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
          ">=": operator.ge}
_TIMES = ("create_time", "start_time", "finish_time")


def matcher(text: str) -> Matcher:
    """Turn a filter into a predicate. Raises InvalidArgument for what it does not know."""
    node = filters.parse(text)
    return (lambda _: True) if node is None else filters.predicate(node, _condition)


def _condition(node: filters.Node) -> Matcher:
    if not isinstance(node, filters.Comparison):
        raise exceptions.InvalidArgument(f"The filter of builds does not know {filters.name_of(node)}.")
    return _comparison(node)


def _comparison(node: filters.Comparison) -> Matcher:
    field = ".".join(node.path)
    if field in _TIMES and node.operator in _ORDER:
        return _time(field, node.operator, node.value.text)
    if field == "status" and node.operator in ("=", "!="):
        return _text(lambda build: [build.status.name], node.operator, _status(node.value.text))
    if field in ("tags", "images") and node.operator in ("=", "!=", ":"):
        return _text(lambda build: list(getattr(build, field)), node.operator, node.value.text)
    if field in ("build_id", "id") and node.operator in ("=", "!="):
        return _text(lambda build: [build.id], node.operator, node.value.text)
    raise exceptions.InvalidArgument(f"The filter of builds does not know {filters.name_of(node)}.")


def _text(values: Callable[[Build], list[str]], sign: str, wanted: str) -> Matcher:
    return lambda build: (wanted in values(build)) is (sign != "!=")


def _status(text: str) -> str:
    if text not in Status.__members__:
        raise exceptions.InvalidArgument(f"The filter of builds does not know the status '{text}'.")
    return text


def _time(field: str, sign: str, text: str) -> Matcher:
    try:
        wanted = datetime.fromisoformat(text)
    except ValueError as error:
        raise exceptions.InvalidArgument(f"The filter of builds cannot read the time '{text}'.") from error
    wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    return lambda build: field in build and _ORDER[sign](getattr(build, field), wanted)
