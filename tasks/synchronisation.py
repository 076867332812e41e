"""The sync step of a release: the service reads its content anew, and its caches are cleared.

Safety property: an empty source deletes every row, so it is refused before the call; a 200 whose ``errors`` list is not
empty is a failure.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from prefect import task
from pydantic import SecretStr

from tasks.analysis import release as naming
from tasks.analysis import traffic
from tasks.clients.http_call import post_json
from tasks.database import command_of
from tasks.errors import Conflict, PermanentError, Refused
from tasks.estate import Service
from tasks.models import SecretPin
from tasks.policies import READ, SYNC_DEADLINE, WAIT, WRITE
from tasks.release_models import ServicePlan
from tasks.site import Site


@task(**READ)
async def check_sync_source(service: Service, root: Path) -> int:
    """Count the files that the sync step will read. Raises Refused when there are none: every row would be deleted."""
    if service.sync is None or not service.sync.source:
        return 0
    folder = root / service.source / service.sync.source
    files = sum(1 for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    if not files:
        raise Refused(
            f"syncing {service.name} refused: {folder} holds no file, and an empty source deletes every row; "
            "put the content there, or take 'sync' out of the estate"
        )
    return files


@task(**WRITE)
async def synchronise(site: Site, service: Service, url: str) -> dict[str, object]:
    """Ask the service to read its content anew. Safe to repeat: it brings rows to what the source says.

    Raises PermanentError when the answer lists errors.
    """
    assert service.sync is not None
    answer = await _post(site, service, f"{url}{service.sync.path}")
    if answer.get("errors"):
        raise PermanentError(
            f"syncing {service.name} failed: {url}{service.sync.path} answered with errors: "
            f"{str(answer['errors'])[:300]}; mend the content and deploy again"
        )
    return answer


@task(**WAIT)
async def run_sync_command(site: Site, item: ServicePlan, image: str) -> None:
    """Run the service's sync command as a job with the release's image, and delete the job.

    Safe to repeat: the job is named by the release, an execution at work is waited for, and a sync brings rows to what
    the source says. Raises PermanentError with the command's last words.
    """
    await asyncio.to_thread(_run_command, site, item, image)


def _run_command(site: Site, item: ServicePlan, image: str) -> None:
    service = site.estate.service(item.service)
    name = naming.job_name(service.name, item.release, "sync")
    command, arguments = command_of(service, service.sync.command if service.sync else ())
    labels = {**naming.labels(service.name), **naming.expiry(datetime.now(UTC) + SYNC_DEADLINE * 2, item.release)}
    with suppress(Conflict):
        site.run.create_job(
            name,
            item.spec.model_copy(update={"image": image}),
            command=command,
            args=arguments,
            labels=labels,
            annotations={},
            max_retries=0,
            timeout=SYNC_DEADLINE,
        )
    running = next((run for run in site.run.list_executions(name) if run.running), None) or site.run.run_job(name)
    done = site.run.wait_execution(running.name, SYNC_DEADLINE)
    said = " ".join(" ".join(site.logs.execution_lines(done.name, 40)).split())[-600:] or done.message
    site.run.delete_job(name)
    if not done.succeeded:
        raise PermanentError(f"syncing {service.name} failed: {said}; mend the content and deploy again")


@task(**WRITE)
async def clear_caches(site: Site, service: Service, url: str) -> int:
    """Clear the service's caches, which else live in its processes. Safe to repeat."""
    assert service.sync is not None
    for path in service.sync.caches:
        await _post(site, service, f"{url}{path}")
    return len(service.sync.caches)


async def _post(site: Site, service: Service, url: str) -> dict[str, object]:
    assert service.sync is not None
    token = None
    if service.sync.token_secret:
        token = await asyncio.to_thread(_token, site, service, service.sync.token_secret)
    return await asyncio.to_thread(post_json, url, token, service.name)


def _token(site: Site, service: Service, secret: str) -> SecretStr:
    """The token that the serving revision expects: a newer version may be there already that it does not know yet."""
    stable = traffic.stable_revision(site.run.get_service(service.name))
    spec = site.run.get_revision(service.name, stable).spec
    before = service.previous_variables(secret)
    pins = (pin for name, pin in spec.secret_env.items() if pin.secret == secret and name not in before)
    return site.secrets.access(next(pins, SecretPin(secret=secret, version="latest")))
