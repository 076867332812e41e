"""Changed copies of the sample application, for tests: a new version, a fault, one more migration.

Every change is made to real source, which is then built and run like any other. The changes can be combined, and each
builds on those before it: ``Variant("api", folder).with_version("2").with_additive_migration("note").errors(0.05).at``.
The shipped sample is never touched; a change that no longer fits its text fails at once instead of changing nothing.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Self

SAMPLE = Path(__file__).parent.parent / "examples" / "pyplots"
IGNORED = shutil.ignore_patterns("__pycache__", ".venv", "*.pyc")

FAULT = "  # fault"
BEFORE_APP = "app = Stamped(web)\n"
FAULTY = '''"""What the faults of a test variant do. Counters instead of chance: the same requests fail in every run."""

import asyncio
import math

from starlette.responses import JSONResponse


class Errors:
    """Answers 500 for a share of the requests for data: the n-th fails when n × rate passes a whole number."""

    def __init__(self, app, rate):
        self.app, self.rate, self.count = app, rate, 0

    async def __call__(self, scope, receive, send):
        answer = self.app
        if asks_for_data(scope):
            self.count += 1
            # The small term: 20 × 0.05 must not come out as 0.9999.
            if math.floor(self.count * self.rate + 1e-9) > math.floor((self.count - 1) * self.rate + 1e-9):
                answer = JSONResponse({"detail": "a fault of this variant"}, status_code=500)
        await answer(scope, receive, send)


class Slow:
    """Answers every request for data later."""

    def __init__(self, app, milliseconds):
        self.app, self.seconds = app, milliseconds / 1000

    async def __call__(self, scope, receive, send):
        if asks_for_data(scope):
            await asyncio.sleep(self.seconds)
        await self.app(scope, receive, send)


def asks_for_data(scope):
    path = scope.get("path", "")
    return scope["type"] == "http" and (path.startswith("/specs") or PAGES and path == "/")


def no_such_database(url):
    """The same server, login and password, but a database that is not there."""
    from sqlalchemy import make_url

    return make_url(url.strip()).set(database="no_such_database").render_as_string(hide_password=False)


PAGES = {pages}
'''

MIGRATION = '''"""{title}"""

from alembic import op

revision = "{revision}"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


def copy(service: str, dest: Path) -> Path:
    """Copy a service of the sample as it is shipped into a new folder."""
    return Path(shutil.copytree(SAMPLE / service, dest, ignore=IGNORED))


class Variant:
    """A copy of one service (``api`` or ``frontend``) in ``at``; the methods change it in place and return it."""

    def __init__(self, service: str, dest: Path) -> None:
        self.service, self.at = service, copy(service, dest)

    @classmethod
    def at_folder(cls, service: str, folder: Path) -> Self:
        """Go on with the copy that is in a folder already, changes and all."""
        variant = cls.__new__(cls)
        variant.service, variant.at = service, folder
        return variant

    # --- plain changes -----------------------------------------------------------------------------------------------

    def replace(self, path: str, old: str, new: str) -> Self:
        """Replace a text that occurs exactly once in a file."""
        text = (self.at / path).read_text()
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        return self.write(path, text.replace(old, new))

    def write(self, path: str, text: str) -> Self:
        (self.at / path).write_text(text)
        return self

    def remove(self, path: str) -> Self:
        (self.at / path).unlink()
        return self

    def as_shipped(self) -> Self:
        """Undo every change. A database that has met an added migration is then ahead of this code."""
        shutil.rmtree(self.at)
        copy(self.service, self.at)
        return self

    def with_version(self, text: str) -> Self:
        """Change the version that ``/`` shows, and with it the image's digest."""
        source = (self.at / "app/__init__.py").read_text()
        changed, count = re.subn(r'^VERSION = ".*"$', f'VERSION = "{text}"', source, flags=re.MULTILINE)
        assert count == 1
        return self.write("app/__init__.py", changed)

    def without_procfile(self) -> Self:
        return self.remove("Procfile")

    # --- faults while it runs ----------------------------------------------------------------------------------------

    def crashes_at_start(self) -> Self:
        """Exit with status 1 before listening."""
        return self._fault('raise RuntimeError("this variant crashes at start")')

    def healthy_but_database_dead(self) -> Self:
        """Answer ``/health`` with 200 while nothing that needs data works: 503 from the API, 502 from the frontend.

        Migrations still reach the right database. The API's fault is the wrong database on the right server.
        """
        if self.service == "frontend":
            return self._fault('os.environ["API_URL"] = "http://127.0.0.1:9"')
        return self._fault('os.environ["DATABASE_URL"] = faulty.no_such_database(os.environ["DATABASE_URL"])')

    def errors(self, rate: float = 0.05) -> Self:
        """Answer 500 for this share of the requests for data, evenly: with 0.05 the 20th, 40th … of each process."""
        return self._fault(f"web = faulty.Errors(web, {rate!r})")

    def slow(self, milliseconds: float) -> Self:
        """Answer every request for data this much later; ``/health`` stays quick."""
        return self._fault(f"web = faulty.Slow(web, {milliseconds!r})")

    def healthy(self) -> Self:
        """Take out the faults above; versions and migrations stay."""
        lines = (self.at / "app/main.py").read_text().splitlines(keepends=True)
        (self.at / "app/faulty.py").unlink(missing_ok=True)
        return self.write("app/main.py", "".join(line for line in lines if not line.endswith(f"{FAULT}\n")))

    # --- migrations --------------------------------------------------------------------------------------------------

    @property
    def head(self) -> str:
        """The newest migration's revision."""
        known, followed = set[str](), set[str]()
        for path in self._versions.glob("*.py"):
            text = path.read_text()
            known.add(_assigned(text, "revision"))
            followed.add(_assigned(text, "down_revision"))
        (head,) = known - followed
        return head

    def with_migration(self, name: str, upgrade: str, downgrade: str, title: str = "") -> Self:
        """Add a migration on top of the head; ``upgrade`` and ``downgrade`` are SQL statements, one a line.

        The same name on the same head gives the same revision id.
        """
        revision = self._next_revision(name)
        text = MIGRATION.format(
            title=title or f"{name}, added by a test.", revision=revision, head=self.head,
            upgrade=_executing(upgrade), downgrade=_executing(downgrade),
        )  # fmt: skip
        return self.write(f"migrations/versions/{revision}.py", text)

    def with_additive_migration(self, name: str = "additive") -> Self:
        """Add a nullable column that no code reads: old and new code work before and after it."""
        column = _slug(name)
        return self.with_migration(
            name, f"ALTER TABLE specs ADD COLUMN {column} text", f"ALTER TABLE specs DROP COLUMN {column}"
        )

    def with_breaking_migration(self, name: str = "rename_title") -> Self:
        """Rename the column of the titles, and adapt this code: all earlier code fails at ``/specs`` after it."""
        old, new = self._rename_title()
        return self.with_migration(
            name, f"ALTER TABLE specs RENAME COLUMN {old} TO {new}", f"ALTER TABLE specs RENAME COLUMN {new} TO {old}"
        )

    def with_undetectable_breaking_migration(self, name: str = "tidy_up") -> Self:
        """As the breaking one, but the statement is put together while it runs: no reader of SQL can see it."""
        old, new = self._rename_title()
        hidden = "DO $$ BEGIN EXECUTE 'ALT' || 'ER TABLE specs REN' || 'AME COLUMN {} TO {}'; END $$"
        return self.with_migration(name, hidden.format(old, new), hidden.format(new, old))

    def with_dropping_migration(self, name: str = "drop_added_at") -> Self:
        """Drop a column that no code reads but that holds data, which the downgrade cannot bring back."""
        self._drop_lines("app/schema.py", 'Column("added_at"')
        back = "ALTER TABLE specs ADD COLUMN added_at timestamptz NOT NULL DEFAULT now()"
        return self.with_migration(name, "ALTER TABLE specs DROP COLUMN added_at", back)

    def with_blocked_migration(self, name: str = "blocked") -> Self:
        """Ask for an ACCESS EXCLUSIVE lock on ``specs``: waits while any transaction that read it is open."""
        lock = "LOCK TABLE specs IN ACCESS EXCLUSIVE MODE"
        column = _slug(name)
        return self.with_migration(
            name,
            f"{lock}\nALTER TABLE specs ADD COLUMN {column} text",
            f"{lock}\nALTER TABLE specs DROP COLUMN {column}",
        )

    def with_slow_migration(self, name: str = "slow", seconds: float = 5) -> Self:
        """Sleep without a lock, then add a column: time to be killed in."""
        column = _slug(name)
        return self.with_migration(
            name,
            f"SELECT pg_sleep({seconds})\nALTER TABLE specs ADD COLUMN {column} text",
            f"ALTER TABLE specs DROP COLUMN {column}",
        )

    def with_failing_migration(self, name: str = "failing") -> Self:
        """Change something and then fail: the transaction takes the change back."""
        return self.with_migration(name, "ALTER TABLE specs ADD COLUMN half text\nSELECT 1 / 0", "SELECT 1")

    def old_head(self, revision: str) -> Self:
        """Turn the API into what it was at an older shipped revision, as ``0003`` or in full: migrations and code.

        To be called before other changes. At revision 0003 and before, the code does not work on today's schema.
        """
        number = int(revision[:4])
        for path in self._versions.glob("*.py"):
            if int(path.name[:4]) > number:
                path.unlink()
        if number < 6:
            self._forget_column("code_lines")
        if number < 4:
            self._everywhere("image_url", "preview_url")
        if number < 3:
            self._drop_lines("app/schema.py", "    Index(")
        if number < 2:
            self._forget_column("quality")
        return self

    # --- the sync ----------------------------------------------------------------------------------------------------

    def with_empty_sync_source(self) -> Self:
        """Ship no specs: the sync is refused with 409."""
        for path in (self.at / "specs").glob("*.toml"):
            path.unlink()
        return self

    def sync_reports_errors(self) -> Self:
        """Ship one unreadable spec: the sync answers 200 with an error in its list."""
        return self.write("specs/broken.toml", 'id = "broken\n')

    def without_spec(self, spec_id: str) -> Self:
        """Ship one spec less: the sync deletes its row."""
        return self.remove(f"specs/{spec_id}.toml")

    # -----------------------------------------------------------------------------------------------------------------

    @property
    def _versions(self) -> Path:
        return self.at / "migrations/versions"

    def _fault(self, statement: str) -> Self:
        pages = self.service == "frontend"
        self.write("app/faulty.py", FAULTY.replace("{pages}", repr(pages)))
        lines = ("from app import faulty  # noqa: E402", statement)
        return self.replace("app/main.py", BEFORE_APP, "".join(f"{line}{FAULT}\n" for line in lines) + BEFORE_APP)

    def _next_revision(self, name: str) -> str:
        revision = f"{int(self.head[:4]) + 1:04d}_{_slug(name)}"
        assert len(revision) <= 32, f"alembic keeps 32 characters of a revision: {revision}"
        return revision

    def _rename_title(self) -> tuple[str, str]:
        """Give the titles' column another name in this code, which goes on to call them ``title`` outwards."""
        found = re.search(r'Column\("(title\w*)", Text(, key="title")?, ', (self.at / "app/schema.py").read_text())
        assert found, "app/schema.py has no column for titles"
        new = f"title_{int(self.head[:4]) + 1}"
        self.replace("app/schema.py", found[0], f'Column("{new}", Text, key="title", ')
        queries = (self.at / "app/queries.py").read_text()
        self.write("app/queries.py", queries.replace("specs.c.title,", 'specs.c.title.label("title"),'))
        return found[1], new

    def _forget_column(self, column: str) -> None:
        self._drop_lines("app/schema.py", f'Column("{column}"')
        self._drop_lines("app/queries.py", f"implementations.c.{column},")
        self._drop_lines("app/sync.py", f"implementations.c.{column}:")

    def _drop_lines(self, path: str, holding: str) -> None:
        lines = (self.at / path).read_text().splitlines(keepends=True)
        kept = [line for line in lines if holding not in line]
        assert len(kept) < len(lines), f"{path} has no line with {holding!r}"
        self.write(path, "".join(kept))

    def _everywhere(self, old: str, new: str) -> None:
        for path in ("app/schema.py", "app/queries.py", "app/sync.py"):
            self.write(path, (self.at / path).read_text().replace(old, new))


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _assigned(text: str, name: str) -> str:
    found = re.search(rf'^{name} = (?:"(\w+)"|None)$', text, re.MULTILINE)
    assert found, f"a migration does not say its {name}"
    return found[1] or ""


def _executing(statements: str) -> str:
    return "\n".join(f"    op.execute({line!r})" for line in statements.splitlines())
