"""The errors of caretaker.

    OpsError
    ├── TransientError      a retry may clear it; the retry policies retry this class alone
    └── PermanentError      a retry cannot clear it
        ├── BadInput        the person who started it must change something (estate, parameters, source)
        ├── NotAllowed      a role is missing; the message names it
        ├── Missing         the object does not exist
        ├── Conflict        somebody else changed the object first, or holds it
        ├── Refused         a safety rule says no; nothing was changed
        └── TimedOut        it ran into a limit that another attempt would run into again

A message is one line: what was attempted on which object, what came back, what to do next.
"""

from __future__ import annotations


class OpsError(Exception):
    """Anything that caretaker reports to a person."""


class TransientError(OpsError):
    """A retry may clear this: HTTP 408, 429, 5xx, lost connections, SQLSTATE 40001 40P01 55P03 57014."""


class PermanentError(OpsError):
    """A retry cannot clear this."""


class BadInput(PermanentError):
    """The estate, a parameter or the source must be changed by a person."""


class NotAllowed(PermanentError):
    """A permission is missing."""


class Missing(PermanentError):
    """The object does not exist."""


class Conflict(PermanentError):
    """Somebody else changed the object first, or holds it."""


class Refused(PermanentError):
    """A safety rule says no; nothing was changed."""


class TimedOut(PermanentError):
    """It ran into its time limit, and another attempt would again: it says nothing of what was looked at."""


def in_one_line(error: BaseException) -> str:
    """An error that is none of ours, in one line: its kind first, since its text may say nothing."""
    return " ".join(f"{type(error).__name__}: {error}".split())
