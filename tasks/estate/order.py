"""The order of services that depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Set
from graphlib import CycleError, TopologicalSorter


def waves(predecessors: Mapping[str, Set[str]]) -> tuple[tuple[str, ...], ...]:
    """Sort names into waves, each after the waves that it needs; predecessors that are no key are left out.

    Raises ValueError naming the circle where there is one.
    """
    known = predecessors.keys()
    sorter = TopologicalSorter({name: sorted(before & known) for name, before in predecessors.items()})
    try:
        sorter.prepare()
    except CycleError as circle:
        raise ValueError(" -> ".join(reversed(circle.args[1]))) from None
    found = []
    while sorter.is_active():
        wave = tuple(sorted(sorter.get_ready()))
        sorter.done(*wave)
        found.append(wave)
    return tuple(found)
