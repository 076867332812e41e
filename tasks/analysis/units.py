"""Sizes and numbers as a person reads them."""

from __future__ import annotations


def megabytes(size: float | None) -> str:
    """A number of bytes in MB (10^6 bytes), to a tenth; ``unknown`` where there is none."""
    return "unknown" if size is None else f"{size / 1e6:,.1f} MB"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 table``, ``2,000 tables``. ``plural``: where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
