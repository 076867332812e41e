"""The secrets that a rotation changes: their mark, their versions, their delayed destruction.

Safety property: a change presents the etag of what was judged, so two runs never change one secret past each other.
Nothing is ever destroyed at once: a version is destroyed only while its secret delays destruction.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from pydantic import SecretStr

from tasks.clients.google import UNRETRIED
from tasks.clients.operations import moment, required_moment, short
from tasks.clients.secret_manager import ADMIN, KEEPER, VIEWER, SecretManager
from tasks.errors import Refused
from tasks.models import SecretPin
from tasks.rotation_models import SecretState, Version


class RotatingSecrets(SecretManager):
    """The secrets of one project, with what a rotation needs to know of them."""

    def look(self, secret: str) -> SecretState:
        """Read a secret and all its versions, to the last page. Raises Missing."""
        with self._google.doing(f"reading secret {secret}", VIEWER):
            found = self._client.get_secret(request={"name": self._secret(secret)}, **UNRETRIED)
            listed = list(self._client.list_secret_versions(request={"parent": found.name}, **UNRETRIED))
        delay = found.version_destroy_ttl if "version_destroy_ttl" in found else None
        versions = sorted((_version(one) for one in listed), key=lambda one: one.number, reverse=True)
        return SecretState(
            name=secret, etag=found.etag, annotations=dict(found.annotations),
            aliases=dict(found.version_aliases), destroy_delay=delay or None, versions=tuple(versions),
        )

    def annotate(self, state: SecretState, key: str, value: str) -> None:
        """Set one annotation; an empty value removes it. Raises Refused where the secret changed since it was read."""
        annotations = {name: text for name, text in {**state.annotations, key: value}.items() if text}
        if annotations != state.annotations:
            self._update(state, {"annotations": annotations})

    def point(self, state: SecretState, alias: str, number: int) -> None:
        """Let an alias stand for a version. Raises Refused where the secret changed since it was read."""
        if state.aliases.get(alias) != number:
            self._update(state, {"version_aliases": {**state.aliases, alias: number}})

    def delay_destruction(self, state: SecretState, least: timedelta) -> None:
        """Let every destruction of a version wait for so long at least; one that waits longer stays as it is.

        Raises Refused where the secret changed since it was read.
        """
        if (state.destroy_delay or timedelta()) < least:
            self._update(state, {"version_destroy_ttl": least})

    def values(self, secret: str, versions: tuple[Version, ...]) -> dict[int, SecretStr]:
        """The values of versions, by number. Raises Refused when one is not enabled any more."""
        return {one.number: self.access(SecretPin(secret=secret, version=str(one.number))) for one in versions}

    def retire(self, secret: str, number: int, least: timedelta) -> Version:
        """Disable a version now and have it destroyed after the secret's delay, in one call. Safe to repeat.

        So Google documents the destruction of a version whose secret delays it (by one day at least):
        https://cloud.google.com/secret-manager/docs/delay-destruction-of-secret-versions. The version's own
        ``destroyed_at`` says when: one that was scheduled before keeps its time. Raises Refused where the secret would
        destroy it sooner than after ``least``.
        """
        state = self.look(secret)
        found = state.version(number)
        if found is not None and (found.state == "DESTROYED" or found.destroyed_at):
            return found
        what = f"disabling secret {secret} version {number}"
        if found is None or (state.destroy_delay or timedelta()) < least:
            soon = f"its secret would destroy it {f'in {state.destroy_delay}' if state.destroy_delay else 'at once'}"
            why = "there is none" if found is None else soon
            raise Refused(f"{what} refused: {why}; run the flow again")
        with self._google.doing(what, KEEPER):
            request = {"name": self._name(secret, str(number)), "etag": found.etag}
            return _version(self._client.destroy_secret_version(request=request, **UNRETRIED))

    def undo(self, secret: str, number: int) -> str:
        """The command that takes a version back into use; before it is destroyed, nothing is lost."""
        return f"gcloud secrets versions enable {number} --secret={secret} --project={self._google.project}"

    def disabling(self, secret: str, number: int) -> str:
        """The command that disables a version."""
        return f"gcloud secrets versions disable {number} --secret={secret} --project={self._google.project}"

    def adding(self, secret: str) -> str:
        """The command that adds a version without showing it: it reads the value from what is typed or piped."""
        return f"gcloud secrets versions add {secret} --data-file=- --project={self._google.project}"

    def _update(self, state: SecretState, fields: dict[str, Any]) -> None:
        secret = {"name": self._secret(state.name), "etag": state.etag, **fields}
        request = {"secret": secret, "update_mask": {"paths": list(fields)}}
        with self._google.doing(f"changing {', '.join(fields)} of secret {state.name}", ADMIN, "run the flow again"):
            self._client.update_secret(request=request, **UNRETRIED)


def _version(version: Any) -> Version:
    due = moment(version.scheduled_destroy_time)
    return Version(
        number=int(short(version.name)), state=version.state.name, created=required_moment(version.create_time),
        etag=version.etag, destroyed_at=due.astimezone(UTC) if due else None,
    )
