"""Says of a resolver that failed whether a retry may help, and what a person can do."""

from __future__ import annotations

import re

from tasks.clients.program import Ended
from tasks.errors import BadInput, NotAllowed, OpsError, PermanentError, TransientError

_UNSOLVABLE = re.compile(r"no solution found|\b(eresolve|enoversions|etarget)\b|requirements are unsatisfiable")
_NO_WHEEL = re.compile(r"building source distributions is disabled|no usable wheels|no-build|no compatible wheel")
_MISFIT = re.compile(r"\beusage\b")
_DENIED = re.compile(r"401 unauthorized|403 forbidden|\be40[13]\b")
_UNREACHED = re.compile(
    r"error sending request|failed to fetch|request failed after|fetcherror|timed out|connection"
    r"|\b(econnrefused|econnreset|enotfound|etimedout|eai_again|e429|e5\d\d)\b"
)


class Unsolvable(BadInput):
    """No set of versions meets every requirement."""


def failure(what: str, ended: Ended) -> OpsError:
    """The error for a resolver that ended with a status other than 0."""
    said, line = ended.said.lower(), ended.said[:600]
    if _UNSOLVABLE.search(said):
        return Unsolvable(f"{what} failed: there is no solution: {line}; loosen a requirement")
    if _NO_WHEEL.search(said):
        return BadInput(
            f"{what} failed: {line}; a package has no wheel, and building it would run its code: "
            "set allow_builds = true in [dependencies] if you trust it"
        )
    if _MISFIT.search(said):
        return BadInput(f"{what} failed: {line}; make the lock anew")
    if _DENIED.search(said):
        return NotAllowed(f"{what} failed: {line}; check the credentials of the package index")
    if _UNREACHED.search(said):
        return TransientError(f"{what} failed: the package index does not answer: {line}; retrying may clear this")
    return PermanentError(f"{what} failed: {line}; run it by hand")
