"""The sample's first things are made once, and a seeding that was interrupted anywhere converges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deployments.sample_estate import seed
from tasks.clients.google import Google
from tasks.clients.secret_manager import SecretManager
from tasks.errors import Refused, TransientError
from tasks.estate import Estate
from tasks.models import SecretPin
from tasks.settings import Settings

ESTATE = Path(__file__).parents[2] / "estate.toml"
#: The writing calls of a seeding; a test compares with the call log.
WRITES = (
    "Buckets.Insert", "SqlInstancesService.Insert", "SqlDatabasesService.Insert", "SqlUsersService.Insert",
    "SecretManagerService.CreateSecret", "SecretManagerService.AddSecretVersion",
)  # fmt: skip
MOST_RUNS = 20


@pytest.fixture
def estate(tmp_path: Path, project: str) -> Estate:
    file = tmp_path / "estate.toml"
    file.write_text(ESTATE.read_text().replace("pyplots-local", project))
    return Estate.load(file)


@pytest.fixture
def machine(local_cloud: Any) -> Settings:
    return Settings(state=local_cloud.state)


def quiet(what: str) -> None:
    """Nobody listens."""


def url_of(estate: Estate, machine: Settings) -> str:
    manager = SecretManager(Google(estate.google, machine))
    url = manager.access(SecretPin(secret="db-connection-string", version="latest")).get_secret_value()
    return url.replace("postgresql+psycopg", "postgresql")


def assert_usable(estate: Estate, machine: Settings) -> None:
    """The connection string works, what it makes is the owner's, and the idle user waits for its first password."""
    with psycopg.connect(url_of(estate, machine), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS made (id int)")
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'made'").fetchone()
        question = "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^pyplots'"
        roles = dict(connection.execute(question).fetchall())
    assert owner == ("pyplots_owner",)
    assert roles == {"pyplots_owner": False, "pyplots_a": True, "pyplots_b": False}


def test_a_seeded_estate_can_be_used_and_a_second_seeding_writes_nothing(
    estate: Estate, machine: Settings, local_cloud: Any, project: str
) -> None:
    seed(estate, machine, quiet)
    assert_usable(estate, machine)
    written = local_cloud.control.calls(project=project, writes_only=True)
    assert {re.sub(r".*\.(?=\w+\.\w+$)", "", call.method.replace("/", ".")) for call in written} >= set(WRITES)
    seed(estate, machine, quiet)
    assert local_cloud.control.calls(project=project, writes_only=True, after=max(call.seq for call in written)) == []


@pytest.mark.parametrize("kind", ["error", "lost_answer"])
def test_a_seeding_that_fails_at_every_writing_call_converges(
    kind: str, estate: Estate, machine: Settings, local_cloud: Any, project: str
) -> None:
    planted = [local_cloud.control.plant(method, kind, project=project) for method in WRITES]
    for _ in range(MOST_RUNS):
        try:
            seed(estate, machine, quiet)
        except TransientError:
            continue
        break
    faults = [local_cloud.control.fault(one) for one in planted]
    assert [fault["method"] for fault in faults if not fault["met"]] == []
    assert_usable(estate, machine)


def test_an_estate_on_google_is_never_seeded(tmp_path: Path, machine: Settings) -> None:
    file = tmp_path / "estate.toml"
    file.write_text(ESTATE.read_text().replace("local_cloud = true", ""))
    with pytest.raises(Refused, match="does not say local_cloud = true"):
        seed(Estate.load(file), machine, quiet)
