"""Monitoring's filter: one metric type, and equalities on labels. Anything else is an InvalidArgument that names it.

https://cloud.google.com/monitoring/api/v3/filters
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.api_core import exceptions

from localcloud import filters
from localcloud.monitoring.metrics import METRICS, RESOURCE_TYPE, Labels, Metric

Matcher = Callable[[Labels], bool]
_METRIC_LABELS = ("response_code", "response_code_class")
_RESOURCE_LABELS = ("configuration_name", "location", "project_id", "revision_name", "service_name")


@dataclass(frozen=True)
class Selection:
    """What a filter selects. ``service`` is empty unless the filter names exactly one."""

    metric: Metric
    service: str
    matches: Matcher


def select(text: str) -> Selection:
    """Read a filter. Raises InvalidArgument, and NotFound for a metric type that there is not."""
    types, services, matchers = [], [], []
    for part in filters.conjuncts(filters.parse(text)):
        if isinstance(part, filters.Comparison) and part.path == ("metric", "type") and part.operator == "=":
            types.append(part.value.text)
            continue
        if isinstance(part, filters.Comparison) and label_path(".".join(part.path)) == ("resource", "service_name"):
            services += [part.value.text] if part.operator == "=" else []
        matchers.append(filters.predicate(part, _condition))
    if len(types) != 1:
        raise exceptions.InvalidArgument("The filter must specify exactly one metric type: metric.type = \"…\".")
    return Selection(_metric(types[0]), services[0] if len(services) == 1 else "",
                     lambda labels: all(matches(labels) for matches in matchers))


def label_path(field: str) -> tuple[str, str] | None:
    """``resource.label.x`` or ``metric.labels.x`` as (owner, label); None for another field. Raises InvalidArgument."""
    parts = field.split(".")
    if len(parts) != 3 or parts[0] not in ("metric", "resource") or parts[1] not in ("label", "labels"):
        return None
    if parts[2] not in (_METRIC_LABELS if parts[0] == "metric" else _RESOURCE_LABELS):
        raise exceptions.InvalidArgument(f"There is no label '{field}' in the metrics of {RESOURCE_TYPE}.")
    return parts[0], parts[2]


def _metric(name: str) -> Metric:
    if name not in METRICS:
        raise exceptions.NotFound(
            f"Cannot find metric(s) that match type = \"{name}\". The local cloud has: {', '.join(METRICS)}."
        )
    return METRICS[name]


def _condition(node: filters.Node) -> Matcher:
    if not isinstance(node, filters.Comparison):
        raise exceptions.InvalidArgument(f"The filter of time series does not know {filters.name_of(node)}.")
    return _comparison(node)


def _comparison(node: filters.Comparison) -> Matcher:
    field, wanted = ".".join(node.path), node.value.text
    if node.operator not in ("=", "!="):
        raise exceptions.InvalidArgument(f"The filter of time series does not know {filters.name_of(node)}.")
    equal = node.operator == "="
    if field == "resource.type":
        return lambda labels: (wanted == RESOURCE_TYPE) is equal
    if field == "project":
        return lambda labels: (wanted == dict(labels.resource)["project_id"]) is equal
    path = label_path(field)
    if path is None:
        raise exceptions.InvalidArgument(f"The filter of time series does not know the field '{field}'.")
    owner, label = path
    return lambda labels: (dict(getattr(labels, owner))[label] == wanted) is equal
