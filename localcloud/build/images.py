"""Built images: immutable folders with a digest, found by tag or by digest as in Artifact Registry.

Safety property: an image that ``resolve`` gives is complete and never changes; its folder appears by one rename, and a
tag moves only in the transaction in which its build succeeds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions

from localcloud.build.digest import of_tree

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

_REFERENCE = re.compile(
    r"(?P<repository>[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
#: Images of buildpacks have it on their path: it sets the image's paths up and becomes the command that it is given.
#: https://buildpacks.io/docs/for-app-developers/how-to/build-outputs/specify-launch-process/
_LAUNCHER = '#!/bin/sh\nexec "$@"\n'


@dataclass(frozen=True)
class BuiltImage:
    """An image as a process can be started from it.

    ``entrypoint`` is a whole argument list, for a Procfile ``/bin/sh -c COMMAND``; a revision's ``command`` takes its
    place. ``env`` is complete: nothing of the local cloud's own environment belongs to it.
    """

    uri: str
    digest: str
    root: Path
    app: Path
    env: dict[str, str]
    entrypoint: tuple[str, ...]
    procfile: dict[str, str]


@dataclass(frozen=True)
class Reference:
    """An image URI in its parts. Without tag and digest the tag is ``latest``."""

    repository: str
    tag: str
    digest: str

    @property
    def uri(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def parse(uri: str) -> Reference:
    """Take an image URI apart. Raises InvalidArgument when it is none."""
    found = _REFERENCE.fullmatch(uri)
    if found is None:
        raise exceptions.InvalidArgument(f"Image '{uri}' is not a valid image reference.")
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return Reference(found["repository"], tag, found["digest"] or "")


class Images:
    """The registry of the local cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._store = cloud.store
        self._manifests = cloud.store.documents("build.images")
        self._tags = cloud.store.documents("build.tags")
        self._state = cloud.state
        self.folder = cloud.state / "images"
        self.folder.mkdir(exist_ok=True)
        self._lifecycle = _write_launcher(cloud.state / "cnb" / "lifecycle")

    def resolve(self, uri: str) -> BuiltImage:
        """Find an image by tag or digest. Raises NotFound as Cloud Run words it."""
        reference = parse(uri)
        digest = reference.digest or (self._tags.get(reference.uri) or {}).get("digest", "")
        key = f"{reference.repository}@{digest}"
        manifest = self._manifests.get(key)
        if manifest is None or not (self._state / manifest["root"]).is_dir():
            raise exceptions.NotFound(f"Image '{uri}' not found.")
        return self._image(key, digest, manifest)

    def publish(self, uri: str, digest: str, manifest: Mapping[str, Any]) -> BuiltImage:
        """Make a finished folder known under a URI, and point the URI's tag at it. Repeating it changes nothing.

        The manifest holds ``root`` (under the state folder, or absolute), ``app`` (under the root), ``venv`` (under the
        state folder, or empty), ``env``, ``entrypoint`` and ``procfile``.
        """
        reference = parse(uri)
        key = f"{reference.repository}@{digest}"
        with self._store.transaction():
            self._manifests.put(key, dict(manifest))
            if reference.tag:
                self._tags.put(f"{reference.repository}:{reference.tag}", {"digest": digest})
        return self._image(key, digest, manifest)

    def register(
        self, uri: str, root: Path, entrypoint: Sequence[str], env: Mapping[str, str] | None = None
    ) -> BuiltImage:
        """Make an image of a folder as it is, without a build. The folder must not change afterwards."""
        manifest = {
            "root": str(root.resolve()), "app": "", "venv": "", "env": dict(env or {}), "entrypoint": list(entrypoint),
            "procfile": {},
        }
        return self.publish(uri, of_tree(root, {"entrypoint": list(entrypoint), "env": dict(env or {})}), manifest)

    def _image(self, key: str, digest: str, manifest: Mapping[str, Any]) -> BuiltImage:
        root = self._state / manifest["root"]
        return BuiltImage(
            uri=key, digest=digest, root=root, app=root / manifest["app"], env=self._env(manifest),
            entrypoint=tuple(manifest["entrypoint"]), procfile=dict(manifest["procfile"]),
        )

    def _env(self, manifest: Mapping[str, Any]) -> dict[str, str]:
        # PYTHONUNBUFFERED: as Google's Python buildpack sets it, so that logs appear when they are written.
        env = {"PATH": _SYSTEM_PATH, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "TRUE"}
        if manifest["venv"]:
            venv = self._state / manifest["venv"]
            env |= {"PATH": f"{venv}/bin:{_SYSTEM_PATH}", "VIRTUAL_ENV": str(venv)}
        if manifest["procfile"]:
            env["PATH"] += f":{self._lifecycle}"
        return {**env, **manifest["env"]}


def _write_launcher(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / "launcher"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    return folder
