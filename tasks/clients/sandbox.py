"""Runs a repository's own tests where they can do no harm.

Safety property: the command sees no variable but those named here, no file but the system's programs (to read) and
its own folder, no process but its own, and no network but its own loopback; it cannot become more than it is. Linux
namespaces do that, through ``unshare`` of util-linux, which works as root and as a user where the machine allows user
namespaces. Where it does not, ``Sandbox.why_not`` says so, only the variables are kept away, and the report says that.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tasks.dependency_models import TestRun

PROBE_SECONDS = 20.0
_TAIL_BYTES = 64 * 1024
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)|^\s*(?:✗|×|✖|not ok \d+ -) (.+)$|^FAIL\s+(\S+)", re.MULTILINE)

#: Builds a root of the folders named in $READ (read-only) and $WRITE, moves into it, and gives up every capability.
#: A folder that is a link on this system (/bin → usr/bin) becomes the same link.
_ENTER = r"""
set -eu
ip link set lo up
root=$ROOT
mount -t tmpfs -o mode=755,size=1g tmpfs "$root"
for path in $READ; do
  if [ -L "$path" ]; then ln -s "$(readlink "$path")" "$root$path"
  elif [ -d "$path" ]; then
    mkdir -p "$root$path"; mount --rbind "$path" "$root$path"; mount -o remount,bind,ro "$root$path"
  elif [ -e "$path" ]; then
    mkdir -p "$root$(dirname "$path")"; touch "$root$path"; mount --bind "$path" "$root$path"
  fi
done
mkdir -p "$root/proc" "$root/tmp" "$root/dev/shm" "$root/old" "$root$WRITE"
chmod 1777 "$root/tmp" "$root/dev/shm"
mount --bind "$WRITE" "$root$WRITE"
mount -t proc proc "$root/proc"
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
  ln -s "${link#*:}" "$root/dev/${link%%:*}"
done
cd "$root"; pivot_root . old; umount -l /old; rmdir /old
cd "$AT"; unset READ WRITE AT ROOT
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/passwd", "/etc/group", "/etc/hosts",
           "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl/certs", "/etc/localtime",
           "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")  # fmt: skip
#: Gone with the worker that waits for it, ``kill -9`` included.
_UNSHARE = ("setpriv", "--pdeathsig", "KILL",
            "unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork",
            "--kill-child", "--mount-proc")  # fmt: skip


class Sandbox:
    """Runs commands on a folder. ``programs`` are further folders to read, such as an interpreter's."""

    def __init__(self, programs: Sequence[Path] = (), path: str = "/usr/local/bin:/usr/bin:/bin") -> None:
        self._programs, self._path = tuple(programs), path

    @cached_property
    def why_not(self) -> str:
        """Why commands are not shut off here; empty where they are."""
        if not sys.platform.startswith("linux") or not shutil.which("unshare"):
            return "there is no unshare (util-linux, on Linux) here"
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / "tree"
            tree.mkdir()
            ended = self._start(["sh", "-c", "test ! -e /sys"], tree, tree, (), shut=True)
            out, _ = ended.communicate(timeout=PROBE_SECONDS)
        said = " ".join(out.decode(errors="replace").split())[:200]
        return "" if ended.returncode == 0 else f"this machine does not allow it ({said or 'no reason given'})"

    def run(self, command: Sequence[str], tree: Path, at: Path, bins: Sequence[Path], seconds: float) -> TestRun:
        """Run a command in the folder ``at`` of ``tree``, the only one that it can write, with ``bins`` on its path.

        Whatever it leaves running ends with it, or at the latest after ``seconds``.
        """
        began = time.monotonic()
        process = self._start(command, tree, at, bins, shut=not self.why_not)
        try:
            out, _ = process.communicate(timeout=seconds)
            ended = process.returncode
        except subprocess.TimeoutExpired:
            _kill(process)
            out, ended = process.communicate()[0] + f"\nno end after {seconds:g} s".encode(), -1
        text = out[-_TAIL_BYTES:].decode(errors="replace")
        return TestRun(
            passed=ended == 0, failed=failed_tests(text), seconds=round(time.monotonic() - began, 3), tail=text[-2000:]
        )

    def _start(
        self, command: Sequence[str], tree: Path, at: Path, bins: Sequence[Path], shut: bool
    ) -> subprocess.Popen[bytes]:
        read = " ".join([*_SYSTEM, *(str(path) for path in self._programs)])
        env = {
            "PATH": ":".join([*(str(path) for path in bins), self._path, "/usr/sbin", "/sbin"]),
            "HOME": str(tree), "LANG": "C.UTF-8", "CI": "true", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{at}:{at}/src",
        }  # fmt: skip
        root = tree.with_name(f"{tree.name}.root")
        if shut:
            root.mkdir(exist_ok=True)
            env |= {"READ": read, "WRITE": str(tree), "AT": str(at), "ROOT": str(root)}
        enter = [*_UNSHARE, "sh", "-c", _ENTER, "sandbox", *command] if shut else list(command)
        return subprocess.Popen(
            enter, cwd=at, env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def failed_tests(output: str) -> tuple[str, ...]:
    """The tests that an output names as failed, as pytest, vitest, jest and node's own runner write them."""
    names = ("".join(found).strip() for found in _FAILED.findall(output))
    return tuple(dict.fromkeys(name[:200] for name in names if name))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the whole session of a command, the processes that it left included."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
