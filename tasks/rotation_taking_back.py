"""Takes back what an attempt of a rotation made and nothing uses, so that it is never used again.

Safety property: what uses a version is looked up here, just before; what serves, could be rolled back to, or is
meant by an alias stays enabled, whoever it was that began to use it.
"""

from __future__ import annotations

from tasks.analysis import rotation_attempts
from tasks.analysis.rotation import Unit
from tasks.analysis.rotation_attempts import in_use, made_under, read_by_being_there
from tasks.errors import Refused
from tasks.rotation_changes import remove_mark, retire_versions
from tasks.rotation_facts import look
from tasks.rotation_models import RotationGround, RotationMark
from tasks.site import Site


async def give_up(site: Site, unit: Unit, ground: RotationGround, mark: RotationMark) -> None:
    """Disable the orphans. With none in use the attempt is over, and so is its mark.

    Where anything uses what was made, such as a canary that could not be taken back, the mark stays: it is ours.
    """
    await _disable_orphans(site, unit, ground, mark)
    made = {version.number for version in made_under(ground.secrets[unit.main], mark)}
    over = rotation_attempts.next_stage(unit, ground, mark).do == "begin"
    if over and not made & in_use(ground, unit.main):
        await remove_mark(site, unit)


async def burn(site: Site, unit: Unit, mark: RotationMark) -> int:
    """Disable what earlier attempts made. A version that receivers read already, by its being there; 0 for none.

    Raises Refused where something began to use one of them meanwhile: its login is about to get another password,
    which would take that version's away.
    """
    ground = await look(site, unit)
    await _disable_orphans(site, unit, ground, mark)
    made = {version.number for version in made_under(ground.secrets[unit.main], mark)}
    used = made - set(rotation_attempts.orphans(unit, ground, mark)[unit.main])
    if used and not read_by_being_there(unit, ground):
        said = f"making a version of {unit.main} refused: version {max(used)} is in use meanwhile"
        raise Refused(f"{said}; run the flow again")
    return max(used, default=0)


async def _disable_orphans(site: Site, unit: Unit, ground: RotationGround, mark: RotationMark) -> None:
    for name, numbers in rotation_attempts.orphans(unit, ground, mark).items():
        await retire_versions(site, name, numbers)
