"""Builds, on the local cloud through the official clients: the image is really built."""

from __future__ import annotations

import re

import pytest

from tasks.clients.builds import Builds
from tasks.clients.storage import Bucket
from tasks.errors import Missing, PermanentError
from tests.tasks.clients.source import FILES, archive


@pytest.fixture
def builds(google) -> Builds:
    bucket = Bucket(google, google.bucket)
    bucket.ensure()
    bucket.put("good.tar.gz", archive(), "application/gzip")
    bucket.put("bad.tar.gz", archive({name: text for name, text in FILES.items() if name != "Procfile"}))
    return Builds(google)


def test_an_image_is_built_named_by_digest_and_found_again_by_its_tag(builds, google):
    seen: list[tuple[str, float | None]] = []
    build = builds.submit(google.bucket, "good.tar.gz", f"{google.repository}/api:v1", ("api-1234", "caretaker"))
    image = builds.wait(build, on_poll=lambda status, fraction: seen.append((status, fraction)))
    assert re.fullmatch(rf"{re.escape(google.repository)}/api@sha256:[0-9a-f]{{64}}", image.uri)
    assert image.uri.endswith(image.digest)
    assert image.build == build
    assert seen[-1][0] == "success"
    (found,) = builds.find("api-1234")
    assert (found.id, found.status, found.uri, found.digest) == (build, "SUCCESS", image.uri, image.digest)
    assert set(found.tags) == {"api-1234", "caretaker"}
    assert builds.find("api-9999") == []


def test_a_build_that_fails_is_permanent_and_leaves_its_last_words(builds, google):
    build = builds.submit(google.bucket, "bad.tar.gz", f"{google.repository}/api:v2", ("api-bad",))
    with pytest.raises(PermanentError, match=rf"building {build} failed: FAILURE .*Procfile.*; mend the source"):
        builds.wait(build)
    assert [found.status for found in builds.find("api-bad")] == ["FAILURE"]


def test_an_archive_that_is_not_there_fails_the_build(builds, google):
    with pytest.raises(PermanentError):
        builds.wait(builds.submit(google.bucket, "nothing.tar.gz", f"{google.repository}/api:v3", ("x",)))


def test_a_build_that_does_not_exist_is_missing(builds):
    with pytest.raises(Missing, match="reading build 00000000-0000-0000-0000-000000000000 failed"):
        builds.get("00000000-0000-0000-0000-000000000000")
