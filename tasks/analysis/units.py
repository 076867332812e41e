"""Sizes as a person reads them."""

from __future__ import annotations


def megabytes(size: float | None) -> str:
    """A number of bytes in MB (10^6 bytes), to a tenth; ``unknown`` where there is none."""
    return "unknown" if size is None else f"{size / 1e6:,.1f} MB"
