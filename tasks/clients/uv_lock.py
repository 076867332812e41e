"""uv: makes a lock anew under a cooldown, and installs it without running anything of it.

Safety property: wheels alone are resolved and installed unless the estate allows builds, so that no package runs code
outside the sandbox; files are copied, so that a test cannot reach uv's cache through a link.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tasks.clients.program import environment, run
from tasks.clients.resolver_errors import failure
from tasks.dependency_models import Wish
from tasks.errors import BadInput

SECONDS = 600.0
#: The table with the options of the last resolution, up to the next list of tables.
_OPTIONS = re.compile(r"\[options(?:\.[^\]]+)?\]\n(?:[^\[\n][^\n]*\n)*\n?")
#: What would lead uv out of the checkout, or to another lock: images set the first, to the environment flows run in.
_NOT_OURS = ("UV_PROJECT_ENVIRONMENT", "UV_PROJECT", "UV_WORKING_DIRECTORY", "UV_WORKING_DIR", "UV_SYSTEM_PYTHON",
             "UV_FROZEN", "UV_LOCKED", "UV_EXCLUDE_NEWER", "UV_EXCLUDE_NEWER_PACKAGE", "UV_ENV_FILE")  # fmt: skip
Seconds = Callable[[float], None]


class UvLock:
    """One Python project of a checkout. ``requirements`` says that it is compiled requirements and no ``uv.lock``."""

    def __init__(
        self, folder: Path, requirements: bool = False, options: tuple[str, ...] = (), allow_builds: bool = False
    ) -> None:
        self.folder, self.requirements, self._options = folder, requirements, options
        self._builds = () if allow_builds else ("--no-build",)
        self._env = environment({"UV_HTTP_RETRIES": "0", "UV_LINK_MODE": "copy", "UV_NO_PROGRESS": "1"})
        for name in _NOT_OURS:
            self._env.pop(name, None)

    @property
    def lock(self) -> Path:
        """The file that is the lock."""
        return self.folder / ("requirements.txt" if self.requirements else "uv.lock")

    @property
    def files(self) -> tuple[str, ...]:
        """The files that an update changes."""
        return (self.lock.name,)

    @property
    def bins(self) -> tuple[Path, ...]:
        """Where the installed programs are."""
        return (self.folder / ".venv" / "bin",)

    @property
    def packages(self) -> Path:
        """Where the installed packages are."""
        return next((self.folder / ".venv" / "lib").glob("python*/site-packages"))

    def resolve(self, wish: Wish) -> None:
        """Make the lock anew in place. Raises Unsolvable, TransientError for an index that does not answer."""
        before = self.lock.read_text()
        arguments = ["--exclude-newer", _moment(wish.cutoff), *_upgrades(wish)]
        for name in sorted({*wish.exempt, *wish.stays}):
            arguments += ["--exclude-newer-package", f"{name}={_moment(datetime.now(UTC))}"]
        command = self._compile() if self.requirements else ["lock"]
        self._uv(f"resolving {self.lock}", *command, *arguments, *self._builds)
        self.lock.write_text(self._as_it_was(before, self.lock.read_text()))

    def check(self) -> None:
        """Raise BadInput where the project's own ``uv lock --check`` would refuse the lock."""
        if not self.requirements:
            ended = run([_uv(), "lock", "--check", *self._builds], self.folder, SECONDS, self._env)
            if ended.status:
                raise BadInput(
                    f"checking {self.lock} failed: uv lock --check does not accept it ({ended.said[:300]}); does "
                    "pyproject.toml say exclude-newer?"
                )

    def install(self) -> None:
        """Install the lock into ``.venv``. Raises BadInput for a package without a wheel."""
        what = f"installing {self.lock}"
        if self.requirements:
            self._uv(what, "venv", "--quiet", "--clear")
            self._uv(what, "pip", "install", "--quiet", "--python", ".venv", "-r", self.lock.name, *self._builds)
        else:
            self._uv(what, "sync", "--quiet", "--frozen", "--no-install-workspace", *self._builds)

    def interpreter(self) -> Path:
        """The folder of the interpreter that the environment uses: what a test must be able to read."""
        return (self.folder / ".venv" / "bin" / "python").resolve().parent.parent

    def _compile(self) -> list[str]:
        return ["pip", "compile", "--quiet", *self._options, "requirements.in", "-o", self.lock.name]

    def _as_it_was(self, before: str, after: str) -> str:
        """The lock without our own options, which would make ``uv lock --check`` refuse it; with those it had."""
        if self.requirements:
            return _comment(before) + after[len(_comment(after)) :]
        own = "".join(_OPTIONS.findall(before))
        bare = _OPTIONS.sub("", after)
        head, found, tail = bare.partition("[[package]]")
        return head + own + found + tail

    def _uv(self, what: str, *arguments: str) -> None:
        ended = run([_uv(), *arguments], self.folder, SECONDS, self._env)
        if ended.status:
            raise failure(what, ended)


def _upgrades(wish: Wish) -> list[str]:
    """``-P name==version`` also binds a name with ``--upgrade``; both are documented for ``uv lock``."""
    bound = {**wish.pins, **wish.stays}
    names = {*(wish.names or ()), *bound}
    every = ["--upgrade"] if wish.names is None else []
    return every + [word for n in sorted(names) for word in ("-P", f"{n}=={bound[n]}" if n in bound else n)]


def _comment(text: str) -> str:
    match = re.match(r"(?:#[^\n]*\n)*", text)
    return match.group() if match else ""


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else shutil.which("uv") or "uv"
