"""Traffic lists: what is refused, and what a list means once the revisions are known.

Source: https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from google.api_core import exceptions
from google.cloud import run_v2

from localcloud.run.conditions import Reason, StartFailure, failed, message, succeeded
from localcloud.run.routes import Route

LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
_TAG = re.compile(r"[a-z]([a-z0-9-]{0,45}[a-z0-9])?")


def filled(traffic: Sequence[Any]) -> list[Any]:
    """The list, or Google's default: everything to the latest ready revision."""
    return list(traffic) or [run_v2.TrafficTarget(type_=LATEST, percent=100)]


def check(traffic: Iterable[Any]) -> None:
    """Raise InvalidArgument for a list that can mean nothing."""
    tags: set[str] = set()
    total = 0
    for target in traffic:
        _check_target(target)
        _check_tag(target.tag, tags)
        total += target.percent
    if total != 100:
        raise exceptions.InvalidArgument(f"spec.traffic: Traffic targets sum to {total}, want 100.")


def _check_target(target: Any) -> None:
    if target.type_ not in (LATEST, REVISION):
        raise exceptions.InvalidArgument("spec.traffic: type must be set to LATEST or REVISION.")
    if target.type_ == REVISION and not target.revision:
        raise exceptions.InvalidArgument("spec.traffic: revision must be set for the type REVISION.")
    if target.type_ == LATEST and target.revision:
        raise exceptions.InvalidArgument("spec.traffic: revision must not be set for the type LATEST.")
    if not 0 <= target.percent <= 100:
        raise exceptions.InvalidArgument("spec.traffic: percent must be between 0 and 100.")


def _check_tag(tag: str, seen: set[str]) -> None:
    if not tag:
        return
    if not _TAG.fullmatch(tag):
        raise exceptions.InvalidArgument(f"spec.traffic: tag '{tag}' is not a valid DNS label.")
    if tag in seen:
        raise exceptions.InvalidArgument(f"spec.traffic: Multiple definitions for tag '{tag}'.")
    seen.add(tag)


def resolve(service: str, traffic: Iterable[Any], revisions: dict[str, Any], latest_ready: str) -> Route:
    """The route that a list means. Raises StartFailure when a revision is gone or cannot serve."""
    shares = []
    for target in traffic:
        full = latest_ready if target.type_ == LATEST else f"{service}/revisions/{target.revision}"
        _check_serves(full, revisions.get(full))
        shares.append((full, target.percent, target.tag))
    return Route.of(shares)


def _check_serves(full: str, revision: Any) -> None:
    short = full.rpartition("/")[2]
    if revision is None:
        raise StartFailure(
            f"Revision '{short}' does not exist or is deleted. Update all traffic to route to currently available "
            "revisions.",
            Reason.REVISION_FAILED,
        )
    if not succeeded(revision, "Ready"):
        raise not_ready(revision)


def not_ready(revision: Any) -> StartFailure:
    """Why a revision cannot serve, in Google's words."""
    short = revision.name.rpartition("/")[2]
    why = message(revision, "Ready") if failed(revision, "Ready") else "It is still being deployed."
    return StartFailure(f"Revision '{short}' is not ready and cannot serve traffic. {why}", Reason.REVISION_FAILED)


def statuses(traffic: Iterable[Any], urls: dict[str, str]) -> list[Any]:
    """What a list came to, line by line. A line of the type LATEST names no revision, as on Google."""
    return [
        run_v2.TrafficTargetStatus(
            type_=target.type_, revision=target.revision, percent=target.percent, tag=target.tag,
            uri=urls.get(target.tag, "") if target.tag else "",
        )
        for target in traffic
    ]  # fmt: skip
