"""Reads what a ``prefect.yaml`` declares, without Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]


def declared(file: Path) -> list[dict[str, Any]]:
    """The deployments of a file, as they are written."""
    return list(yaml.safe_load(file.read_text()).get("deployments") or [])


def flow_name(deployment: dict[str, Any]) -> str:
    """The name of a deployment's flow: its function's with dashes; a test compares."""
    return str(deployment["entrypoint"]).rpartition(":")[2].replace("_", "-")


def full_name(deployment: dict[str, Any]) -> str:
    """``flow/deployment``."""
    return f"{flow_name(deployment)}/{deployment['name']}"
