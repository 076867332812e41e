"""Secrets, versions and payloads as they are kept.

Safety property: a version's number is never given twice, since a version's record outlives its payload; a destroyed
payload is overwritten in the store, not merely unlinked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from google.api_core import exceptions
from google.cloud.secretmanager_v1 import types

from localcloud.store import Store

State = types.SecretVersion.State
Clock = Callable[[], datetime]


class Records:
    """Secret Manager's part of the store. What the clock has ended is seen as ended, at every look."""

    def __init__(self, store: Store, now: Clock = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.transaction = store.transaction
        self._store = store
        self._secrets = store.messages("secretmanager.secrets", types.Secret)
        self._versions = store.messages("secretmanager.versions", types.SecretVersion)

    def secret(self, name: str) -> types.Secret:
        """Raises NotFound."""
        found = self._live(self._secrets.get(name))
        if found is None:
            raise exceptions.NotFound(f"Secret [{name}] not found.")
        return found

    def exists(self, name: str) -> bool:
        return self._live(self._secrets.get(name)) is not None

    def secrets(self, project: str) -> list[types.Secret]:
        """A project's secrets, the newest first."""
        found = [s for s in self._secrets.list(f"{project}/secrets/") if self._live(s) is not None]
        return sorted(found, key=lambda s: s.create_time, reverse=True)

    def put_secret(self, secret: types.Secret) -> types.Secret:
        secret.etag = self._etag()
        self._secrets.put(secret.name, secret)
        return secret

    def delete_secret(self, name: str) -> None:
        for version in self._versions.list(f"{name}/versions/"):
            self._erase(version.name)
            self._versions.delete(version.name)
        self._secrets.delete(name)

    def version(self, secret: str, number: int) -> types.SecretVersion:
        """Raises NotFound."""
        name = f"{secret}/versions/{number}"
        found = self._versions.get(name)
        if found is None:
            raise exceptions.NotFound(f"Secret Version [{name}] not found.")
        return self._due(found)

    def versions(self, secret: str) -> list[types.SecretVersion]:
        """A secret's versions, the newest first."""
        found = [self._due(version) for version in self._versions.list(f"{secret}/versions/")]
        return sorted(found, key=number_of, reverse=True)

    def add_version(self, secret: types.Secret, payload: bytes, *, checksummed: bool) -> types.SecretVersion:
        """Keep a payload under the next number. Call it in a transaction."""
        newest = next(iter(self.versions(secret.name)), None)
        version = types.SecretVersion(
            name=f"{secret.name}/versions/{number_of(newest) + 1 if newest else 1}",
            create_time=self.now(),
            state=State.ENABLED,
            replication_status=_replication_status(secret),
            client_specified_payload_checksum=checksummed,
        )
        self._store.put("secretmanager.payloads", version.name, payload)
        return self.put_version(version)

    def put_version(self, version: types.SecretVersion) -> types.SecretVersion:
        version.etag = self._etag()
        self._versions.put(version.name, version)
        return version

    def payload(self, version: types.SecretVersion) -> bytes:
        body = self._store.get("secretmanager.payloads", version.name)
        assert body is not None, f"the payload of {version.name} is gone"
        return body

    def destroy(self, version: types.SecretVersion, at: datetime) -> types.SecretVersion:
        """Destroy a payload for good. Call it in a transaction."""
        self._erase(version.name)
        version.state, version.destroy_time, version.scheduled_destroy_time = State.DESTROYED, at, None
        return self.put_version(version)

    def _erase(self, name: str) -> None:
        body = self._store.get("secretmanager.payloads", name)
        if body is not None:
            self._store.put("secretmanager.payloads", name, b"\0" * len(body))
            self._store.delete("secretmanager.payloads", name)

    def _live(self, secret: types.Secret | None) -> types.Secret | None:
        """A secret whose expiry has passed is deleted, as Google does."""
        if secret is None or secret.expire_time is None or secret.expire_time > self.now():
            return secret
        with self.transaction():
            self.delete_secret(secret.name)
        return None

    def _due(self, version: types.SecretVersion) -> types.SecretVersion:
        """A version whose scheduled destruction has come is destroyed."""
        due = version.scheduled_destroy_time
        if due is None or due > self.now():
            return version
        with self.transaction():
            return self.destroy(version, due)

    def _etag(self) -> str:
        return f'"{self._store.next("secretmanager.etags"):x}"'


def number_of(version: types.SecretVersion) -> int:
    return int(version.name.rsplit("/", 1)[1])


def _replication_status(secret: types.Secret) -> types.ReplicationStatus:
    """Where the payload lies: as the secret's replication says."""
    status = types.ReplicationStatus
    if "user_managed" in secret.replication:
        user_managed = status.UserManagedStatus
        given = secret.replication.user_managed.replicas
        replicas = [user_managed.ReplicaStatus(location=replica.location) for replica in given]
        return status(user_managed=user_managed(replicas=replicas))
    return status(automatic=status.AutomaticStatus())
