"""Point-in-time recovery: up to where it is possible, from which backup, and the log that it needs.

The latest recoverable time is that of the newest *mark*: an empty transaction which the local cloud commits and whose
segment of the log it then sees archived. So a database to which nobody writes does not fall behind, and the log always
holds a commit after the time asked for, without which PostgreSQL cannot tell that it has reached it.

Safety property: the log is pruned only up to the backup from which the oldest time within the retention is recovered.
"""

from __future__ import annotations

import logging
import shlex
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
from google.api_core import exceptions

from localcloud.sql.archives import archived, current, first_segment
from localcloud.sql.instances import Instances
from localcloud.sql.names import InstanceName
from localcloud.sql.roles import ADMIN
from localcloud.sql.runs import Runs, Status, now

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

LOG = logging.getLogger("localcloud.sql")
ARCHIVE_SECONDS = 5.0
IDLE_MARK = timedelta(seconds=60)
CONNECT_SECONDS = 5
_POLL_SECONDS = 0.02
NOT_ENABLED = "Invalid request: Point-in-time recovery is not enabled for the instance."


@dataclass(frozen=True)
class Base:
    """A backup whose log is archived from its first segment on: usable for every time after its end."""

    backup: int
    end: datetime
    first: str


@dataclass(frozen=True)
class Window:
    """The times to which an instance can be recovered."""

    earliest: datetime
    latest: datetime


@dataclass(frozen=True)
class Mark:
    """An empty transaction: when it was committed, where its segment will be, the newest transaction after it."""

    archive: str
    at: datetime
    segment: Path
    transaction: str


class Recovery:
    """The recoverable window of every instance that has point-in-time recovery enabled."""

    def __init__(self, cloud: Cloud, instances: Instances, runs: Runs) -> None:
        self._instances, self._runs, self._archives = instances, runs, instances.archives
        self._latest = cloud.store.documents("sql.recovery")
        self._seen: dict[InstanceName, Mark] = {}
        self._pending: dict[InstanceName, Mark] = {}

    def window(self, name: InstanceName) -> Window | None:
        """The recoverable window; None while there is none yet. Raises NotFound, InvalidArgument when not enabled."""
        bases, latest = self._bases(name), self._latest.get(str(name))
        if not bases or latest is None or latest["archive"] != self._archive(name):
            return None
        earliest, newest = max(bases[0].end, self._horizon(name)), datetime.fromisoformat(latest["time"])
        return Window(earliest, newest) if earliest <= newest else None

    def base_for(self, name: InstanceName, at: datetime) -> Base:
        """The backup to begin from for a time. Raises InvalidArgument for one outside the window."""
        window = self.window(name)
        if window is None or not window.earliest <= at <= window.latest:
            told = f"{window.earliest.isoformat()} to {window.latest.isoformat()}" if window else "none yet"
            raise exceptions.InvalidArgument(
                f"Invalid request: The point in time {at.isoformat()} is not within the recoverable window ({told})."
            )
        return [base for base in self._bases(name) if base.end <= at][-1]

    def log(self, name: InstanceName, archive: str) -> Path:
        """The folder of an archived log."""
        return self._archives.home(name) / archive

    def archive(self, name: InstanceName) -> str:
        """The instance's archive. Raises NotFound, InvalidArgument when recovery is not enabled."""
        found = self._archive(name)
        if found is None:
            raise exceptions.InvalidArgument(NOT_ENABLED)
        return found

    def advance(self, name: InstanceName) -> None:
        """Tell of a mark that has been archived since, and commit the next where there is a reason to.

        A reason is a transaction since the last mark, or that the mark is old. An archive that does not move on gets no
        further marks, for PostgreSQL keeps what it could not archive.
        """
        archive = self._archive(name)
        if archive is None or not self._settled(name):
            return
        seen = self._seen.get(name)
        with self._connect(name) as connection:
            idle = seen is not None and _newest_transaction(connection) == seen.transaction
        if seen is None or not idle or seen.archive != archive or now() - seen.at > IDLE_MARK:
            self._commit(name, archive)

    def mark(self, name: InstanceName) -> datetime:
        """Commit a mark and see it archived; return its time. Raises InvalidArgument, DeadlineExceeded."""
        committed = self._commit(name, self.archive(name))
        deadline = time.monotonic() + ARCHIVE_SECONDS
        while not self._settled(name):
            if time.monotonic() > deadline:
                raise exceptions.DeadlineExceeded(f"{name}: segment {committed.segment.name} was not archived")
            time.sleep(_POLL_SECONDS)
        return committed.at

    def after_backup(self, name: InstanceName) -> None:
        """Let the window reach from a new backup on, and let go what it makes superfluous. A broken archive is told."""
        if self._archive(name) is None:
            return
        try:
            self.mark(name)
        except exceptions.DeadlineExceeded as error:
            LOG.warning("the log of %s", error.message)
        self.prune(name)

    def prune(self, name: InstanceName) -> None:
        """Remove what no time within the retention needs."""
        archive, horizon = self.archive(name), self._horizon(name)
        if bases := self._bases(name):
            needed = [base for base in bases if base.end <= horizon][-1:] or bases
            self._archives.prune(name, archive, needed[0].first)

    def forget(self, name: InstanceName) -> None:
        self._archives.forget(name)
        self._latest.delete(str(name))
        self._seen.pop(name, None)
        self._pending.pop(name, None)

    def _archive(self, name: InstanceName) -> str | None:
        self._instances.get(name)
        return current(self._instances.data(name))

    def _horizon(self, name: InstanceName) -> datetime:
        """The oldest time that the retention of the log promises."""
        backup = self._instances.get(name).settings.backup_configuration
        return now() - timedelta(days=backup.transaction_log_retention_days)

    def _bases(self, name: InstanceName) -> list[Base]:
        """The backups of this incarnation, oldest first."""
        archive = self.archive(name)
        found = [self._base(name, run.id, run.end_time, archive) for run in self._runs.of(name)
                 if run.status == Status.SUCCESSFUL]  # fmt: skip
        return sorted((base for base in found if base), key=lambda base: base.end)

    def _base(self, name: InstanceName, backup: int, end: datetime, archive: str) -> Base | None:
        data = self._runs.data(name, backup)
        first = first_segment(data)
        if first is None or current(data) != archive or not (self.log(name, archive) / first).exists():
            return None
        # A backdated run tells an earlier end than its copy had.
        copied = datetime.fromtimestamp((data / "backup_label").stat().st_mtime, end.tzinfo)
        return Base(backup, max(end, copied), first)

    def _connect(self, name: InstanceName) -> psycopg.Connection[tuple[str]]:
        """A connection to a server that runs; it is never started here, since an operation may have stopped it."""
        cluster = self._instances.cluster(name)
        if not cluster.running():
            raise exceptions.InvalidArgument("Invalid request: Invalid request since instance is not running.")
        return cluster.connect(ADMIN, connect_timeout=CONNECT_SECONDS)

    def _commit(self, name: InstanceName, archive: str) -> Mark:
        """Commit a mark, and close the segment that it is in, so that it is archived."""
        at = now()
        with self._connect(name) as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'localcloud', 'mark')")
            # One byte back: the address may be the very beginning of the next segment.
            segment = _text(connection, "SELECT pg_walfile_name(pg_switch_wal() - 1)")
            mark = Mark(archive, at, self.log(name, archive) / segment, _newest_transaction(connection))
        self._seen[name] = self._pending[name] = mark
        return mark

    def _settled(self, name: InstanceName) -> bool:
        """Whether no mark is still to be archived; one that has been is written down as the latest recoverable time."""
        mark = self._pending.get(name)
        if mark is None or mark.archive != self._archive(name):
            return True
        if not (mark.segment.exists() and archived(self._instances.data(name), mark.segment.name)):
            return False
        self._latest.put(str(name), {"archive": mark.archive, "time": mark.at.isoformat()})
        self._pending.pop(name, None)
        return True


def write_recovery(data: Path, log: Path, at: datetime) -> None:
    """Let the server on this data directory replay a log up to a time at its next start, and then serve."""
    settings = {
        "restore_command": f"cp {shlex.quote(str(log)).replace('%', '%%')}/%f %p",
        "recovery_target_time": at.isoformat(),
        "recovery_target_action": "promote",
        "hot_standby": "off",
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
    (data / "postgresql.auto.conf").write_text("".join(lines))
    (data / "recovery.signal").touch()


def recovered(data: Path) -> None:
    """Forget how a server was recovered: it has reached its time."""
    (data / "postgresql.auto.conf").write_text("")


def _newest_transaction(connection: psycopg.Connection[tuple[str]]) -> str:
    """A number that moves on whenever a transaction that wrote something ends."""
    return _text(connection, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")


def _text(connection: psycopg.Connection[tuple[str]], query: LiteralString) -> str:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
