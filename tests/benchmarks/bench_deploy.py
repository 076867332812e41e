"""A deploy's wall time against the time spent inside the cloud's own operations.

The cloud's time is read from the cloud: the union of the times in which a build, a backup, a migration's execution or a
revision's start was under way. The canary's watch is taken out of both: how long it takes is the judge's statistics,
not orchestration. A release of changed code alone reuses its environment, and the local cloud then builds, backs up and
starts in a second or two, which takes Google minutes; so a release with new requirements is measured beside it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tasks.models import RevisionState
from tests.memory import temporary_folder
from tests.sample import Sample, run, verdict
from tests.stack import Stack, running_stack

Interval = tuple[datetime, datetime]
GOAL = 1.3
RELEASES = 3


def bench() -> list[dict[str, Any]]:
    """Release three versions of each kind, all with a migration; the median ratio, and where the time goes by step."""
    with temporary_folder() as folder, running_stack(folder / "state") as stack:
        sample = Sample(folder / "estate", "bench-deploy", steps=((50, 20),), thorough=True).write().seed()
        run(sample.deploy())
        return [
            *_rows("deploy of code alone", sample, stack, new_requirements=False),
            *_rows("deploy with new requirements", sample, stack, new_requirements=True),
        ]


def _rows(what: str, sample: Sample, stack: Stack, *, new_requirements: bool) -> list[dict[str, Any]]:
    releases = (_release(sample, stack, f"{new_requirements} {n}", new_requirements) for n in range(RELEASES))
    middle = sorted(releases, key=lambda measured: measured.ratio)[RELEASES // 2]
    against = f"{middle.cloud:.2f} s inside the cloud's operations, of {middle.wall:.2f} s"
    return [
        _row(f"{what}: wall time / cloud time", middle.ratio, "ratio", GOAL, against),
        _row(f"{what}: orchestration", middle.wall - middle.cloud, "s", None, "all that is not the cloud's"),
        *(
            _row(f"{what}: step {name}", seconds, "s", None, "of which the cloud's part is its own")
            for name, seconds in run(_steps(middle.flow_run))
        ),
    ]


@dataclass(frozen=True)
class Measured:
    """One release: seconds in all and inside the cloud's operations, the canary's watch left out."""

    wall: float
    cloud: float
    flow_run: UUID

    @property
    def ratio(self) -> float:
        return self.wall / self.cloud


def _row(name: str, value: float, unit: str, goal: float | None, against: str) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 2), "unit": unit, "goal": goal, "ok": goal is None or value <= goal,
        "against": against,
    }  # fmt: skip


def _release(sample: Sample, stack: Stack, name: str, new_requirements: bool) -> Measured:
    variant = sample.variant().with_version(f"bench {name}").with_additive_migration(f"bench {name}")
    if new_requirements:
        variant.write("requirements.txt", f"{(variant.at / 'requirements.txt').read_text()}# {name}\n")
    since, began = datetime.now(UTC), time.monotonic()
    result, flow_run = run(_deploy(sample))
    wall = time.monotonic() - began
    assert result.verdict == "released", result
    watched = sum(step.seconds for step in result.services[0].canary)
    return Measured(wall - watched, _length(_intervals(sample, stack, since)), flow_run)


async def _deploy(sample: Sample) -> tuple[Any, UUID]:
    state = await sample.deploy()
    return await verdict(state), state.state_details.flow_run_id


async def _steps(flow_run: UUID) -> list[tuple[str, float]]:
    """Seconds of each step that took a tenth of a second or more, the longest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    async with get_client() as client:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        runs = await client.read_task_runs(flow_run_filter=chosen, limit=200)
    spent: Counter[str] = Counter()
    for task_run in runs:
        spent[task_run.name.split(":")[0]] += task_run.total_run_time.total_seconds()  # type: ignore[assignment]
    return [(name, seconds) for name, seconds in spent.most_common() if seconds >= 0.1]


def _intervals(sample: Sample, stack: Stack, since: datetime) -> list[Interval]:
    """When the cloud was at work since a time."""
    executions = _executions(sample, stack, since)
    return [*_builds(sample, since), *_backups(sample, since), *executions, *_starts(sample, since)]


def _builds(sample: Sample, since: datetime) -> Iterable[Interval]:
    from google.cloud.devtools import cloudbuild_v1

    client = sample.site.google.client(cloudbuild_v1.CloudBuildClient)
    for build in client.list_builds(request={"project_id": sample.project, "parent": sample.site.google.parent}):
        if build.finish_time and build.create_time >= since:
            yield build.create_time, build.finish_time


def _backups(sample: Sample, since: datetime) -> Iterable[Interval]:
    instance = sample.site.estate.databases[0].instance
    for backup in sample.site.sql.backups(instance, 20):
        if backup.enqueued and backup.ended and backup.enqueued >= since:
            yield backup.enqueued, backup.ended


def _executions(sample: Sample, stack: Stack, since: datetime) -> Iterable[Interval]:
    """The job is deleted after the migration; the call that ran it, and its last line in the log, tell when it was."""
    lines = sample.site.logs.entries('resource.type="cloud_run_job"', since, 1000)
    calls = [call for call in stack.control.calls(project=sample.project) if call.method == "Jobs.RunJob"]
    started = [at for call in calls if (at := datetime.fromtimestamp(call.started, UTC)) >= since]
    if lines and started:
        yield min(started), max(line.timestamp for line in lines)


def _starts(sample: Sample, since: datetime) -> Iterable[Interval]:
    for revision in sample.site.run.list_revisions("api"):
        ready = _ready_at(sample, revision)
        if revision.created >= since and ready:
            yield revision.created, ready


def _ready_at(sample: Sample, revision: RevisionState) -> datetime | None:
    from google.cloud import run_v2

    client = sample.site.google.client(run_v2.RevisionsClient)
    name = f"{sample.site.google.parent}/services/api/revisions/{revision.name}"
    conditions = client.get_revision(name=name).conditions
    return next((c.last_transition_time for c in conditions if c.type_ == "Ready"), None)


def _length(intervals: Iterable[Interval]) -> float:
    """Seconds covered by at least one interval."""
    total, end = timedelta(), datetime.min.replace(tzinfo=UTC)
    for start, stop in sorted(intervals):
        total += max(timedelta(), stop - max(start, end))
        end = max(end, stop)
    return total.total_seconds()
