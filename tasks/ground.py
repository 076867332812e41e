"""Proves the ground before anything is planned: reads only.

Safety property: whatever is not understood stops the flow here, before the first write, with the object, what was seen
and the way out.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from prefect import task

from tasks.analysis import freeze, traffic
from tasks.analysis import release as naming
from tasks.errors import Refused
from tasks.estate import Estate, Service
from tasks.models import RevisionSpec, ServiceState
from tasks.policies import READ
from tasks.probing import probe
from tasks.release_models import ServiceGround
from tasks.services import pin_secrets, read_revision, read_service
from tasks.site import Site


@task(**READ)
async def refuse_freeze(estate: Estate, force: bool) -> None:
    """Raise Refused inside a freeze window of the estate."""
    window = freeze.active(estate.freeze, datetime.now(UTC))
    if window is not None and not force:
        raise Refused(
            f"changing {estate.name} {freeze.REFUSED}{window.until:%Y-%m-%d %H:%M} UTC ({window.reason}); "
            "wait, or pass force=true"
        )


async def prove_service(site: Site, service: Service) -> ServiceGround:
    """Find a service's stable revision, its health, the secrets it would get, and what a killed run left.

    Raises Refused on any traffic that is not understood, and where a secret is missing or disabled.
    """
    pins, state = await asyncio.gather(pin_secrets(site, service), read_service(site, service.name))
    if state is None or never_served(state):
        return ServiceGround(service=service.name, state=state, pins=pins)
    mark = naming.read_mark(state)
    stable = traffic.stable_of_mark(state, mark) if mark else traffic.stable_revision(state)
    spec, healthy = await _serving(site, service, state, stable)
    return ServiceGround(
        service=service.name,
        state=state,
        stable=stable,
        stable_spec=spec,
        stable_healthy=healthy,
        leftover=mark.candidate if mark else "",
        pins=pins,
        schema_revision=spec.annotations.get(naming.SCHEMA),
    )


def never_served(state: ServiceState) -> bool:
    """Whether a service exists of which no revision ever became ready: a first release that did not end well."""
    return not state.latest_ready


async def _serving(site: Site, service: Service, state: ServiceState, stable: str) -> tuple[RevisionSpec, bool]:
    revision, results = await asyncio.gather(
        read_revision(site, service.name, stable), probe(site, service, state.uri, "", 1)
    )
    if not all(result.ok for result in results):  # asked again: one lost answer must not count as a broken service
        results = await probe(site, service, state.uri, "", 1)
    return revision.spec, all(result.ok for result in results)
