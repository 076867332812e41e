"""Where the values of secrets are looked for: everything that a rotation could have told them to."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from urllib.parse import unquote

import psutil
import psycopg
import pytest
from pydantic import SecretStr

from deployments.stack.database import LEDGER, PREFECT, database_url
from tasks import rotation_changes, rotation_making
from tasks.clients import rotator
from tests.sample import Sample
from tests.stack import Stack


def every_value(sample: Sample, stack: Stack) -> set[str]:
    """Every value that any secret of the project ever had, and every password in one, from the cloud's own store."""
    question = "SELECT body FROM resources WHERE kind = 'secretmanager.payloads' AND name LIKE ?"
    with sqlite3.connect(f"file:{stack.state / 'cloud' / 'store.db'}?mode=ro", uri=True) as store:
        rows = store.execute(question, (f"projects/{sample.project}/secrets/%",)).fetchall()
    found = {bytes(row[0]).decode() for row in rows}
    return found | {unquote(one.split(":")[2].split("@")[0]) for one in found if "://" in one}


def found_in(values: set[str], stack: Stack) -> list[str]:
    """Where a value stands: every row of Prefect's database and the ledger, every other file, every command line.

    Left out is what must hold it: the payloads in the secrets' own store.
    """
    processes = ((f"process {process.pid}", " ".join(_words(process))) for process in psutil.process_iter())
    texts = chain(_rows(stack), _records(stack), _files(stack), processes)
    return [place for place, text in texts if any(value in text for value in values)]


def _rows(stack: Stack) -> Iterator[tuple[str, str]]:
    """Every row of every table of Prefect's database and of the ledger, as text."""
    for name in (PREFECT, LEDGER):
        with psycopg.connect(database_url(stack.folder, name, "").replace("+://", "://")) as link:
            tables = link.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information_)'"
            ).fetchall()
            assert tables
            for (table,) in tables:
                rows = link.execute(f"SELECT t::text FROM {table} t")  # type: ignore[arg-type]
                yield from ((f"{name} {table}", row[0]) for row in rows)


def _records(stack: Stack) -> Iterator[tuple[str, str]]:
    """Everything that the local cloud remembers, but for the payloads."""
    question = "SELECT kind, name, body FROM resources WHERE kind != 'secretmanager.payloads'"
    with sqlite3.connect(f"file:{stack.state / 'cloud' / 'store.db'}?mode=ro", uri=True) as store:
        for kind, name, body in store.execute(question):
            yield f"record {kind} {name}", bytes(body).decode("latin-1")


def _files(stack: Stack) -> Iterator[tuple[str, str]]:
    for path in stack.state.rglob("*"):
        if path.is_file() and not path.name.startswith("store.db") and not {"venvs", "images"} & set(path.parts):
            with suppress(OSError):  # a file of the server that is gone a moment later
                yield f"file {path}", path.read_bytes().decode("latin-1")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class CommandLines:
    """Every command line that stood in the list of processes while the block ran; it looks 20 times a second."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def holding(self, values: set[str]) -> list[str]:
        """Those that hold a value."""
        return [line for line in self._seen.values() if any(value in line for value in values)]

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            for pid in set(psutil.pids()) - self._seen.keys():
                with suppress(psutil.Error):
                    self._seen[pid] = " ".join(psutil.Process(pid).cmdline())


@contextmanager
def every_made_value() -> Iterator[set[str]]:
    """The passwords and tokens that are made while the block runs, also those that no secret ever held."""
    made, make = set[str](), rotator.random_value

    def remembered() -> SecretStr:
        value = make()
        made.add(value.get_secret_value())
        return value

    with pytest.MonkeyPatch.context() as patch:
        for module in (rotator, rotation_making, rotation_changes):
            patch.setattr(module, "random_value", remembered)
        yield made
