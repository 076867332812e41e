"""Kills and faults a flow at every writing call, runs it again, and looks whether all is well.

The machinery knows nothing of a flow but a ``Scenario``: how to prepare the next run, and what must hold afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from localcloud.control_client import Control
from tests.chaos.cases import Case
from tests.chaos.runner import Run, context

RUN_SECONDS = 300.0
FURTHER_RUNS = 2
#: The local cloud sees within this time that the caller of a held call is gone, and does not do its work.
CALLER_IS_GONE_SECONDS = 0.4


class Scenario(Protocol):
    """What the harness must know of a flow."""

    flow: str
    project: str
    folder: Path

    def prepare(self) -> dict[str, Any]:
        """Change the world so that the next run has something to do; its parameters."""

    def check(self, verdict: dict[str, Any]) -> list[str]:
        """What is wrong after the last run; empty where all is well."""

    def check_safe(self) -> list[str]:
        """What is wrong after a run that ended by itself, however it ended: what users would notice."""


@dataclass(frozen=True)
class Outcome:
    """How one case ended. ``met`` says whether the fault was met at all."""

    case: Case
    met: bool
    runs: int
    verdict: str
    wrong: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return self.met and not self.wrong


class Harness:
    """Runs cases of one scenario, one after the other."""

    def __init__(self, control: Control, scenario: Scenario) -> None:
        self._control, self._scenario = control, scenario
        self._processes = context()

    def clean_run(self) -> list[Any]:
        """One run without faults; its writing calls."""
        parameters = self._scenario.prepare()
        after = max((call.seq for call in self._control.calls(project=self._scenario.project)), default=0)
        verdict = self._start(parameters).wait(RUN_SECONDS)
        wrong = self._scenario.check(verdict)
        assert not wrong, f"the clean run went wrong: {wrong}"
        return self._control.calls(project=self._scenario.project, writes_only=True, after=after)

    def run(self, case: Case) -> Outcome:
        """One case: the fault, the kill where it asks for one, and up to two further runs."""
        began = time.monotonic()
        parameters = self._scenario.prepare()
        fault = self._control.plant(
            method=case.method, kind=case.kind, nth=case.nth, project=self._scenario.project, writes_only=True
        )
        try:
            verdict, runs = self._first_run(case, parameters, fault)
            met = bool(self._control.fault(fault)["met"])
        finally:
            self._control.remove(fault)
        unsafe = [] if case.kills else self._scenario.check_safe()
        wrong = self._scenario.check(verdict)
        while (case.kills and runs == 1) or (wrong and runs <= FURTHER_RUNS):
            verdict = self._start(parameters).wait(RUN_SECONDS)
            runs += 1
            wrong = self._scenario.check(verdict)
        return Outcome(case, met, runs, str(verdict["verdict"]), (*unsafe, *wrong), time.monotonic() - began)

    def _first_run(self, case: Case, parameters: dict[str, Any], fault: str) -> tuple[dict[str, Any], int]:
        run = self._start(parameters)
        if not case.kills:
            return run.wait(RUN_SECONDS), 1
        self._control.wait_until_met(fault, RUN_SECONDS)
        run.kill()
        time.sleep(CALLER_IS_GONE_SECONDS)
        self._control.release(fault)
        return {"verdict": "killed", "why": ""}, 1

    def _start(self, parameters: dict[str, Any]) -> Run:
        return Run(self._processes, self._scenario.flow, parameters, self._scenario.folder)


def run_all(harness: Harness, cases: Iterable[Case], tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Run every case, telling each as it ends."""
    outcomes = []
    for case in cases:
        outcome = harness.run(case)
        tell(outcome)
        outcomes.append(outcome)
    return outcomes
