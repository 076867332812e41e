"""What the tests of a rotation share: running it, and looking at versions, users and sessions."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import psycopg
from pydantic import SecretStr

from tasks.clients.login_url import user_of, with_login
from tasks.models import RevisionSpec, SecretPin, Traffic
from tests.sample import Sample, ended

URL, PASSWORD, TOKEN, KEY = "db-connection-string", "db-password", "sync-token", "provider-key"
LOGIN = (URL, PASSWORD)


def rotate(sample: Sample, **parameters: Any) -> Any:
    """Run the flow in this process; its verdict, or the exception it ended with."""
    from flows.rotate_secrets import RotateSecrets, rotate_secrets

    request = RotateSecrets(estate=sample.estate_file, **{"session_wait_seconds": 60, **parameters})
    return ended(rotate_secrets(request, return_state=True))


def destroys_at_once(sample: Sample, *names: str) -> None:
    """Let secrets delay no destruction, as no secret does before its first rotation."""
    destroys_after(sample, None, *names)


def destroys_after(sample: Sample, delay: timedelta | None, *names: str) -> None:
    """Let secrets delay every destruction by so much, as somebody else chose."""
    manager = sample.site.rotating_secrets
    for name in names:
        manager._update(manager.look(name), {"version_destroy_ttl": delay})


def by_hand(sample: Sample, service: str, shares: dict[str, int], spec: RevisionSpec | None = None) -> None:
    """Give revisions their shares of the traffic, as a person does; a spec makes the first of them."""
    lines = tuple(Traffic(revision=name, percent=share) for name, share in shares.items())
    revision = next(iter(shares)) if spec else ""
    sample.site.run.update_service(sample.state(service), spec=spec, revision=revision, traffic=lines)


def ends_idle_instances_soon(sample: Sample, service: str = "api") -> Sample:
    """Release the same again with instances that end after two idle seconds, and their sessions with them."""
    before = sample.serving(service)
    spec = sample.site.run.get_revision(service, before).spec
    hasty = spec.model_copy(update={"annotations": {**spec.annotations, "localcloud/idle-seconds": "2"}})
    by_hand(sample, service, {f"{service}-hasty": 100}, hasty)
    sample.site.run.delete_revision(service, before)
    return sample


def enabled(sample: Sample, secret: str) -> list[int]:
    return sorted(version.number for version in sample.site.rotating_secrets.look(secret).enabled())


def pinned(sample: Sample, secret: str = URL, service: str = "api") -> int:
    """The version that the serving revision is pinned to."""
    revision = sample.site.run.get_revision(service, sample.serving(service))
    return next(int(pin.version) for pin in revision.spec.secret_env.values() if pin.secret == secret)


def token(sample: Sample, version: int | str) -> str:
    return sample.site.secrets.access(SecretPin(secret=TOKEN, version=str(version))).get_secret_value()


def with_provider(sample: Sample, check: str, *changes: tuple[str, str]) -> Sample:
    """Write the estate with an external secret that its API reads, and with these changes."""
    sample.write_estate()
    rule = f'rotation = "external"\nmax_age_days = 400\ncheck = {{ url = "{check}" }}\n'
    text = sample.estate_file.read_text().replace("secrets = { ", f'secrets = {{ PROVIDER_KEY = "{KEY}", ')
    for before, after in (("[[secrets]]", f'[[secrets]]\nname = "{KEY}"\n{rule}\n[[secrets]]'), *changes):
        assert before in text, before
        text = text.replace(before, after, 1)
    sample.estate_file.write_text(text)
    return sample


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


def as_single_user(sample: Sample, name: str) -> SecretStr:
    """Turn a seeded estate into one that grew by itself: one user, made by the Admin API, that owns everything."""
    site, database = sample.site, sample.site.estate.databases[0]
    sample.estate_file.write_text(
        sample.estate_file.read_text()
        .replace('users = ["pyplots_a", "pyplots_b"]', 'users = ["pyplots_c", "pyplots_d"]\nrotator = "turner"')
        .replace('owner = "pyplots_owner"', 'owner = "pyplots_all"')
    )
    sample._site = None
    password = SecretStr("legacy-" + secrets.token_urlsafe(16))
    site.sql.create_user(database.instance, name, password)
    site.sql.set_password(database.instance, "postgres", password)
    with connect(sample, with_login(url(sample), "postgres", password)) as link:
        link.execute("ALTER DATABASE pyplots OWNER TO cloudsqlsuperuser")
    made = with_login(url(sample), name, password)
    site.secrets.add_version(PASSWORD, password)
    site.secrets.add_version(URL, made)
    return made
