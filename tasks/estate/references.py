"""What a valid estate must hold beyond each table for itself: names that exist, once, and in no circle."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from tasks.estate.cloud_run import PREVIOUS, SERVICE_URL, Service
from tasks.estate.dependencies import Dependencies
from tasks.estate.nearest import did_you_mean
from tasks.estate.order import waves
from tasks.estate.surroundings import Database, Notify, Secret
from tasks.estate.webhooks import Source, Webhooks

#: Anything in an environment value that looks meant as a place holder; other braces (JSON) are left alone.
_PLACE_HOLDER = re.compile(r"\{(services?\.[^{}]*)\}")


class Tables(Protocol):
    """The part of the estate that is looked at here."""

    @property
    def services(self) -> tuple[Service, ...]: ...
    @property
    def databases(self) -> tuple[Database, ...]: ...
    @property
    def secrets(self) -> tuple[Secret, ...]: ...
    @property
    def notify(self) -> Notify: ...
    @property
    def dependencies(self) -> Dependencies | None: ...
    @property
    def source(self) -> Source | None: ...
    @property
    def webhooks(self) -> Webhooks | None: ...


def reference_errors(estate: Tables) -> tuple[str, ...]:
    """Every name that does not exist, exists twice, or needs itself, as lines for a person."""
    services = [item.name for item in estate.services]
    databases = [item.name for item in estate.databases]
    secrets = [item.name for item in estate.secrets]
    return (
        *_twice("services", services),
        *_twice("databases", databases),
        *_twice("secrets", secrets),
        *(error for item in estate.services for error in _service_errors(item, services, databases, secrets)),
        *(
            error
            for item in estate.databases
            for key, name in (("url_secret", item.url_secret), ("password_secret", item.password_secret))
            if name
            for error in _unknown(f"databases.{item.name}.{key}", "secret", [name], secrets)
        ),
        *_without_database(estate),
        *(error for item in estate.services for error in _previous_errors(item, estate.secrets)),
        *_unknown("notify.url_secret", "secret", filter(None, [estate.notify.url_secret]), secrets),
        *_unknown("dependencies.forge.token_secret", "secret", _forge_secret(estate.dependencies), secrets),
        *_webhook_errors(estate, secrets),
        *_circle(estate),
    )


def _without_database(estate: Tables) -> Iterator[str]:
    """A login that belongs to no database could never be rotated."""
    named = {name for item in estate.databases for name in (item.url_secret, item.password_secret)}
    for secret in estate.secrets:
        if secret.rotation == "database" and secret.name not in named:
            yield f"secrets.{secret.name} has rotation = database, and no database names it as its password_secret"


def _previous_errors(service: Service, secrets: Iterable[Secret]) -> Iterator[str]:
    """A receiver takes the version before the newest one beside the newest one, and a login is no such secret."""
    logins = {secret.name for secret in secrets if secret.rotation == "database"}
    for variable, reference in service.secrets.items():
        name, _, version = reference.partition("@")
        key = f"services.{service.name}.secrets.{variable}"
        if version == PREVIOUS and name in logins:
            yield f"{key} is {reference}, and {name} is a database's login, whose users take turns; write {name} alone"
        elif version == PREVIOUS and name not in service.secrets.values():
            yield f"{key} is {reference}, and no variable is {name} alone; a receiver takes both"


def _forge_secret(section: Dependencies | None) -> list[str]:
    return [section.forge.token_secret] if section and section.forge else []


def _webhook_errors(estate: Tables, secrets: Collection[str]) -> Iterator[str]:
    if estate.source is not None:
        yield from _unknown("source.token_secret", "secret", filter(None, [estate.source.token_secret]), secrets)
    if estate.webhooks is None:
        return
    if estate.source is None:
        yield "webhooks needs source, which names the repository and the branch that is released"
    overlaps = {secret.name: secret.overlap_days for secret in estate.secrets if secret.rotation != "database"}
    for sender in estate.webhooks.senders:
        yield from _unknown(f"webhooks.senders.{sender.name}.secret", "secret", [sender.secret], secrets)
        if overlaps.get(sender.secret) == 0:
            key = f"secrets.{sender.secret}.overlap_days"
            yield f"{key} is 0, and sender {sender.name} is given each new version by a person; write 14"


def _service_errors(
    service: Service, services: Collection[str], databases: Collection[str], secrets: Collection[str]
) -> Iterator[str]:
    key = f"services.{service.name}"
    yield from _unknown(f"{key}.database", "database", filter(None, [service.database]), databases)
    yield from _unknown(f"{key}.after", "service", service.after, services)
    for variable, reference in service.secrets.items():
        yield from _unknown(f"{key}.secrets.{variable}", "secret", [reference.partition("@")[0]], secrets)
    variables = (*service.env, *service.secrets)
    yield from _unknown(f"{key}.drill.without", "variable", service.drill.without, variables)
    if service.sync and service.sync.token_secret:
        yield from _unknown(f"{key}.sync.token_secret", "secret", [service.sync.token_secret], secrets)
    for variable, value in service.env.items():
        yield from _place_holders(f"{key}.env.{variable}", value, services)


def _place_holders(key: str, value: str, services: Collection[str]) -> Iterator[str]:
    for inside in _PLACE_HOLDER.findall(value):
        match = SERVICE_URL.fullmatch(f"{{{inside}}}")
        if match is None:
            yield f"{key} holds the unknown place holder {{{inside}}} (the only one is {{services.NAME.url}})"
        else:
            yield from _unknown(key, "service", [match.group(1)], services)


def _unknown(key: str, kind: str, names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{key} names the unknown {kind} {name} ({did_you_mean(name, known)})"


def _twice(key: str, names: Iterable[str]) -> Iterator[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{key}.{name} stands {times} times"


def _circle(estate: Tables) -> Iterator[str]:
    try:
        waves({item.name: item.predecessors() for item in estate.services})
    except ValueError as circle:
        yield f"services need each other in a circle ({circle}); write one URL out in full, or take out one 'after'"
