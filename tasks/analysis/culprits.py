"""Finds the updates that break the tests, in few runs of them.

Written as generators that yield a set of updates and are sent what the tests said of it, so that nothing here waits or
runs. ``minimal_failing`` is delta debugging for the case in which a set that contains a failing one fails too: the
shortest failing beginning of the list ends in a member of a smallest failing set; then the same with that member
always in. One culprit among n costs log2(n) runs, each further member as many again. Compare "Yesterday, my program
worked. Today, it does not. Why?" (Zeller, 1999) and QuickXplain (Junker, 2004), which solve the same problem.

Safety property: nothing is blamed before its failing set failed again, and the updates' base passed again. Where one
set both failed and passed, the tests are flaky, and no update is blamed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from tasks.dependency_models import Blame, Judgement, TestRun

Keys = frozenset[str]
Search = Generator[Keys, TestRun, Keys]
BASE: Keys = frozenset()


class FlakyTests(Exception):
    """One set both failed and passed. ``failed`` are the tests that failed on it."""

    def __init__(self, failed: tuple[str, ...]) -> None:
        super().__init__(failed)
        self.failed = failed


@dataclass
class Asked:
    """What was asked so far: the number of runs, and what failed on each set."""

    runs: int = 0
    found_after: int = 0
    anything_passed: bool = False
    failed: dict[Keys, tuple[str, ...]] = field(default_factory=dict)

    def ask(self, keys: Keys) -> Generator[Keys, TestRun, bool]:
        """Have a set tested; whether it passed. Raises FlakyTests when it fell out differently before."""
        run = yield keys
        self.runs += 1
        if not run.passed:
            self.failed[keys] = tuple(dict.fromkeys((*self.failed.get(keys, ()), *run.failed)))
        elif keys in self.failed:
            raise FlakyTests(self.failed[keys])
        self.anything_passed |= run.passed
        return run.passed


def minimal_failing(units: Sequence[str], asked: Asked, background: Keys = BASE) -> Search:
    """A smallest set of ``units`` with which the tests fail; that all of them together fail is known already."""
    known, candidates = background, tuple(units)
    while True:
        size = yield from _shortest_failing(candidates, known, asked)
        failing = known | frozenset(candidates[:size])
        known, candidates = known | {candidates[size - 1]}, candidates[: size - 1]
        asked.found_after = asked.found_after or asked.runs
        if not candidates or not (yield from asked.ask(known)):
            return known
        # It takes more than what is known: if the tests are not merely flaky, the larger set fails again.
        yield from asked.ask(failing)


def _shortest_failing(candidates: Sequence[str], known: Keys, asked: Asked) -> Generator[Keys, TestRun, int]:
    """How many of the first candidates it takes until the tests fail. None is known to pass, all are known to fail."""
    passes, fails = 0, len(candidates)
    while fails - passes > 1:
        middle = (passes + fails) // 2
        if (yield from asked.ask(known | frozenset(candidates[:middle]))):
            passes = middle
        else:
            fails = middle
    return fails


def proved(culprit: Keys, asked: Asked, reruns: int) -> Generator[Keys, TestRun, bool]:
    """Whether a failing set fails again and the base passes, as often as asked for; false where the base fails.

    Raises FlakyTests, also where the base fails although a set of updates passed.
    """
    for _ in range(reruns):
        yield from asked.ask(culprit)
        if not (yield from asked.ask(BASE)):
            if asked.anything_passed:
                raise FlakyTests(asked.failed[BASE])
            yield from asked.ask(BASE)
            return False
    return True


def judge(units: Sequence[str], choose: Callable[[Keys], str], reruns: int = 1) -> Generator[Keys, TestRun, Judgement]:
    """Have sets tested until it is known which of ``units``, in their order, pass together.

    ``choose`` says which member of a failing set is held back. The set sent last and passed is what is shipped.
    """
    asked = Asked()
    try:
        return (yield from _judged(tuple(units), choose, reruns, asked))
    except FlakyTests as flaky:
        passed = yield from _passes_once(frozenset(units), reruns + 1)
        return Judgement(
            verdict="flaky", ship=frozenset(units) if passed else BASE, flaky=flaky.failed, runs=asked.runs + passed
        )


def _judged(
    units: tuple[str, ...], choose: Callable[[Keys], str], reruns: int, asked: Asked
) -> Generator[Keys, TestRun, Judgement]:
    blamed: list[Blame] = []
    while units and not (yield from asked.ask(frozenset(units))):
        culprit = yield from minimal_failing(units, asked)
        if not (yield from proved(culprit, asked, reruns)):
            return Judgement(verdict="base_fails", flaky=asked.failed[BASE], runs=asked.runs)
        blamed.append(Blame(members=tuple(sorted(culprit)), held=choose(culprit), failed=asked.failed[culprit]))
        units = tuple(unit for unit in units if unit != blamed[-1].held)
    return Judgement(
        verdict="passed" if units else "none_passes",
        ship=frozenset(units),
        blamed=tuple(blamed),
        runs=asked.runs,
        runs_until_found=asked.found_after,
    )


def _passes_once(units: Keys, times: int) -> Generator[Keys, TestRun, int]:
    """After how many runs the tests passed on the whole; 0 where they did not within ``times``."""
    for number in range(1, times + 1):
        if (yield units).passed:
            return number
    return 0
