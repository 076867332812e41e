"""When a database needs care, how long it may take, and how much it may disturb.

Safety property: what is not said is what PostgreSQL's own autovacuum would call due, so that a table that autovacuum
keeps healthy is left alone.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from tasks.models import Frozen


class MaintenancePolicy(Frozen):
    """The thresholds of the care of a database.

    ``dead_percent``, ``dead_rows``: rows that are dead. ``stale_percent``, ``stale_rows``: rows that changed since the
    statistics were made. ``inserted_percent``, ``inserted_rows``: rows that came since the last VACUUM.
    ``freeze_age``: transactions (or multixacts) after which a table is frozen.
    ``bloat_percent``, ``bloat_mb``: what an index must waste to be rebuilt. ``sequence_percent``: used of a sequence.
    """

    dead_percent: float = Field(20, gt=0, le=100)
    dead_rows: int = Field(1000, ge=1)
    stale_percent: float = Field(10, gt=0, le=100)
    stale_rows: int = Field(1000, ge=1)
    inserted_percent: float = Field(20, gt=0, le=1000)
    inserted_rows: int = Field(10_000, ge=1)
    freeze_age: int = Field(150_000_000, ge=10_000, le=1_900_000_000)
    bloat_percent: float = Field(50, ge=10, lt=100)
    bloat_mb: float = Field(1, gt=0)
    sequence_percent: float = Field(75, gt=0, lt=100)
    unused_days: int = Field(90, ge=1)
    horizon_days: int = Field(180, ge=1)
    jobs: int = Field(2, ge=1, le=16)
    lock_timeout_seconds: float = Field(2, ge=0.1, le=2)
    rise_percent: float = Field(20, ge=1, le=1000)
    blocked_seconds: float = Field(1, ge=0.1, le=2)
    reserve_percent: float = Field(10, ge=0, lt=100)

    @property
    def lock_timeout(self) -> timedelta:
        """The longest that a statement of ours waits for a lock while others may wait behind it."""
        return timedelta(seconds=self.lock_timeout_seconds)
