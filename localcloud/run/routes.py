"""Where the requests of a service go: by weight among revisions, or by tag to one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any


@dataclass(frozen=True)
class Route:
    """An immutable routing table; moving traffic puts another one in its place. Revisions by full name."""

    weights: tuple[tuple[str, int], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_revisions", [revision for revision, _ in self.weights])
        object.__setattr__(self, "_cumulative", list(accumulate(weight for _, weight in self.weights)))

    def pick(self, tag: str) -> str | None:
        """The revision for one request; None when there is none."""
        if tag:
            return self.tags.get(tag)
        if not self.weights:
            return None
        revisions: list[str] = self._revisions  # type: ignore[attr-defined]
        # Traffic percentages, not a secret.
        return random.choices(revisions, cum_weights=self._cumulative)[0]  # type: ignore[attr-defined]  # noqa: S311

    @property
    def receiving(self) -> set[str]:
        """Revisions that get a share of the traffic."""
        return {revision for revision, _ in self.weights}

    @property
    def revisions(self) -> set[str]:
        """Revisions that a request can reach, by traffic or by tag."""
        return self.receiving | set(self.tags.values())

    def document(self) -> dict[str, Any]:
        return {"weights": [list(weight) for weight in self.weights], "tags": dict(self.tags)}

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Route:
        return cls(tuple((revision, percent) for revision, percent in document["weights"]), dict(document["tags"]))

    @classmethod
    def of(cls, shares: Iterable[tuple[str, int, str]]) -> Route:
        """From (revision, percent, tag) triples."""
        weights: dict[str, int] = {}
        tags: dict[str, str] = {}
        for revision, percent, tag in shares:
            if percent:
                weights[revision] = weights.get(revision, 0) + percent
            if tag:
                tags[tag] = revision
        return cls(tuple(weights.items()), tags)
