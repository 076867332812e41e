"""The cases of the chaos harness: generated from the call log of one clean run, never picked by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localcloud.calls import Call

#: What is done at every writing call.
KINDS = ("hold_before", "hold_after", "error", "lost_answer")
WORDS = {
    "hold_before": "kill -9 before it", "hold_after": "kill -9 after it", "error": "UNAVAILABLE",
    "lost_answer": "done, answer lost",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """At the ``nth`` call of ``method`` by the flow, ``kind`` happens."""

    method: str
    nth: int
    kind: str

    @property
    def words(self) -> str:
        return f"{self.method} #{self.nth}: {WORDS[self.kind]}"

    @property
    def kills(self) -> bool:
        return self.kind.startswith("hold")


def generate(writes: Iterable[Call]) -> list[Case]:
    """Every kind of fault at every writing call of a clean run."""
    counted: Counter[str] = Counter()
    cases = []
    for call in writes:
        counted[call.method] += 1
        cases += [Case(call.method, counted[call.method], kind) for kind in KINDS]
    return cases


def sample(cases: Sequence[Case], most: int) -> list[Case]:
    """A sample that covers each method and, over all, each kind: the kinds go round from method to method."""
    methods = list(dict.fromkeys(case.method for case in cases))
    chosen = []
    for index, method in enumerate(methods):
        wanted = KINDS[index % len(KINDS)]
        chosen.append(next(case for case in cases if case.method == method and case.kind == wanted))
    return chosen[:most]
