"""A real PostgreSQL for the clients that speak SQL, and a project of the local cloud for those that speak to Google."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedded.postgres import Cluster
from embedded.unprivileged import give
from tasks.clients.google import Google
from tasks.settings import Settings


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running PostgreSQL of this session's own."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)
    give(folder)
    cluster = Cluster(folder / "data", folder)
    try:
        cluster.init()
        cluster.start()
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The SQLAlchemy URL of an empty database."""
    name = f"t_{secrets.token_hex(4)}"
    cluster.create_database(name)
    return cluster.url(name)


@dataclass(frozen=True)
class Place:
    """The part of an estate that says where it lives."""

    project: str
    region: str = "europe-west4"
    local_cloud: bool = True

    @property
    def bucket(self) -> str:
        return f"{self.project}-caretaker"

    @property
    def repository(self) -> str:
        return f"europe-west4-docker.pkg.dev/{self.project}/apps"


@pytest.fixture
def google(local_cloud, project: str) -> Google:
    """This test's project in the local cloud, reached as the tasks reach it."""
    return Google(Place(project), Settings(state=local_cloud.state))
