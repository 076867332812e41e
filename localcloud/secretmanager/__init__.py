"""Secret Manager: secrets, their versions and payloads, with states, aliases, etags and delayed destruction."""

from __future__ import annotations

from localcloud.cloud import Cloud
from localcloud.rpc import Servicer
from localcloud.secretmanager.records import Records
from localcloud.secretmanager.service import SecretManager


def install(cloud: Cloud) -> list[Servicer]:
    cloud.secrets = SecretManager(Records(cloud.store))
    return [cloud.secrets]
