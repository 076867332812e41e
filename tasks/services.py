"""Cloud Run services: read them, put a candidate beside the stable revision, move traffic, put it back.

Safety property: every write presents the etag of what was just read, and begins by looking whether its end is already
there; so it may be repeated after a lost answer or a kill. While a canary is under way the service bears a mark that
names the stable and the candidate revision; a split that bears no mark of ours is never touched.
"""

from __future__ import annotations

import asyncio

from prefect import task

from tasks import progress
from tasks.analysis import release as naming
from tasks.analysis import traffic
from tasks.analysis.drift import drift
from tasks.clients.polling import wait_for
from tasks.errors import Conflict, Missing, Refused
from tasks.estate import PREVIOUS, Service
from tasks.models import RevisionState, SecretPin, ServiceState, Traffic
from tasks.policies import READ, TRAFFIC_DEADLINE, WRITE
from tasks.release_models import ServicePlan
from tasks.site import Site

CANDIDATE_TAG = "candidate"
STABLE_TAG = "stable"
#: How often the way back is judged anew when somebody changes the service at the same moment.
RETURN_ATTEMPTS = 5


@task(**READ)
async def read_service(site: Site, name: str) -> ServiceState | None:
    """Read a service; None where it was never deployed."""
    try:
        return await asyncio.to_thread(site.run.get_service, name)
    except Missing:
        return None


@task(**READ)
async def read_revision(site: Site, service: str, revision: str) -> RevisionState:
    """Read one revision. Raises Missing."""
    return await asyncio.to_thread(site.run.get_revision, service, revision)


@task(**READ)
async def pin_secrets(site: Site, service: Service) -> dict[str, SecretPin]:
    """Resolve each secret that a service refers to, to a version number that is enabled.

    ``latest`` is resolved at instance start, so a release pins numbers. Raises Missing or Refused, naming the secret.
    """
    return await asyncio.to_thread(_pins, site, service)


def _pins(site: Site, service: Service) -> dict[str, SecretPin]:
    pins = {}
    for variable, reference in service.secrets.items():
        name, _, version = reference.partition("@")
        before = version == PREVIOUS
        found = site.secrets.previous(name) if before else site.secrets.resolve(name, version or "latest")
        pins[variable] = SecretPin(secret=name, version=str(found.version))
    if service.sync and service.sync.token_secret:
        site.secrets.resolve(service.sync.token_secret)
    return pins


@task(**READ)
async def check_pins(site: Site, revision: RevisionState) -> None:
    """Raise Missing or Refused for a revision of which a secret version is gone or disabled: it could not start."""
    for pin in revision.spec.secret_env.values():
        await asyncio.to_thread(site.secrets.resolve, pin.secret, pin.version)


@task(**WRITE)
async def settle_service(site: Site, service: str) -> str:
    """Put a service in order on which a killed run left its mark; return the candidate that it had, or nothing.

    Safe to repeat: without a mark it does nothing.
    """
    return await asyncio.to_thread(_settle, site, service)


def _settle(site: Site, service: str) -> str:
    state = _current(site, service)
    mark = naming.read_mark(state) if state else None
    if mark is None:
        return ""
    _return_to_stable(site, service, mark.stable, mark.release)
    return mark.candidate


@task(**WRITE)
async def return_to_stable(site: Site, service: str, stable: str, release: str = "", other: str = "") -> ServiceState:
    """Put all traffic on the stable revision; remove our tags and our mark.

    Safe to repeat: it begins by looking whether that is so already. Raises Refused where a revision has traffic that is
    neither the stable one, nor the one that our mark names, nor one of this release, nor the ``other`` one that the
    caller gave traffic: somebody else acts there.
    """
    return await asyncio.to_thread(_return_to_stable, site, service, stable, release, other)


def _return_to_stable(site: Site, service: str, stable: str, release: str, other: str = "") -> ServiceState:
    """A change by somebody else in between (a label, a tag) must not leave users on the candidate: judge it anew."""
    for _ in range(RETURN_ATTEMPTS - 1):
        try:
            return _return_once(site, service, stable, release, other)
        except Conflict:
            progress.report("return to stable", service, "the service was changed meanwhile; judged anew")
    return _return_once(site, service, stable, release, other)


def _return_once(site: Site, service: str, stable: str, release: str, other: str) -> ServiceState:
    state = site.run.get_service(service)
    mark = naming.read_mark(state)
    wanted = traffic.only(stable, keep=_others(state))
    if mark is None and traffic.agrees(wanted, state.traffic_statuses):
        return state
    ours = [line.revision for line in state.traffic if release and naming.release_of(service, line.revision) == release]
    _check_ours(state, stable, other, *ours, *((mark.stable, mark.candidate) if mark else ()))
    progress.report("return to stable", service, f"all traffic to {stable}")
    site.run.update_service(state, traffic=wanted, annotations={naming.CANARY: ""})
    return _await_traffic(site, service, wanted)


@task(**WRITE)
async def create_candidate(site: Site, plan: ServicePlan, image: str, run: str) -> str:
    """Create the release's revision, with no traffic and a tag, and return its name.

    The first release of a service gets all traffic at once: there is nothing to compare it with. Safe to repeat: the
    revision's name is derived from the release, an existing one that is ready is taken as it is, and one that never
    became ready is followed by the next attempt's name. Raises PermanentError with the platform's words when the
    revision does not become ready; the stable revision then still has all traffic.
    """
    return await asyncio.to_thread(_create_candidate, site, plan, image, run)


def _create_candidate(site: Site, plan: ServicePlan, image: str, run: str) -> str:
    name = _free_name(site, plan, image)
    spec = plan.spec.model_copy(update={"image": image})
    progress.report("candidate", plan.service, f"starting {name}")
    state = _current(site, plan.service)
    if state is None:
        site.run.create_service(plan.service, spec, revision=name, annotations={}, labels=naming.labels(plan.service))
    elif not plan.ground.stable:
        _check_never_served(state, name)
        site.run.update_service(state, spec=spec, revision=name, traffic=traffic.only(name, keep=_others(state)))
    else:
        _beside_stable(site, plan, state, name, image, run)
    return name


def _beside_stable(site: Site, plan: ServicePlan, state: ServiceState, name: str, image: str, run: str) -> None:
    stable = plan.ground.stable
    _check_ours(state, stable, name)
    wanted = traffic.with_candidate(stable, name, CANDIDATE_TAG, STABLE_TAG, keep=_others(state))
    mark = naming.Mark(stable=stable, candidate=name, release=plan.release, run=run)
    if naming.read_mark(state) != mark or not traffic.agrees(wanted, state.traffic_statuses):
        spec = plan.spec.model_copy(update={"image": image})
        site.run.update_service(
            state, spec=spec, revision=name, traffic=wanted, annotations={naming.CANARY: naming.write_mark(mark)}
        )
    _await_traffic(site, plan.service, wanted)


def _current(site: Site, service: str) -> ServiceState | None:
    try:
        return site.run.get_service(service)
    except Missing:
        return None


def _check_never_served(state: ServiceState, candidate: str) -> None:
    if state.latest_ready not in ("", candidate):
        raise Refused(
            f"giving {candidate} all traffic of {state.name} refused: {state.latest_ready} became ready since the "
            "check; run the flow again"
        )


def _free_name(site: Site, plan: ServicePlan, image: str) -> str:
    """The release's first revision name that is free, or whose revision is what is wanted and did not fail."""
    wanted = plan.spec.model_copy(update={"image": image})
    for attempt in range(1, 100):
        name = naming.revision_name(plan.service, plan.release, attempt)
        try:
            found = site.run.get_revision(plan.service, name)
        except Missing:
            return name
        if found.pending or (found.ready and not drift(found.spec, wanted)):
            return name
    raise Refused(f"release {plan.release} of {plan.service} failed 99 times; change the source or the estate")


def _check_ours(state: ServiceState, *ours: str) -> None:
    strange = sorted({line.revision or state.latest_ready for line in state.traffic if line.percent} - set(ours))
    if strange:
        raise Refused(
            f"changing the traffic of {state.name} refused: {', '.join(strange)} got traffic since the check; "
            f"{traffic.way_out(state.name, ours[0])}"
        )


def _check_canary(state: ServiceState, stable: str, candidate: str, *shares: int) -> None:
    """Our mark is there, and the candidate has the share that this run gave it: nobody else put the service in order.

    Raises Refused. A person who took the candidate's traffic away during the canary did so on purpose.
    """
    _check_ours(state, stable, candidate)
    mark = naming.read_mark(state)
    has = sum(line.percent for line in state.traffic if (line.revision or state.latest_ready) == candidate)
    if mark is None or mark.candidate != candidate or (candidate != stable and has not in shares):
        raise Refused(
            f"changing the traffic of {state.name} refused: {candidate} has {has} % now, which this run did not do; "
            "somebody else acts there; see who, then run the flow again"
        )


def _await_traffic(site: Site, service: str, wanted: tuple[Traffic, ...]) -> ServiceState:
    """Read back until the traffic that is served is what was asked for.

    Raises Refused as soon as somebody asks for something else: waiting on, and asking again, would overrule a person.
    """

    def done(state: ServiceState) -> bool:
        if not traffic.agrees(wanted, state.traffic):
            raise Refused(
                f"changing the traffic of {service} refused: somebody else changed it at the same moment; "
                "see who, then run the flow again"
            )
        return traffic.agrees(wanted, state.traffic_statuses)

    what = f"service {service} to serve the traffic asked for"
    return wait_for(lambda: site.run.get_service(service), done, TRAFFIC_DEADLINE, what)


@task(**WRITE)
async def shift_traffic(
    site: Site, service: str, stable: str, candidate: str, percent: int, before: int = 0
) -> ServiceState:
    """Give the candidate its share of the traffic and read back until the platform agrees.

    Safe to repeat: it begins by looking whether the share is so already. Raises Refused where the candidate has another
    share than the one ``before``: somebody else acts there.
    """
    return await asyncio.to_thread(_shift_traffic, site, service, stable, candidate, percent, before)


def _shift_traffic(site: Site, service: str, stable: str, candidate: str, percent: int, before: int) -> ServiceState:
    state = site.run.get_service(service)
    _check_canary(state, stable, candidate, before, percent)
    wanted = traffic.split(stable, candidate, percent, CANDIDATE_TAG, STABLE_TAG, keep=_others(state))
    if not traffic.agrees(wanted, state.traffic_statuses):
        progress.report("traffic", service, f"{percent} % to {candidate}")
        site.run.update_service(state, traffic=wanted)
    return _await_traffic(site, service, wanted)


@task(**WRITE)
async def release_candidate(site: Site, service: str, stable: str, candidate: str, before: int = 0) -> ServiceState:
    """Give the candidate all traffic; remove our tags and the mark. Safe to repeat, as ``shift_traffic`` is."""
    return await asyncio.to_thread(_release_candidate, site, service, stable, candidate, before)


def _release_candidate(site: Site, service: str, stable: str, candidate: str, before: int) -> ServiceState:
    state = site.run.get_service(service)
    wanted = traffic.only(candidate, keep=_others(state))
    asked_for_already = naming.read_mark(state) is None and traffic.agrees(wanted, state.traffic)
    if not asked_for_already:
        _check_canary(state, stable, candidate, before, 100)
    if naming.read_mark(state) is not None or not traffic.agrees(wanted, state.traffic_statuses):
        progress.report("traffic", service, f"all to {candidate}")
        site.run.update_service(state, traffic=wanted, annotations={naming.CANARY: ""})
    return _await_traffic(site, service, wanted)


def _others(state: ServiceState) -> tuple[Traffic, ...]:
    """Other people's tags: they stay as they are."""
    return traffic.foreign_tags(state, (CANDIDATE_TAG, STABLE_TAG))


@task(**WRITE)
async def tag_revision(site: Site, service: str, stable: str, revision: str, release: str, run: str) -> str:
    """Give an existing revision the candidate's tag at 0 %, and return its tag URL.

    Safe to repeat: an existing tag on the same revision is taken as it is.
    """
    return await asyncio.to_thread(_tag_revision, site, service, stable, revision, release, run)


def _tag_revision(site: Site, service: str, stable: str, revision: str, release: str, run: str) -> str:
    state = site.run.get_service(service)
    _check_ours(state, stable, revision)
    wanted = traffic.with_candidate(stable, revision, CANDIDATE_TAG, STABLE_TAG, keep=_others(state))
    if not traffic.agrees(wanted, state.traffic_statuses) or naming.read_mark(state) is None:
        mark = naming.Mark(stable=stable, candidate=revision, release=release, run=run)
        site.run.update_service(state, traffic=wanted, annotations={naming.CANARY: naming.write_mark(mark)})
    return tag_url(_await_traffic(site, service, wanted), CANDIDATE_TAG, revision)


@task(**READ)
async def read_tag_url(site: Site, service: str, tag: str, revision: str) -> str:
    """The URL of a tag, once the platform says that it leads to this revision. Raises Refused where it does not."""
    state = await asyncio.to_thread(site.run.get_service, service)
    return tag_url(state, tag, revision)


def tag_url(state: ServiceState, tag: str, revision: str) -> str:
    """The URL under which a tag serves a revision. Raises Refused where the platform says otherwise."""
    for line in state.traffic_statuses:
        if line.tag == tag and line.revision == revision and line.uri:
            return line.uri
    raise Refused(
        f"probing {revision} of {state.name} refused: tag {tag} does not lead to it; run the flow again, it puts the "
        "tags in order first"
    )


@task(**WRITE)
async def open_to_public(site: Site, service: str) -> None:
    """Let anybody call the service. Safe to repeat: it sets the policy that it wants."""
    await asyncio.to_thread(site.run.allow_public, service)
