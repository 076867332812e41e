"""Whether the estate is left alone at an instant."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tasks.estate import Freeze

#: How a flow's refusal reads that began in a window; it is not its failure.
REFUSED = "refused: frozen until "


def active(freezes: Iterable[Freeze], at: datetime) -> Freeze | None:
    """Give the freeze window that holds this instant; of several, the one that ends last. Else None."""
    holding = [window for window in freezes if window.from_ <= at < window.until]
    return max(holding, key=lambda window: window.until, default=None)
