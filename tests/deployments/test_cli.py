"""The command: quick where it must be, one line where it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT, caretaker

HEAVY = ("prefect", "google.cloud.run_v2", "grpc", "sqlalchemy", "psycopg")


def imported(*arguments: str) -> list[str]:
    """Which of the slow packages a command imports."""
    program = (
        "import sys\n"
        "from deployments.cli import app\n"
        f"app({list(arguments)!r}, standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return list(json.loads(ended.stderr.strip().replace("'", '"')))


def test_help_imports_nothing_slow() -> None:
    assert imported("--help") == []


def test_status_imports_nothing_slow_but_what_reads_a_running_cluster(tmp_path: Path) -> None:
    assert not {"prefect", "google.cloud.run_v2", "sqlalchemy"} & set(imported("status", "--state", str(tmp_path)))


def test_the_state_may_be_named_before_or_after_the_command(tmp_path: Path) -> None:
    before = [sys.executable, "-m", "deployments.cli", "--state", str(tmp_path / "a"), "env"]
    one = subprocess.run(before, capture_output=True, text=True, cwd=ROOT, check=True)
    assert f"CARETAKER_STATE={tmp_path}/a" in one.stdout
    assert f"CARETAKER_STATE={tmp_path}/b" in caretaker(tmp_path / "b", "env").stdout


def test_status_of_a_folder_without_a_stack_says_not_ready(tmp_path: Path) -> None:
    answer = json.loads(caretaker(tmp_path, "status", "--json").stdout)
    assert answer["ready"] is False
    assert answer["phase"] == "stopped"
    assert {"services", "urls", "processes", "deployments"} <= answer.keys()


def test_an_estate_with_an_unknown_key_is_one_line_and_nothing_is_started(tmp_path: Path) -> None:
    estate = tmp_path / "estate.toml"
    estate.write_text((ROOT / "estate.toml").read_text().replace("[canary]", "[canery]"))
    refused = caretaker(tmp_path / "s", "up", f"--estate={estate}")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "canery" in refused.stderr
    assert "canary" in refused.stderr
    assert not (tmp_path / "s").exists()


def test_no_stack_is_started_for_a_real_estate_that_no_deployment_takes_care_of(tmp_path: Path) -> None:
    estate = tmp_path / "production.toml"
    estate.write_text((ROOT / "estate.toml").read_text().replace("local_cloud = true\n", ""))
    refused = caretaker(tmp_path / "s", "up", f"--estate={estate}")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "no deployment of prefect.yaml names it (named are: estate.toml)" in refused.stderr
    assert f"'estate: {estate}'" in refused.stderr
    assert not (tmp_path / "s").exists()


def test_a_flow_without_a_stack_is_one_line_and_meets_no_other_stacks_server(tmp_path: Path) -> None:
    refused = caretaker(tmp_path / "s", "run", "deploy", "--dry-run")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "caretaker up" in refused.stderr
    assert not (tmp_path / "s").exists()


def test_prefects_environment_is_the_stacks_and_not_the_persons(tmp_path: Path) -> None:
    printed = caretaker(tmp_path, "env").stdout
    variables = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    assert variables["PREFECT_HOME"] == f"{tmp_path}/prefect"
    assert variables["PREFECT_API_URL"].startswith("http://127.0.0.1:")
    assert variables["DO_NOT_TRACK"] == "1"
