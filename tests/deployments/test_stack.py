"""``caretaker up``, ``status`` and ``down`` on real stacks: what they promise to whoever kills them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.context import refresh_global_settings_context

from deployments.environment import POOL, prefect_environment
from deployments.run import FLOWS
from deployments.stack.backlog import REASON
from tests.deployments.runs import ask, deaths, runs_of, schedule_sleeper, start_sleeper, state_of, wait_until
from tests.stack import ROOT, Stack, caretaker, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
WITH_WORKER = ("--no-deploy", "--no-sample", "--drain=8")
ONE_AT_A_TIME = {
    "name": "one at a time", "concurrency_limit": 1,
    "concurrency_options": ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
}  # fmt: skip
AUTH, ELSEWHERE = "operator:a-password-of-the-test", "127.0.0.2"
PROCESSES = {"postgresql", "local-cloud", "prefect", "worker", "webhooks"}


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running(state: Path) -> Iterator[Stack]:
    """A stack with its worker."""
    with running_stack(state, *WITH_WORKER) as stack:
        yield stack


def processes_of(state: Path) -> list[psutil.Process]:
    """Every process that was given this state folder, and PostgreSQL's on its data."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            theirs = process.environ().get("CARETAKER_STATE") == str(state)
            if process.pid != os.getpid() and (theirs or any(str(state) in part for part in process.cmdline())):
                found.append(process)
    return found


def meet(stack: Stack) -> None:
    """Point this process's Prefect at the stack as it is now: its address and its password."""
    os.environ.update(prefect_environment(stack.state))
    refresh_global_settings_context()


def pids(stack: Stack) -> dict[str, int]:
    return {name: process["pid"] for name, process in stack.status()["processes"].items()}


def supervisor(stack: Stack) -> int:
    return int(stack.folder.read()["supervisor"]["pid"])


def declared() -> set[str]:
    """The full names of the deployments that prefect.yaml declares."""
    flow_of = {f"{module.replace('.', '/')}.py:{function}": flow for flow, (module, function, _) in FLOWS.items()}
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return {f"{flow_of[entry['entrypoint']]}/{entry['name']}" for entry in entries}


async def the_deployments(client: PrefectClient) -> dict[str, Any]:
    """Every deployment of prefect.yaml that is registered, without what only says when it was."""
    passing = {"created", "updated", "updated_by", "version_id", "version_info", "branch", "created_by", "last_polled"}
    flows = {flow.id: flow.name for flow in await client.read_flows()}
    found = await client.read_deployments()
    kept = [one for one in found if f"{flows[one.flow_id]}/{one.name}" in declared()]
    told = {f"{flows[one.flow_id]}/{one.name}": one.model_dump(mode="json", exclude=passing) for one in kept}
    for one in told.values():
        schedules = [{k: v for k, v in each.items() if k not in ("created", "updated")} for each in one["schedules"]]
        one["schedules"] = sorted(schedules, key=lambda each: each["slug"])
        for name in ("active_slots", "updated"):  # every five minutes a run takes a slot, and gives it back
            (one["global_concurrency_limit"] or {}).pop(name, None)
    return told


def test_status_tells_that_all_of_it_answers_and_where(running: Stack) -> None:
    answer = json.loads(caretaker(running.state, "status", "--json").stdout)
    assert answer["ready"] is True, answer
    assert answer["processes"].keys() == PROCESSES
    assert all(process["healthy"] and process["memory_mb"] > 5 for process in answer["processes"].values()), answer
    assert {one["name"] for one in answer["deployments"]} >= {"deploy/pyplots", "roll-back/pyplots"}
    assert answer["urls"]["ui"].startswith("http://127.0.0.1:")


async def pause_the_nightly_drill(client: PrefectClient) -> None:
    """What an operator does in the UI, with the switch beside a schedule."""
    deployment = await client.read_deployment_by_name("verify-backups/pyplots")
    nightly = next(schedule for schedule in deployment.schedules if schedule.slug == "nightly")
    await client.update_deployment_schedule(deployment.id, nightly.id, active=False)


async def paused_schedules(client: PrefectClient) -> list[str]:
    deployment = await client.read_deployment_by_name("verify-backups/pyplots")
    return [str(schedule.slug) for schedule in deployment.schedules if not schedule.active]


def test_a_page_of_another_site_may_not_ask_the_api(running: Stack) -> None:
    api = running.status()["urls"]["prefect_api"]
    asked = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    answer = httpx.options(f"{api}/flow_runs/", headers=asked)
    assert "access-control-allow-origin" not in answer.headers, answer.headers
    own = httpx.options(f"{api}/flow_runs/", headers={**asked, "origin": api.removesuffix("/api")})
    assert own.headers["access-control-allow-origin"] == api.removesuffix("/api")


def test_prefects_own_command_registers_the_same_deployments_and_keeps_a_paused_schedule(running: Stack) -> None:
    ask(pause_the_nightly_drill)
    before = ask(the_deployments)
    assert before.keys() == declared()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert ask(the_deployments) == before
    assert ask(paused_schedules) == ["nightly"]


def test_a_second_up_of_the_same_state_is_refused(running: Stack) -> None:
    second = caretaker(running.state, "up", *WITH_WORKER)
    assert second.returncode == 1
    assert "it is running already" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert running.status()["ready"]


def test_a_killed_prefect_server_is_started_again_and_its_runs_go_on(running: Stack, tmp_path: Path) -> None:
    run = start_sleeper(12, tmp_path / "started")
    before = pids(running)["prefect"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: running.status()["ready"] and pids(running)["prefect"] != before, "the server to come back")
    wait_until(lambda: state_of(run).is_final(), "the run to end", 120)
    assert state_of(run).is_completed(), state_of(run)


def test_after_a_kill_9_of_the_supervisor_the_next_up_keeps_what_runs_and_what_is_paused(running: Stack) -> None:
    async def pause(client: PrefectClient) -> None:
        await client.pause_deployment((await client.read_deployment_by_name("deploy/pyplots")).id)

    ask(pause)
    before = pids(running)
    os.kill(supervisor(running), signal.SIGKILL)
    assert running.status()["ready"] is False
    again = caretaker(running.state, "up", "--detach", *WITH_WORKER)
    assert again.returncode == 0, again.stdout + again.stderr
    status = running.status()
    assert status["ready"]
    assert pids(running) == before
    paused = {one["name"]: one["paused"] for one in status["deployments"]}
    assert (paused["deploy/pyplots"], paused["roll-back/pyplots"]) == (True, False)
    assert ask(paused_schedules) == ["nightly"]


def test_a_run_whose_worker_was_killed_is_told_as_crashed_and_its_slot_is_free(running: Stack, tmp_path: Path) -> None:
    run = start_sleeper(600, tmp_path / "started", **ONE_AT_A_TIME)
    before = pids(running)["worker"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: state_of(run).is_final(), "the run to be marked")
    assert state_of(run).is_crashed(), state_of(run)
    wait_until(lambda: running.status()["ready"], "the worker to come back")
    following = start_sleeper(0, tmp_path / "next", **ONE_AT_A_TIME)
    wait_until(lambda: state_of(following).is_final(), "the next run to end")
    assert state_of(following).is_completed(), state_of(following)
    assert len(deaths(running.state)) == 1


def test_a_run_whose_process_was_killed_leaves_word_of_its_death(running: Stack, tmp_path: Path) -> None:
    before = len(deaths(running.state))
    run = start_sleeper(600, tmp_path / "started")
    os.kill(int((tmp_path / "started").read_text()), signal.SIGKILL)
    wait_until(lambda: state_of(run).is_crashed(), "the run to be marked")
    wait_until(lambda: len(deaths(running.state)) == before + 1, "the word of its death")


def test_a_killed_caretaker_run_does_not_stay_running(running: Stack, tmp_path: Path) -> None:
    program = [sys.executable, str(Path(__file__).parent / "foreground_nap.py"), str(tmp_path / "run")]
    process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until((tmp_path / "run").exists, "the flow to run")
    run = UUID((tmp_path / "run").read_text())
    process.kill()
    process.wait()
    assert state_of(run).is_running()
    wait_until(lambda: state_of(run).is_crashed(), "the run to be closed")


def test_of_a_backlog_each_schedule_runs_once(running: Stack, tmp_path: Path) -> None:
    ask(lambda client: client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True)))
    deployment = schedule_sleeper(timedelta(seconds=2), tmp_path / "started", "often")
    wait_until(lambda: len(due(deployment)) >= 4, "a backlog")
    backlog = {run.id for run in due(deployment)}
    ask(lambda client: client.update_work_pool(POOL, WorkPoolUpdate(is_paused=False)))
    wait_until(lambda: all(run.state.is_final() for run in runs_of(deployment) if run.id in backlog), "the backlog")
    ended = [run for run in runs_of(deployment) if run.id in backlog]
    ask(lambda client: client.delete_deployment(deployment))
    assert sum(run.state.is_completed() for run in ended) <= 1
    skipped = [run for run in ended if run.state.is_cancelled()]
    assert len(skipped) >= 3
    assert {run.state.message for run in skipped} == {REASON}


def due(deployment: UUID) -> list[Any]:
    now = datetime.now(UTC)
    return [run for run in runs_of(deployment) if run.expected_start_time <= now]


def test_secrets_are_readable_by_their_owner_alone(running: Stack) -> None:
    files = list((running.state / "secrets").iterdir())
    assert {file.name for file in files} >= {"ledger-url", "prefect-encryption-key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_down_lets_a_short_run_end_cancels_a_long_one_and_leaves_no_process(
    running: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = start_sleeper(3, tmp_path / "short")
    long = start_sleeper(600, tmp_path / "long")
    assert caretaker(running.state, "down").returncode == 0
    assert processes_of(running.state) == []
    monkeypatch.setenv("CARETAKER_PREFECT_AUTH", AUTH)
    again = caretaker(running.state, "up", "--detach", f"--listen={ELSEWHERE}", *WITH_WORKER)
    assert again.returncode == 0, again.stdout + again.stderr
    meet(running)
    assert state_of(short).is_completed(), state_of(short)
    assert state_of(long).is_cancelled(), state_of(long)


def test_a_server_that_others_reach_asks_for_a_password_and_a_token(running: Stack, tmp_path: Path) -> None:
    """It stands on the start of the test before: on another address, with a password."""
    api = running.status()["urls"]["prefect_api"]
    assert api.startswith(f"http://{ELSEWHERE}:")
    user, _, password = AUTH.partition(":")
    assert httpx.get(f"{api}/admin/version").status_code == 401
    assert httpx.get(f"{api}/admin/version", auth=(user, "wrong")).status_code == 401
    assert httpx.get(f"{api}/admin/version", auth=(user, password)).status_code == 200
    assert httpx.post(f"{api}/flows/filter", json={}, auth=(user, password)).status_code == 403, "without a CSRF token"
    assert running.status()["ready"], "the stack itself has both"
    run = start_sleeper(0, tmp_path / "started")
    wait_until(lambda: state_of(run).is_completed(), "a run of the worker")


def test_no_secret_is_in_the_list_of_processes_nor_in_what_is_registered(running: Stack) -> None:
    secrets = [AUTH.partition(":")[2], *(file.read_text() for file in (running.state / "secrets").iterdir())]
    lines = [" ".join(process.cmdline()) for process in processes_of(running.state)]
    assert len(lines) > len(PROCESSES)
    registered = json.dumps(ask(the_deployments)) + (ROOT / "prefect.yaml").read_text()
    for secret in secrets:
        assert not [line for line in lines if secret in line]
        assert secret not in registered


def test_down_after_a_kill_9_of_the_supervisor_ends_what_it_left(running: Stack) -> None:
    os.kill(supervisor(running), signal.SIGKILL)
    assert len(processes_of(running.state)) >= len(PROCESSES)
    assert caretaker(running.state, "down").returncode == 0
    wait_until(lambda: processes_of(running.state) == [], "the processes to end", 5)
    assert caretaker(running.state, "down").returncode == 0, "stopping what is stopped succeeds"


def test_a_port_in_use_is_one_line_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = caretaker(tmp_path / "s", "up", f"--ui-port={port}", *WITH_WORKER)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [line for line in refused.stderr.splitlines() if f"port {port}" in line]
    assert "--ui-port" in refused.stderr
    assert not (tmp_path / "s" / "database").exists()


@pytest.mark.parametrize("auth", ["", "admin:short", "nocolon-but-long-enough"])
def test_an_address_that_others_reach_is_refused_without_a_good_password(
    tmp_path: Path, auth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARETAKER_PREFECT_AUTH", auth)
    refused = caretaker(tmp_path / "s", "up", "--listen=0.0.0.0", *WITH_WORKER)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "CARETAKER_PREFECT_AUTH" in refused.stderr
    assert not auth or auth not in refused.stdout + refused.stderr
    assert not (tmp_path / "s" / "database").exists()


def test_ctrl_c_while_it_starts_stops_what_was_started(tmp_path: Path) -> None:
    state = Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    argv = [sys.executable, "-m", "deployments.cli", "up", f"--state={state}", *WITH_WORKER]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(argv, cwd=ROOT, start_new_session=True, **quiet)
    wait_until((state / "database" / "data").exists, "PostgreSQL to be made")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    wait_until(lambda: processes_of(state) == [], "the processes to end", 5)
    shutil.rmtree(state)
