"""The billing export: documented tables in BigQuery, filled with a generated bill."""

from __future__ import annotations

from localcloud.billing.exports import Exports
from localcloud.cloud import Cloud
from localcloud.rpc import Servicer


def install(cloud: Cloud) -> list[Servicer]:
    """Let the cloud's exports fill their tables before they are read. It has no call of its own: see ``control``."""
    cloud.billing = Exports(cloud.store, cloud.tables, cloud.tables.engine)
    cloud.tables.filler = cloud.billing
    return []
