"""Removes what killed runs left behind: jobs of ours that nobody needs any more.

Safety property: only what bears our label is looked at, only what belongs to a service whose lock this run holds is
deleted, and never a job that is at work.
"""

from __future__ import annotations

import asyncio

from prefect import task

from tasks import progress
from tasks.analysis import release as naming
from tasks.policies import MIGRATION_DEADLINE, WAIT, WRITE
from tasks.site import Site


@task(**WAIT)
async def await_jobs(site: Site, services: tuple[str, ...]) -> None:
    """Wait until no job of these services is at work: a killed run's migration moves the schema under any plan.

    Safe to repeat: it only looks. The caller holds the services' locks.
    """
    await asyncio.to_thread(_await_jobs, site, services)


def _await_jobs(site: Site, services: tuple[str, ...]) -> None:
    for job in site.run.list_jobs():
        if not naming.is_ours(job.labels) or job.labels.get(naming.LABEL_SERVICE) not in services:
            continue
        for execution in site.run.list_executions(job.name):
            if execution.running:
                progress.report("settle", job.name, "a killed run's job is still at work; waiting for it")
                site.run.wait_execution(execution.name, MIGRATION_DEADLINE)


@task(**WRITE)
async def sweep_jobs(site: Site, services: tuple[str, ...], keep: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Delete the idle migration jobs of these services, but those to keep, and return their names.

    Safe to repeat: deleting what is gone succeeds. The caller holds the services' locks.
    """
    return await asyncio.to_thread(_sweep_jobs, site, services, keep)


def _sweep_jobs(site: Site, services: tuple[str, ...], keep: tuple[str, ...]) -> tuple[str, ...]:
    swept = []
    for job in site.run.list_jobs():
        ours = naming.is_ours(job.labels) and job.labels.get(naming.LABEL_SERVICE) in services
        if not ours or job.name in keep:
            continue
        if any(execution.running for execution in site.run.list_executions(job.name)):
            continue
        site.run.delete_job(job.name)
        swept.append(job.name)
    return tuple(swept)
