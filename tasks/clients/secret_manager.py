"""Secret Manager.

Safety property: a value is only ever a ``SecretStr``; it is in no model, no message and no log. A value that came back
damaged (CRC32C) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from tasks.clients.discretion import discreet
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.operations import required_moment, short
from tasks.errors import BadInput, Refused, TransientError
from tasks.models import SecretPin, SecretVersion

VIEWER = "roles/secretmanager.viewer"
ACCESSOR = "roles/secretmanager.secretAccessor"
ADDER = "roles/secretmanager.secretVersionAdder"
KEEPER = "roles/secretmanager.secretVersionManager"
ADMIN = "roles/secretmanager.admin"


class SecretManager:
    """The secrets of one project."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def resolve(self, secret: str, version: str = "latest") -> SecretVersion:
        """The version number that a version or an alias stands for; ``latest`` is the newest one that is enabled.

        To Google ``latest`` is the newest in any state, and what a rotation took back must not stop everybody else.
        Raises Missing, and Refused when that version is not enabled: an instance with it would not start.
        """
        found = self.version(secret, version)
        if found.state != "ENABLED" and version == "latest":
            found = next((one for one in self.versions(secret) if one.state == "ENABLED"), found)
        if found.state != "ENABLED":
            raise Refused(
                f"using secret {secret} failed: version {found.version} is {found.state}; {self._way_back(found)}"
            )
        return found

    def previous(self, secret: str) -> SecretVersion:
        """The newest enabled version before the one that ``latest`` is to ``resolve``; that one where there is none."""
        newest = self.resolve(secret)
        older = (one for one in self.versions(secret) if one.state == "ENABLED" and one.version < newest.version)
        return next(older, newest)

    def version(self, secret: str, version: str) -> SecretVersion:
        """Read a version, in whatever state. Raises Missing."""
        where = f"{secret} --data-file=- --project={self._google.project}"
        way_out = f"add one: gcloud secrets versions add {where}, or a new secret: gcloud secrets create {where}"
        with self._google.doing(f"reading secret {secret} version {version}", VIEWER, way_out):
            return _read(self._client.get_secret_version(request={"name": self._name(secret, version)}, **UNRETRIED))

    @discreet
    def access(self, pin: SecretPin) -> SecretStr:
        """Read a version's value; ``latest`` as ``resolve`` has it. Raises Missing, and Refused when not enabled."""
        what = f"reading the value of secret {pin.secret} version {pin.version}"
        enable = f"gcloud secrets versions enable {pin.version} --secret={pin.secret} --project={self._google.project}"
        with self._google.doing(what, ACCESSOR):
            try:
                answer = self._client.access_secret_version(
                    request={"name": self._name(pin.secret, pin.version)}, **UNRETRIED
                )
            except _failed_precondition() as error:
                if pin.version == "latest":
                    return self.access(SecretPin(secret=pin.secret, version=str(self.resolve(pin.secret).version)))
                raise Refused(f"{what} failed: {error.message}; if it was not destroyed: {enable}") from error
        if answer.payload.data_crc32c and answer.payload.data_crc32c != _checksum(answer.payload.data):
            raise TransientError(f"{what} failed: it came back damaged; retrying may clear this")
        return _text(answer.payload.data, pin)

    def versions(self, secret: str) -> list[SecretVersion]:
        """Read every version, to the last page, newest first. Raises Missing."""
        with self._google.doing(f"listing the versions of secret {secret}", VIEWER):
            found = self._client.list_secret_versions(request={"parent": self._secret(secret)}, **UNRETRIED)
            return sorted((_read(version) for version in found), key=lambda v: v.version, reverse=True)

    def create_secret(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a secret without a version. Raises Conflict when it exists."""
        from google.cloud import secretmanager_v1

        secret = secretmanager_v1.Secret(labels=dict(labels or {}), replication={"automatic": {}})
        request = {"parent": f"projects/{self._google.project}", "secret_id": name, "secret": secret}
        with self._google.doing(f"creating secret {name}", ADMIN):
            self._client.create_secret(request=request, **UNRETRIED)

    @discreet
    def add_version(self, secret: str, value: SecretStr) -> SecretVersion:
        """Add a version. Not safe to repeat after a lost answer: it would add another; look at ``versions`` first."""
        data = value.get_secret_value().encode()
        payload = {"data": data, "data_crc32c": _checksum(data)}
        with self._google.doing(f"adding a version to secret {secret}", ADDER):
            request = {"parent": self._secret(secret), "payload": payload}
            return _read(self._client.add_secret_version(request=request, **UNRETRIED))

    def disable(self, secret: str, version: int) -> SecretVersion:
        """Disable a version; one that is disabled already stays so."""
        with self._google.doing(f"disabling secret {secret} version {version}", KEEPER):
            request = {"name": self._name(secret, str(version))}
            return _read(self._client.disable_secret_version(request=request, **UNRETRIED))

    def enable(self, secret: str, version: int) -> SecretVersion:
        """Enable a version; one that is enabled already stays so."""
        with self._google.doing(f"enabling secret {secret} version {version}", KEEPER):
            request = {"name": self._name(secret, str(version))}
            return _read(self._client.enable_secret_version(request=request, **UNRETRIED))

    def destroy(self, secret: str, version: int) -> SecretVersion:
        """Destroy a version's value for ever (or after the secret's own delay)."""
        with self._google.doing(f"destroying secret {secret} version {version}", KEEPER):
            request = {"name": self._name(secret, str(version))}
            return _read(self._client.destroy_secret_version(request=request, **UNRETRIED))

    @property
    def _client(self) -> Any:
        from google.cloud import secretmanager_v1

        return self._google.client(secretmanager_v1.SecretManagerServiceClient)

    def _secret(self, name: str) -> str:
        return f"projects/{self._google.project}/secrets/{name}"

    def _name(self, secret: str, version: str) -> str:
        return f"{self._secret(secret)}/versions/{version}"

    def _way_back(self, found: SecretVersion) -> str:
        where = f"--project={self._google.project}"
        if found.state == "DISABLED":
            return f"enable it: gcloud secrets versions enable {found.version} --secret={found.secret} {where}"
        return f"add a version: gcloud secrets versions add {found.secret} --data-file=- {where}"


def _read(version: Any) -> SecretVersion:
    return SecretVersion(
        secret=version.name.split("/")[3],
        version=int(short(version.name)),
        state=version.state.name,
        created=required_moment(version.create_time),
    )


def _text(data: bytes, pin: SecretPin) -> SecretStr:
    try:
        return SecretStr(data.decode())
    except UnicodeDecodeError:
        raise BadInput(
            f"reading the value of secret {pin.secret} version {pin.version} failed: it is not UTF-8 text; add a "
            "version that is"
        ) from None


def _failed_precondition() -> type[Any]:
    from google.api_core import exceptions

    return exceptions.FailedPrecondition  # type: ignore[no-any-return]


def _checksum(data: bytes) -> int:
    import google_crc32c

    return int(google_crc32c.value(data))
