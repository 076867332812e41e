"""``caretaker run``: a flow in the foreground, with a live view of its steps.

Safety property: exit status 0 means that the flow completed, and nothing else does.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from deployments.stack import foreground
from deployments.stack.folder import Folder
from tasks.errors import BadInput, Missing, OpsError, Refused
from tasks.settings import settings

if TYPE_CHECKING:
    from prefect import Flow

#: Flow name → module and function, and the model of its parameters.
FLOWS: dict[str, tuple[str, str, str]] = {
    "deploy": ("flows.deploy", "deploy", "Deploy"),
    "reconcile": ("flows.reconcile", "reconcile", "Reconcile"),
    "roll-back": ("flows.roll_back", "roll_back", "RollBack"),
    "weekly-review": ("flows.weekly_review", "weekly_review", "WeeklyReview"),
    "verify-backups": ("flows.verify_backups", "verify_backups", "VerifyBackups"),
    "take-manifest": ("flows.take_manifest", "take_manifest", "TakeManifest"),
    "record-heartbeat": ("flows.record_heartbeat", "record_heartbeat", "RecordHeartbeat"),
    "rotate-secrets": ("flows.rotate_secrets", "rotate_secrets", "RotateSecrets"),
    "update-dependencies": ("flows.update_dependencies", "update_dependencies", "UpdateDependencies"),
    "maintain-database": ("flows.maintain_database", "maintain_database", "MaintainDatabase"),
}

#: How long the end of a run waits for its events to be sent.
EVENTS_SECONDS = 10.0


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit status, one line, and the result as plain data."""

    status: int
    line: str
    result: dict[str, Any]


def load(name: str) -> tuple[Flow[Any, Any], type[BaseModel]]:
    """Import a flow and its parameter model. Raises BadInput with the nearest name."""
    found = FLOWS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, FLOWS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FLOWS)}"
        raise BadInput(f"running flow {name} failed: there is none of that name; {hint}")
    module = importlib.import_module(found[0])
    return getattr(module, found[1]), getattr(module, found[2])


def parse_parameters(model: type[BaseModel], pairs: Sequence[str], dry_run: bool) -> BaseModel:
    """Read ``key=value`` pairs into a flow's parameter model. Raises BadInput, one line, naming the key."""
    values: dict[str, Any] = {"dry_run": True} if dry_run else {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise BadInput(f"reading parameter {pair} failed: it has no '='; write key=value")
        if key not in model.model_fields:
            near = difflib.get_close_matches(key, model.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(model.model_fields)}"
            raise BadInput(f"reading parameter {key} failed: the flow has none of that name; {hint}")
        values[key] = _value(model, key, text)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"reading parameter {where} failed: {first['msg']}; see 'caretaker run --help'") from None


def _value(model: type[BaseModel], key: str, text: str) -> Any:
    if "tuple" in str(model.model_fields[key].annotation):
        return [word for word in text.split(",") if word]
    return text


def run_flow(name: str, pairs: Sequence[str], *, dry_run: bool, as_json: bool) -> Ended:
    """Run a flow here and now, against the Prefect server that the environment names."""
    flow, model = load(name)
    request = parse_parameters(model, pairs, dry_run)
    from deployments.asking import at_the_terminal, somebody_is_there
    from deployments.view import live_view
    from tasks.approvals import ask_here

    with ExitStack() as view:
        view.enter_context(_quiet_console())
        shown = view.enter_context(live_view(name, plain=as_json or not sys.stderr.isatty()))
        if not as_json and somebody_is_there():
            view.callback(ask_here(at_the_terminal(shown)))
        state = asyncio.run(_run(flow, request))
        _send_events()
    return asyncio.run(_ended(name, state))


async def _run(flow: Flow[Any, Any], request: BaseModel) -> Any:
    """Run it; while it runs, the stack's worker knows by which process, and closes the run when that is killed."""
    begun: list[UUID] = []

    def remember(flow: Any, flow_run: Any, state: Any) -> None:
        foreground.remember(folder, flow_run.id)
        begun.append(flow_run.id)

    folder = Folder(settings().state)
    run: Any = flow.with_options(on_running=[remember, *flow.on_running_hooks])
    state = await run(request, return_state=True)
    for one in begun:
        foreground.forget(folder, one)
    return state


def _send_events() -> None:
    """Send the events that wait while Prefect's console is quiet: at exit it speaks of them after our last line."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=EVENTS_SECONDS)


async def _ended(name: str, state: Any) -> Ended:
    outcome = await state.aresult(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        line = str(outcome) if isinstance(outcome, OpsError) else f"{type(outcome).__name__}: {outcome}"
        line = " ".join(line.split())
        return Ended(1, line, {"verdict": "refused" if _is_refusal(outcome) else "failed", "why": line})
    result = outcome.model_dump(mode="json") if isinstance(outcome, BaseModel) else {"result": outcome}
    verdict = result.get("verdict", state.name)
    why = result.get("why") or ""
    return Ended(0 if state.is_completed() else 1, f"{name}: {verdict}" + (f": {why}" if why else ""), result)


def _is_refusal(error: BaseException) -> bool:
    """Whether nothing was changed: a person must change something first, or a safety rule said no."""
    return isinstance(error, BadInput | Missing | Refused)


class _quiet_console(ExitStack):
    """Takes Prefect's own console handlers away while the live view has the screen; its logs still reach the server."""

    def __enter__(self) -> _quiet_console:
        import prefect.main  # noqa: F401  sets the handlers up
        from prefect.logging.handlers import PrefectConsoleHandler

        for name in ("prefect", "prefect.flow_runs", "prefect.task_runs", "prefect.flows", "prefect.tasks", ""):
            logger = logging.getLogger(name)
            for handler in [h for h in logger.handlers if isinstance(h, PrefectConsoleHandler)]:
                logger.removeHandler(handler)
                self.callback(logger.addHandler, handler)
        return self


def print_ended(ended: Ended, *, as_json: bool) -> int:
    """Print how a run ended, for a person or a program, and give the exit status."""
    if as_json:
        print(json.dumps(ended.result, indent=2))
    if ended.status or not as_json:
        print(ended.line, file=sys.stderr if ended.status else sys.stdout)
    return ended.status
