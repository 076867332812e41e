"""Brings a service to the state that its resource asks for, and writes down how far it came.

Safety property: a revision that does not become ready never gets a request, and a traffic list that cannot be met in
whole changes nothing: what served before goes on serving. The work may be run again from its beginning at any time.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from google.api_core import exceptions

from localcloud.run import traffic
from localcloud.run.book import Book
from localcloud.run.conditions import (
    RevisionReason,
    StartFailure,
    State,
    condition,
    failed,
    now,
    put,
    succeeded,
)
from localcloud.run.engine import Engine
from localcloud.run.names import Name, parse
from localcloud.run.routes import Route

LOG = logging.getLogger("localcloud.run.deployer")


class Deployer:
    """Deploys revisions and moves traffic, one piece of work at a time per service."""

    def __init__(self, book: Book, engine: Engine) -> None:
        self._book, self._engine = book, engine
        self._locks: dict[str, threading.Lock] = {}

    def restore(self) -> None:
        """Serve again, at the same URLs, what was served when an earlier process ended."""
        for service in self._book.services.list():
            name = parse(service.name, "services")
            route = self._book.route(service.name)
            urls = self._engine.call(self._engine.serve(name, route, set(route.tags)))
            if urls[""] != service.uri:
                self._write(name, lambda s, urls=urls: _locate(s, urls, s.traffic_statuses))

    def deploy(self, operation: str, payload: dict[str, Any]) -> Any:
        """The work behind CreateService and UpdateService; gives the service, or raises why it is not ready."""
        name = parse(payload["service"], "services")
        generation = self._book.service(name).generation
        with self._lock(str(name)):
            self._move_traffic(name, tentative=True)  # a change among ready revisions waits for no other one
        for revision in self._book.revisions_of(str(name)):
            with self._lock(revision):
                self._start(revision)
        with self._lock(str(name)):
            routes = self._move_traffic(name)
            newest = self._latest_failure(name)
            self._write(name, lambda service: _conclude(service, generation, routes, newest))
        failure = routes or newest
        if failure is not None:
            raise exceptions.FailedPrecondition(failure.message)
        return self._book.service(name)

    def remove(self, name: Name, revisions: list[str], *, gone: bool) -> None:
        """Stop what a deleted service ran. ``gone`` is false when a new service has taken its name already."""
        with self._lock(str(name)):
            for revision in revisions:
                self._engine.call(self._engine.drop(revision))
            if gone:
                self._engine.call(self._engine.remove(name))

    def _lock(self, name: str) -> threading.Lock:
        # setdefault is one step; two threads get the same lock.
        return self._locks.setdefault(name, threading.Lock())

    def _start(self, full_name: str) -> None:
        revision = self._book.revisions.get(full_name)
        if revision is None or succeeded(revision, "Ready") or failed(revision, "Ready"):
            return
        try:
            self._engine.call(self._engine.ready(full_name))
        except StartFailure as failure:
            self._engine.call(self._engine.drop(full_name))
            self._judge(full_name, failure)
        else:
            self._judge(full_name, None)

    def _judge(self, full_name: str, failure: StartFailure | None) -> None:
        with self._book.transaction():
            revision = self._book.revisions.get(full_name)
            if revision is None:
                return
            _set_revision_conditions(revision, failure)
            self._book.revisions.put(full_name, revision)
            service = self._book.services.get(revision.service)
            if service is not None and failure is None and service.latest_created_revision == full_name:
                service.latest_ready_revision = full_name
                self._book.services.put(service.name, service)

    def _latest_failure(self, name: Name) -> StartFailure | None:
        revision = self._book.revisions.get(self._book.service(name).latest_created_revision)
        return traffic.not_ready(revision) if revision is not None and failed(revision, "Ready") else None

    def _move_traffic(self, name: Name, *, tentative: bool = False) -> StartFailure | None:
        """Put the route in place that the service asks for; give the reason when that cannot be done."""
        service = self._book.service(name)
        before = self._book.route(str(name))
        try:
            route = self._wanted(service)
        except StartFailure as failure:
            if tentative:
                return failure
            urls = self._engine.call(self._engine.serve(name, before, set(before.tags)))
            self._write(name, lambda s: _locate(s, urls, s.traffic_statuses))
            return failure
        self._warm(route.receiving - before.receiving)
        urls = self._engine.call(self._engine.serve(name, route, set(route.tags)))
        with self._book.transaction():
            self._book.put_route(str(name), route)
            self._write(name, lambda s: _locate(s, urls, traffic.statuses(service.traffic, urls)))
        return None

    def _wanted(self, service: Any) -> Route:
        revisions = self._book.revisions_of(service.name)
        latest = revisions.get(service.latest_created_revision)
        if not service.latest_ready_revision and latest is not None and failed(latest, "Ready"):
            raise traffic.not_ready(latest)
        return traffic.resolve(service.name, service.traffic, revisions, service.latest_ready_revision)

    def _warm(self, revisions: set[str]) -> None:
        """Have an instance of each ready before requests come, so that none waits for a cold start.

        As on Google a revision that was ready once keeps that state, and gets its traffic even if it cannot start now.
        """
        for revision in revisions:
            try:
                self._engine.call(self._engine.ready(revision))
            except StartFailure as failure:
                LOG.warning("%s gets traffic, but no instance of it starts: %s", revision, failure.message)

    def _write(self, name: Name, change: Any) -> None:
        with self._book.transaction():
            service = self._book.services.get(str(name))
            if service is not None:
                change(service)
                self._book.services.put(str(name), service)


def _locate(service: Any, urls: dict[str, str], statuses: Any) -> None:
    service.uri, service.urls = urls[""], [urls[""]]
    for status in statuses:
        status.uri = urls.get(status.tag, "") if status.tag else ""
    service.traffic_statuses = list(statuses)


def _conclude(service: Any, generation: int, routes: StartFailure | None, newest: StartFailure | None) -> None:
    service.observed_generation = max(service.observed_generation, generation)
    if service.generation > generation:
        return  # a later write has its own operation
    service.reconciling = False
    service.terminal_condition = _outcome("Ready", routes or newest)
    put(service, _outcome("RoutesReady", routes))
    put(service, _outcome("ConfigurationsReady", newest))


def _outcome(kind: str, failure: StartFailure | None) -> Any:
    if failure is None:
        return condition(kind, State.CONDITION_SUCCEEDED)
    return condition(kind, State.CONDITION_FAILED, failure.message, failure.reason)


def _set_revision_conditions(revision: Any, failure: StartFailure | None) -> None:
    revision.reconciling = False
    revision.observed_generation = revision.generation
    revision.update_time = now()
    if failure is None:
        for kind in ("ContainerHealthy", "ContainerReady", "ResourcesAvailable", "Ready"):
            put(revision, condition(kind, State.CONDITION_SUCCEEDED))
        return
    unhealthy = failure.reason == RevisionReason.HEALTH_CHECK_CONTAINER_ERROR
    kind = "ContainerHealthy" if unhealthy else "ResourcesAvailable"
    put(revision, condition(kind, State.CONDITION_FAILED, failure.message, failure.reason))
    put(revision, condition("Ready", State.CONDITION_FAILED, failure.message, failure.reason))
