"""Which revision serves, and the traffic lists that a release writes.

Safety property: fails closed. The stable revision is the only one with 100 %, or the one that our own mark names while
a canary of ours is under way; every other state is a person's to resolve, and the message says how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tasks.analysis.release import Mark
from tasks.errors import Refused
from tasks.models import ServiceState, Traffic


def stable_revision(service: ServiceState) -> str:
    """The one revision that has all traffic.

    A list may begin with a 0 % line that only carries a tag. A line without a revision means the latest, which is the
    newest revision that became ready. Raises Refused for anything else, and while Cloud Run is still at work on it.
    """
    serving = [line for line in service.traffic if line.percent]
    if len(serving) != 1 or serving[0].percent != 100:
        raise Refused(f"{_wrong(service, _shares(serving))}; {way_out(service.name, service.latest_ready)}")
    if serving[0].revision:
        return serving[0].revision
    return _latest(service)


def _latest(service: ServiceState) -> str:
    if service.reconciling:
        raise Refused(
            f"{_wrong(service, 'its latest revision is still being put in place')}; wait until "
            f"'gcloud run services describe {service.name}' says Ready, then run the flow again"
        )
    if not service.latest_ready:
        raise Refused(f"{_wrong(service, 'no revision of it ever became ready')}; {way_out(service.name, '')}")
    return service.latest_ready


def stable_of_mark(service: ServiceState, mark: Mark) -> str:
    """The revision that was stable when a canary of ours began, on a service whose traffic is still ours.

    Raises Refused where a revision has traffic that is neither the stable one nor the candidate of the mark.
    """
    serving = [line for line in service.traffic if line.percent]
    named = {line.revision or service.latest_ready for line in serving}
    if named <= {mark.stable, mark.candidate} and sum(line.percent for line in serving) == 100:
        return mark.stable
    what = f"its mark names {mark.stable} and {mark.candidate}, but {_shares(serving)}"
    raise Refused(f"{_wrong(service, what)}; {way_out(service.name, mark.stable)}")


def only(revision: str, *, keep: Iterable[Traffic] = ()) -> tuple[Traffic, ...]:
    """All traffic to one revision. ``keep`` are other people's tags."""
    return (Traffic(revision=revision, percent=100), *_kept(keep))


def with_candidate(
    stable: str, candidate: str, candidate_tag: str, stable_tag: str = "", *, keep: Iterable[Traffic] = ()
) -> tuple[Traffic, ...]:
    """All traffic to the stable revision, and the candidate reachable by its tag alone."""
    return split(stable, candidate, 0, candidate_tag, stable_tag, keep=keep)


def split(
    stable: str, candidate: str, percent: int, candidate_tag: str = "", stable_tag: str = "", *,
    keep: Iterable[Traffic] = (),
) -> tuple[Traffic, ...]:
    """``percent`` of the traffic to the candidate, the rest to the stable revision."""
    lines = (
        Traffic(revision=stable, percent=100 - percent, tag=stable_tag),
        Traffic(revision=candidate, percent=percent, tag=candidate_tag),
    )
    return (*(line for line in lines if line.percent or line.tag), *_kept(keep, {candidate_tag, stable_tag}))


def foreign_tags(service: ServiceState, ours: Iterable[str]) -> tuple[Traffic, ...]:
    """The tags on a service that are not ours, at 0 %: what ``keep`` takes."""
    mine = {"", *ours}
    return tuple(
        Traffic(revision=line.revision, tag=line.tag) for line in service.traffic if line.tag not in mine
    )


def agrees(wanted: Iterable[Traffic], statuses: Iterable[Traffic], latest_ready: str = "") -> bool:
    """Whether what Cloud Run says it does is what was asked for: each revision's share, and where each tag leads.

    Order does not matter, nor how a share is divided over lines. ``latest_ready`` stands for lines without a revision.
    """
    return _meaning(wanted, latest_ready) == _meaning(statuses, latest_ready)


def way_out(service: str, revision: str) -> str:
    """The command by which a person puts one revision in charge."""
    command = f"gcloud run services update-traffic {service} --to-revisions={revision or 'REVISION'}=100"
    return f"choose the revision that should serve: {command}"


def _kept(keep: Iterable[Traffic], taken: Iterable[str] = ()) -> tuple[Traffic, ...]:
    return tuple(Traffic(revision=line.revision, tag=line.tag) for line in keep if line.tag and line.tag not in taken)


def _meaning(lines: Iterable[Traffic], latest_ready: str) -> tuple[dict[str, int], dict[str, str]]:
    shares: Counter[str] = Counter()
    tags: dict[str, str] = {}
    for line in lines:
        revision = line.revision or latest_ready
        shares[revision] += line.percent
        if line.tag:
            tags[line.tag] = revision
    return {revision: share for revision, share in shares.items() if share}, tags


def _shares(serving: Iterable[Traffic]) -> str:
    shares = ", ".join(f"{line.revision or 'LATEST'} {line.percent} %" for line in serving)
    return f"its traffic is {shares}" if shares else "no revision of it has traffic"


def _wrong(service: ServiceState, what: str) -> str:
    return f"finding the stable revision of service {service.name} failed: {what}"
