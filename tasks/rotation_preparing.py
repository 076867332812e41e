"""Makes, once, what a rotation needs: a database's rotator, owner and login users, and the alias that senders follow.

Safety property: the logins that serve go on as they are, and the alias stands for what every receiver accepts.
"""

from __future__ import annotations

from tasks.analysis import rotation
from tasks.analysis.rotation import Unit
from tasks.analysis.rotation_use import in_words
from tasks.errors import OpsError, Refused
from tasks.rotation_changes import prepare_database
from tasks.rotation_facts import look
from tasks.rotation_finishing import give_to_senders
from tasks.rotation_models import RotationOutcome
from tasks.rotation_work import Wish, Work
from tasks.site import Site


async def prepare_all(site: Site, units: tuple[Unit, ...]) -> tuple[RotationOutcome, ...]:
    """Prepare one after the other; what goes wrong with one does not keep the others from their turn."""
    return tuple([await _prepared(site, unit) for unit in units if unit.kind != "external"])


async def _prepared(site: Site, unit: Unit) -> RotationOutcome:
    try:
        work = Work(site, unit, Wish(), await look(site, unit), None)
        return await (_prepare_login(work) if unit.database else _prepare_alias(work))
    except OpsError as error:
        verdict = "refused" if isinstance(error, Refused) else "failed"
        return RotationOutcome(name=unit.name, kind=unit.kind, secrets=unit.secrets, verdict=verdict, why=str(error))


async def _prepare_login(work: Work) -> RotationOutcome:
    database, serving = work.site.estate.database(work.unit.database), rotation.newest_pinned(work.ground, work.unit)
    await prepare_database(work.site, database, serving)
    return work.outcome("prepared", "it can be rotated now")


async def _prepare_alias(work: Work) -> RotationOutcome:
    name = work.unit.main
    if rotation.CURRENT not in work.ground.secrets[name].aliases:
        waiting = await give_to_senders(work, {name: rotation.newest_pinned(work.ground, work.unit)})
        if waiting:
            return work.outcome("refused", in_words(waiting))
    return work.outcome("prepared", "its senders can follow it now")
