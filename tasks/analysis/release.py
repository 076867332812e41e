"""The names of a release, and the marks by which a later run knows what an earlier one did.

Safety property: every name is derived from what it names. A run that was killed and is started again finds what it made
instead of making it twice, and what bears no mark of ours is nobody's to remove.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from tasks.errors import BadInput, Refused
from tasks.models import Frozen, RevisionSpec, ServiceState

#: Label keys and values: at most 63 lower-case letters, digits, ``-`` and ``_``; a key begins with a letter.
LABEL_MANAGED = "caretaker-managed"
LABEL_SERVICE = "caretaker-service"
LABEL_RELEASE = "caretaker-release"
LABEL_EXPIRES = "caretaker-expires"

#: Annotation keys.
CANARY = "caretaker.dev/canary"
RELEASE = "caretaker.dev/release"
SOURCE = "caretaker.dev/source"
SCHEMA = "caretaker.dev/schema"

#: Cloud Run's limit for a revision's and a job's name: they become a label of DNS.
NAME_LIMIT = 63
_LABEL_VALUE = re.compile(r"[^a-z0-9_-]")


class Mark(Frozen):
    """The mark on a service while a canary is under way: which revision is stable, which is on trial, and whose run."""

    stable: str
    candidate: str
    release: str
    run: str


def release_id(source_digest: str, spec: RevisionSpec) -> str:
    """Name a release by what it is: ten hexadecimal digits over the source and everything that the estate decides.

    The image is left out because it follows from the source; labels and annotations because they name the release.
    """
    decided = spec.model_dump(mode="json", exclude={"image", "labels", "annotations"})
    content = json.dumps([source_digest, decided], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def revision_name(service: str, release: str, attempt: int = 1) -> str:
    """The name of the release's revision; a later attempt bears its number. Cloud Run wants ``SERVICE-`` before it."""
    suffix = release if attempt == 1 else f"{release}-{attempt}"
    return _bounded(f"{service}-{suffix}")


def release_of(service: str, revision: str) -> str | None:
    """The release in a revision's name; None where the name was not given by ``revision_name``."""
    found = re.fullmatch(rf"{re.escape(service)}-([0-9a-f]{{10}})(-[1-9][0-9]*)?", revision)
    return found.group(1) if found else None


def job_name(service: str, release: str, step: str = "migrate") -> str:
    """The name of the job that runs one step of a release."""
    return _bounded(f"{service}-{step}-{release}")


def build_tag(service: str, source_digest: str) -> str:
    """The tag by which the build of a source is found again."""
    return f"caretaker-{service}-{_plain(source_digest)[:40]}"


def archive_object(service: str, source_digest: str) -> str:
    """The name of the object that holds a source's archive."""
    return f"sources/{service}/{_plain(source_digest)}.tar.gz"


def labels(service: str) -> dict[str, str]:
    """The labels of everything that we make for a service."""
    return {LABEL_MANAGED: "true", LABEL_SERVICE: service}


def revision_labels(service: str, release: str) -> dict[str, str]:
    """The labels of a release's revision."""
    return {**labels(service), LABEL_RELEASE: label_value(release)}


def revision_annotations(release: str, source_digest: str, schema: str | None) -> dict[str, str]:
    """The annotations of a release's revision: what it was made from, and the schema that its code was written for."""
    marks = {RELEASE: release, SOURCE: source_digest}
    return {**marks, SCHEMA: schema} if schema else marks


def expiry(at: datetime, release: str) -> dict[str, str]:
    """The labels of what lives for a while: when it may be removed, as seconds since 1970, and whose it is."""
    return {LABEL_EXPIRES: str(int(at.timestamp())), LABEL_RELEASE: label_value(release)}


def expires(labels: Mapping[str, str]) -> datetime | None:
    """When something may be removed; None where its labels do not say so in our way."""
    value = labels.get(LABEL_EXPIRES, "")
    return datetime.fromtimestamp(int(value), UTC) if re.fullmatch(r"[0-9]{1,11}", value) else None


def is_ours(labels: Mapping[str, str]) -> bool:
    """Whether we made what bears these labels."""
    return labels.get(LABEL_MANAGED) == "true"


def is_expired(labels: Mapping[str, str], now: datetime) -> bool:
    """Whether it is ours and its time is over. Without a time it never is."""
    until = expires(labels)
    return is_ours(labels) and until is not None and until <= now


def label_value(text: str) -> str:
    """The text as a label's value: lower case, other characters replaced by ``-``, at most 63."""
    return _LABEL_VALUE.sub("-", text.lower())[:NAME_LIMIT]


def write_mark(mark: Mark) -> str:
    """The mark as the value of the annotation ``CANARY``."""
    return json.dumps(mark.model_dump(), sort_keys=True, separators=(",", ":"))


def read_mark(state: ServiceState) -> Mark | None:
    """The mark of a canary under way; None where there is none. Raises Refused where it cannot be read."""
    value = state.annotations.get(CANARY, "")
    if not value:
        return None
    try:
        return Mark.model_validate_json(value)
    except ValidationError:
        raise Refused(
            f"reading the canary mark of service {state.name} failed: annotation {CANARY} is not ours: {value[:80]}; "
            f"see which revision should serve, give it all traffic, then: gcloud run services update {state.name} "
            f"--remove-annotations={CANARY}"
        ) from None


def _plain(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _bounded(name: str) -> str:
    if len(name) > NAME_LIMIT:
        raise BadInput(
            f"naming {name} failed: {len(name)} characters, Cloud Run takes {NAME_LIMIT}; shorten the service's name"
        )
    return name
