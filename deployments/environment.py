"""The environment in which Prefect's programs meet the stack of one state folder, and no other.

Prefect's home lies in the state folder, so the profile of the person who starts the stack is neither read nor changed.
Nothing here calls home: analytics are off on the server and in the clients.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import certifi

from deployments.addresses import LOOPBACK, UI_PORT
from deployments.stack.folder import Folder, fernet_key, replace

POOL = "caretaker"
AUTH_FILE = "prefect-auth"
END = "-----END CERTIFICATE-----"
RUNS_KEPT = timedelta(days=90)
EVENTS_KEPT = timedelta(days=7)
#: One heap for all threads of a process, which gives back what it does not use: together 50 MB of an idle stack.
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536"}
#: What Prefect's server looks for every five seconds by default, and nobody here waits for.
LOOPS_SECONDS = {"LATE_RUNS": "20", "PAUSE_EXPIRATIONS": "20", "CLEANUP_RECONCILER": "30", "FOREMAN": "30"}


def prefect_environment(state: Path) -> dict[str, str]:
    """What a Prefect client needs to reach this stack: for flows run by hand and for Prefect's own command."""
    folder = Folder(state)
    auth = auth_of(folder)
    return {
        "CARETAKER_STATE": str(folder.root),
        "PREFECT_HOME": str(folder.prefect),
        "PREFECT_PROFILES_PATH": str(folder.prefect / "profiles.toml"),
        "PREFECT_API_URL": prefect_url(folder),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
        **({"PREFECT_API_AUTH_STRING": auth, "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true"} if auth else {}),
    }


def one_authority(folder: Folder) -> Path:
    """A file with one certificate authority.

    Prefect's client loads those that it is given, or else all 140 (60 ms, four times a run), also for an address
    without TLS, as a stack's is to its own processes.
    """
    path = folder.prefect / "authority.pem"
    if not path.exists():
        first = Path(certifi.where()).read_text().partition(END)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, first[0] + first[1] + "\n")
    return path


def prefect_url(folder: Folder) -> str:
    """The address of a stack's Prefect API, from this machine."""
    remembered = folder.read()
    listen = str(remembered.get("listen", LOOPBACK))
    host = LOOPBACK if ip_address(listen).is_unspecified else listen
    return f"http://{host}:{remembered.get('ports', {}).get('prefect', UI_PORT)}/api"


def auth_of(folder: Folder) -> str:
    """``user:password`` of Prefect's server; empty where it has none, which is allowed on loopback alone."""
    path = folder.root / "secrets" / AUTH_FILE
    return path.read_text().strip() if path.exists() else ""


def child_environment(state: Path) -> dict[str, str]:
    """The environment of every child: this process's, without settings of another Prefect, and with ours."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    authority = {"PREFECT_API_SSL_CERT_FILE": str(one_authority(Folder(state)))}
    ours = {**prefect_environment(state), **authority, **MALLOC}
    return {**inherited, **ours, "PATH": path, "PYTHONUNBUFFERED": "1"}


def server_environment(state: Path, database_url: str) -> dict[str, str]:
    """The settings of Prefect's server; docs/decisions/0006-prefect-server.md gives the reason of each."""
    leases, auth = "prefect.server.concurrency.lease_storage.filesystem", auth_of(Folder(state))
    return {
        **child_environment(state),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_ENCRYPTION_KEY": Folder(state).secret("prefect-encryption-key", fernet_key),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": leases,
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(int(RUNS_KEPT.total_seconds())),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{EVENTS_KEPT.days}D",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
        **{f"PREFECT_SERVER_SERVICES_{name}_LOOP_SECONDS": seconds for name, seconds in LOOPS_SECONDS.items()},
        # A session of PostgreSQL that was used costs 9 MB: few are kept; as many as before may be open under load.
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "2",
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "13",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_API_URL": "/api",  # whatever address the browser came by
        # By default every page that a browser of this machine shows could start flows.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": prefect_url(Folder(state)).removesuffix("/api"),
        **({"PREFECT_SERVER_API_AUTH_STRING": auth, "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"} if auth else {}),
    }
