"""The source of a build: an archive in a bucket, read through the storage API and unpacked safely.

Safety property: nothing is written outside the target folder; absolute paths, links out of it and device files are
refused (the ``data`` filter of tarfile).
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path
from urllib.parse import quote

import httpx

from localcloud.build.running import Failure, RunningBuild, failed

_TIMEOUT_SECONDS = 60.0
_CHUNK_BYTES = 1 << 20


def fetch(storage_url: str, bucket: str, name: str, generation: int, target: Path, running: RunningBuild) -> int:
    """Download an object into a file; return the generation that was read, 0 where the server does not tell."""
    url = f"{storage_url}/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
    params = {"alt": "media"} | ({"generation": str(generation)} if generation else {})
    running.log(f"Fetching storage object: gs://{bucket}/{name}#{generation or 'latest'}")
    try:
        with httpx.stream("GET", url, params=params, timeout=_TIMEOUT_SECONDS, trust_env=False) as answer:
            if answer.status_code != httpx.codes.OK:
                why = f"fetching gs://{bucket}/{name} failed: the storage API answered {answer.status_code}"
                raise failed(why, Failure.FETCH_SOURCE_FAILED)
            with target.open("wb") as file:
                for chunk in answer.iter_bytes():
                    running.check()
                    file.write(chunk)
            return int(answer.headers.get("x-goog-generation", generation))
    except httpx.HTTPError as error:
        raise failed(f"fetching gs://{bucket}/{name} failed: {error}", Failure.FETCH_SOURCE_FAILED) from error


def unpack(archive: Path, target: Path) -> None:
    """Unpack a ``.tar.gz`` below a new folder. Raises BuildStopped when it is not one, or reaches out of the folder."""
    target.mkdir()
    try:
        _check_whole(archive)
        with tarfile.open(archive, "r:gz") as tar:
            _extract(tar, target)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        why = f"the source is not a .tar.gz archive that can be unpacked: {error}"
        raise failed(why, Failure.FETCH_SOURCE_FAILED) from error


def _extract(tar: tarfile.TarFile, target: Path) -> None:
    """Extract below the target alone. Python before 3.11.4 has no filter for that: links are then refused too."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(target, filter="data")
        return
    for member in tar:
        inside = (target / member.name).resolve().is_relative_to(target.resolve())
        if not inside or not (member.isfile() or member.isdir()):
            raise tarfile.ExtractError(f"{member.name} is no plain file inside the source")
        tar.extract(member, target)


def _check_whole(archive: Path) -> None:
    """Read to the checksum at the end: tarfile alone takes an upload that was cut short for a smaller source."""
    with gzip.open(archive) as whole:
        while whole.read(_CHUNK_BYTES):
            pass
