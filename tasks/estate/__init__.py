"""What caretaker operates: ``estate.toml`` as frozen values.

Safety property: a file that is not understood to its last key is refused before anything is read from the cloud, in one
line that names every error found, with the nearest name that would have been right.
"""

from tasks.estate.cloud_run import Canary, CanaryStep, Migration, Probe, Service, Sync, fill_in_urls
from tasks.estate.estate import Estate
from tasks.estate.surroundings import BackupPolicy, Database, Freeze, Google, Notify, Secret

__all__ = [
    "BackupPolicy",
    "Canary",
    "CanaryStep",
    "Database",
    "Estate",
    "Freeze",
    "Google",
    "Migration",
    "Notify",
    "Probe",
    "Secret",
    "Service",
    "Sync",
    "fill_in_urls",
]
