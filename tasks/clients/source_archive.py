"""Reads a service's source folder, and packs it into an archive whose bytes depend on its content alone.

``.gcloudignore`` is honoured as gcloud does; version control, caches and virtual environments are never packed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pathspec import GitIgnoreSpec

from tasks.clients.source_git import commit_of
from tasks.errors import BadInput, Conflict
from tasks.models import SourceTree

NEVER_PACKED = (".git/", ".hg/", ".venv/", "venv/", "__pycache__/", "*.pyc", "node_modules/", ".gcloudignore", ".env")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEXT = (".py", ".sql", ".html", ".js", ".ts", ".toml", ".yaml", ".yml", ".json", ".txt", ".md", "")
_MIGRATIONS = re.compile(r"(^|/)(migrations|alembic|versions)/")


def read_tree(folder: Path, service: str, build: str) -> SourceTree:
    """Read what would be built. Raises BadInput when the folder is missing or nothing says how to build it."""
    if not folder.is_dir():
        raise BadInput(
            f"reading the source of service {service} failed: {folder} is no folder; see 'source' in the estate"
        )
    wanted = "Dockerfile" if build == "dockerfile" else "Procfile"
    if not (folder / wanted).is_file():
        raise BadInput(
            f"reading the source of service {service} failed: {folder} has no {wanted}; "
            f"add one, or change 'build' in the estate"
        )
    digest, files, size = hashlib.sha256(), 0, 0
    for path in _packed(folder):
        data = path.read_bytes()
        digest.update(_line(folder, path, data))
        files, size = files + 1, size + len(data)
    return SourceTree(
        path=str(folder), digest=digest.hexdigest(), commit=commit_of(folder), files=files, size_bytes=size
    )


def _line(folder: Path, path: Path, data: bytes) -> bytes:
    name = path.relative_to(folder).as_posix()
    return f"{name}\0{_mode(path):o}\0{hashlib.sha256(data).hexdigest()}\n".encode()


def archive(folder: Path, digest: str) -> bytes:
    """The folder as ``.tar.gz``: the same content gives the same bytes.

    Raises Conflict where what was packed is not what has this digest: somebody changed the source since it was read.
    """
    packed_digest, buffer = hashlib.sha256(), io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in _packed(folder):
            data = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size, member.mode = len(data), _mode(path)
            tar.addfile(member, io.BytesIO(data))
            packed_digest.update(_line(folder, path, data))
    if packed_digest.hexdigest() != digest:
        raise Conflict(f"packing {folder} failed: it was changed since the plan was made; run the flow again")
    return buffer.getvalue()


def words_of_archive(data: bytes) -> frozenset[str]:
    """Every identifier in the text files of an archive, except in its migrations."""
    words: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content and Path(member.name).suffix in _TEXT and not _MIGRATIONS.search(member.name):
                words.update(WORD.findall(content.read().decode("utf-8", "replace")))
    return frozenset(words)


@contextmanager
def unpacked(data: bytes) -> Iterator[Path]:
    """An archive's content in a scratch folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="caretaker-source-") as folder:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            _extract(tar, Path(folder))
        yield Path(folder)


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Write the plain files that lie inside the folder: ``archive`` packs nothing else."""
    for member in tar:
        content, path = tar.extractfile(member), (folder / member.name).resolve()
        if content is None or not path.is_relative_to(folder.resolve()):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read())


def _packed(folder: Path) -> Iterator[Path]:
    ignored = folder / ".gcloudignore"
    lines = ignored.read_text().splitlines() if ignored.is_file() else []
    spec = GitIgnoreSpec.from_lines([*NEVER_PACKED, *lines])
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not spec.match_file(path.relative_to(folder).as_posix()):
            yield path


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644
