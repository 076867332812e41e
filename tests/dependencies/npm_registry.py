"""An npm registry of the tests: packages made in memory, each version with the time of its publication."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from tests.dependencies.package_index import OLD
from tests.http_server import Answer, Request, serving

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm here")


@dataclass
class Registry:
    url: str = ""
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    tarballs: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, version: str, at: datetime = OLD, script: str = "", **needs: str) -> Registry:
        """Publish a version that exports its own number. ``script`` is what npm would run after an installation."""
        told: dict[str, Any] = {"name": name, "version": version, "license": "MIT", "dependencies": needs}
        told |= {"scripts": {"postinstall": script}, "hasInstallScript": True} if script else {}
        data = tarball({"package.json": json.dumps(told), "index.js": f"module.exports = {version!r};\n"})
        self.tarballs[f"/{name}-{version}.tgz"] = data
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        told["dist"] = {"tarball": f"{self.url}/{name}-{version}.tgz", "integrity": integrity}
        document = self.documents.setdefault(name, {"name": name, "versions": {}, "time": {}})
        document["versions"][version] = told
        document["time"][version] = at.isoformat().replace("+00:00", "Z")
        document["dist-tags"] = {"latest": version}
        return self

    def answer(self, request: Request) -> Answer:
        if request.path in self.tarballs:
            return Answer(200, self.tarballs[request.path], "application/octet-stream")
        document = self.documents.get(request.path.strip("/"))
        return Answer(200 if document else 404, json.dumps(document or {}).encode(), "application/json")


def tarball(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@contextmanager
def npm_registry() -> Iterator[Registry]:
    """Serve an empty registry on loopback."""
    registry = Registry()
    with serving(registry.answer) as url:
        registry.url = url
        yield registry
