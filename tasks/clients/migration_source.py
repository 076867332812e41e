"""Reads the alembic revisions of a source, and lints them with squawk, without a database.

Safety property: the graph of revisions is read from the files' text; the files are run only in a process apart, without
our environment, so with none of its secrets. A revision whose SQL cannot be made offline is a finding, never a pass.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from tasks.errors import BadInput, PermanentError
from tasks.models import Finding, MigrationHistory, MigrationRevision, Severity

RENDER_SECONDS = 60
LINT_SECONDS = 30
_PROGRAM = Path(__file__).with_name("alembic_sql.py")
#: Set for every migration by the job that runs it, and bounded by that job's deadline.
_SET_BY_THE_JOB = ("require-lock-timeout", "require-statement-timeout")
#: Matters of taste: shown, but no warning.
_TASTE = ("prefer-", "ban-char-field", "identifier-too-long", "require-table-schema")

_CONCURRENT_RULE = "ban-concurrent-index-creation-in-transaction"
_CONCURRENT = re.compile(
    r"\b(CREATE\s+(UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX\s+\w+|DETACH\s+PARTITION\s+\S+)\s+CONCURRENTLY\b",
    re.IGNORECASE,
)


class MigrationSource:
    """The alembic folder of a source."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> MigrationHistory:
        """Read every revision and the SQL of each.

        Raises BadInput where the folder holds no revisions, a file does not say what it follows in plain text, a
        revision follows one that is not there, or there are several heads.
        """
        graph = self.graph()
        sql = self._render([Path(item.file) for item in graph.revisions])
        return graph.model_copy(update={
            "revisions": tuple(_with_sql(item, said) for item, said in zip(graph.revisions, sql, strict=True))
        })

    def graph(self) -> MigrationHistory:
        """Read every revision without its SQL: runs nothing. Raises as ``read`` does."""
        files = sorted((self._folder / "versions").rglob("*.py"))
        found = [item for file in files if (item := _read_revision(file)) is not None]
        if not found:
            raise BadInput(
                f"reading the migrations in {self._folder} failed: no revision in {self._folder / 'versions'}; "
                "see 'migration.folder' in the estate"
            )
        ordered = _ordered(found, self._folder)
        return MigrationHistory(folder=str(self._folder), revisions=ordered, head=_head(ordered, self._folder))

    def lint(self, revision: MigrationRevision) -> tuple[Finding, ...]:
        """Lint the upgrade of one revision with squawk: what would hold a lock for long, or break a reader."""
        subject = f"migration {revision.revision}"
        if revision.why_no_upgrade:
            return (Finding(
                severity="warning", subject=subject, what=f"lint not possible: {revision.why_no_upgrade}",
                way_out="make upgrade() work offline (alembic upgrade --sql), or read it yourself",
            ),)
        linted = tuple(_finding(subject, said) for said in _squawk(revision) if said["rule_name"] != _CONCURRENT_RULE)
        return (*_concurrent_in_transaction(revision, subject), *linted)

    def _render(self, files: Iterable[Path]) -> list[dict[str, str]]:
        question = {"folder": str(self._folder.resolve()), "files": [str(file.resolve()) for file in files]}
        with tempfile.TemporaryDirectory(prefix="caretaker-alembic-") as scratch:
            answer = _run(
                [sys.executable, "-I", "-B", str(_PROGRAM)], json.dumps(question), RENDER_SECONDS, scratch,
                f"rendering the migrations in {self._folder}",
            )
        try:
            rendered: list[dict[str, str]] = json.loads(answer.stdout)
        except ValueError:
            said = " ".join(answer.stderr.split())[-300:] or f"exit status {answer.returncode}"
            raise PermanentError(
                f"rendering the migrations in {self._folder} failed: {said}; see what the revisions do when imported"
            ) from None
        return rendered


def _concurrent_in_transaction(revision: MigrationRevision, subject: str) -> tuple[Finding, ...]:
    """PostgreSQL refuses these statements in a transaction. squawk overlooks one that stands alone."""
    found = _CONCURRENT.search(revision.upgrade) if revision.transactional else None
    if found is None:
        return ()
    return (Finding(
        severity="error", subject=subject, what=f"{_CONCURRENT_RULE}: {' '.join(found.group().split())}",
        way_out="put it into 'with op.get_context().autocommit_block():'",
    ),)


def _read_revision(file: Path) -> MigrationRevision | None:
    """The revision in a file; None where the file is not one."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise BadInput(f"reading the migration {file} failed: {error}; mend it") from None
    values = _assigned(tree)
    if "revision" not in values:
        return None
    keys = ("revision", "down_revision", "depends_on")
    names = {key: _literal(values[key], key, file) for key in keys if key in values}
    down = dict.fromkeys((*_names(names.get("down_revision")), *_names(names.get("depends_on"))))
    first_line = (ast.get_docstring(tree) or "").partition("\n")[0]
    return MigrationRevision(revision=str(names["revision"]), down=tuple(down), message=first_line, file=str(file))


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    values: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            values.update({target.id: statement.value for target in statement.targets if isinstance(target, ast.Name)})
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            values[statement.target.id] = statement.value
    return values


def _literal(value: ast.expr, key: str, file: Path) -> object:
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise BadInput(f"reading the migration {file} failed: '{key}' is no plain text; write it out") from None


def _names(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(name) for name in value)  # type: ignore[attr-defined]


def _ordered(found: list[MigrationRevision], folder: Path) -> tuple[MigrationRevision, ...]:
    known = {item.revision: item for item in found}
    if len(known) != len(found):
        twice = ", ".join(name for name in sorted(known) if sum(item.revision == name for item in found) > 1)
        raise BadInput(f"reading the migrations in {folder} failed: revision {twice} is there twice; rename one")
    for item in found:
        for name in item.down:
            if name not in known:
                raise BadInput(
                    f"reading the migrations in {folder} failed: {item.revision} follows {name}, which is not there; "
                    "add the missing file"
                )
    try:
        names = tuple(TopologicalSorter({item.revision: item.down for item in found}).static_order())
    except CycleError as circle:
        raise BadInput(
            f"reading the migrations in {folder} failed: revisions follow each other in a circle "
            f"({' -> '.join(reversed(circle.args[1]))}); mend 'down_revision'"
        ) from None
    return tuple(known[name] for name in names)


def _head(ordered: tuple[MigrationRevision, ...], folder: Path) -> str:
    followed = {name for item in ordered for name in item.down}
    heads = [item.revision for item in ordered if item.revision not in followed]
    if len(heads) != 1:
        raise BadInput(
            f"reading the migrations in {folder} failed: several heads ({', '.join(sorted(heads))}); "
            f"join them: alembic merge {' '.join(sorted(heads))}"
        )
    return heads[0]


def _with_sql(revision: MigrationRevision, said: Mapping[str, str]) -> MigrationRevision:
    return revision.model_copy(update={**said, "transactional": not _ends_transaction(said["upgrade"])})


def _ends_transaction(sql: str) -> bool:
    """Alembic's autocommit block ends the revision's transaction with a line of its own."""
    return any(line.strip().upper() == "COMMIT;" for line in sql.splitlines())


def _squawk(revision: MigrationRevision) -> list[dict[str, Any]]:
    binary = shutil.which("squawk", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}")
    if binary is None:
        raise BadInput("linting migrations failed: no program squawk; install it: uv sync")
    sql = revision.upgrade if revision.transactional else f"BEGIN;\n{revision.upgrade}\nCOMMIT;\n"
    command = [
        binary, "--reporter", "json", *(["--assume-in-transaction"] if revision.transactional else []),
        *(f"--exclude={rule}" for rule in _SET_BY_THE_JOB), "--stdin-filepath", f"{revision.revision}.sql",
    ]
    with tempfile.TemporaryDirectory(prefix="caretaker-squawk-") as scratch:
        answer = _run(command, sql, LINT_SECONDS, scratch, f"linting migration {revision.revision}")
    try:
        found: list[dict[str, Any]] = json.loads(answer.stdout or "[]")
    except ValueError:
        said = " ".join((answer.stderr or answer.stdout).split())[-300:]
        raise PermanentError(f"linting migration {revision.revision} failed: squawk said {said}") from None
    if answer.returncode and not found:
        said = " ".join(answer.stderr.split())[-300:]
        raise PermanentError(f"linting migration {revision.revision} failed: squawk ended {answer.returncode}: {said}")
    return found


def _finding(subject: str, said: Mapping[str, Any]) -> Finding:
    rule = str(said["rule_name"])
    return Finding(
        severity=_severity(rule, str(said["level"])), subject=subject, what=f"{rule}: {said['message']}",
        way_out=str(said.get("help") or ""),
    )


def _severity(rule: str, level: str) -> Severity:
    if level == "Error":
        return "error"
    return "info" if rule.startswith(_TASTE) else "warning"


def _run(command: list[str], text: str, seconds: float, folder: str, what: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an empty folder with nothing of our environment but the path and the language."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder}
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=seconds, cwd=folder, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        raise PermanentError(
            f"{what} failed: no answer within {seconds:.0f} s; see what the revisions do when they are imported"
        ) from None
