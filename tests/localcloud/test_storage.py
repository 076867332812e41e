"""Cloud Storage through its official client."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import httpx
import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

DATA = random.Random(2).randbytes(1_000_000)


def connected(url: str, project: str) -> storage.Client:
    return storage.Client(project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": url})


@pytest.fixture
def client(local_cloud, project) -> storage.Client:
    return connected(local_cloud.storage, project)


@pytest.fixture
def bucket(client, project) -> storage.Bucket:
    return client.create_bucket(f"{project}-images", location="europe-west4")


def put(bucket: storage.Bucket, name: str, data: bytes | str = b"x", **options: object) -> storage.Blob:
    blob = bucket.blob(name)
    blob.upload_from_string(data, **options)
    return blob


def test_a_bucket_is_created_read_and_listed(client, bucket, project):
    found = client.get_bucket(bucket.name)
    assert (found.location, found.storage_class, found.metageneration) == ("EUROPE-WEST4", "STANDARD", 1)
    assert [b.name for b in client.list_buckets()] == [bucket.name]
    assert list(client.list_buckets(project=f"{project}x")) == []


def test_a_bucket_name_is_taken_once_for_all_projects(client, bucket, local_cloud):
    with pytest.raises(exceptions.Conflict, match="you already own it"):
        client.create_bucket(bucket.name)
    with pytest.raises(exceptions.Conflict, match="not available"):
        connected(local_cloud.storage, "t-other").create_bucket(bucket.name)


def test_a_bucket_name_that_google_refuses_is_refused(client):
    with pytest.raises(exceptions.BadRequest, match="Invalid bucket name"):
        client.create_bucket("Has_Capitals")


def test_labels_of_a_bucket_are_added_and_removed(client, bucket):
    bucket.labels = {"app": "pyplots", "env": "test"}
    bucket.patch()
    bucket.labels = {"app": "pyplots"}
    bucket.patch()
    assert client.get_bucket(bucket.name).labels == {"app": "pyplots"}


def test_only_an_empty_bucket_is_deleted(client, bucket):
    put(bucket, "a")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert client.lookup_bucket(bucket.name) is None


def test_a_field_that_would_not_be_honoured_is_refused_by_name(client, project):
    bucket = client.bucket(f"{project}-versioned")
    bucket.versioning_enabled = True
    with pytest.raises(exceptions.MethodNotImplemented, match=r"Bucket\.versioning"):
        bucket.create()


def test_an_object_comes_back_as_it_was_written(bucket):
    data = os.urandom(3_000_000)
    written = put(bucket, "specs/ü 1/plot%2F.png", data, content_type="image/png")
    read = bucket.get_blob("specs/ü 1/plot%2F.png")
    assert read.download_as_bytes() == data
    assert (read.size, read.content_type, read.generation) == (len(data), "image/png", written.generation)
    assert read.md5_hash == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert read.crc32c == base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


@pytest.mark.parametrize("data", [b"", b"\r\n", b"--==boundary\r\n\r\n--", b"\r\n--" * 70_000, b"\0" * 262_144])
def test_awkward_bytes_survive_a_multipart_upload(bucket, data):
    assert put(bucket, "awkward", data).download_as_bytes() == data


def test_a_large_object_is_uploaded_in_chunks(bucket):
    data = random.Random(1).randbytes(2_500_001)
    blob = bucket.blob("archive.tar.gz", chunk_size=512 * 1024)
    blob.upload_from_file(io.BytesIO(data), content_type="application/gzip", checksum="crc32c")
    assert bucket.get_blob("archive.tar.gz").content_type == "application/gzip"
    assert blob.download_as_bytes() == data


def test_an_interrupted_upload_is_taken_up_where_it_stopped(bucket, local_cloud):
    data, half = os.urandom(700_000), 524_288
    session = bucket.blob("resumed").create_resumable_upload_session()
    first = httpx.put(session, content=data[:half], headers={"Content-Range": f"bytes 0-{half - 1}/*"})
    state = httpx.put(session, headers={"Content-Range": "bytes */*"})
    rest = {"Content-Range": f"bytes {half}-{len(data) - 1}/{len(data)}"}
    finished = [httpx.put(session, content=data[half:], headers=rest) for _ in range(2)]
    assert [first.status_code, state.status_code, state.headers["range"]] == [308, 308, f"bytes=0-{half - 1}"]
    assert [answer.status_code for answer in finished] == [200, 200]
    assert finished[0].json()["generation"] == finished[1].json()["generation"]
    assert bucket.blob("resumed").download_as_bytes() == data


def test_a_chunk_that_leaves_a_gap_is_refused(bucket):
    session = bucket.blob("gap").create_resumable_upload_session()
    answer = httpx.put(session, content=b"x" * 10, headers={"Content-Range": "bytes 262144-262153/262154"})
    assert answer.status_code == 400
    assert not bucket.blob("gap").exists()


def test_a_range_of_bytes_is_downloaded(bucket):
    blob = put(bucket, "letters", b"abcdefghij")
    assert blob.download_as_bytes(start=2, end=4) == b"cde"
    assert blob.download_as_bytes(start=7) == b"hij"
    last = httpx.get(blob.media_link, headers={"Range": "bytes=-3"})
    assert (last.status_code, last.content, last.headers["content-range"]) == (206, b"hij", "bytes 7-9/10")
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)


def test_an_upload_that_does_not_match_its_checksum_writes_nothing(bucket):
    blob = bucket.blob("broken")
    blob.md5_hash = base64.b64encode(bytes(16)).decode()
    with pytest.raises(exceptions.BadRequest, match="MD5"):
        blob.upload_from_string(b"x", checksum=None)
    assert not blob.exists()


def test_every_write_gives_a_new_generation(bucket):
    generations = [put(bucket, "a", str(n)).generation for n in range(5)]
    assert generations == sorted(set(generations))
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=generations[0]).download_as_bytes()


def test_a_write_for_a_new_name_fails_when_the_name_is_taken(bucket):
    put(bucket, "lock", b"mine", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed, match="did not hold"):
        put(bucket, "lock", b"theirs", if_generation_match=0)
    assert bucket.blob("lock").download_as_bytes() == b"mine"


def test_of_many_writers_with_one_precondition_one_succeeds(bucket):
    first = put(bucket, "state", b"0")

    def write(number: int) -> bytes | None:
        try:
            put(bucket, "state", str(number), if_generation_match=first.generation)
        except exceptions.PreconditionFailed:
            return None
        return str(number).encode()

    with ThreadPoolExecutor(8) as pool:
        won = [answer for answer in pool.map(write, range(1, 17)) if answer]
    assert won == [bucket.blob("state").download_as_bytes()]


def test_metadata_is_patched_under_its_own_generation(bucket):
    blob = put(bucket, "a")
    blob.metadata = {"run": "1", "gone": "soon"}
    blob.patch(if_metageneration_match=1)
    blob.metadata = {"run": "2", "gone": None}
    blob.cache_control = "no-store"
    blob.patch()
    read = bucket.get_blob("a")
    assert (read.metadata, read.cache_control, read.metageneration) == ({"run": "2"}, "no-store", 3)
    assert read.generation == blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_metageneration_match=1)


def test_a_delete_with_an_old_generation_deletes_nothing(bucket):
    old = put(bucket, "a").generation
    put(bucket, "a", b"new")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.delete_blob("a", if_generation_match=old)
    bucket.delete_blob("a")
    with pytest.raises(exceptions.NotFound, match="No such object"):
        bucket.delete_blob("a")


def test_a_read_of_what_has_not_changed_is_not_modified(bucket):
    blob = put(bucket, "a")
    answer = httpx.get(blob.self_link, params={"ifGenerationNotMatch": blob.generation})
    assert (answer.status_code, answer.content) == (304, b"")


def test_objects_are_listed_by_prefix_folder_and_page(bucket):
    for name in ("b", "a/1", "a/2", "a/x/1", "a/x/2", "a-b", "ä"):
        put(bucket, name)
    assert [b.name for b in bucket.list_blobs()] == ["a-b", "a/1", "a/2", "a/x/1", "a/x/2", "b", "ä"]
    folder = bucket.list_blobs(prefix="a/", delimiter="/")
    assert [b.name for b in folder] == ["a/1", "a/2"]
    assert folder.prefixes == {"a/x/"}
    pages = list(bucket.list_blobs(page_size=2, delimiter="/").pages)
    assert [b.name for p in pages for b in p] == ["a-b", "b", "ä"]
    assert [b.name for b in bucket.list_blobs(max_results=3)] == ["a-b", "a/1", "a/2"]


def test_a_copy_has_the_bytes_and_the_metadata(client, bucket, project):
    other = client.create_bucket(f"{project}-copies")
    blob = put(bucket, "plot.svg", b"<svg/>", content_type="image/svg+xml")
    copied = bucket.copy_blob(blob, other, "2/plot.svg")
    rewritten = other.blob("3/plot.svg")
    assert rewritten.rewrite(blob, if_source_generation_match=blob.generation) == (None, 6, 6)
    blob.delete()
    for found in (copied, rewritten):
        found.reload()
        assert (found.download_as_bytes(), found.content_type) == (b"<svg/>", "image/svg+xml")
        assert found.md5_hash == blob.md5_hash


def test_objects_are_composed(bucket):
    parts = [put(bucket, f"part{n}", f"{n};") for n in range(3)]
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose(parts)
    whole.reload()
    assert (whole.download_as_bytes(), whole.component_count, whole.md5_hash) == (b"0;1;2;", 3, None)


def test_the_environment_variable_of_emulators_is_enough(local_cloud, project, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", local_cloud.storage)
    client = storage.Client(project=project, credentials=AnonymousCredentials())
    bucket = client.create_bucket(f"{project}-env")
    assert put(bucket, "a", b"1").download_as_bytes() == b"1"


def test_errors_have_the_shape_of_googles(bucket, local_cloud):
    answer = httpx.get(f"{local_cloud.storage}/storage/v1/b/{bucket.name}/o/missing")
    message = f"No such object: {bucket.name}/missing"
    detail = {"message": message, "domain": "global", "reason": "notFound"}
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": 404, "message": message, "errors": [detail]}}
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        connected(local_cloud.storage, "p").bucket("no-such-bucket").blob("a").upload_from_string("x")


def test_a_call_that_is_not_implemented_is_named(bucket):
    with pytest.raises(exceptions.MethodNotImplemented, match=f"GET /storage/v1/b/{bucket.name}/iam"):
        bucket.get_iam_policy()


def test_calls_are_logged_with_the_buckets_project(client, bucket, local_cloud, project):
    put(bucket, "a")
    bucket.blob("a").download_as_bytes()
    logged = [(c.method, c.resource, c.writes, c.code) for c in local_cloud.control.calls(project)]
    assert logged == [
        ("Buckets.Insert", f"buckets/{bucket.name}", True, "OK"),
        ("Objects.Insert", f"buckets/{bucket.name}/objects/a", True, "OK"),
        ("Objects.Get", f"buckets/{bucket.name}/objects/a", False, "OK"),
    ]


def test_an_upload_whose_answer_is_lost_was_made_once(bucket, faults, project):
    planted = faults.plant("Objects.Insert", "lost_answer", project=project)
    with pytest.raises(exceptions.ServiceUnavailable):
        put(bucket, "a", b"made", if_generation_match=0, retry=None)
    assert faults.fault(planted)["met"] == 1
    assert bucket.blob("a").download_as_bytes() == b"made"


def test_a_client_that_retries_gets_over_an_outage(bucket, faults, project):
    planted = faults.plant("Objects.List", "error", project=project, times=2)
    assert list(bucket.list_blobs()) == []
    assert faults.fault(planted)["met"] == 2


@pytest.fixture(scope="module")
def killed(own_local_cloud):
    """A local cloud that was killed while an upload stood after its work, and what it had acknowledged before."""
    url, state = own_local_cloud.storage, own_local_cloud.state
    bucket = connected(url, "t-kill").create_bucket("t-kill-images")
    written = put(bucket, "a", DATA)
    session = bucket.blob("resumed").create_resumable_upload_session()
    httpx.put(session, content=DATA[:524_288], headers={"Content-Range": "bytes 0-524287/*"})
    (state / "storage" / "blobs" / "no-record").write_bytes(b"whole, but killed before its record was")
    held = own_local_cloud.control.plant("Objects.Insert", "hold_after", project="t-kill")
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(put, bucket, "unanswered", b"x", retry=None)
        own_local_cloud.control.wait_until_met(held)
        own_local_cloud.restart(kill=True)
        assert isinstance(upload.exception(), requests.ConnectionError)
    assert own_local_cloud.storage == url
    return connected(url, "t-kill").bucket(bucket.name), written, session


def test_an_acknowledged_object_survives_a_kill(killed):
    bucket, written, _ = killed
    read = bucket.get_blob("a")
    assert (read.generation, read.metageneration, read.download_as_bytes()) == (written.generation, 1, DATA)


def test_an_upload_goes_on_after_a_kill_from_what_was_acknowledged(killed):
    _, written, session = killed
    state = httpx.put(session, headers={"Content-Range": "bytes */*"})
    assert state.headers["range"] == "bytes=0-524287"
    answer = httpx.put(session, content=DATA[524_288:], headers={"Content-Range": "bytes 524288-999999/1000000"})
    assert answer.json()["md5Hash"] == written.md5_hash


def test_a_kill_after_the_work_leaves_it_done_and_no_stray_bytes(killed, own_local_cloud):
    bucket, _, _ = killed
    assert bucket.blob("unanswered").download_as_bytes() == b"x"
    kept = list((own_local_cloud.state / "storage" / "blobs").iterdir())
    assert len(kept) == len(list(bucket.list_blobs()))
