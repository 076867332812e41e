"""Cloud Storage over its JSON API: buckets and objects with generations, preconditions and checksums.

Why this is not the package gcp-storage-emulator: docs/decisions/0003-storage.md.
"""

from __future__ import annotations

from localcloud.cloud import Cloud
from localcloud.rpc import Servicer
from localcloud.storage.blobs import Blobs
from localcloud.storage.buckets import Buckets
from localcloud.storage.objects import Objects
from localcloud.storage.uploads import Uploads


def install(cloud: Cloud) -> list[Servicer]:
    """Set the cloud's storage. It is HTTP alone: there is no servicer; ``http.application`` serves it."""
    blobs = Blobs(cloud.state / "storage")
    buckets = Buckets(cloud.store)
    cloud.storage = Objects(cloud.store, buckets, blobs)
    cloud.uploads = Uploads(cloud.store, cloud.storage, blobs, cloud.state / "storage" / "uploads")
    cloud.storage.remove_leftovers()
    cloud.uploads.remove_leftovers()
    return []
