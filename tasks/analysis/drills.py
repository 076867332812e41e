"""The names, labels, sizes and price of what a drill makes for a while.

Safety property: a name is derived from the run, and everything bears a label and a time after which anybody may remove
it. An instance that the estate names is never a drill's, whatever its labels say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tasks.analysis import release as naming
from tasks.backup_models import Tier
from tasks.models import Measurement

LABEL_DRILL = "caretaker-drill"
#: No drill takes longer: after this anybody may remove what it made.
EXPIRES_AFTER = timedelta(hours=6)
#: All objects are looked at once in so many drills.
SHARES = 30

#: List prices of us-central1 in USD, Enterprise edition: an hour of a vCPU, of a GB of memory, of the shared-core
#: tiers, a month of a GB of SSD. https://cloud.google.com/sql/pricing. Other regions and contracts differ: an estate
#: may say its own ``hourly_price``.
VCPU_HOUR, GB_HOUR, SSD_GB_MONTH = 0.0413, 0.0070, 0.17
SHARED_CORE = {"db-f1-micro": 0.0105, "db-g1-small": 0.0350}
HOURS_A_MONTH = 730
_CUSTOM = re.compile(r"db-custom-([0-9]+)-([0-9]+)")


def scratch_name(database: str, run: str) -> str:
    """The name of a run's scratch instance. Google keeps a deleted instance's name: another run has another one."""
    return f"drill-{database[:20].rstrip('-')}-{hashlib.sha256(f'{database} {run}'.encode()).hexdigest()[:8]}"


def service_name(service: str, scratch: str) -> str:
    """The name of the service by which an application starts against a scratch instance."""
    return f"drill-{service[:28].rstrip('-')}-{scratch[-8:]}"


def labels(database: str, now: datetime) -> dict[str, str]:
    """The labels of everything that a drill makes."""
    return {
        naming.LABEL_MANAGED: "true", LABEL_DRILL: naming.label_value(database),
        naming.LABEL_EXPIRES: str(int((now + EXPIRES_AFTER).timestamp())),
    }  # fmt: skip


def is_leftover(name: str, marks: Mapping[str, str], database: str, estates: Collection[str], now: datetime) -> bool:
    """Whether something may be removed: it bears a drill's label, and is over or of the database whose lock we hold."""
    if name in estates or not naming.is_ours(marks) or LABEL_DRILL not in marks:
        return False
    return marks[LABEL_DRILL] == naming.label_value(database) or naming.is_expired(marks, now)


def cheapest(tiers: Collection[Tier], disk_gb: int) -> str:
    """The tier with the least memory whose disk is large enough; empty where there is none."""
    fitting = [tier for tier in tiers if tier.most_disk >= disk_gb * 1024**3]
    return min(fitting, key=lambda tier: (tier.memory, tier.name)).name if fitting else ""


def hourly_price(tier: str) -> float | None:
    """The list price of an hour of a tier in USD; None for one that is not known."""
    if tier in SHARED_CORE:
        return SHARED_CORE[tier]
    found = _CUSTOM.fullmatch(tier)
    return int(found[1]) * VCPU_HOUR + int(found[2]) / 1024 * GB_HOUR if found else None


def price(tier: str, disk_gb: int, seconds: float, given: float = 0.0) -> tuple[float | None, str]:
    """What a drill costs, as a number and as a line. ``given``: the estate's own price of an hour, 0 for the list's."""
    hourly = given or hourly_price(tier)
    hours = seconds / 3600
    if hourly is None:
        return None, f"{hours * 60:.1f} min of {tier}, whose price is not known; set hourly_price in the estate"
    whole = hours * (hourly + disk_gb * SSD_GB_MONTH / HOURS_A_MONTH)
    source = "the estate's price" if given else "list price of us-central1"
    return whole, f"{whole:.4f} USD: {hours * 60:.1f} min of {tier} with {disk_gb} GB ({source})"


def next_share(looked: Sequence[Measurement], now: datetime) -> int:
    """Which share of the objects is looked at now: one that never was, else the one that was the longest ago.

    ``looked`` are the shares that were looked at, oldest first. A night that was missed so puts every share off by one
    night, and none by thirty. Where nothing is known, estates begin at different shares.
    """
    last = last_looks(looked)
    begin = now.date().toordinal()
    never = datetime.fromtimestamp(0, UTC)
    return min(range(SHARES), key=lambda share: (last.get(share, never), (share - begin) % SHARES))


def last_looks(looked: Sequence[Measurement]) -> dict[int, datetime]:
    """When each share was looked at last."""
    return {round(item.value): item.at for item in looked}


def coverage(looked: Sequence[Measurement], now: datetime) -> str:
    """How far all shares were looked at, in words."""
    last = last_looks(looked)
    if len(last) < SHARES:
        return f"{len(last)} of {SHARES} shares were looked at so far"
    days = (now - min(last.values())).total_seconds() / 86400
    return f"every share was looked at within the last {days:.1f} days"
