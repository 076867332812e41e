"""The digest of an image: what it contains, and nothing that differs between two builds of the same source."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def of_tree(root: Path, facts: Mapping[str, Any]) -> str:
    """``sha256:…`` over the files below a folder (path, executable bit, content) and facts that JSON can hold."""
    total = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in _files(root):
        total.update(f"\0{path.relative_to(root).as_posix()}\0{_content(path)}".encode())
    return f"sha256:{total.hexdigest()}"


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted(names + links):
            yield Path(folder) / name


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"link {path.readlink()}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{'x' if path.stat().st_mode & 0o100 else '-'} {digest}"
