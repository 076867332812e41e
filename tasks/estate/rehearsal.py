"""How a service is started against a restored copy: with its own spec, but for what the estate takes away.

Safety property: the image is the real one, and so are its other secrets and its account: what it does on its own when
it starts (mail, jobs, calls to partners) it would do in a drill too. What must not happen there is taken away here.
"""

from __future__ import annotations

from pydantic import Field

from tasks.estate.surroundings import ServiceAccount, Variable
from tasks.models import Frozen


class Rehearsal(Frozen):
    """What a drill changes of a service. ``env`` is set beside its own; ``without`` names variables that are left out.

    ``service_account`` is whom it runs as in a drill; empty: its own.
    """

    env: dict[Variable, str] = Field(default_factory=dict)
    without: tuple[Variable, ...] = ()
    service_account: ServiceAccount = ""
