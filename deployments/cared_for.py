"""Which estates the deployments of a ``prefect.yaml`` take care of.

Safety property: no stack is started for a real estate that no deployment names. It would look well, and its schedules
would take care of another estate: the sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployments.declared import declared, full_name
from tasks.errors import BadInput
from tasks.estate import Estate


def estates(file: Path) -> dict[Path, list[str]]:
    """Each estate file, and the deployments (``flow/deployment``) that name it, a schedule's own parameters included.

    A relative path is one below the folder of the ``prefect.yaml``: flows run there.
    """
    found: dict[Path, list[str]] = {}
    for deployment in declared(file):
        for named in sorted(set(_named(deployment))):
            found.setdefault((file.parent / named).resolve(), []).append(full_name(deployment))
    return found


def prove_cared_for(file: Path, estate: Estate) -> None:
    """Raise BadInput where an estate on Google is named by no deployment."""
    if estate.google.local_cloud:
        return
    found = estates(file)
    if estate.file.resolve() not in found:
        named = ", ".join(sorted(path.name for path in found)) or "none"
        raise BadInput(
            f"taking care of {estate.file.name} refused: no deployment of {file.name} names it (named are: {named}); "
            f"set 'estate: {estate.file}' in the parameters of its deployments and schedules"
        )


def needs_local_cloud(file: Path, estate: Estate) -> bool:
    """Whether an estate, or another one that a deployment names, lives on the local cloud.

    Raises BadInput for an estate file that cannot be read.
    """
    if estate.google.local_cloud:
        return True
    others = [path for path in estates(file) if path != estate.file.resolve()]
    return any(Estate.load(path).google.local_cloud for path in others)


def _named(deployment: dict[str, Any]) -> Iterator[str]:
    of_schedules = (schedule.get("parameters") for schedule in deployment.get("schedules") or [])
    for parameters in (deployment.get("parameters"), *of_schedules):
        request = (parameters or {}).get("request") or {}
        if "estate" in request:
            yield str(request["estate"])
