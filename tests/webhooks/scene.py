"""A whole stack that follows a branch: the sample's API in a repository of its own, released by deliveries."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import FlowRun

from deployments.environment import POOL
from tasks.models import SecretPin
from tests.dependencies.repositories import PERSON
from tests.deployments.runs import COMMAND, ask, wait_until
from tests.sample import Sample
from tests.stack import ROOT, Stack, running_stack

DEPLOYMENT = "followed"
PROJECT = "followed-001"


class FollowedStack:
    """A running stack, and the repository that its estate lies in."""

    def __init__(self, stack: Stack, sample: Sample) -> None:
        self.stack, self.sample = stack, sample
        self.commits = [git(sample.folder, "rev-parse", "HEAD")]

    @property
    def receiver(self) -> str:
        return str(self.stack.status()["urls"]["webhooks"])

    @property
    def secret(self) -> str:
        found = self.sample.site.secrets.access(SecretPin(secret="github-webhook", version="latest"))
        return found.get_secret_value()

    def commit(self) -> str:
        """A new version of the API, on the branch and told to nobody."""
        self.sample.variant().with_version(str(len(self.commits) + 1))
        self.commits.append(commit_all(self.sample.folder))
        return self.commits[-1]

    def version(self) -> str:
        """What the service tells of itself."""
        return str(self.sample.get("/").json()["version"])

    def runs(self) -> list[FlowRun]:
        """The runs of the deployment, oldest first."""
        found = ask(_runs)
        return sorted(found, key=lambda run: str(run.created))

    def kill(self, name: str) -> None:
        """``kill -9`` a process of the stack, and return once its successor answers."""
        before = self.stack.status()["processes"][name]["pid"]
        os.kill(before, signal.SIGKILL)

        def back() -> bool:
            process = self.stack.status()["processes"][name]
            return bool(process["healthy"] and process["pid"] != before)

        wait_until(back, f"{name} to come back", 120)


@contextmanager
def followed_stack(folder: Path) -> Iterator[FollowedStack]:
    """A stack with receiver and worker, its API released from the first commit."""
    sample = Sample(folder / "repository", PROJECT)
    sample.write()
    text = sample.estate_file.read_text()
    section = f'[source]\nrepository = "."\ndeployment = "deploy/{DEPLOYMENT}"\n'
    sample.estate_file.write_text(text.replace('[source]\nrepository = "."\n', section))
    git(sample.folder, "init", "--quiet", "--initial-branch=main")
    commit_all(sample.folder)
    with running_stack(folder / "state", f"--estate={sample.estate_file}", "--drain=5") as stack:
        scene = FollowedStack(stack, sample)
        ask(lambda client: _deployment(client, sample))
        yield scene


def commit_all(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "work")
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **PERSON}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def _deployment(client: PrefectClient, sample: Sample) -> Any:
    from flows.deploy import deploy

    return await client.create_deployment(
        flow_id=await client.create_flow(deploy), name=DEPLOYMENT, entrypoint="flows/deploy.py:deploy",
        work_pool_name=POOL, job_variables=COMMAND, parameters={"request": {"estate": str(sample.estate_file)}},
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
    )  # fmt: skip


async def _runs(client: PrefectClient) -> list[FlowRun]:
    named = DeploymentFilter.model_validate({"name": {"any_": [DEPLOYMENT]}})
    return await client.read_flow_runs(deployment_filter=named)
