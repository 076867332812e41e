"""What the attempts of a rotation made, what became of it, and what is next. No I/O.

Safety property: what was made and anything uses is never taken back; what was made and nothing uses belongs to an
attempt that failed, and is never used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tasks.analysis.rotation import CURRENT, Unit
from tasks.models import Frozen
from tasks.rotation_models import Reference, RotationGround, RotationMark, SecretState, Version


class Stage(Frozen):
    """What is next: ``begin`` a new version, ``release`` a version to services, or ``retire`` all others."""

    do: Literal["begin", "release", "retire"]
    target: int = 0
    services: tuple[str, ...] = ()


def next_stage(unit: Unit, ground: RotationGround, mark: RotationMark | None) -> Stage:
    """What is next.

    A version that was made under the mark and serves or served somewhere proved itself there: it is given to the other
    services, and the old ones go. One that did not is never used again, since its attempt failed or was killed.
    """
    state = ground.secrets[unit.main]
    if unit.kind == "external":
        target = max((version.number for version in state.enabled()), default=0)
    elif mark is None:
        return Stage(do="begin")
    else:
        made = {version.number for version in made_under(state, mark)}
        proved = made & _proved(unit, ground)
        # Nobody is pinned: receivers take every enabled version, so the newest one is in use by being there.
        target = max(proved or (made if read_by_being_there(unit, ground) else ()), default=0)
    if not target:
        return Stage(do="begin")
    behind = tuple(sorted(name for name, number in ground.pins.items() if number != target))
    return Stage(do="release" if behind else "retire", target=target, services=behind)


def made_under(state: SecretState, mark: RotationMark) -> tuple[Version, ...]:
    """The enabled versions of a secret that were made under the mark; none of a secret that it does not know."""
    return state.enabled(mark.after.get(state.name, state.newest))


def read_by_being_there(unit: Unit, ground: RotationGround) -> bool:
    """Whether a generated secret has receivers outside of Cloud Run alone, which take every enabled version.

    A service of ours whose traffic is split is pinned to no one version, and not to nothing either.
    """
    ours = any(one.ours and one.serves and one.secret == unit.main for one in ground.references)
    return unit.kind == "generated" and not ground.pins and not ours


def _proved(unit: Unit, ground: RotationGround) -> set[int]:
    """The versions that serve, a canary's share too, could be rolled back to, or were given to the senders."""
    known = {one.number for one in ground.references if one.secret == unit.main and (one.serves or one.until)}
    given = ground.secrets[unit.main].aliases.get(CURRENT, 0)
    return {*ground.pins.values(), given, *(number for number in known if number)}


def in_use(ground: RotationGround, name: str) -> set[int]:
    """The versions of a secret that anything uses: a revision that is reached or wanted back, a job, an alias."""
    return {
        *ground.secrets[name].aliases.values(),
        *(one.number for one in ground.references if one.secret == name and one.why and one.number),
    }


def orphans(unit: Unit, ground: RotationGround, mark: RotationMark) -> dict[str, tuple[int, ...]]:
    """The enabled versions, by secret, that were made under the mark and that nothing uses, not even a canary's share.

    A connection string of another user than the mark's was added by somebody else meanwhile, and is left alone. Where
    nobody is pinned, the newest one of a generated secret is in use by being there.
    """
    used = {*ground.pins.values(), *ground.previous.values(), *in_use(ground, unit.main)}
    if read_by_being_there(unit, ground):
        used.add(ground.secrets[unit.main].newest)
    kept = {unit.main: used | _strange(unit, ground, mark)}
    for name in unit.secrets[1:]:
        kept[name] = in_use(ground, name) | _paired(ground, used)
    return {name: tuple(_numbers(made_under(ground.secrets[name], mark), kept[name])) for name in unit.secrets}


def _numbers(versions: Iterable[Version], but: set[int]) -> Iterable[int]:
    return (version.number for version in versions if version.number not in but)


def _paired(ground: RotationGround, used: set[int]) -> set[int]:
    """The versions of the password's secret that belong to these of the connection string."""
    pairs = ground.database.pairs if ground.database else {}
    return {pairs[number] for number in used if number in pairs}


def _strange(unit: Unit, ground: RotationGround, mark: RotationMark) -> set[int]:
    """The versions of the connection string that are not for the mark's user."""
    if not mark.user or ground.database is None:
        return set()
    made = {version.number for version in made_under(ground.secrets[unit.main], mark)}
    return {number for number in made if ground.database.of.get(number) != mark.user}


def users_of_version(ground: RotationGround, secret: str, number: int) -> tuple[Reference, ...]:
    """What refers to a version, and counts."""
    return tuple(one for one in ground.references if (one.secret, one.number) == (secret, number) and one.why)
