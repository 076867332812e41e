"""What forbids to make or to give out a new version of a secret, each with the way out. No I/O.

Safety property: a rotation that could disturb anybody ends before its first write.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.analysis.rotation import CURRENT, SHOWN, Unit, idle_user, newest_pinned, receivers, users_of
from tasks.analysis.rotation_attempts import made_under, orphans, users_of_version
from tasks.estate import PREVIOUS, Database, Estate
from tasks.rotation_models import Login, Reference, RotationGround, RotationMark


def refusals(estate: Estate, unit: Unit, ground: RotationGround, mark: RotationMark | None) -> tuple[str, ...]:
    """Why a new version must not be made: each names what stands in the way, and the way out."""
    return (
        *_pinned_by_estate(estate, unit),
        *(_moving(ground) if unit.kind != "external" else ()),
        *_split(unit, ground),
        *_one_value(estate, unit, ground),
        *(_strangers(unit, ground, mark) if unit.kind != "external" else ()),
        *(_database_refusals(estate.database(unit.database), ground) if ground.database else ()),
    )


def _pinned_by_estate(estate: Estate, unit: Unit) -> Iterable[str]:
    for service in estate.services:
        for variable, reference in service.secrets.items():
            name, _, version = reference.partition("@")
            if name in unit.secrets and version not in ("", PREVIOUS):
                yield (
                    f"the estate pins services.{service.name}.secrets.{variable} to {reference}, so the next deploy "
                    f"would go back to it; write {name} alone"
                )


def _moving(ground: RotationGround) -> Iterable[str]:
    """Uses of a version that would move by themselves, before it proved itself or back to one that is disabled.

    To Google ``latest`` is the newest version in any state, so that it stands still for nobody; any other alias is
    resolved when an instance starts, and nobody can tell which value the instances of a foreign service have.
    """
    for one in ground.references:
        moves = not one.pinned and bool(one.why) and one.until is None
        if not moves or (one.version != "latest" and (one.ours or one.kind == "job")):
            continue
        what = f"{one.kind} {one.name} reads {one.secret} by its alias {one.version} ({one.why})"
        number = max((version.number for version in ground.secrets[one.secret].enabled()), default=0)
        if one.ours:
            yield f"{what}; a release pins a number: caretaker run deploy"
        elif one.kind == "job":
            point = f"gcloud secrets update {one.secret} --update-version-aliases={CURRENT}={number}"
            to = f"gcloud run jobs update {one.name} --update-secrets={one.variable or 'PATH'}={one.secret}:{CURRENT}"
            yield f"{what}; use the alias that a rotation moves: {point} && {to}"
        else:
            yield f"{what}; pin it: {_updated(one, number)}"


def _updated(one: Reference, number: int) -> str:
    where = f"{one.variable or 'PATH'}={one.secret}:{number}"
    return f"gcloud run services update {one.service} --update-secrets={where}"


def _split(unit: Unit, ground: RotationGround) -> Iterable[str]:
    """Services of ours of whose versions nothing can be concluded: their traffic is not at one revision."""
    serving = [one for one in ground.references if one.ours and one.serves and one.secret == unit.main]
    whole = {one.service for one in serving if one.serves_all}
    for name in sorted({one.service for one in serving} - set(ground.pins) - whole):
        shares = ", ".join(sorted({f"{one.name} {one.why}" for one in serving if one.service == name}))
        yield f"the traffic of {name} is split ({shares}); give all of it to one revision first"


def _one_value(estate: Estate, unit: Unit, ground: RotationGround) -> Iterable[str]:
    """Receivers that would refuse the senders with the other version: what is pinned to a variable is one value."""
    users, taking = users_of(estate, unit), receivers(estate, unit)
    if unit.kind == "generated" and len(users) > 1 and not taking:
        names = ", ".join(service.name for service in users)
        yield (
            f"{names} use {unit.main}, and none accepts the version before the newest one, so they would refuse each "
            f"other meanwhile; let the receivers accept two values, and name the second {unit.main}@{PREVIOUS}"
        )
    for service in taking:
        if service.name in ground.pins and service.name not in ground.previous:
            variables = ", ".join(sorted(service.previous_variables(unit.main)))
            yield f"{service.name} does not have {variables} yet, which the estate gives it; deploy it first"


def _strangers(unit: Unit, ground: RotationGround, mark: RotationMark | None) -> Iterable[str]:
    """Newer versions that somebody added and nobody uses: whose they are, only that person knows."""
    if not ground.pins:
        return
    ours = orphans(unit, ground, mark)[unit.main] if mark else ()
    made = {one.number for one in made_under(ground.secrets[unit.main], mark)} if mark else set()
    for version in ground.secrets[unit.main].enabled(newest_pinned(ground, unit)):
        if version.number in ours:
            continue
        if version.number in made and (found := _uses(ground, unit.main, version.number)):
            yield f"version {version.number} of secret {unit.main}, of an attempt that failed, is used by {found}"
            continue
        yield (
            f"version {version.number} of secret {unit.main} was added by somebody else and serves nowhere; deploy it, "
            f"or disable it: gcloud secrets versions disable {version.number} --secret={unit.main}"
        )


def _uses(ground: RotationGround, secret: str, number: int) -> str:
    """What refers to a version that was never given out: only a person can have done that, and can undo it."""
    aliases = sorted(alias for alias, stands in ground.secrets[secret].aliases.items() if stands == number)
    found = [f"{one.kind} {one.name} ({one.why})" for one in users_of_version(ground, secret, number)]
    return ", ".join((*found, *(f"alias {alias} (--remove-version-aliases={alias})" for alias in aliases)))


def _database_refusals(database: Database, ground: RotationGround) -> Iterable[str]:
    assert ground.database is not None
    logins, idle = ground.database.logins, idle_user(database, ground.database)
    if not ground.pins:
        yield f"no service of the estate reads secret {database.url_secret}; name it in a service's 'secrets'"
    if len(set(database.users)) < 2:
        yield f"databases.{database.name}.users names one user; two are needed, between which a rotation alternates"
        return
    missing = [user for user in (database.owner, database.rotator, *database.users) if user not in logins]
    if missing or not ground.database.rotator:
        yield (
            f"{database.name} is not prepared: {', '.join(missing) or database.rotator} is missing; prepare it once: "
            f"caretaker run rotate-secrets --param prepare=true"
        )
        return
    if logins[database.owner].can_log_in:
        yield f"{database.owner} can log in, so its password would outlive every rotation; ALTER ROLE … NOLOGIN"
    if not logins[idle].managed:
        yield (
            f"{database.rotator} may not change {idle}, which was made by somebody else; name two new users in "
            f"databases.{database.name}.users, then: caretaker run rotate-secrets --param prepare=true"
        )
    first, second = (logins[user] for user in database.users[:2])
    yield from differences(first, second)


def differences(one: Login, other: Login) -> Iterable[str]:
    """In what two login users differ, as sentences: a service would behave otherwise after the change."""
    for has, lacks in ((one, other), (other, one)):
        found = sorted(has.traits - lacks.traits)
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            what = f"{'; '.join(found[:SHOWN])}{more}"
            yield f"{has.name} and {lacks.name} differ: {has.name} has {what}; make them alike"
