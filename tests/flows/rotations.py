"""What the tests of a rotation share: running it, and looking at versions, users and sessions."""

from __future__ import annotations

from typing import Any

import psycopg

from tasks.clients.login_url import user_of
from tasks.models import SecretPin
from tests.sample import Sample, run, verdict

URL, PASSWORD, TOKEN = "db-connection-string", "db-password", "sync-token"
LOGIN = (URL, PASSWORD)


def rotate(sample: Sample, **parameters: Any) -> Any:
    """Run the flow in this process; its verdict, or the exception it ended with."""
    from flows.rotate_secrets import RotateSecrets, rotate_secrets

    request = RotateSecrets(estate=sample.estate_file, **{"session_wait_seconds": 60, **parameters})

    async def both() -> Any:
        return await verdict(await rotate_secrets(request, return_state=True))

    return run(both())


def enabled(sample: Sample, secret: str) -> list[int]:
    return sorted(version.number for version in sample.site.rotating_secrets.look(secret).enabled())


def pinned(sample: Sample, secret: str = URL, service: str = "api") -> int:
    """The version that the serving revision is pinned to."""
    revision = sample.site.run.get_revision(service, sample.serving(service))
    return next(int(pin.version) for pin in revision.spec.secret_env.values() if pin.secret == secret)


def url(sample: Sample, version: int | str = "latest") -> Any:
    return sample.site.secrets.access(SecretPin(secret=URL, version=str(version)))


def connect(sample: Sample, secret_url: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(secret_url.get_secret_value().replace("postgresql+psycopg", "postgresql"), autocommit=True)


def can_log_in(sample: Sample) -> dict[str, bool]:
    users = list(sample.site.estate.databases[0].users)
    with connect(sample, url(sample)) as link:
        question = "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY(%s)"
        return dict(link.execute(question, (users,)).fetchall())


def user(sample: Sample) -> str:
    """The user that serves."""
    return user_of(url(sample, pinned(sample)))
