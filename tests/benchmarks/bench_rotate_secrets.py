"""Failures that clients see while a login is rotated, and those of the usual way with a single user.

Two clients ask all the time: one opens a new database connection through the service with each request, the other takes
what the service's pool gives. The usual way sets a new password on the only user and then releases it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from tasks.clients.login_url import with_login
from tests.flows import rotations
from tests.flows.rotations import LOGIN, PASSWORD, URL
from tests.load import Load
from tests.memory import temporary_folder
from tests.sample import Sample, run, verdict
from tests.stack import running_stack

RATE = 50


def bench() -> list[dict[str, Any]]:
    """Rotate once under load, then replace the only user's password under the same load."""
    with temporary_folder() as folder, running_stack(folder / "state"):
        sample = Sample(folder / "estate", "bench-rotate", steps=((50, 20),)).write().seed()
        run(sample.deploy())
        return measured(sample)


def measured(sample: Sample) -> list[dict[str, Any]]:
    """The rows, for an estate that is released."""
    failed, asked = _under_load(sample, lambda: _rotated(sample))
    naive, asked_naive = _under_load(sample, lambda: _replaced(sample))
    return [
        _row("rotation: failures", failed, "requests", 0, failed == 0, f"of {asked} requests"),
        _row("one user, new password: failures", naive, "requests", 1, naive > 0,
             f"of {asked_naive} requests; the measurement sees failures"),
    ]  # fmt: skip


def _under_load(sample: Sample, work: Callable[[], None]) -> tuple[int, int]:
    url = sample.state().uri
    with Load(url, RATE, "/specs?fresh=1") as fresh, Load(url, RATE, "/specs") as pooled:
        work()
    for answer in (*fresh.failures, *pooled.failures)[:3]:
        print(f"at {answer.at:.1f} s: {answer.status} {answer.revision} {answer.why[:200]}")
    return len(fresh.failures) + len(pooled.failures), len(fresh.answers) + len(pooled.answers)


def _rotated(sample: Sample) -> None:
    result = rotations.rotate(sample, secrets=LOGIN, session_wait_seconds=120)
    assert result.verdict == "rotated", result


def _replaced(sample: Sample) -> None:
    """What is usually documented: a new password for the user, a new version, a new revision."""
    site, database = sample.site, sample.site.estate.databases[0]
    user, password = rotations.user(sample), SecretStr(secrets.token_urlsafe(32))
    changed = with_login(rotations.url(sample), user, password)
    site.sql.set_password(database.instance, user, password)
    site.secrets.add_version(PASSWORD, password)
    site.secrets.add_version(URL, changed)
    run(_deployed(sample))


async def _deployed(sample: Sample) -> Any:
    return await verdict(await sample.deploy(reason="a new password"))


def _row(name: str, value: float, unit: str, goal: float, ok: bool, against: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "goal": goal, "ok": ok, "against": against}
