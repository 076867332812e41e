"""Gives a version to everybody who uses the secret, and ends the rotation once the old ones are out of use.

Safety property: who accepts a value has it before who presents it, and the old one is valid until nobody presents it.
Every part looks what is done already, so a rotation that was killed anywhere is finished here.
"""

from __future__ import annotations

from tasks.analysis import rotation
from tasks.analysis.rotation_attempts import Stage
from tasks.analysis.rotation_receivers import unready
from tasks.analysis.rotation_use import Blocker, in_words
from tasks.rotation_changes import point_alias, remove_mark
from tasks.rotation_making import complete_pair
from tasks.rotation_models import RotationOutcome
from tasks.rotation_releases import record_services, release_all
from tasks.rotation_retiring import record_secret, retire
from tasks.rotation_work import Work


async def finish(work: Work, stage: Stage) -> RotationOutcome:
    """Release a version where it does not serve yet, take the older ones out of use, and remove the mark."""
    site, unit = work.site, work.unit
    work.targets = {unit.main: stage.target, **{k: v for k, v in work.targets.items() if k != unit.main}}
    await _complete_targets(work)
    held = await _give_out(work, stage.services)
    await work.look_again()
    await record_services(work)
    held = held or await retire(work)
    if held:
        until = [one.until for one in held if one.until]
        waits = len(until) == len(held)
        said = f"version {stage.target} serves; the old one stays in use: {in_words(held)}"
        when = f"; a run after {max(until):%Y-%m-%d %H:%M} UTC takes it out of use" if waits else ""
        return work.outcome("waiting" if waits else "held", said + when)
    await record_secret(work)
    await remove_mark(site, unit)
    await work.look_again()
    return work.outcome("rotated")


async def _give_out(work: Work, behind: tuple[str, ...]) -> tuple[Blocker, ...]:
    """Release the version: to those that accept the one before it too, then to everybody who uses what they accept.

    The receivers that do not accept it, whatever the reason; then no sender was given it.
    """
    before = rotation.version_before(work.ground.secrets[work.unit.main], work.targets[work.unit.main])
    taking = {service.name for service in rotation.receivers(work.site.estate, work.unit)} or set(behind)
    await release_all(work, (name for name in behind if name in taking), {work.unit.main: before})
    waiting = await give_to_senders(work, work.targets)
    if not waiting:
        await release_all(work, (name for name in behind if name not in taking), {work.unit.main: before})
    return waiting


async def give_to_senders(work: Work, versions: dict[str, int]) -> tuple[Blocker, ...]:
    """Move the alias that senders follow, if every receiver accepts the version now; those that do not."""
    if work.unit.kind == "generated":
        await work.look_again()
    waiting = unready(work.site.estate, work.unit, work.ground, versions[work.unit.main])
    if not waiting:
        await point_alias(work.site, versions)
    return waiting


async def _complete_targets(work: Work) -> None:
    """A login's two secrets belong together: the password's version is the one that holds the same password."""
    if not work.unit.database:
        return
    database = work.site.estate.database(work.unit.database)
    if database.password_secret and database.password_secret not in work.targets:
        work.targets[database.password_secret] = await complete_pair(
            work.site, database, work.targets[work.unit.main]
        )
