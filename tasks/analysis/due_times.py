"""When a schedule of ``prefect.yaml`` is due, told without Prefect.

The dead-man check stands on it: what watches a scheduler must not ask that scheduler. Safety property: a schedule that
is not understood is refused, and never "due at no time". ``tests/deployments/test_schedules.py`` holds these times to
Prefect's own, over two years and four changes of the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from dateutil.rrule import rrulestr
from pydantic import model_validator

from tasks.errors import BadInput
from tasks.models import Frozen


class Schedule(Frozen):
    """A cron line or an RRULE, in the local time of a zone. An RRULE begins with its DTSTART, without a zone."""

    name: str
    timezone: str
    cron: str = ""
    rrule: str = ""

    @model_validator(mode="after")
    def _understood(self) -> Schedule:
        try:
            next(self._local(datetime.now(UTC)), None)
        except (CronSimError, ValueError, OSError, KeyError) as error:
            raise ValueError(f"the schedule {self.name} is not understood: {error}") from error
        return self

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The times, in UTC, after one moment and up to another."""
        for local in self._local(after):
            moment = local.astimezone(UTC)
            if moment > until:
                return
            if moment > after:
                yield moment

    def _local(self, after: datetime) -> Iterator[datetime]:
        zone = ZoneInfo(self.timezone)
        if bool(self.cron) == bool(self.rrule):
            raise ValueError("it needs a cron line or an rrule, and not both")
        if self.cron:
            return CronSim(self.cron, after.astimezone(zone))
        # A day early: wall clocks of a zone go back by hours at most, and ``between`` drops what is too early.
        begin = (after.astimezone(zone) - timedelta(days=1)).replace(tzinfo=None)
        return (wall.replace(tzinfo=zone) for wall in rrulestr(self.rrule).xafter(begin))


def schedule_of(name: str, written: dict[str, object]) -> Schedule:
    """A schedule as ``prefect.yaml`` writes it. Raises BadInput for one that is neither a cron line nor an RRULE."""
    fields = {key: str(written.get(key) or "") for key in ("cron", "rrule")}
    try:
        return Schedule.model_validate({"name": name, "timezone": str(written.get("timezone") or "UTC"), **fields})
    except ValueError as error:
        raise BadInput(f"reading the schedule {name} failed: {error}; write a cron line or an RRULE") from error
