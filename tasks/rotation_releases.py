"""Gives the services of a rotation their new versions, by the candidate and canary steps of a deploy.

Safety property: the image that serves is released again with other version numbers, and nothing else; an error gives
the stable revision all traffic back before it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks.analysis.rotation_release import plan_release
from tasks.estate import Service
from tasks.ground import prove_service
from tasks.parallel import all_of
from tasks.probing import require_probes
from tasks.record import record_change, run_name, verified_revisions
from tasks.release_models import CanaryStep
from tasks.releases import canary, read_urls, stable_on_error
from tasks.rotation_work import Work
from tasks.services import create_candidate, read_service, release_candidate


async def release_all(work: Work, names: Iterable[str], before: Mapping[str, int]) -> None:
    """Release services in their order. ``before``: what receivers accept beside the new versions, by secret."""
    chosen = tuple(names)
    for wave in work.site.estate.waves(chosen) if chosen else ():
        await all_of(*(_release(work, service, before) for service in wave))


async def _release(work: Work, service: Service, before: Mapping[str, int]) -> None:
    """Release what serves with the new versions, by the candidate and canary steps of a deploy."""
    site, steps = work.site, list[CanaryStep]()
    ground = await prove_service(site, service)
    plan = plan_release(site.estate, service, ground, work.targets, await read_urls(site), before)
    assert ground.stable_spec is not None
    async with stable_on_error(site, plan):
        revision = await create_candidate(site, plan, ground.stable_spec.image, run_name())
        try:
            await canary(site, plan, revision, steps)
        finally:
            work.canary[service.name] = tuple(steps)
        await release_candidate(site, service.name, ground.stable, revision, steps[-1].percent if steps else 0)
        state = await read_service(site, service.name)
        await require_probes(site, service, state.uri if state else "", revision)
    work.revisions[service.name] = revision


async def record_services(work: Work) -> None:
    """Write down which revision took whose place, also where a killed run released it."""
    for name, revision in _serving(work).items():
        standing = await verified_revisions(work.site, name)
        if revision in standing[:1]:
            continue
        before = standing[0] if standing else ""
        work.revisions[name] = revision
        await record_change(
            work.site, "rotation", name, f"rotation of {work.unit.name}", "released", f"rotation/{name}/{revision}",
            {"secrets": work.targets, "emergency": work.wish.emergency}, {"revision": before},
            {"revision": revision, "verified": True},
        )


def _serving(work: Work) -> dict[str, str]:
    """The revision that serves in each service that is pinned to the new version."""
    main, ground = work.unit.main, work.ground
    target = work.targets[main]
    return {
        one.service: one.name
        for one in ground.references
        if one.ours and one.secret == main and one.number == target and one.serves_all
    }
