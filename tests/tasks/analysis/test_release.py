"""Names are derived from what they name, and marks are read back as they were written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis import release
from tasks.errors import BadInput, Refused
from tasks.models import RevisionSpec, SecretPin, ServiceState

SPEC = RevisionSpec(image="host/app@sha256:1", env={"A": "1"})
NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


def state(**annotations: str) -> ServiceState:
    marks = {"caretaker.dev/canary": annotations["canary"]} if "canary" in annotations else {}
    return ServiceState(name="api", uri="", etag="1", ready=True, template=SPEC, annotations=marks)


def test_a_release_is_named_by_its_source_and_what_the_estate_decides() -> None:
    name = release.release_id("d1", SPEC)
    assert re.fullmatch(r"[0-9a-f]{10}", name)
    same = SPEC.model_copy(update={"image": "other", "labels": {"a": "b"}, "annotations": {"c": "d"}})
    assert release.release_id("d1", same) == name
    others = [
        release.release_id("d2", SPEC),
        release.release_id("d1", SPEC.model_copy(update={"env": {"A": "2"}})),
        release.release_id("d1", SPEC.model_copy(update={"secret_env": {"B": SecretPin(secret="s", version="1")}})),
        release.release_id("d1", SPEC.model_copy(update={"max_instances": 9})),
    ]
    assert len({name, *others}) == 5


def test_the_order_in_which_variables_are_written_makes_no_other_release() -> None:
    one = SPEC.model_copy(update={"env": {"A": "1", "B": "2"}})
    other = SPEC.model_copy(update={"env": {"B": "2", "A": "1"}})
    assert release.release_id("d", one) == release.release_id("d", other)


def test_a_revision_bears_service_release_and_attempt() -> None:
    assert release.revision_name("api", "0123456789") == "api-0123456789"
    assert release.revision_name("api", "0123456789", 2) == "api-0123456789-2"
    assert release.release_of("api", "api-0123456789-2") == "0123456789"
    assert release.release_of("api", "api-00042-abc") is None
    assert release.release_of("api", "frontend-0123456789") is None


def test_the_longest_service_name_still_gives_names_that_cloud_run_takes() -> None:
    service = "a" * 37
    assert len(release.revision_name(service, "0123456789", 99)) <= 63
    assert len(release.job_name(service, "0123456789", "downgrade")) <= 63
    with pytest.raises(BadInput, match="Cloud Run takes 63"):
        release.revision_name("a" * 60, "0123456789")


def test_labels_are_in_the_form_that_google_takes() -> None:
    made = {**release.revision_labels("api", "0123456789"), **release.expiry(NOW, "0123456789")}
    for key, value in made.items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)
    assert release.label_value("Feature/X y") == "feature-x-y"
    assert len(release.label_value("x" * 99)) == 63


def test_what_has_expired_is_ours_and_past_its_time() -> None:
    made = {**release.labels("api"), **release.expiry(NOW, "r")}
    assert release.expires(made) == NOW
    assert release.is_expired(made, NOW)
    assert not release.is_expired(made, NOW - timedelta(seconds=1))
    assert not release.is_expired(release.labels("api"), NOW)
    assert not release.is_expired(release.expiry(NOW, "r"), NOW + timedelta(days=1))
    assert release.expires({release.LABEL_EXPIRES: "tomorrow"}) is None


def test_a_mark_is_read_back_as_it_was_written() -> None:
    mark = release.Mark(stable="api-1", candidate="api-2", release="r", run="run")
    assert release.read_mark(state(canary=release.write_mark(mark))) == mark
    assert release.read_mark(state(canary="")) is None
    assert release.read_mark(state()) is None


@pytest.mark.parametrize("value", ["yes", "{}", '{"stable": "a"}', "null"])
def test_a_mark_that_is_not_ours_is_refused_with_the_way_out(value: str) -> None:
    with pytest.raises(Refused, match=r"--remove-annotations=caretaker\.dev/canary"):
        release.read_mark(state(canary=value))


def test_a_source_names_its_archive_and_its_build() -> None:
    digest = "ab" * 32
    assert release.archive_object("api", digest) == f"sources/api/{digest}.tar.gz"
    assert release.archive_object("api", f"sha256:{digest}") == release.archive_object("api", digest)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", release.build_tag("a" * 37, digest))


def test_a_revisions_annotations_say_what_it_was_made_from() -> None:
    assert release.revision_annotations("r", "d", "0001") == {
        release.RELEASE: "r", release.SOURCE: "d", release.SCHEMA: "0001",
    }
    assert release.SCHEMA not in release.revision_annotations("r", "d", None)
