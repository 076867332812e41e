"""What a drill hands from step to step: what production held, what the copy holds, and how far that proves the backup.

No value here holds a password: the login of a restored copy lives in ``tasks.scratch.Copy`` alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.estate.drills import Comparison
from tasks.models import Backup, Finding, Frozen

Pick = Literal["newest", "random", "point_in_time"]
LevelVerdict = Literal["passed", "failed", "not_possible", "skipped"]

#: Kind → name → definition, as the database's own catalogue tells it.
Catalogue = dict[str, dict[str, str]]

TITLES: tuple[str, ...] = (
    "automated backups",
    "point-in-time window",
    "restored",
    "schema, roles, grants",
    "content",
    "structure",
    "application starts",
    "referenced objects",
)


class Chunk(Frozen):
    """The rows of one range of a table's key: how many, and the sum of their hashes."""

    number: int
    rows: int
    checksum: str


class TableContent(Frozen):
    """What a table holds: the number of its rows and a checksum that does not depend on their order.

    A table that ``grows`` also tells its key's range and the same for each of its parts; part -1 is of rows without a
    key. ``root``: the partitioned table that it is a part of. ``at``: the moment whose rows these are. ``why`` is set
    where it could not be read.
    """

    table: str
    root: str = ""
    rows: int = 0
    checksum: str = ""
    compare: Comparison = "exact"
    key: str = ""
    tolerance_percent: float = 0.0
    low: str = ""
    high: str = ""
    chunks: tuple[Chunk, ...] = ()
    at: datetime | None = None
    why: str = ""


class Manifest(Frozen):
    """What production held at one moment, and its catalogue; ``origin`` is where it was taken."""

    database: str
    origin: str
    taken: datetime
    finished: datetime
    catalogue: Catalogue
    tables: tuple[TableContent, ...]
    heartbeat: datetime | None = None
    size_bytes: int = 0


class ManifestTold(Frozen):
    """What a run of take-manifest says: when the newest one was taken, and what it holds."""

    verdict: Literal["taken", "planned"]
    database: str
    newest: datetime | None = None
    tables: int = 0
    rows: int = 0
    unread: tuple[str, ...] = ()


class HeartbeatTold(Frozen):
    """What a run of record-heartbeat says: when the newest one was written, and where."""

    verdict: Literal["written", "planned"]
    database: str
    at: datetime | None = None
    origin: str = ""


class Sequence(Frozen):
    """A sequence, the column that it fills, the next value that it gives, and the greatest one in use."""

    name: str
    column: str
    next: int
    greatest: int | None

    @property
    def ahead(self) -> bool:
        """Whether the next value is not in use yet."""
        return self.greatest is None or self.next > self.greatest


class Corruption(Frozen):
    """What ``amcheck`` said of one relation."""

    relation: str
    said: str


class Beat(Frozen):
    """A heartbeat: when it was written, and on which database of which instance."""

    at: datetime
    origin: str


class Reference(Frozen):
    """An object that a row refers to, with the size and the checksum that the row remembers."""

    name: str
    size: int | None = None
    checksum: str = ""


class Evidence(Frozen):
    """One thing that a level looked at. ``compared``: with production or its manifest, and not by itself alone."""

    what: str
    ok: bool = True
    compared: bool = False


class LevelResult(Frozen):
    """How one level of the ladder ended, and what it rests on. ``why`` is set unless it passed."""

    level: int
    verdict: LevelVerdict
    why: str = ""
    evidence: tuple[Evidence, ...] = ()
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"L{self.level}"

    @property
    def title(self) -> str:
        return TITLES[self.level]


class Window(Frozen):
    """The moments that can be restored."""

    earliest: datetime
    latest: datetime


class Tier(Frozen):
    """A machine type: its memory and the largest disk that it takes, in bytes."""

    name: str
    memory: int
    most_disk: int


class BackupState(Frozen):
    """What Cloud SQL says of an instance's backups: the policy that is set, the runs, and the window."""

    instance: str
    connection_name: str
    created: datetime | None
    automated: bool
    retained: int
    point_in_time: bool
    disk_gb: int
    tier: str
    version: str
    runs: tuple[Backup, ...]
    sizes: dict[int, int] = Field(default_factory=dict)
    window: Window | None = None
    why_no_window: str = ""


class Target(Frozen):
    """What is restored: a backup, or a moment; with the manifest that it is compared with, where there is one."""

    pick: Pick
    backup: Backup | None = None
    moment: datetime | None = None
    manifest: str = ""

    @property
    def what(self) -> str:
        """In words."""
        if self.backup is not None:
            return f"backup {self.backup.id} of {self.backup.instance}"
        return f"the moment {self.moment:%Y-%m-%d %H:%M:%S} UTC" if self.moment else "nothing"


class Restored(Frozen):
    """A restored copy, without its login: where it is, and how long it took."""

    instance: str
    connection_name: str
    tier: str
    seconds: float
    create_seconds: float = 0.0


class DrillVerdict(Frozen):
    """How a drill ended.

    ``highest``: the highest level passed with nothing failed and nothing impossible below it; -1 where there is none.
    """

    verdict: Literal["passed", "failed", "incomplete", "planned"]
    database: str
    target: Target
    why: str = ""
    highest: int = -1
    levels: tuple[LevelResult, ...] = ()
    started: datetime | None = None
    seconds: float = 0.0
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    backup_bytes: int | None = None
    restored_bytes: int | None = None
    days_since_full_pass: float | None = None
    cost: str = ""
    price: float | None = None
    worse: str = ""
    swept: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    page: str = ""
    report: str = ""
