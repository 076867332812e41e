"""Reads an installed environment from its files: its size, and what each package says of its licence and its pages.

Safety property: nothing of the environment is imported or run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from tasks.dependency_models import Installed

_MOST_LETTERS = 80
#: The pages that a reviewer wants, best first: https://packaging.python.org/en/latest/specifications/well-known-project-urls/
_PAGES = ("changelog", "changes", "releasenotes", "history", "source", "repository", "homepage", "github", "home")


class _Told(NamedTuple):
    name: str
    licence: str
    link: str


def read_installed(packages: Path) -> Installed:
    """An environment by its ``site-packages`` or ``node_modules``."""
    told = [*_wheels(packages), *_modules(packages)]
    return Installed(
        size_bytes=_size(packages),
        licences={one.name: one.licence for one in told},
        links={one.name: one.link for one in told if one.link},
    )


def _size(folder: Path) -> int:
    return sum(os.lstat(os.path.join(root, name)).st_size for root, _, files in os.walk(folder) for name in files)


def _wheels(packages: Path) -> Iterator[_Told]:
    for metadata in sorted(packages.glob("*.dist-info/METADATA")):
        headers = HeaderParser().parsestr(metadata.read_text(encoding="utf-8", errors="replace"), headersonly=True)
        yield _Told(canonicalize_name(headers.get("Name", "")), _stated(headers), _page(headers))


def _stated(headers: Message) -> str:
    classifiers = [c for c in headers.get_all("Classifier", []) if c.startswith("License :: ")]
    classified = " and ".join(c.rpartition(" :: ")[2] for c in classifiers)
    return _short(headers.get("License-Expression") or classified or headers.get("License") or "not stated")


def _page(headers: Message) -> str:
    pages = {}
    for line in headers.get_all("Project-URL", []):
        label, _, url = line.partition(",")
        pages["".join(c for c in label.lower() if c.isalpha())] = url.strip()
    return next((pages[one] for one in _PAGES if one in pages), headers.get("Home-page") or "")


def _modules(packages: Path) -> Iterator[_Told]:
    for manifest in [*packages.glob("*/package.json"), *packages.glob("@*/*/package.json")]:
        document = json.loads(manifest.read_text(encoding="utf-8", errors="replace"))
        licence = _inner(document.get("license"), "type") or "not stated"
        link = document.get("homepage") or _inner(document.get("repository"), "url").removeprefix("git+")
        yield _Told(document.get("name", manifest.parent.name), _short(licence), str(link))


def _inner(value: Any, key: str) -> str:
    return str((value.get(key) if isinstance(value, dict) else value) or "")


def _short(text: str) -> str:
    return " ".join(text.split())[:_MOST_LETTERS]
