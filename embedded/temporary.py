"""What embedded servers keep in the machine's temporary folder, where paths are short and every user may write.

Safety property: nothing there is used that another user made, or may write to: who could would stand in for a server.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path


class NotOurs(RuntimeError):
    """What is to be used belongs to somebody else. The message is one line and names the way out."""


def socket_folder(state: Path) -> Path:
    """A short folder for Unix sockets, derived from a state folder: a socket's path may have 103 bytes at most.

    Raises NotOurs.
    """
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:8]
    path = Path(tempfile.gettempdir()) / f"ck-{os.getuid()}-{digest}"
    path.mkdir(mode=0o755, exist_ok=True)
    _check(path, path.lstat(), directory=True)
    return path


def shared_file(name: str) -> int:
    """A descriptor of a file that all processes of this user share. Raises NotOurs."""
    path = Path(tempfile.gettempdir()) / f"ck-{name}-{os.getuid()}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NotOurs(f"opening {path} failed: {error.strerror}; remove it, or set TMPDIR") from error
    _check(path, os.fstat(descriptor), directory=False)
    return descriptor


def _check(path: Path, found: os.stat_result, *, directory: bool) -> None:
    kind = stat.S_ISDIR if directory else stat.S_ISREG
    if not kind(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NotOurs(f"using {path} failed: it is another user's, or others may write there; remove it, or set TMPDIR")
