"""Secrets that live for a while: the login of a restored copy, which an application reads when it starts against it.

Safety property: such a secret bears its labels and its end from the call that makes it, so that Secret Manager itself
removes what a killed run left. A secret without our label is never deleted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pydantic import SecretStr

from tasks.clients.google import UNRETRIED
from tasks.clients.operations import short
from tasks.clients.secret_manager import ADMIN, VIEWER, SecretManager
from tasks.errors import Missing
from tasks.models import SecretPin


class TemporarySecrets(SecretManager):
    """The secrets of one project that we make and delete."""

    def put_temporary(self, name: str, value: SecretStr, labels: Mapping[str, str], ttl: timedelta) -> SecretPin:
        """Make a secret that ends by itself, with one version, and pin that. Raises Conflict when it exists."""
        from google.cloud import secretmanager_v1

        secret = secretmanager_v1.Secret(labels=dict(labels), replication={"automatic": {}}, ttl=ttl)
        request = {"parent": f"projects/{self._google.project}", "secret_id": name, "secret": secret}
        with self._google.doing(f"creating secret {name}", ADMIN):
            self._client.create_secret(request=request, **UNRETRIED)
        return SecretPin(secret=name, version=str(self.add_version(name, value).version))

    def labelled(self, label: str) -> dict[str, dict[str, str]]:
        """The labels of every secret that bears a label, by name, to the last page."""
        request = {"parent": f"projects/{self._google.project}", "filter": f"labels.{label}:*"}
        with self._google.doing("listing the secrets", VIEWER):
            found = list(self._client.list_secrets(request=request, **UNRETRIED))
        return {short(secret.name): dict(secret.labels) for secret in found if label in secret.labels}

    def delete_temporary(self, name: str, label: str) -> None:
        """Delete a secret that bears a label, with its versions. Deleting what is gone, or bears none, does nothing."""
        try:
            with self._google.doing(f"reading secret {name}", VIEWER):
                found = self._client.get_secret(request={"name": self._secret(name)}, **UNRETRIED)
            if label not in found.labels:
                return
            with self._google.doing(f"deleting secret {name}", ADMIN):
                self._client.delete_secret(request={"name": self._secret(name), "etag": found.etag}, **UNRETRIED)
        except Missing:
            return
