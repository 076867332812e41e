"""Registers the deployments of ``prefect.yaml``, exactly as ``prefect deploy --all`` does, in this process.

Safety property: what an operator paused stays paused (a plain redeploy would silently undo the pause of a deployment),
and a key that Prefect would silently ignore is refused before anything is registered. The functions behind that command
are private to Prefect; the lock file pins them, and a test compares with the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.cli.deploy._config import _load_deploy_configs_and_actions
from prefect.cli.deploy._core import _run_multi_deploy
from prefect.cli.deploy._models import DeploymentConfig
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from rich.console import Console

from deployments.declared import declared, full_name
from deployments.stack.pool import ensure_pool
from tasks.errors import BadInput
from tasks.estate.nearest import did_you_mean


async def register(client: PrefectClient, file: Path) -> list[str]:
    """Create or update every deployment of the file; return their full names. Safe to repeat.

    Raises BadInput for a file that is not understood to its last key.
    """
    deployments = check(file)
    for deployment in deployments:
        prove_flow(file, deployment)
    await ensure_pool(client)
    console = Console(quiet=True)
    configs, actions = _load_deploy_configs_and_actions(prefect_file=file, console=console)
    if len(configs) != len(deployments):
        raise BadInput(f"reading {file} failed: Prefect refuses it; see 'prefect --no-prompt deploy --all'")
    for config in configs:
        if await _paused(client, full_name(config)):
            config["paused"] = True
    await _run_multi_deploy(
        configs, actions, deploy_all=True, prefect_file=file, console=console, is_interactive=lambda: False
    )
    return [full_name(config) for config in configs]


def check(file: Path) -> list[dict[str, Any]]:
    """Read the deployments of a file. Raises BadInput for a key that Prefect would ignore or that undoes a pause."""
    deployments = declared(file)
    for deployment in deployments:
        where = f"reading deployment {deployment.get('name', '(without a name)')} in {file.name} failed"
        for key in deployment.keys() - DeploymentConfig.model_fields.keys():
            raise BadInput(f"{where}: there is no key {key}; {did_you_mean(key, DeploymentConfig.model_fields)}")
        if any("active" in schedule for schedule in deployment.get("schedules", [])):
            raise BadInput(f"{where}: a schedule says 'active', which would undo an operator's pause; remove it")
    return deployments


def prove_flow(file: Path, deployment: dict[str, Any]) -> None:
    """Import a deployment's flow. Raises BadInput where Prefect would register an empty shell without a word."""
    entrypoint = str(file.parent / deployment["entrypoint"])
    try:
        load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    except Exception as error:
        cause = error.__cause__ or error
        raise BadInput(
            f"importing {deployment['entrypoint']} for deployment {deployment['name']} failed: "
            f"{type(cause).__name__}: {cause}"
        ) from error


async def _paused(client: PrefectClient, name: str) -> bool:
    try:
        return (await client.read_deployment_by_name(name)).paused
    except ObjectNotFound:
        return False
