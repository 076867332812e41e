"""Runs a program (git, uv, npm) to its end and says in one line what went wrong.

Safety property: a program gets the variables that its kind of work needs and no others, has no terminal to ask at, and
its output is shown without the credentials of URLs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput, TransientError

#: What finds programs, certificates and the way out; credentials of package indexes are among uv's and npm's own.
_EVERYONE = ("PATH", "HOME", "LANG", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
             "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
             "no_proxy")  # fmt: skip
_KINDS = ("UV_", "NPM_CONFIG_", "npm_config_")
_TAIL = 4000


@dataclass(frozen=True)
class Ended:
    """How a program ended: exit status, and what it said."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it said on standard error, in one line, without credentials."""
        return shown(" ".join((self.err or self.out).split()))


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that git, uv and npm get."""
    kept = {name: os.environ[name] for name in _EVERYONE if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith(_KINDS)}
    return {**kept, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0", **(extra or {})}


def run(
    command: Sequence[str], folder: Path, seconds: float, env: Mapping[str, str], stdin: str | None = None
) -> Ended:
    """Run a program in a folder. Raises BadInput where it is not there, TransientError when it does not end in time."""
    try:
        process = subprocess.Popen(
            list(command), cwd=folder, env=dict(env), text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise BadInput(f"running {command[0]} failed: it is not installed; install it where the flows run") from None
    try:
        out, err = process.communicate(stdin, timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise TransientError(f"running {' '.join(command[:3])} failed: no end after {seconds:g} s") from None
    return Ended(process.returncode, out, err)


def shown(text: str) -> str:
    """Text without the credentials of the URLs in it."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)[:_TAIL]
