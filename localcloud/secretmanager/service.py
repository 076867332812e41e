"""google.cloud.secretmanager.v1.SecretManagerService.

Etags are checked as https://cloud.google.com/secret-manager/docs/etags says: one that does not match is
FAILED_PRECONDITION, and an update that changes nothing still changes the etag. Delayed destruction is that of
https://cloud.google.com/secret-manager/docs/delay-destruction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import google_crc32c
from google.api_core import exceptions
from google.cloud.secretmanager_v1 import types
from google.protobuf import empty_pb2

from localcloud.pages import page
from localcloud.rpc import Servicer, rpc
from localcloud.secretmanager import names, validation
from localcloud.secretmanager.matching import select
from localcloud.secretmanager.records import Records, State

_PAGE, _LARGEST_PAGE = 25_000, 25_000


class SecretManager(Servicer):
    """Secret Manager over its records."""

    service = "google.cloud.secretmanager.v1.SecretManagerService"

    def __init__(self, records: Records) -> None:
        self._records = records

    def access(self, name: str) -> bytes:
        """A version's payload, by number, alias or ``latest``. Raises NotFound or FailedPrecondition."""
        return self._access(name)[1]

    @rpc("CreateSecret", types.CreateSecretRequest, types.Secret, writes=True,
         resource=lambda r: f"{r.parent}/secrets/{r.secret_id}")
    def create_secret(self, request: types.CreateSecretRequest) -> types.Secret:
        name = names.new_secret(request.parent, request.secret_id)
        secret = request.secret
        validation.check_new(secret)
        self._fix_expiry(secret)
        validation.check_secret(secret, self._records.now())
        with self._records.transaction():
            if self._records.exists(name):
                raise exceptions.AlreadyExists(f"Secret [{name}] already exists.")
            secret.name, secret.create_time = name, self._records.now()
            return self._records.put_secret(secret)

    @rpc("GetSecret", types.GetSecretRequest, types.Secret, writes=False, resource=lambda r: r.name)
    def get_secret(self, request: types.GetSecretRequest) -> types.Secret:
        return self._records.secret(names.secret(request.name))

    @rpc("ListSecrets", types.ListSecretsRequest, types.ListSecretsResponse, writes=False,
         resource=lambda r: r.parent)
    def list_secrets(self, request: types.ListSecretsRequest) -> types.ListSecretsResponse:
        found = select(self._records.secrets(names.project(request.parent)), request.filter)
        items, token = page(found, request.page_size, request.page_token, default=_PAGE, most=_LARGEST_PAGE)
        # Google tells no total for a filtered list.
        total = 0 if request.filter else len(found)
        return types.ListSecretsResponse(secrets=items, next_page_token=token, total_size=total)

    @rpc("UpdateSecret", types.UpdateSecretRequest, types.Secret, writes=True, resource=lambda r: r.secret.name)
    def update_secret(self, request: types.UpdateSecretRequest) -> types.Secret:
        name, paths = names.secret(request.secret.name), list(request.update_mask.paths)
        validation.check_mask(paths)
        with self._records.transaction():
            secret = self._records.secret(name)
            _match(request.secret.etag, secret)
            for path in paths:
                _replace(secret, request.secret, path)
            self._fix_expiry(secret)
            validation.check_secret(secret, self._records.now())
            for alias, number in secret.version_aliases.items():
                self._aliased(name, alias, number)
            return self._records.put_secret(secret)

    @rpc("DeleteSecret", types.DeleteSecretRequest, empty_pb2.Empty, writes=True, resource=lambda r: r.name)
    def delete_secret(self, request: types.DeleteSecretRequest) -> empty_pb2.Empty:
        name = names.secret(request.name)
        with self._records.transaction():
            _match(request.etag, self._records.secret(name))
            self._records.delete_secret(name)
        return empty_pb2.Empty()

    @rpc("AddSecretVersion", types.AddSecretVersionRequest, types.SecretVersion, writes=True,
         resource=lambda r: r.parent)
    def add_secret_version(self, request: types.AddSecretVersionRequest) -> types.SecretVersion:
        name, payload = names.secret(request.parent), request.payload
        validation.check_payload(payload.data)
        checksummed = "data_crc32c" in payload
        if checksummed and payload.data_crc32c != google_crc32c.value(payload.data):
            raise exceptions.InvalidArgument("The payload's checksum data_crc32c does not match its data.")
        with self._records.transaction():
            return self._records.add_version(self._records.secret(name), payload.data, checksummed=checksummed)

    @rpc("GetSecretVersion", types.GetSecretVersionRequest, types.SecretVersion, writes=False,
         resource=lambda r: r.name)
    def get_secret_version(self, request: types.GetSecretVersionRequest) -> types.SecretVersion:
        return self._resolve(request.name)

    @rpc("ListSecretVersions", types.ListSecretVersionsRequest, types.ListSecretVersionsResponse, writes=False,
         resource=lambda r: r.parent)
    def list_secret_versions(self, request: types.ListSecretVersionsRequest) -> types.ListSecretVersionsResponse:
        secret = self._records.secret(names.secret(request.parent))
        found = select(self._records.versions(secret.name), request.filter)
        items, token = page(found, request.page_size, request.page_token, default=_PAGE, most=_LARGEST_PAGE)
        total = 0 if request.filter else len(found)
        return types.ListSecretVersionsResponse(versions=items, next_page_token=token, total_size=total)

    @rpc("AccessSecretVersion", types.AccessSecretVersionRequest, types.AccessSecretVersionResponse, writes=False,
         resource=lambda r: r.name)
    def access_secret_version(self, request: types.AccessSecretVersionRequest) -> types.AccessSecretVersionResponse:
        version, data = self._access(request.name)
        payload = types.SecretPayload(data=data, data_crc32c=google_crc32c.value(data))
        return types.AccessSecretVersionResponse(name=version.name, payload=payload)

    @rpc("EnableSecretVersion", types.EnableSecretVersionRequest, types.SecretVersion, writes=True,
         resource=lambda r: r.name)
    def enable_secret_version(self, request: types.EnableSecretVersionRequest) -> types.SecretVersion:
        return self._set_state(request, State.ENABLED)

    @rpc("DisableSecretVersion", types.DisableSecretVersionRequest, types.SecretVersion, writes=True,
         resource=lambda r: r.name)
    def disable_secret_version(self, request: types.DisableSecretVersionRequest) -> types.SecretVersion:
        return self._set_state(request, State.DISABLED)

    @rpc("DestroySecretVersion", types.DestroySecretVersionRequest, types.SecretVersion, writes=True,
         resource=lambda r: r.name)
    def destroy_secret_version(self, request: types.DestroySecretVersionRequest) -> types.SecretVersion:
        now = self._records.now()
        with self._records.transaction():
            version = self._changeable(request)
            ttl = self._records.secret(names.number(request.name)[0]).version_destroy_ttl
            if not ttl:
                return self._records.destroy(version, now)
            version.state = State.DISABLED
            version.scheduled_destroy_time = version.scheduled_destroy_time or now + ttl
            return self._records.put_version(version)

    def _set_state(self, request: Any, state: State) -> types.SecretVersion:
        """Enabling or disabling a version also takes it back from its scheduled destruction."""
        with self._records.transaction():
            version = self._changeable(request)
            version.state, version.scheduled_destroy_time = state, None
            return self._records.put_version(version)

    def _changeable(self, request: Any) -> types.SecretVersion:
        secret, number = names.number(request.name)
        self._records.secret(secret)
        version = self._records.version(secret, number)
        _match(request.etag, version)
        if version.state == State.DESTROYED:
            raise _in_state(version)
        return version

    def _access(self, name: str) -> tuple[types.SecretVersion, bytes]:
        # One transaction: between the look at the state and at the payload, nobody destroys it.
        with self._records.transaction():
            version = self._resolve(name)
            if version.state != State.ENABLED:
                raise _in_state(version)
            return version, self._records.payload(version)

    def _resolve(self, name: str) -> types.SecretVersion:
        """The version that a number, an alias or ``latest`` names. ``latest`` is the newest in any state."""
        parent, key = names.version(name)
        secret = self._records.secret(parent)
        if key.isdecimal():
            return self._records.version(parent, int(key))
        if key in secret.version_aliases:
            return self._records.version(parent, secret.version_aliases[key])
        newest = next(iter(self._records.versions(parent)), None) if key == "latest" else None
        if newest is None:
            raise exceptions.NotFound(f"Secret Version [{name}] not found.")
        return newest

    def _aliased(self, secret: str, alias: str, number: int) -> None:
        try:
            self._records.version(secret, number)
        except exceptions.NotFound as error:
            message = f"The alias [{alias}] names version {number}: {error.message}"
            raise exceptions.FailedPrecondition(message) from error

    def _fix_expiry(self, secret: types.Secret) -> None:
        """A time to live is input only: it is told as the time at which it ends."""
        ttl: timedelta | None = secret.ttl if "ttl" in secret else None
        if ttl is not None:
            secret.expire_time = self._records.now() + ttl


def _replace(secret: types.Secret, wanted: types.Secret, path: str) -> None:
    """Take one masked field over; one that is not set in the request is cleared."""
    stored, given = types.Secret.pb(secret), types.Secret.pb(wanted)
    stored.ClearField(path)
    partial = type(given)()
    if path in ("labels", "annotations", "version_aliases"):
        getattr(partial, path).update(getattr(given, path))
    elif path != "etag" and given.HasField(path):
        getattr(partial, path).CopyFrom(getattr(given, path))
    stored.MergeFrom(partial)


def _match(etag: str, resource: types.Secret | types.SecretVersion) -> None:
    if etag and etag != resource.etag:
        raise exceptions.FailedPrecondition(
            f"The etag provided [{etag}] does not match the etag [{resource.etag}] of [{resource.name}]."
        )


def _in_state(version: types.SecretVersion) -> exceptions.FailedPrecondition:
    return exceptions.FailedPrecondition(f"Secret Version [{version.name}] is in {version.state.name} state.")
