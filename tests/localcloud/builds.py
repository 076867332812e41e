"""How the tests of builds make archives, put them into a bucket and follow a build to its end."""

from __future__ import annotations

import io
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2, storage
from google.cloud.devtools import cloudbuild_v1
from google.cloud.devtools.cloudbuild_v1.services.cloud_build.transports import CloudBuildGrpcTransport
from google.cloud.run_v2.services.builds.transports import BuildsGrpcTransport
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration

LOCATION = "europe-west4"
WEB = {"main.py": "print('hello')\n", "Procfile": "web: python main.py\n"}
Status = cloudbuild_v1.Build.Status


def archive(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def locked(package: str) -> tuple[str, list[str]]:
    """The version of a package in our own lock file, and the hashes of its files: what is in the cache already."""
    lock = tomllib.loads((Path(__file__).parents[2] / "uv.lock").read_text())
    found = next(entry for entry in lock["package"] if entry["name"] == package)
    return found["version"], [file["hash"] for file in found["wheels"]]


@dataclass
class Builds:
    """The official clients of one project, and what the tests do with them."""

    project: str
    channel: grpc.Channel
    storage_url: str

    def __post_init__(self) -> None:
        self.run = run_v2.BuildsClient(transport=BuildsGrpcTransport(channel=self.channel))
        self.cloudbuild = cloudbuild_v1.CloudBuildClient(transport=CloudBuildGrpcTransport(channel=self.channel))
        self.bucket = f"{self.project}-source"
        self._storage = storage.Client(
            project=self.project, credentials=AnonymousCredentials(), client_options={"api_endpoint": self.storage_url}
        )
        self._storage.create_bucket(self.bucket)

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{LOCATION}"

    def image(self, name: str = "app:v1") -> str:
        return f"{LOCATION}-docker.pkg.dev/{self.project}/apps/{name}"

    def upload(self, content: bytes, name: str = "source.tar.gz") -> int:
        blob = self._storage.bucket(self.bucket).blob(name)
        blob.upload_from_string(content)
        return int(blob.generation)

    def submit(self, files: Mapping[str, str] | bytes, *, image: str = "app:v1", name: str = "source.tar.gz",
               **more: object) -> operations_pb2.Operation:
        self.upload(files if isinstance(files, bytes) else archive(files), name)
        return self.submit_object(name, image=image, **more)

    def submit_object(self, name: str, *, image: str = "app:v1", **more: object) -> operations_pb2.Operation:
        more.setdefault("buildpack_build", run_v2.SubmitBuildRequest.BuildpacksBuild())
        request = run_v2.SubmitBuildRequest(
            parent=self.parent, image_uri=self.image(image),
            storage_source=run_v2.StorageSource(bucket=self.bucket, object_=name), **more,
        )
        return self.run.submit_build(request).build_operation

    def wait(self, operation: operations_pb2.Operation) -> tuple[cloudbuild_v1.Build, operations_pb2.Operation]:
        """Follow an operation to its end; return the build as its metadata has it, and the operation."""
        wait = self.channel.unary_unary(
            "/google.longrunning.Operations/WaitOperation",
            request_serializer=operations_pb2.WaitOperationRequest.SerializeToString,
            response_deserializer=operations_pb2.Operation.FromString,
        )
        for _ in range(4):
            operation = wait(operations_pb2.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=30)))
            if operation.done:
                return self.of(operation), operation
        raise AssertionError(f"{operation.name} is not done")

    def build(self, files: Mapping[str, str] | bytes, **more: object) -> cloudbuild_v1.Build:
        return self.wait(self.submit(files, **more))[0]

    def of(self, operation: operations_pb2.Operation) -> cloudbuild_v1.Build:
        metadata = cloudbuild_v1.BuildOperationMetadata.pb()()
        assert operation.metadata.Unpack(metadata)
        return cloudbuild_v1.BuildOperationMetadata.wrap(metadata).build
