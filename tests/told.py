"""All that an exception tells: as Python and rich print it with the variables of every frame."""

from __future__ import annotations

import io
import traceback

from rich.console import Console
from rich.traceback import Traceback


def told(error: BaseException) -> str:
    """Its traceback and those that it comes from, with all variables, as both print them, and its own words."""
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=None, locals_max_length=None,
        width=10_000, extra_lines=0, max_frames=0,
    )
    page = io.StringIO()
    Console(file=page, width=10_000).print(shown)
    return "".join((*captured.format(), page.getvalue(), repr(error), str(error)))
