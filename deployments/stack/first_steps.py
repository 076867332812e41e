"""``python -m deployments.stack.first_steps``: what a started stack still needs to be of use.

It seeds the sample estate, registers the deployments, and runs the deploy flow where a service was never released. Its
imports take as long as Prefect's server needs to start, so it is started beside it. Safety property: each step is safe
to repeat, so a stack that was killed here goes on at its next start; an estate on Google is never deployed by this.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

gc.disable()  # while Prefect is imported
from prefect.client.orchestration import get_client  # noqa: E402

from deployments.run import FLOWS, load, print_ended, run_flow  # noqa: E402
from deployments.sample_estate import seed  # noqa: E402
from deployments.stack.folder import Folder  # noqa: E402
from deployments.stack.programs import PREFECT_YAML, cloud_program  # noqa: E402
from deployments.stack.registration import register  # noqa: E402
from tasks.clients.cloud_run import CloudRun  # noqa: E402
from tasks.clients.google import Google  # noqa: E402
from tasks.clients.ledger import Ledger  # noqa: E402
from tasks.errors import OpsError, TransientError  # noqa: E402
from tasks.estate import Estate  # noqa: E402
from tasks.settings import Settings, settings  # noqa: E402

for flow in FLOWS:  # now, while the server starts, and before there are two threads that could import them
    load(flow)
gc.freeze()
gc.enable()

PATIENCE_SECONDS = 120.0
REASON = "first release of the sample estate"


def main() -> int:
    """Take the steps; exit status 0 when all of them succeeded."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--began", type=float, default=time.time(), help="when the stack began to start")
    arguments.add_argument("--no-deploy", action="store_true", help="leave the services alone")
    arguments.add_argument("--no-sample", action="store_true", help="leave the local cloud empty")
    given = arguments.parse_args()
    machine = settings()
    try:
        estate = Estate.load(machine.estate)
        return take(estate, machine, given)
    except OpsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def take(estate: Estate, machine: Settings, given: argparse.Namespace) -> int:
    """Register while the sample is seeded and deployed: neither needs the other. Exit status of the deploy."""

    def say(what: str) -> None:
        print(f"  {time.time() - given.began:5.1f} s  {what}", flush=True)

    with ThreadPoolExecutor(max_workers=1) as pool:
        registering = pool.submit(asyncio.run, _register(PREFECT_YAML, say))
        if not given.no_sample:
            _wait_for_cloud(machine)
            seed(estate, settings(), lambda what: say(f"made {what}"))
        asyncio.run(_wait_for_prefect())
        Ledger(machine.ledger()).ensure()
        status = 0 if given.no_deploy else deploy(estate, machine)
        registering.result()
    return status


def deploy(estate: Estate, machine: Settings) -> int:
    """Run the deploy flow where a service of an estate on the local cloud was never released."""
    if not estate.google.local_cloud or not unreleased(estate, machine):
        return 0
    ended = run_flow("deploy", [f"estate={machine.estate}", f"reason={REASON}"], dry_run=False, as_json=False)
    return print_ended(ended, as_json=False)


def unreleased(estate: Estate, machine: Settings) -> list[str]:
    """The services of an estate that have no ready revision."""
    services = CloudRun(Google(estate.google, machine)).list_services()
    released = {service.name for service in services if service.latest_ready}
    return [service.name for service in estate.services if service.name not in released]


def _wait_for_cloud(machine: Settings) -> None:
    cloud = cloud_program(Folder(machine.state))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not cloud.healthy():
        if time.monotonic() > deadline:
            raise TransientError("making the sample failed: the local cloud does not answer")
        time.sleep(0.05)


async def _wait_for_prefect() -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    async with get_client() as client:
        while (problem := await client.api_healthcheck()) is not None:
            if time.monotonic() > deadline:
                raise TransientError(f"reaching Prefect's API failed: {problem}")
            await asyncio.sleep(0.1)


async def _register(file: Path, say: Callable[[str], None]) -> None:
    await _wait_for_prefect()
    async with get_client() as client:
        say(f"registered {', '.join(await register(client, file))}")


if __name__ == "__main__":
    sys.exit(main())
