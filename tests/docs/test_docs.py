"""Documents that cannot lie: what README, runbooks and the coverage page say is compared with the programs.

It reads files, and asks the session's local cloud which methods it serves.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from deployments.cli import app
from deployments.run import FLOWS, load, parse_parameters
from localcloud.bigquery import http as bigquery
from localcloud.faults import KINDS
from tests.conftest import ROOT, LocalCloud

README = ROOT / "README.md"
COVERAGE = ROOT / "docs" / "localcloud-coverage.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
POLICIES = {"READ", "WRITE", "WAIT", "ONCE"}
RUNBOOK_SECTIONS = ("When it runs", "What it touches", "At three in the morning")

_FENCED = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ANY_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SERVICE_HEADING = re.compile(r"#+ .*\(`([a-z0-9.]+\.[A-Z]\w+)`\)")
_METHODS = re.compile(r"[A-Z][A-Za-z]+(?:, [A-Z][A-Za-z]+)*")
_TREE_LINE = re.compile(r"^    (\w+)/ ", re.MULTILINE)


def commands(document: Path) -> list[str]:
    """Every command that a document shows: lines of its consoles, and what stands alone in backquotes."""
    text = document.read_text()
    lines = [line for block in _FENCED.findall(text) for line in block.splitlines()]
    return lines + _SPAN.findall(_ANY_FENCED.sub("", text))


def covered() -> Iterator[tuple[str, bool]]:
    """(path, whether the page says that it is served) of each gRPC method in the coverage page."""
    service = ""
    for line in COVERAGE.read_text().splitlines():
        if line.startswith("#"):
            heading = _SERVICE_HEADING.fullmatch(line)
            service = heading.group(1) if heading else ""
        elif service and line.startswith("| "):
            calls, said = (cell.strip() for cell in line.split("|")[1:3])
            if _METHODS.fullmatch(calls):
                yield from ((f"/{service}/{method}", said != "no") for method in calls.split(", "))


def task_functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, ast.expr]]:
    """(place, function, decorator) of every task."""
    for path in sorted((ROOT / "tasks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    called = decorator.func if isinstance(decorator, ast.Call) else decorator
                    if isinstance(called, ast.Name) and called.id == "task":
                        yield f"{path.relative_to(ROOT)}: {node.name}", node, decorator


def policy_of(decorator: ast.expr) -> str:
    """The policy that a task names as ``@task(**POLICY)`` and with nothing beside it; empty for anything else."""
    if not isinstance(decorator, ast.Call) or decorator.args or len(decorator.keywords) != 1:
        return ""
    only = decorator.keywords[0]
    return only.value.id if only.arg is None and isinstance(only.value, ast.Name) else ""


def tracked() -> list[Path]:
    """Every file of the project that is, or is about to be, under version control."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_method_that_is_served_is_in_the_coverage_page_and_every_one_promised_is_served(
    local_cloud: LocalCloud,
) -> None:
    said = list(covered())
    assert len(said) == len({path for path, _ in said}), "a method has two lines"
    served = set(local_cloud.control.methods())
    assert served
    assert {path for path, yes in said if yes} == served


def test_every_storage_call_of_the_log_is_in_the_coverage_page_and_the_other_way_round() -> None:
    source = "".join(path.read_text() for path in (ROOT / "localcloud" / "storage").glob("*.py"))
    logged = set(re.findall(r'"((?:Buckets|Objects)\.[A-Z]\w+)"', source))
    section = COVERAGE.read_text().partition("## Cloud Storage")[2].partition("\n## ")[0]
    said: set[str] = set()
    for owner, methods in re.findall(r"^\| (Buckets|Objects)\.([A-Z]\w+(?:, [A-Z]\w+)*) \|", section, re.MULTILINE):
        said |= {f"{owner}.{method}" for method in methods.split(", ")}
    assert said == logged != set()


def test_every_bigquery_call_of_the_log_is_in_the_coverage_page_and_the_other_way_round() -> None:
    section = COVERAGE.read_text().partition("## BigQuery")[2].partition("\n## ")[0]
    said: set[str] = set()
    rows = re.findall(r"^\| (\w+)\.([A-Z]\w+(?:, [A-Z]\w+)*) \| (.*?) \|", section, re.MULTILINE)
    for owner, methods, what in rows:
        said |= {f"{owner}.{method}" for method in methods.split(", ") if what != "no"}
    assert said == {route.name for route in bigquery.ROUTES}


def test_every_kind_of_fault_is_explained() -> None:
    section = COVERAGE.read_text().partition("## Faults and the call log")[2]
    assert [kind for kind in KINDS if f"`{kind}`" not in section] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match.group(1) for command in commands(document) if (match := re.match(r"make ([a-z-]+)", command))}
    assert named - targets == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_caretaker_command_that_a_document_names_can_be_typed(document: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group | typer.core.TyperGroup)
    for line in commands(document):
        for words in re.findall(r"(?:^|\$\()(caretaker [a-z][^;)]*)", line):
            name, *arguments = shlex.split(words, comments=True)[1:]
            assert name in group.commands, f"{line}: there is no command {name}"
            # Reads the options and arguments as the command line does, and runs nothing.
            context = group.commands[name].make_context(name, arguments)
            if name == "run":
                _, model = load(context.params["flow"])
                parse_parameters(model, context.params["param"] or [], context.params["dry_run"])


def test_readme_shows_the_two_commands_and_the_main_ones() -> None:
    shown = " ; ".join(commands(README))
    wanted = ("make up", "make test", "caretaker run", "caretaker status", "caretaker doctor")
    assert [words for words in wanted if words not in shown] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_a_document_links_or_names_exists(document: Path) -> None:
    text = document.read_text()
    linked = [target.partition("#")[0] for target in _LINK.findall(text) if "://" not in target]
    missing = [target for target in linked if target and not (document.parent / target).exists()]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    named = [span for span in _SPAN.findall(_ANY_FENCED.sub("", text)) if re.fullmatch(r"\w+/[\w./-]+\.\w+", span)]
    missing += [span for span in named if span.split("/")[0] in folders and not (ROOT / span).exists()]
    assert missing == []


def test_the_tree_in_the_readme_is_that_of_the_repository() -> None:
    shown = _TREE_LINE.findall(README.read_text())
    assert {"flows", "tasks", "deployments", "localcloud", "embedded", "docs"} <= set(shown)
    assert [name for name in shown if not (ROOT / name).is_dir()] == []


def test_every_flow_can_be_run_by_name_and_no_other_is_there() -> None:
    in_files = set()
    for path in (ROOT / "flows").glob("*.py"):
        in_files |= set(re.findall(r'^@flow\(\s*name="([^"]+)"', path.read_text(), re.MULTILINE))
    assert in_files == set(FLOWS)
    for name, (module, function, model) in FLOWS.items():
        assert (module, function) == (f"flows.{name.replace('-', '_')}", name.replace("-", "_"))
        assert hasattr(importlib.import_module(module), model)


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_has_a_runbook_and_a_line_in_the_readme(name: str) -> None:
    word = name.replace("-", "_")
    runbook = (ROOT / "docs" / "runbooks" / f"{word}.md").read_text()
    assert [section for section in RUNBOOK_SECTIONS if section not in runbook] == []
    assert re.search(rf"^\| `{name}` \|.*\(docs/runbooks/{word}\.md\) \|$", README.read_text(), re.MULTILINE)


def test_no_file_names_a_path_of_one_machine() -> None:
    absolute = re.compile(rb"(?<![\w.~/-])/(?:work|root|home|Users)/[\w.]")
    found = [str(path.relative_to(ROOT)) for path in tracked() if absolute.search(path.read_bytes())]
    assert found == []


def test_every_task_names_exactly_one_policy_and_no_number_of_its_own() -> None:
    named = {place: policy_of(decorator) for place, _, decorator in task_functions()}
    assert named
    assert {place: policy for place, policy in named.items() if policy not in POLICIES} == {}


def test_every_task_that_writes_or_waits_says_why_a_repeat_is_safe() -> None:
    silent = [
        place
        for place, function, decorator in task_functions()
        if policy_of(decorator) in ("WRITE", "WAIT") and "repeat" not in (ast.get_docstring(function) or "")
    ]
    assert silent == []


def test_the_numbers_of_retries_and_timeouts_stand_in_the_policies_alone() -> None:
    words = {"retries", "retry_delay_seconds", "retry_jitter_factor", "retry_condition_fn"}
    found = []
    for path in sorted((ROOT / "tasks").rglob("*.py")):
        keywords = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.keyword))
        found += [f"{path.name}: {keyword.arg}" for keyword in keywords if keyword.arg in words]
    assert found == []


def test_no_flow_module_hides_one_of_the_standard_library() -> None:
    # Prefect puts the folder of a flow's file first on sys.path.
    names = {path.stem for path in (ROOT / "flows").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert names & sys.stdlib_module_names == set()
