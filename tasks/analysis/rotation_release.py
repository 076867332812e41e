"""The release by which a service changes to other versions of its secrets. No I/O.

Safety property: the image, and everything else that serves, stays as it is: a rotation never ships code.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.analysis import planning
from tasks.analysis import release as naming
from tasks.analysis.drift import drift
from tasks.estate import Estate, Service
from tasks.models import SecretPin, SourceTree
from tasks.release_models import ServiceGround, ServicePlan

_NO_SOURCE = "0" * 64


def plan_release(
    estate: Estate, service: Service, ground: ServiceGround, versions: Mapping[str, int], urls: Mapping[str, str],
    before: Mapping[str, int] | None = None,
) -> ServicePlan:
    """The release of what serves, with other versions of these secrets: the same image, and nothing else changed.

    ``before`` are the versions that a receiver accepts beside them; where none is named, it accepts the new ones alone.
    Where nothing else differs from the estate it is named as the next deploy would name it, which then finds it done.
    """
    running = ground.stable_spec
    assert running is not None
    beside = {**versions, **(before or {})}
    pins = {
        variable: _moved(pin, beside if variable in service.previous_variables(pin.secret) else versions)
        for variable, pin in running.secret_env.items()
    }
    spec = running.model_copy(update={"secret_env": pins})
    digest = planning.source_of(running) or _NO_SOURCE
    wanted = planning.wanted_spec(estate, service, pins)
    as_wanted = not drift(spec, planning.with_urls(wanted, urls))
    release = naming.release_id(digest, wanted if as_wanted else spec)
    spec = spec.model_copy(
        update={
            "labels": {**running.labels, **naming.revision_labels(service.name, release)},
            "annotations": {**running.annotations, naming.RELEASE: release},
        }
    )
    source = SourceTree(path="", digest=digest, files=0, size_bytes=0)
    return ServicePlan(service=service.name, ground=ground, spec=spec, source=source, release=release)


def _moved(pin: SecretPin, versions: Mapping[str, int]) -> SecretPin:
    return SecretPin(secret=pin.secret, version=str(versions[pin.secret])) if pin.secret in versions else pin
