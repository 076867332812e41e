"""What Cloud SQL does by itself: the automated backup of each window, and moving the recoverable window on.

Safety property: it asks as any caller does, so an instance that another operation holds is left alone until the next
look. What fails for one instance is logged, and holds up no other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

import psycopg
from google.api_core import exceptions

from localcloud.sql.backups import Backups
from localcloud.sql.instances import Instances
from localcloud.sql.names import InstanceName
from localcloud.sql.recovery import Recovery
from localcloud.sql.runs import Runs, now
from localcloud.sql.windows import due

LOG = logging.getLogger("localcloud.sql")
LOOK_SECONDS = 5.0


class Scheduler:
    """Looks after every instance again and again, until stopped. ``clock`` is for tests."""

    def __init__(
        self, instances: Instances, runs: Runs, backups: Backups, recovery: Recovery,
        clock: Callable[[], datetime] = now,
    ) -> None:  # fmt: skip
        self._instances, self._runs, self._backups, self._recovery = instances, runs, backups, recovery
        self._clock = clock
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="sql-scheduler", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self) -> None:
        """Do once what is due."""
        for name in self._instances.names():
            for duty in (self._recovery.advance, self._back_up_if_due):
                try:
                    duty(name)
                except (exceptions.GoogleAPICallError, psycopg.Error, OSError) as error:
                    LOG.info("%s: %s not done now: %s", name, duty.__name__, error)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                LOG.exception("the scheduler of Cloud SQL failed at a look; the next one follows")

    def _back_up_if_due(self, name: InstanceName) -> None:
        instance = self._instances.find(name)
        window = due(instance, self._runs.of(name), self._clock()) if instance else None
        if window:
            self._backups.automated(name, window)
