"""What a package index says of a project: yanked versions (PEP 592), whether it goes on (PEP 792), its newest upload.

It is asked over the JSON form of the simple API (PEP 691). An index without it says nothing of the kind: ``None``.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from tasks.clients.deadlines import CALL_SECONDS
from tasks.dependency_models import ProjectStatus

_ACCEPT = "application/vnd.pypi.simple.v1+json"
_AT_ONCE = 8


def statuses(projects: Iterable[tuple[str, str]]) -> dict[str, ProjectStatus | None]:
    """What is known of each (index, project), by project; None where the index did not say."""
    wanted = sorted(set(projects))
    with httpx.Client(timeout=CALL_SECONDS, follow_redirects=True) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda one: status(client, *one), wanted)
        return dict(zip((name for _, name in wanted), found, strict=True))


def status(client: httpx.Client, index: str, project: str) -> ProjectStatus | None:
    """One project's status."""
    try:
        answer = client.get(f"{index.rstrip('/')}/{project}/", headers={"accept": _ACCEPT})
    except httpx.HTTPError:
        return None
    if not answer.is_success or not answer.headers.get("content-type", "").startswith(_ACCEPT):
        return None
    return _status(project, answer.json())


def _status(project: str, document: dict[str, Any]) -> ProjectStatus:
    files = document.get("files", [])
    yanked = {_version(one["filename"]): _reason(one["yanked"]) for one in files if one.get("yanked")}
    uploads = [datetime.fromisoformat(one["upload-time"]) for one in files if one.get("upload-time")]
    state = document.get("project-status") or {}
    return ProjectStatus(
        package=project, yanked=yanked, status=state.get("status", "active"), newest=max(uploads, default=None)
    )


def _reason(yanked: Any) -> str:
    return yanked if isinstance(yanked, str) else "no reason given"


def _version(filename: str) -> str:
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return filename
