"""Faults that a test, or a curious user, plants in the local cloud.

A fault names a call (``Services.UpdateService``), which one of the matching calls it meets, and what then happens. It
counts how often it was met, so that a test can prove that it was.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["error", "lost_answer", "delay", "hold_before", "hold_after", "page_cut"]
KINDS: tuple[str, ...] = ("error", "lost_answer", "delay", "hold_before", "hold_after", "page_cut")
HOLD_LIMIT_SECONDS = 120.0


@dataclass
class Fault:
    """One planted fault.

    ``error`` answers with ``code`` and does nothing; ``lost_answer`` does the work and then answers UNAVAILABLE;
    ``delay`` waits ``seconds`` and then goes on; ``hold_before`` and ``hold_after`` stop before or after the work until
    released, so that the caller can be killed exactly there; ``page_cut`` is read by services that stream pages.
    """

    method: str
    kind: Kind
    nth: int = 1
    times: int = 1
    project: str = ""
    resource: str = ""
    writes_only: bool = False
    code: str = "UNAVAILABLE"
    message: str = "planted fault"
    seconds: float = 0.0
    id: str = ""
    seen: int = 0
    met: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def document(self) -> dict[str, Any]:
        fields = asdict_without_event(self)
        fields["released"] = self.released.is_set()
        return fields


def asdict_without_event(fault: Fault) -> dict[str, Any]:
    """The fault's plain fields."""
    return {k: v for k, v in fault.__dict__.items() if k != "released"}


class Faults:
    """The planted faults, matched in the order in which they were planted. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._faults: dict[str, Fault] = {}

    def plant(self, fault: Fault) -> Fault:
        with self._lock:
            fault.id = f"fault-{next(self._ids)}"
            self._faults[fault.id] = fault
        return fault

    def list(self) -> list[Fault]:
        with self._lock:
            return list(self._faults.values())

    def get(self, fault_id: str) -> Fault | None:
        with self._lock:
            return self._faults.get(fault_id)

    def remove(self, fault_id: str) -> bool:
        with self._lock:
            fault = self._faults.pop(fault_id, None)
        if fault:
            fault.released.set()
        return fault is not None

    def clear(self, project: str = "") -> None:
        """Remove every fault, or every fault of one project."""
        for fault in self.list():
            if not project or fault.project == project:
                self.remove(fault.id)

    def inside(self, place: str, project: str, resource: str) -> Fault | None:
        """The fault planted by name at a place inside the local cloud that is no call (``Builds.Disk``), if any.

        A fault of every method (``*``) is about calls: it neither meets nor counts this.
        """
        return self._first(
            lambda fault: fault.method == place and _matches(fault, place, project, resource, writes=False)
        )

    def meet(self, method: str, project: str, resource: str, *, writes: bool) -> Fault | None:
        """The fault that this call meets, if any; counts the call for every fault that it matches."""
        return self._first(lambda fault: _matches(fault, method, project, resource, writes=writes))

    def _first(self, matches: Callable[[Fault], bool]) -> Fault | None:
        hit: Fault | None = None
        with self._lock:
            for fault in self._faults.values():
                if not matches(fault):
                    continue
                fault.seen += 1
                if hit is None and fault.nth <= fault.seen < fault.nth + fault.times:
                    fault.met += 1
                    hit = fault
        return hit


def _matches(fault: Fault, method: str, project: str, resource: str, *, writes: bool) -> bool:
    return (
        fault.method in ("*", method)
        and fault.project in ("", project)
        and fault.resource in resource
        and (writes or not fault.writes_only)
    )


__all__ = ["HOLD_LIMIT_SECONDS", "KINDS", "Fault", "Faults", "Kind"]
