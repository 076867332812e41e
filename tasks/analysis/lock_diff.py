"""What changes between two locks, in an order in which a package comes after those that it needs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from tasks.dependency_models import Kind, LockGraph, Update


def updates_between(manifest: str, kind: Kind, before: LockGraph, after: LockGraph) -> tuple[Update, ...]:
    """Every package whose versions differ; those that come or go included."""
    return tuple(_updates(manifest, kind, before, after))


def _updates(manifest: str, kind: Kind, before: LockGraph, after: LockGraph) -> Iterator[Update]:
    for name in needed_first(LockGraph(packages={**before.packages, **after.packages})):
        old, new = before.packages.get(name), after.packages.get(name)
        if not (old or new).registry or (old and new and old.versions == new.versions):  # type: ignore[union-attr]
            continue
        graph = after if new else before
        yield Update(
            manifest=manifest,
            kind=kind,
            package=name,
            old=", ".join(old.versions) if old else "",
            new=", ".join(new.versions) if new else "",
            direct=name in graph.direct,
            major=bool(old and new and is_major(old.versions[-1], new.versions[-1])),
            why=path_to(graph, name),
        )


def needed_first(graph: LockGraph) -> tuple[str, ...]:
    """The names of a graph, each after what it needs as far as it has no circle; the same order every time."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name in sorted(graph.packages):
        sorter.add(name, *(need for need in sorted(graph.packages[name].needs) if need in graph.packages))
    try:
        return tuple(sorter.static_order())
    except CycleError:
        return tuple(sorted(graph.packages))


def path_to(graph: LockGraph, name: str) -> tuple[str, ...]:
    """The shortest way from something that the project asks for to a package; empty where nothing asks for it."""
    starts = sorted(graph.direct & graph.packages.keys())
    came_from: dict[str, str] = dict.fromkeys(starts, "")
    queue = deque(starts)
    while queue and name not in came_from:
        here = queue.popleft()
        for need in graph.packages[here].needs:
            if need in graph.packages and need not in came_from:
                came_from[need] = here
                queue.append(need)
    return _walked(came_from, name)


def _walked(came_from: dict[str, str], name: str) -> tuple[str, ...]:
    path = []
    while name and name in came_from:
        path.append(name)
        name = came_from[name]
    return tuple(reversed(path))


def is_major(old: str, new: str) -> bool:
    """Whether the first number that is not 0 differs in the place where it stands: 1.4 → 2.0, but also 0.4 → 0.5."""
    return _leading(old) != _leading(new)


def _leading(version: str) -> tuple[int, ...]:
    numbers = [int(n) for n in re.findall(r"\d+", version.split("+")[0].rpartition("!")[2])[:3]]
    for place, number in enumerate(numbers):
        if number:
            return tuple(numbers[: place + 1])
    return tuple(numbers)
