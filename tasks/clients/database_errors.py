"""The one translation of a database's errors into ours.

Safety property: a message names user and database, never a password or a statement's parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy.exc import DBAPIError

from tasks.clients.discretion import without_frames
from tasks.clients.google_errors import one_line
from tasks.errors import Missing, NotAllowed, OpsError, PermanentError, TimedOut, TransientError

#: Serialization failure, deadlock, lock not available, query cancelled; connection lost; shut down or starting;
#: too many connections.
_TRANSIENT = re.compile(r"40001|40P01|55P03|57014|08...|57P0.|53300")
_CANCELLED = "57014"
_NOT_ALLOWED = re.compile(r"28...|42501")
_MISSING = re.compile(r"3D000|42P01|42704")
#: libpq tells why a connection was refused in words only.
_WORDS: tuple[tuple[re.Pattern[str], type[OpsError]], ...] = (
    (re.compile("password authentication failed|no password supplied|no pg_hba.conf entry"), NotAllowed),
    (re.compile('role ".*" (does not exist|is not permitted to log in)|permission denied for database'), NotAllowed),
    (re.compile('database ".*" does not exist'), Missing),
)
_WAYS_OUT: dict[type[OpsError], str] = {
    TransientError: "retrying may clear this",
    NotAllowed: "check user, password and grants; the connection string is a secret of the estate",
    Missing: "check the names in the estate file",
    PermanentError: "retrying cannot clear this",
}


@contextmanager
def translated(what: str, where: str, limit: timedelta | None = None) -> Iterator[None]:
    """Raise our error in the place of the driver's, which forgets its frames: the password stands in them.

    ``where`` is ``user@database``; ``limit`` as for ``translate``.
    """
    try:
        yield
    except DBAPIError as error:
        raise translate(error, what, where, limit) from without_frames(error)


def translate(error: DBAPIError, what: str, where: str, limit: timedelta | None = None) -> OpsError:
    """Our error for one of SQLAlchemy's.

    ``limit`` is the statement's time limit where it is so generous that one more attempt would run into it again: then
    TimedOut instead of the TransientError that a cancelled statement is otherwise.
    """
    state = getattr(error.orig, "sqlstate", None) or ""
    if limit is not None and state == _CANCELLED and "statement timeout" in str(error.orig):
        minutes = limit.total_seconds() / 60
        return TimedOut(f"{what} on {where} took longer than {minutes:g} min; a larger machine or fewer at once may do")
    kind = _of_state(state) if state else _of_words(error)
    return kind(f"{what} on {where} failed: {f'{state} ' if state else ''}{_first_line(error)}; {_WAYS_OUT[kind]}")


def _of_state(state: str) -> type[OpsError]:
    for pattern, kind in ((_TRANSIENT, TransientError), (_NOT_ALLOWED, NotAllowed), (_MISSING, Missing)):
        if pattern.fullmatch(state):
            return kind
    return PermanentError


def _of_words(error: DBAPIError) -> type[OpsError]:
    """No SQLSTATE: the connection was not made, or it was lost."""
    if type(error).__name__ not in ("OperationalError", "InterfaceError"):
        return PermanentError
    return next((kind for words, kind in _WORDS if words.search(str(error.orig))), TransientError)


def _first_line(error: DBAPIError) -> str:
    return one_line(str(error.orig).split("\n", 1)[0] or type(error.orig).__name__)
