"""How a running step tells a person how far it is.

``report`` is called from any thread; listeners (the live view of ``caretaker run``) get every report. Without a
listener it costs a dictionary look-up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report. ``fraction`` is 0…1, or None where the end is not known."""

    step: str
    subject: str
    text: str
    fraction: float | None = None


Listener = Callable[[Progress], None]
_lock = threading.Lock()
_listeners: list[Listener] = []


def listen(listener: Listener) -> Callable[[], None]:
    """Add a listener; return the function that removes it."""
    with _lock:
        _listeners.append(listener)

    return lambda: _forget(listener)


def report(step: str, subject: str, text: str, fraction: float | None = None) -> None:
    """Tell every listener how far a step is."""
    with _lock:
        listeners = list(_listeners)
    for listener in listeners:
        try:
            listener(Progress(step, subject, text, fraction))
        except Exception:  # a screen that is gone must not end the release that it shows
            logging.getLogger(__name__).exception("showing the progress of %s failed; it is not shown any more", step)
            _forget(listener)


def _forget(listener: Listener) -> None:
    with _lock:
        if listener in _listeners:
            _listeners.remove(listener)
