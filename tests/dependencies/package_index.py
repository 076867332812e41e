"""A package index of the tests: wheels made in memory, served as PEP 691 says, each with its time of upload.

uv reads it as it reads any index: resolution, cooldown, installation and yanking are uv's own.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.http_server import Answer, Request, serving

NOW = datetime.now(UTC)
#: Uploaded before the projects' locks were made; when they were made; after that, and old enough; too young.
OLD, LOCKED, RIPE, YOUNG = (NOW - timedelta(days=days) for days in (100, 50, 20, 2))
JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class Index:
    """An index that is filled while it is served. ``down`` makes it unreachable: it answers 503."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    facts: dict[str, dict[str, object]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    down: bool = False

    def add(
        self, name: str, version: str, *needs: str, code: str = "", at: datetime = OLD, licence: str = "MIT",
        yanked: str = "", tag: str = "py3-none-any",
    ) -> Index:
        """Upload a wheel with one module, which is named as the package is."""
        filename = f"{name}-{version}-{tag}.whl"
        data, metadata = wheel(name, version, needs, code or f"VERSION = {version!r}\n", licence)
        self.files.setdefault(name, {})[filename] = data
        self.files[name][f"{filename}.metadata"] = metadata
        self.facts[filename] = {
            "filename": filename, "url": f"{self.url}/files/{name}/{filename}", "size": len(data),
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
            "core-metadata": {"sha256": hashlib.sha256(metadata).hexdigest()},
            "upload-time": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "requires-python": ">=3.9", "yanked": yanked or False,
        }  # fmt: skip
        return self

    def answer(self, request: Request) -> Answer:
        """One answer, as an index gives it."""
        _, _, kind, name, *rest = request.path.split("/")
        if self.down:
            return Answer(503, b"down")
        if name not in self.files:
            return Answer(404, b"no such project")
        if kind == "files":
            return Answer(200, self.files[name][rest[0]], "application/octet-stream")
        files = [self.facts[one] for one in self.files[name] if one in self.facts]
        document = {"meta": {"api-version": "1.4"}, "name": name, "files": files}
        document["versions"] = [str(one["filename"]).split("-")[1] for one in files]
        if name in self.statuses:
            document["project-status"] = {"status": self.statuses[name]}
        return Answer(200, json.dumps(document).encode(), JSON)


@contextmanager
def package_index() -> Iterator[Index]:
    """Serve an empty index on loopback."""
    index = Index()
    with serving(index.answer) as url:
        index.url = f"{url}/{secrets.token_hex(4)}"  # uv caches by address, and ports come again
        yield index


def wheel(name: str, version: str, needs: tuple[str, ...], code: str, licence: str) -> tuple[bytes, bytes]:
    """A wheel and its metadata: https://packaging.python.org/en/latest/specifications/binary-distribution-format/."""
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", f"License-Expression: {licence}"]
    metadata = "\n".join([*lines, "Requires-Python: >=3.9", *(f"Requires-Dist: {need}" for need in needs), ""])
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code.encode(), f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }  # fmt: skip
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in files.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return buffer.getvalue(), metadata.encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
