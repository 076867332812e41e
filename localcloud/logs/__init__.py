"""Cloud Logging: what the instances print, what the proxy and the builds write, and the query language over it."""

from __future__ import annotations

from localcloud.cloud import Cloud
from localcloud.logs.entries import Entries
from localcloud.logs.service import Logging
from localcloud.rpc import Servicer


def install(cloud: Cloud) -> list[Servicer]:
    cloud.logs = Entries(cloud.state / "logs.db")
    cloud.at_stop(cloud.logs.close)
    return [Logging(cloud)]
