"""The whole estate, and the questions that the flows ask it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from tasks.errors import BadInput
from tasks.estate import reading
from tasks.estate.cloud_run import Canary, Service
from tasks.estate.costs import Costs
from tasks.estate.dependencies import Dependencies
from tasks.estate.nearest import did_you_mean
from tasks.estate.order import waves
from tasks.estate.references import reference_errors
from tasks.estate.review import Review
from tasks.estate.surroundings import Database, Freeze, Google, Notify, Secret, ShortName
from tasks.estate.webhooks import Source, Webhooks
from tasks.models import Frozen

_Item = TypeVar("_Item", Service, Database, Secret)


class Estate(Frozen):
    """What is operated. One file per environment; ``file`` is where it was read from, and no key of it."""

    name: ShortName
    google: Google
    databases: tuple[Database, ...] = ()
    services: tuple[Service, ...] = Field(min_length=1)
    secrets: tuple[Secret, ...] = ()
    canary: Canary = Canary()
    freeze: tuple[Freeze, ...] = ()
    notify: Notify = Notify()
    costs: Costs | None = None
    review: Review = Review()
    dependencies: Dependencies | None = None
    source: Source | None = None
    webhooks: Webhooks | None = None
    file: Path

    @classmethod
    def load(cls, path: Path) -> Estate:
        """Read an estate file.

        Raises BadInput with one line that names the file and every error found (the first five), each with its key.
        """
        document = reading.parse(path)
        try:
            estate = cls.model_validate({**document, "file": path.resolve()})
        except ValidationError as error:
            raise BadInput(reading.one_line(path, reading.in_words(error, document, cls))) from None
        errors = reference_errors(estate)
        if errors:
            raise BadInput(reading.one_line(path, errors))
        return estate

    @property
    def folder(self) -> Path:
        """The folder of the estate file: what ``source`` is relative to."""
        return self.file.parent

    def service(self, name: str) -> Service:
        """A service by name. Raises BadInput with the nearest name."""
        return _named(self.services, name, "service", self.file)

    def database(self, name: str) -> Database:
        """A database by name. Raises BadInput with the nearest name."""
        return _named(self.databases, name, "database", self.file)

    def secret(self, name: str) -> Secret:
        """A secret by name. Raises BadInput with the nearest name."""
        return _named(self.secrets, name, "secret", self.file)

    def canary_of(self, service: Service) -> Canary:
        """The canary rules of a service: its own, or the estate's."""
        return service.canary or self.canary

    def source_of(self, service: Service, root: Path | None = None) -> Path:
        """The folder of a service's source, under the estate's folder or under another root such as a checkout."""
        return ((root or self.folder) / service.source).resolve()

    def waves(self, services: Iterable[str] = ()) -> tuple[tuple[Service, ...], ...]:
        """The services (all, where none is named) in waves: what is in one wave may go in parallel.

        A service comes after those in its ``after`` and those whose URL it is given, as far as they are named too.
        Raises BadInput for a name that does not exist.
        """
        chosen = {name: self.service(name) for name in services} or {item.name: item for item in self.services}
        ordered = waves({name: item.predecessors() for name, item in chosen.items()})
        return tuple(tuple(chosen[name] for name in wave) for wave in ordered)

    def secret_names(self, services: Iterable[Service] = ()) -> tuple[str, ...]:
        """Every secret that these services (all, where none is given) refer to, sorted."""
        chosen = tuple(services) or self.services
        return tuple(sorted({reference.partition("@")[0] for item in chosen for reference in item.secrets.values()}))


def _named(items: Collection[_Item], name: str, kind: str, file: Path) -> _Item:
    for item in items:
        if item.name == name:
            return item
    known = [item.name for item in items]
    raise BadInput(f"unknown {kind} {name} in {file.name}; {did_you_mean(name, known)}")
