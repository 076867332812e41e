"""One bucket, on the local cloud through the official client."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.control_client import Control
from tasks.clients.storage import Bucket
from tasks.errors import Conflict, Missing, TransientError


@pytest.fixture
def bucket(google) -> Bucket:
    bucket = Bucket(google, google.bucket)
    assert bucket.ensure({"made-by": "caretaker"})
    return bucket


def test_a_bucket_is_created_once(bucket, google):
    assert not bucket.ensure()
    assert not Bucket(google, bucket.name).ensure()
    assert google.storage.get_bucket(bucket.name).labels == {"made-by": "caretaker"}


def test_bytes_and_files_come_back_as_they_were_written(bucket, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"\0\xff" * 1000)
    bucket.put("a/bytes ü.bin", b"one", "text/plain")
    bucket.put("a/file", tmp_path / "file")
    assert bucket.get("a/bytes ü.bin") == b"one"
    assert bucket.get("a/file") == b"\0\xff" * 1000
    bucket.put("a/file", b"")
    assert bucket.get("a/file") == b""


def test_a_large_file_is_written_in_a_resumable_upload_and_only_once(bucket, tmp_path: Path):
    (tmp_path / "large").write_bytes(bytes(range(256)) * 40_000)
    assert bucket.put_if_absent("large", tmp_path / "large")
    assert not bucket.put_if_absent("large", tmp_path / "large")
    assert bucket.get("large") == (tmp_path / "large").read_bytes()


def test_an_object_is_written_only_where_there_is_none(bucket):
    assert bucket.put_if_absent("x", b"first")
    assert not bucket.put_if_absent("x", b"second")
    assert bucket.get("x") == b"first"
    bucket.delete("x")
    assert bucket.put_if_absent("x", b"third")


def test_an_object_is_written_only_over_the_generation_that_was_read(bucket):
    first = bucket.put("x", b"1")
    second = bucket.put("x", b"2", if_generation=first)
    assert second != first
    with pytest.raises(Conflict, match=r"writing gs://.*/x failed: 412 At least one"):
        bucket.put("x", b"3", if_generation=first)
    assert bucket.get("x") == b"2"


def test_objects_are_listed_by_prefix_in_order(bucket):
    for name in ("b/2", "a/1", "b/1"):
        bucket.put(name, b"")
    assert bucket.list() == ["a/1", "b/1", "b/2"]
    assert bucket.list("b/") == ["b/1", "b/2"]
    assert bucket.list("c") == []


def test_what_is_not_there_is_missing_and_deleting_it_succeeds(bucket, google):
    assert not bucket.exists("x")
    with pytest.raises(Missing, match=r"reading gs://.*/x failed: NOT_FOUND No such object: .*/x; check"):
        bucket.get("x")
    bucket.delete("x")
    with pytest.raises(Missing):
        Bucket(google, f"{bucket.name}-2").list()


def test_an_outage_is_worth_a_retry(bucket, faults, project):
    fault = faults.plant(method="*", kind="error", times=3, resource=bucket.name)
    with pytest.raises(TransientError, match=r"reading gs://.*/x failed: UNAVAILABLE planted fault; retrying"):
        bucket.get("x")
    assert faults.fault(fault)["met"] == 1
    faults.remove(fault)


def test_the_client_calls_nothing_that_was_not_asked_for(bucket, google, faults, project, monkeypatch):
    bucket.put("x", b"1")
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA")
    del google.storage  # a new client reads in the background what it has not met yet
    before = len(faults.calls(project=project))
    for _ in range(5):
        assert bucket.get("x") == b"1"
    assert [call.method for call in faults.calls(project=project)[before:]] == ["Objects.Get"] * 5


def test_an_object_is_made_to_hold_bytes_and_is_not_written_twice(bucket: Bucket) -> None:
    assert bucket.find("r/a") is None
    assert bucket.converge("r/a", b"one", "text/plain")
    found = bucket.find("r/a")
    assert found is not None
    assert not bucket.converge("r/a", b"one", "text/plain")
    assert bucket.find("r/a") == found
    assert bucket.converge("r/a", b"two", "text/plain")
    assert bucket.get("r/a") == b"two"


def test_a_replacement_whose_answer_was_lost_is_found_and_another_ones_is_a_conflict(
    bucket: Bucket, faults: Control, project: str
) -> None:
    first = bucket.replace("r/a", b"one", "text/plain", 0)
    faults.plant(method="Objects.Insert", kind="lost_answer", project=project)
    second = bucket.replace("r/a", b"two", "text/plain", first)
    assert second != first
    with pytest.raises(Conflict):
        bucket.replace("r/a", b"three", "text/plain", first)
    assert bucket.get("r/a") == b"two"


def test_a_link_opens_an_object_in_a_browser(bucket: Bucket) -> None:
    import httpx

    bucket.put("r/a b.html", b"<p>hi", "text/html")
    answer = httpx.get(bucket.link("r/a b.html"), trust_env=False)
    assert (answer.status_code, answer.text) == (200, "<p>hi")
    assert answer.headers["content-type"].startswith("text/html")
