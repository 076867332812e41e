"""What the drill finds and what it does not: damaged backups through the whole flow, and clean ones under a writer.

Every damage is done to a real backup in the local cloud (or to what surrounds it), and the flow must name the right
level as the lowest that failed. Then thirty nights with a writer at work on production, whose transactions stay open
across the manifest and the backup: none may fail.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import connect
from rich.console import Console

from tasks.backup_models import DrillVerdict
from tasks.clients import engines
from tasks.models import SecretPin
from tests.damaged_backups import damage_backup
from tests.damages import CONTENT, DAMAGES, ROLES
from tests.flows.drills import Drilled
from tests.memory import temporary_folder
from tests.sample import Sample
from tests.stack import Stack, running_stack

NIGHTS = 30
CONSOLE = Console(width=150)
PICTURE = "plots/bar-grouped.svg"


@dataclass(frozen=True)
class Found:
    """What a drill of something damaged said."""

    name: str
    level: int
    found: int
    said: str

    @property
    def right(self) -> bool:
        return self.level == self.found and bool(self.said)


def bench() -> list[dict[str, Any]]:
    """Every damage once, then the clean nights."""
    with temporary_folder() as folder, running_stack(folder / "state") as stack:
        found = list(damaged(stack, folder))
        alarms = list(clean_nights(estate(stack, folder, "proof-clean")))
    return rows(found, alarms)


def rows(found: list[Found], alarms: list[str]) -> list[dict[str, Any]]:
    missed = [f"{one.name}: L{one.found} instead of L{one.level}" for one in found if not one.right]
    failed = [alarm for alarm in alarms if alarm]
    against = "; ".join(missed) or f"{len(found)} kinds, each found at its own level"
    return [
        _row("damages not found at the right level", len(missed), against),
        _row("false alarms", len(failed), "; ".join(failed) or f"{len(alarms)} clean restores, a writer on production"),
    ]


def estate(stack: Stack, folder: Path, project: str, window: bool = True) -> Drilled:
    """An estate with the damage suite's content, and no service: L6 is not looked at here.

    Without a ``window`` the estate does not ask for point-in-time recovery: a backup whose files a server was started
    on is no base for a recovery any more, and L1 would say so before anything else.
    """
    sample = Sample(folder / project, project).write().seed()
    size = len(sample.site.bucket.get(PICTURE))
    query = f'query = "SELECT \'{PICTURE}\', {size}, NULL"'
    text = sample.estate_file.read_text()
    text = text if window else text.replace("point_in_time = true", "point_in_time = false")
    sample.estate_file.write_text(re.sub(r'query = """.*?"""', query, text, count=1, flags=re.DOTALL))
    drilled = Drilled(sample, stack)
    drilled.execute(
        "SET ROLE NONE", *ROLES, "RESET ROLE", *CONTENT,
        "CREATE TABLE sessions (id int PRIMARY KEY, seen timestamptz NOT NULL DEFAULT now())",
        "INSERT INTO sessions SELECT i FROM generate_series(1, 100) i",
    )  # fmt: skip
    return drilled


# --- damage ----------------------------------------------------------------------------------------------------------


def damaged(stack: Stack, folder: Path) -> Iterator[Found]:
    """Every kind of damage, one drill each."""
    drilled = estate(stack, folder, "proof-damage", window=False)
    for what in DAMAGES:
        drilled.beat()
        drilled.manifest()
        damage_backup(drilled, drilled.backup(), what)
        yield _tell(_found(what.name, what.level, drilled.drill(), what.says))
    for name, level, says, case in AROUND:
        yield _tell(_found(name, level, case(drilled, stack, folder), says))


def _found(name: str, level: int, verdict: DrillVerdict, says: str) -> Found:
    failed = [item for item in verdict.levels if item.verdict == "failed"]
    lowest = failed[0].level if failed else -1
    said = [line.what for item in failed[:1] for line in item.evidence if not line.ok and says in line.what]
    return Found(name, level, lowest, said[0] if said else "")


def _stale(drilled: Drilled, stack: Stack, folder: Path) -> DrillVerdict:
    old = estate(stack, folder, "proof-stale", window=False)
    old.backup(at=datetime.now(UTC) - timedelta(days=3))
    return old.drill()


def _of_another_instance(drilled: Drilled, stack: Stack, folder: Path) -> DrillVerdict:
    """The files of another estate's backup stand where this one's should."""
    other = estate(stack, folder, "proof-other")
    theirs, ours = other.night(), drilled.night()
    source = other.control.sql_paths(other.project, other.database.instance).backups[theirs]
    target = drilled.control.sql_paths(drilled.project, drilled.database.instance).backups[ours]
    shutil.rmtree(target)
    shutil.copytree(source, target, symlinks=True)
    return drilled.drill()


def _missing_object(drilled: Drilled, stack: Stack, folder: Path) -> DrillVerdict:
    return _with_picture(drilled, None)


def _changed_object(drilled: Drilled, stack: Stack, folder: Path) -> DrillVerdict:
    return _with_picture(drilled, b"<svg/>")


def _with_picture(drilled: Drilled, content: bytes | None) -> DrillVerdict:
    drilled.night()
    bucket = drilled.sample.site.bucket
    before = bucket.get(PICTURE)
    bucket.delete(PICTURE)
    if content is not None:
        bucket.put(PICTURE, content)
    try:
        return drilled.drill(all_objects=True)
    finally:
        bucket.put(PICTURE, before)


def _gap_in_the_log(drilled: Drilled, stack: Stack, folder: Path) -> DrillVerdict:
    """A segment of the archived log is gone: no moment after it can be restored."""
    gapped = estate(stack, folder, "proof-gap")
    gapped.night()
    log = gapped.control.sql_paths(gapped.project, gapped.database.instance).log
    assert log is not None
    before = set(log.iterdir())
    gapped.execute("INSERT INTO events (spec) SELECT 'spec-1' FROM generate_series(1, 50000)")
    gapped.manifest()
    gapped.control.archive_log(gapped.project, gapped.database.instance)
    time.sleep(2)
    gapped.control.archive_log(gapped.project, gapped.database.instance)
    sorted(set(log.iterdir()) - before)[0].unlink()
    return gapped.drill(pick="point_in_time")


def _failed_backup(drilled: Drilled, stack: Stack, folder: Path) -> DrillVerdict:
    """The newest automated backup failed: its data directory cannot be read to the end."""
    broken = estate(stack, folder, "proof-failed")
    broken.night()
    fault = stack.control.plant(method="SqlBackupRunsService.Copy", kind="error", project=broken.project)
    try:
        assert broken.try_backup()[1] == "FAILED"
        assert stack.control.fault(fault)["met"]
    finally:
        stack.control.remove(fault)
    return broken.drill()


Case = Callable[[Drilled, Stack, Path], DrillVerdict]
AROUND: tuple[tuple[str, int, str, Case], ...] = (
    ("a stale backup", 0, "beyond 26 h", _stale),
    ("a backup that failed since", 0, "ended FAILED", _failed_backup),
    ("a backup of the wrong instance", 4, "the heartbeat is one of proof-other", _of_another_instance),
    ("a missing object", 7, "object plots/bar-grouped.svg is missing", _missing_object),
    ("an object of another content", 7, "object plots/bar-grouped.svg has 6 bytes", _changed_object),
    ("a gap in the archived log", 2, "has a gap, segment", _gap_in_the_log),
)


def _tell(found: Found) -> Found:
    mark = "ok " if found.right else "BAD"
    CONSOLE.print(f"{mark} {found.name}: L{found.found}: {found.said}", highlight=False)
    return found


# --- no damage -------------------------------------------------------------------------------------------------------


def clean_nights(drilled: Drilled, nights: int = NIGHTS) -> Iterator[str]:
    """What each drill of a clean backup complained of; empty for none. A writer is at work all the time."""
    with Writer(drilled) as writer:
        for night in range(nights):
            drilled.night()
            verdict = drilled.drill()
            failed = [f"{item.name}: {item.why}" for item in verdict.levels if item.verdict == "failed"]
            said = "; ".join(failed) or "clean"
            CONSOLE.print(f"night {night + 1}: {said}, {writer.written} rows written", highlight=False)
            yield "; ".join(failed)
        assert writer.written > nights, "the writer did nothing: this would prove nothing"


class Writer:
    """Adds rows to ``events``, replaces rows of ``sessions``, and keeps every transaction open for a while."""

    def __init__(self, drilled: Drilled) -> None:
        self._drilled, self._stop, self.written = drilled, threading.Event(), 0
        self._threads = [threading.Thread(target=self._write, args=(number,), daemon=True) for number in range(3)]

    def __enter__(self) -> Writer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _write(self, number: int) -> None:
        secret = SecretPin(secret=self._drilled.database.url_secret, version="latest")
        url = engines.parse(self._drilled.sample.site.secrets.access(secret), "a database")
        with connect(
            host=url.query["host"], user=url.username, password=url.password, dbname=url.database
        ) as connection:
            while not self._stop.wait(0.02):
                with connection.transaction():
                    connection.execute("INSERT INTO events (spec) SELECT 'spec-' || i FROM generate_series(1, 5) i")
                    connection.execute("UPDATE sessions SET seen = now() WHERE id = %s", (number + 1,))
                    time.sleep(0.3 * number)
                self.written += 5


def _row(name: str, value: int, against: str) -> dict[str, Any]:
    return {
        "name": f"verify-backups: {name}", "value": value, "unit": "", "goal": 0, "ok": value == 0, "against": against,
    }  # fmt: skip
