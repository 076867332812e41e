"""Where Prefect's server listens: on loopback, or elsewhere and then with a password.

Safety property: nothing that can start a flow is reachable from another machine without one. The password comes by the
environment or a file that only its owner reads, never by a command line, which everybody on the machine sees.
"""

from __future__ import annotations

from ipaddress import ip_address

from deployments.environment import AUTH_FILE, auth_of
from deployments.stack.folder import Folder, replace
from tasks.errors import BadInput
from tasks.settings import settings

SHORTEST = 12


def prove_listening(folder: Folder, listen: str) -> None:
    """Keep the password that was given, and refuse an address that others reach without a good one. Raises BadInput."""
    given = settings().prefect_auth.get_secret_value()
    if given:
        _prove_good(given)
        (folder.root / "secrets").mkdir(mode=0o700, exist_ok=True)
        replace(folder.root / "secrets" / AUTH_FILE, given, mode=0o600)
    if not _loopback(listen) and not auth_of(folder):
        raise BadInput(
            f"listening on {listen} failed: others could start flows; set CARETAKER_PREFECT_AUTH=user:password, or "
            f"write that into {folder.root / 'secrets' / AUTH_FILE}"
        )


def _prove_good(auth: str) -> None:
    user, _, password = auth.partition(":")
    if not user or len(password) < SHORTEST:
        raise BadInput(
            f"reading CARETAKER_PREFECT_AUTH failed: it must be user:password, and the password {SHORTEST} characters"
        )


def _loopback(listen: str) -> bool:
    try:
        return ip_address(listen).is_loopback
    except ValueError:
        raise BadInput(f"listening on {listen} failed: it is no address; give one, such as 0.0.0.0") from None
