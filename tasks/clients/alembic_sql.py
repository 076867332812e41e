"""A program of its own: prints the SQL of alembic revisions without a database.

It runs the source's own revision modules, so it runs apart: without this process's environment, and without this
project on its path. It reads ``{"folder": …, "files": […]}`` on standard input and writes a list of
``{"upgrade", "downgrade", "why_no_upgrade", "why_no_downgrade"}`` on standard output, in the order of the files. The
source's ``env.py`` is never run: it would connect.
"""

import importlib.util
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text


def main() -> None:
    """Answer the one question on standard input."""
    question = json.load(sys.stdin)
    folder = Path(question["folder"])
    sys.path.insert(0, str(folder.parent))
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump([_revision(folder, Path(file)) for file in question["files"]], answer)


def _revision(folder: Path, file: Path) -> dict[str, str]:
    try:
        module = _load(file)
    except BaseException as error:  # noqa: BLE001  whatever the module raises is the answer
        why = _said(error)
        return {"upgrade": "", "downgrade": "", "why_no_upgrade": why, "why_no_downgrade": why}
    upgrade, why_no_upgrade = _sql(folder, getattr(module, "upgrade", None))
    downgrade, why_no_downgrade = _sql(folder, getattr(module, "downgrade", None))
    return {
        "upgrade": upgrade, "downgrade": downgrade,
        "why_no_upgrade": why_no_upgrade, "why_no_downgrade": why_no_downgrade,
    }


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"revision_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _sql(folder: Path, function: Callable[[], None] | None) -> tuple[str, str]:
    """The SQL that a function of a revision emits offline, or why it emits none."""
    if function is None:
        return "", "the module has no such function"
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    buffer = io.StringIO()
    try:
        with EnvironmentContext(config, ScriptDirectory.from_config(config), as_sql=True) as environment:
            environment.configure(dialect_name="postgresql", literal_binds=True, output_buffer=buffer)
            _forbid_answers(environment.get_context())
            with Operations.context(environment.get_context()):
                function()
    except BaseException as error:  # noqa: BLE001  whatever the revision raises is the answer
        return "", _said(error)
    return buffer.getvalue(), ""


class _NoAnswer:
    """The result of a statement that was not run: whoever looks at it needs a database."""

    def _look(self, *_: object) -> Any:
        raise RuntimeError("it looks at the answer of a statement, so it needs a database")

    __getattr__ = __iter__ = __bool__ = __len__ = __getitem__ = __next__ = _look


class _Unanswering:
    """Alembic's offline connection, whose ``None`` for an answer would send a revision down the wrong path unseen."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.dialect = connection.dialect
        self._run_ddl_visitor = connection._run_ddl_visitor

    def execute(self, statement: Any) -> _NoAnswer:
        self._connection.execute(statement)
        return _NoAnswer()

    def exec_driver_sql(self, statement: str) -> _NoAnswer:
        return self.execute(text(statement))


def _forbid_answers(context: MigrationContext) -> None:
    unanswering: Any = _Unanswering(context.connection)
    context.connection = context.impl.connection = unanswering


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    main()
