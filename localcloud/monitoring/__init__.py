"""Cloud Monitoring: the time series of Cloud Run's request counts and latencies, from what the proxy saw."""

from __future__ import annotations

from localcloud.cloud import Cloud
from localcloud.monitoring.service import MetricService
from localcloud.rpc import Servicer


def install(cloud: Cloud) -> list[Servicer]:
    return [MetricService(cloud)]
