"""What caretaker operates: ``estate.toml`` as frozen values.

Safety property: a file that is not understood to its last key is refused before anything is read from the cloud, in one
line that names every error found, with the nearest name that would have been right.
"""

from tasks.estate.cloud_run import PREVIOUS, Canary, CanaryStep, Migration, Probe, Service, Sync, fill_in_urls
from tasks.estate.costs import Costs, Unit
from tasks.estate.drills import DrillPolicy, ManifestPolicy, ObjectReferences, TableRule
from tasks.estate.estate import Estate
from tasks.estate.maintenance import MaintenancePolicy
from tasks.estate.review import Review
from tasks.estate.surroundings import BackupPolicy, Database, Freeze, Google, Notify, Secret
from tasks.estate.webhooks import Sender, Source, Webhooks

__all__ = [
    "PREVIOUS",
    "BackupPolicy",
    "Canary",
    "CanaryStep",
    "Costs",
    "Database",
    "DrillPolicy",
    "Estate",
    "Freeze",
    "Google",
    "MaintenancePolicy",
    "ManifestPolicy",
    "Migration",
    "Notify",
    "ObjectReferences",
    "Probe",
    "Review",
    "Secret",
    "Sender",
    "Service",
    "Source",
    "Sync",
    "TableRule",
    "Unit",
    "Webhooks",
    "fill_in_urls",
]
