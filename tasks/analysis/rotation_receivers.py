"""Whether the senders of a generated secret may be given a version. No I/O.

Safety property: the alias that senders follow moves only once everybody who could be sent the new version accepts it,
with every share of its traffic. Where that cannot be seen, it is not so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.analysis.rotation import CURRENT, Unit, receivers, users_of
from tasks.analysis.rotation_use import Blocker
from tasks.estate import Estate
from tasks.rotation_models import Reference, RotationGround


def unready(estate: Estate, unit: Unit, ground: RotationGround, target: int) -> tuple[Blocker, ...]:
    """The receivers that would refuse a sender with this version, each with the way out; none where all accept it.

    Among our services those are receivers that accept two versions; where none does, the one that uses the secret. Of
    a foreign service nobody knows whether it sends or receives. The two users of a database are both valid always,
    and an external key is valid at its provider.
    """
    if unit.kind != "generated":
        return ()
    taking = {service.name for service in receivers(estate, unit) or users_of(estate, unit)}
    serving = [one for one in ground.references if one.serves and one.secret == unit.main]
    concerned = sorted({one.service for one in serving if one.service in taking or not one.ours})
    of_each = ((name, [one for one in serving if one.service == name]) for name in concerned)
    return tuple(
        _blocker(unit, name, found, target) for name, found in of_each if not _accepts(found, target)
    )


def _accepts(found: Sequence[Reference], target: int) -> bool:
    """Whether one revision has all the traffic, and one of its variables holds the version."""
    return not _split(found) and any(one.pinned and one.number == target for one in found)


def _blocker(unit: Unit, service: str, found: Sequence[Reference], target: int) -> Blocker:
    shown = ", ".join(sorted({f"{one.name} {one.why} with version {one.version}" for one in found}))
    what = f"{service} does not accept version {target} of {unit.main} with all its traffic ({shown})"
    return Blocker(what=f"{what}, so the alias {CURRENT} stays", way_out=_way_out(unit, found, target))


def _way_out(unit: Unit, found: Sequence[Reference], target: int) -> str:
    accepting = {one.name for one in found if one.number == target}
    if _split(found):
        to = f"--to-revisions={min(accepting)}=100" if accepting else "--to-latest"
        return f"gcloud run services update-traffic {found[0].service} {to}, then run it again"
    if found[0].ours:
        return "run it again"
    variables = ",".join(f"{name}={unit.main}:{target}" for name in _variables(found))
    return f"gcloud run services update {found[0].service} --update-secrets={variables}, then run it again"


def _split(found: Iterable[Reference]) -> bool:
    return any(not one.serves_all for one in found)


def _variables(found: Iterable[Reference]) -> list[str]:
    return sorted({one.variable or "PATH" for one in found})
