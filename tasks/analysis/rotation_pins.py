"""What leads to a revision, and which versions the serving ones are pinned to. No I/O.

Safety property: whatever may still be reached counts; of a split of traffic nothing is concluded.
"""

from __future__ import annotations

from tasks.analysis import traffic
from tasks.errors import Refused
from tasks.estate import PREVIOUS, Estate
from tasks.models import ServiceState
from tasks.rotation_models import SERVES, Reference


def leads(state: ServiceState) -> dict[str, str]:
    """Why a revision is reached: by traffic, by a tag, or by what Cloud Run is about to do."""
    leads: dict[str, str] = {}
    for line in (*state.traffic, *state.traffic_statuses):
        name = line.revision or state.latest_ready
        if line.tag:
            leads.setdefault(name, f"reached by its tag {line.tag}")
        if line.percent:
            leads[name] = f"{SERVES}{line.percent} %"
    return leads


def stable(state: ServiceState) -> str:
    """The revision with all traffic; empty for a split, which a release refuses in words of its own."""
    try:
        return traffic.stable_revision(state)
    except Refused:
        return ""


def kept(
    estate: Estate, services: dict[str, ServiceState], references: tuple[Reference, ...]
) -> tuple[Reference, ...]:
    """The references with those marked by which a serving receiver of ours accepts the version before."""
    before = {(one.name, name) for one in estate.services for name, to in one.secrets.items() if _is_previous(to)}
    return tuple(
        one.model_copy(update={"kept": (one.service, one.variable) in before and _is_serving(services, one)})
        for one in references
    )


def _is_previous(reference: str) -> bool:
    return reference.partition("@")[2] == PREVIOUS


def _is_serving(services: dict[str, ServiceState], one: Reference) -> bool:
    return one.ours and one.name == stable(services[one.service])


def previous(references: tuple[Reference, ...], secret: str) -> dict[str, int]:
    """The oldest version that each receiver of ours accepts beside the one that it is pinned to."""
    found: dict[str, int] = {}
    for one in references:
        if one.kept and one.secret == secret:
            found[one.service] = min(one.number or 0, found.get(one.service, one.number or 0))
    return found


def pins(
    services: dict[str, ServiceState], references: tuple[Reference, ...], secret: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The version that serves in each service of ours, and those where an alias stands instead of a number."""
    found: dict[str, int] = {}
    for one in references:
        if one.secret == secret and not one.kept and _is_serving(services, one):
            number = int(one.version) if one.pinned else 0
            found[one.service] = min(number, found.get(one.service, number))
    return found, tuple(sorted(name for name, number in found.items() if not number))
