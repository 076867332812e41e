"""Cloud Run (API v2): services behind a reverse proxy, and jobs, as real processes from immutable images."""

from __future__ import annotations

import logging
from pathlib import Path

from embedded.processes import reap
from localcloud.cloud import Cloud
from localcloud.rpc import Servicer
from localcloud.run.batches import Batches
from localcloud.run.book import Book
from localcloud.run.deployer import Deployer
from localcloud.run.engine import Engine
from localcloud.run.executions import Executions, Tasks
from localcloud.run.job_book import JobBook
from localcloud.run.jobs import Jobs
from localcloud.run.output import Line, entry
from localcloud.run.request_log import request_log
from localcloud.run.requests import Requests
from localcloud.run.revisions import Revisions, fleet_of
from localcloud.run.runner import Runner
from localcloud.run.services import Services

LOG = logging.getLogger("localcloud.run")
#: What an earlier local cloud left running has lost its proxy; it gets this long to end.
LEFTOVER_GRACE_SECONDS = 2.0


def install(cloud: Cloud) -> list[Servicer]:
    """Serve Cloud Run; ``cloud.requests`` holds what its proxy saw."""
    folder = cloud.state / "run"
    records, tasks = folder / "instances", folder / "tasks"
    for made in (records, tasks):
        made.mkdir(parents=True, exist_ok=True)
    cloud.requests = Requests(folder / "requests.db")
    book = Book(cloud.store)
    output = Batches[Line]("output", lambda lines: cloud.logs.write([entry(line) for line in lines]))
    log = request_log(cloud)
    engine = Engine(
        cloud, records, lambda revision, workshop: fleet_of(cloud, book, revision, workshop), output.add, log.add
    )
    deployer = Deployer(book, engine)
    job_book = JobBook(cloud.store)
    runner = Runner(cloud, job_book, tasks)
    cloud.at_stop(cloud.requests.close)
    for batches in (output, log):
        cloud.at_start(batches.start)
        cloud.at_stop(batches.close)
    cloud.at_start(lambda: _reap(records))
    cloud.at_start(engine.start)
    cloud.at_stop(engine.stop)
    cloud.at_start(deployer.restore)
    cloud.at_stop(runner.stop)
    return [
        Services(cloud, book, deployer), Revisions(cloud, book, engine),
        Jobs(cloud, job_book, runner), Executions(cloud, job_book, runner), Tasks(job_book),
    ]  # fmt: skip


def _reap(records: Path) -> None:
    count = reap(records, LEFTOVER_GRACE_SECONDS)
    if count:
        LOG.info("ended %d processes that an earlier local cloud had left", count)
