"""Runs a flow in a process of its own that can be killed at any moment.

The processes are forked from a server that has everything imported, so a run costs no start-up. Each writes its verdict
into a file.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    "flows.deploy", "flows.roll_back", "flows.verify_backups", "flows.weekly_review", "flows.update_dependencies",
    "flows.maintain_database", "flows.rotate_secrets", "github",
    "google.cloud.run_v2", "google.cloud.sqladmin_v1", "google.cloud.storage", "google.cloud.bigquery",
    "google.cloud.secretmanager", "google.cloud.logging_v2", "google.cloud.devtools.cloudbuild_v1",
]  # fmt: skip


def context() -> ForkServerContext:
    """The fork server's context, with everything preloaded."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


class Run:
    """One run of a flow in its own process."""

    def __init__(self, made: ForkServerContext, flow: str, parameters: dict[str, Any], folder: Path) -> None:
        self._verdict = folder / f"verdict-{os.urandom(4).hex()}.json"
        self._process: BaseProcess = made.Process(
            target=_run, args=(flow, parameters, str(self._verdict), dict(os.environ)), daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._process.kill()
        self._process.join(30)

    def wait(self, seconds: float) -> dict[str, Any]:
        """Its verdict. Fails when it does not end in time."""
        self._process.join(seconds)
        if self._process.is_alive():
            self.kill()
            raise AssertionError(f"the run did not end within {seconds} s")
        if not self._verdict.exists():
            raise AssertionError(f"the run ended with exit code {self._process.exitcode} and said nothing")
        return json.loads(self._verdict.read_text())  # type: ignore[no-any-return]

    @property
    def alive(self) -> bool:
        return self._process.is_alive()


def _run(flow: str, parameters: dict[str, Any], verdict: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    try:
        answer = _verdict_of(flow, parameters)
    except BaseException:  # noqa: BLE001  whatever it was is the run's verdict
        answer = {"verdict": "crashed", "why": traceback.format_exc()}
    Path(verdict).write_text(json.dumps(answer))


def _verdict_of(flow: str, parameters: dict[str, Any]) -> dict[str, Any]:
    import asyncio

    from deployments.run import load

    function, model = load(flow)
    state = asyncio.run(function(model.model_validate(parameters), return_state=True))
    result = asyncio.run(state.aresult(raise_on_failure=False))
    if isinstance(result, BaseException):
        return {"verdict": "failed", "why": f"{type(result).__name__}: {result}"}
    return result.model_dump(mode="json")  # type: ignore[no-any-return]
