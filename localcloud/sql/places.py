"""Places inside the work of an operation where a test plants a fault, as it does for a call.

``error`` fails the operation with the fault's message, ``delay`` and ``hold_before`` make it take longer. A process
that is killed meanwhile leaves the operation unfinished, and the next one runs it again.
"""

from __future__ import annotations

from localcloud.faults import HOLD_LIMIT_SECONDS, Faults
from localcloud.rpc import planted
from localcloud.sql.names import InstanceName


class Places:
    """Meets the faults that are planted by the name of a place."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def meet(self, place: str, name: InstanceName) -> None:
        """Meet the fault planted here for this instance, if any. Raises what it asks for."""
        fault = self._faults.inside(place, name.project, str(name))
        if fault is None:
            return
        if fault.kind == "error":
            raise planted(fault)
        fault.released.wait(fault.seconds if fault.kind == "delay" else HOLD_LIMIT_SECONDS)
