"""Runs PostgreSQL's programs where the user is root, which PostgreSQL refuses.

Safety property: what is decided here is only as whom a program runs. Root's files stay root's in a user namespace;
where an account is used instead, only the data directories given to it change their owner. See
docs/decisions/0004-postgres-as-root.md.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

Way = Literal["direct", "namespace", "account"]

#: Seen as user 1000 by itself, as root by everyone else: root's files are its own, also below /root.
NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
ACCOUNTS = ("postgres", "nobody")
PROBE_TIMEOUT_SECONDS = 10.0


class CannotRun(RuntimeError):
    """PostgreSQL cannot run for this user on this machine."""


def unprivileged(argv: Sequence[str]) -> list[str]:
    """Wrap a command so that PostgreSQL accepts it: unchanged for an ordinary user, not as root for root.

    The wrapped command keeps the process id that it is started with. Raises CannotRun.
    """
    chosen = way()
    if chosen == "direct":
        return list(argv)
    return [*(NAMESPACE if chosen == "namespace" else as_account()), *argv]


def give(folder: Path) -> None:
    """Make a folder and all in it the property of whom PostgreSQL runs as; nothing to do but for an account."""
    if way() != "account":
        return
    account = _account()
    for parent, _, files in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in files)):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


@cache
def way() -> Way:
    """How PostgreSQL is run here; probed once. Raises CannotRun, in one line, when there is none."""
    if os.geteuid() != 0:
        return "direct"
    if _works(NAMESPACE):
        return "namespace"
    if _works(as_account()):
        return "account"
    raise CannotRun(
        "PostgreSQL refuses to run as root, and this machine allows neither user namespaces (unshare --user) nor "
        "setpriv with CAP_DAC_OVERRIDE; run as an ordinary user instead"
    )


def as_account() -> tuple[str, ...]:
    """The prefix that runs a command as an account without privileges, but for reaching root's folders.

    The one capability kept (CAP_DAC_OVERRIDE) makes the programs and the state reachable wherever they are, so that
    nothing has to be copied or opened to others.
    """
    account = _account()
    return (
        "setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups",
        "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--",
    )  # fmt: skip


def _account() -> pwd.struct_passwd:
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise CannotRun(f"PostgreSQL refuses to run as root, and none of the accounts {', '.join(ACCOUNTS)} exists")


def _works(prefix: Sequence[str]) -> bool:
    """Whether a command behind the prefix runs, and not as root."""
    if shutil.which(prefix[0]) is None:
        return False
    try:
        answer = subprocess.run(
            [*prefix, "id", "-u"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() not in ("", "0")
