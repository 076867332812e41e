"""The sample services as real processes, started by the command in their Procfile, on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from embedded.ports import free_port
from embedded.postgres import Cluster
from tests.variants import copy

START_SECONDS = 20.0
STOP_SECONDS = 10.0
TOKEN = "a token / of + the = test"
BIN = Path(sys.executable).parent
# Run from copies: Python keeps bytecode beside the source, and the sample's folders are what a deploy would upload.
COPIES = tempfile.TemporaryDirectory(prefix="ex-sample-")
API = copy("api", Path(COPIES.name) / "api")
FRONTEND = copy("frontend", Path(COPIES.name) / "frontend")


@dataclass
class Database:
    """A database of its own, by SQLAlchemy URL and by psycopg."""

    name: str
    url: str

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True)

    def columns(self, table: str) -> set[str]:
        query = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
        return {row[0] for row in self.execute(query)}

    def alembic(self, *args: str, app: Path = API, check: bool = True, **env: str) -> Alembic:
        """Run alembic as the migration job does; raises AssertionError when it fails, unless told otherwise."""
        done = subprocess.run(
            [str(BIN / "alembic"), *args], cwd=app, env=environment(DATABASE_URL=self.url, **env), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return Alembic(done.returncode, done.stdout, done.stderr)


@dataclass
class Alembic:
    status: int
    out: str
    err: str


class Served:
    """One running service: its client, its process, what it printed."""

    def __init__(self, app: Path, log: Path, env: dict[str, str]) -> None:
        self.port = free_port()
        self.log = log
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False)
        command = (app / "Procfile").read_text().removeprefix("web: ").strip()
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", command], cwd=app, stdout=out, stderr=out,
                env=environment(PORT=str(self.port), BIND="127.0.0.1", **env),
            )  # fmt: skip

    def await_listening(self) -> Served:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.client.get("/health")
                return self
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)

    def lines(self) -> list[dict[str, Any]]:
        """What it printed. Every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def await_line(self, severity: str) -> dict[str, Any]:
        """The first line of a severity. An answer may arrive before the line about it is written."""
        eventually(lambda: any(line["severity"] == severity for line in self.lines()))
        return next(line for line in self.lines() if line["severity"] == severity)

    def post(self, path: str, token: str = TOKEN) -> httpx.Response:
        return self.client.post(path, headers={"Authorization": f"Bearer {token}"})

    def stop(self) -> int:
        self.ask_to_end()
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()

    def ask_to_end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)


Serve = Callable[..., Served]


def environment(**more: str) -> dict[str, str]:
    """What an instance sees: nothing of ours but the path."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": os.environ["HOME"], **more}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="ex-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(Path(folder) / "pg" / "data", Path(folder) / "s", settings={"fsync": "off"})
        cluster.init()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop("immediate")


@pytest.fixture
def empty(cluster: Cluster) -> Database:
    """A database without any table."""
    return new_database(cluster)


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """The name of a database at the shipped head, to be copied: quicker than migrating each."""
    database = new_database(cluster)
    database.alembic("upgrade", "head")
    return database.name


@pytest.fixture
def database(cluster: Cluster, template: str) -> Database:
    """A database at the shipped head, without rows."""
    return new_database(cluster, template)


@pytest.fixture(scope="module")
def shared(cluster: Cluster, template: str) -> Database:
    """A database at the shipped head for all tests of a module."""
    return new_database(cluster, template)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start services that end with the test."""
    with serving(tmp_path) as start:
        yield start


@contextmanager
def serving(folder: Path) -> Iterator[Serve]:
    started: list[Served] = []

    def start(app: Path, **env: str) -> Served:
        started.append(Served(app, folder / f"{secrets.token_hex(3)}.log", env))
        return started[-1].await_listening()

    try:
        yield start
    finally:
        for served in started:
            served.ask_to_end()
        for served in started:
            served.stop()


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds; fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        time.sleep(0.02)


def new_database(cluster: Cluster, template: str = "template1") -> Database:
    name = f"d_{secrets.token_hex(4)}"
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return Database(name, cluster.url(name))
