"""Tests sets of updates: makes the lock of a set, installs it, runs the repository's own tests in the sandbox.

Safety property: each trial has a fresh copy of the files and a fresh environment, so that no trial hears of another
one, and what is committed later never passed through a folder in which tests ran.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from prefect import task

from tasks.analysis.culprits import BASE, Keys, judge
from tasks.analysis.lock_diff import updates_between
from tasks.analysis.lockfiles import read_lock
from tasks.clients.installed import read_installed
from tasks.clients.resolver_errors import Unsolvable
from tasks.clients.sandbox import Sandbox
from tasks.dependency_checkout import Checkout
from tasks.dependency_models import Installed, Judgement, TestRun, Update, Wish
from tasks.dependency_plan import Plan, single
from tasks.errors import NotAllowed, PermanentError, Refused
from tasks.policies import WAIT
from tasks.progress import report


class Trials:
    """The trials of one plan, numbered. ``installed`` is what the newest trial of a set had installed."""

    def __init__(self, checkout: Checkout, plan: Plan) -> None:
        self.checkout, self.plan = checkout, plan
        self.installed: dict[Keys, Installed] = {}
        self.runs: list[tuple[Keys, TestRun]] = []
        self.sandbox = ""
        self._boxes: dict[Path, Sandbox] = {}

    def locks(self, keys: Keys) -> dict[str, str]:
        """The text of each manifest's lock when these updates are made and the others are not."""
        return {folder: self._lock(folder, keys) for folder in self.checkout.manifests}

    def updates(self, texts: dict[str, str]) -> tuple[Update, ...]:
        """What locks change against the base, packages that come and go included."""
        found: tuple[Update, ...] = ()
        for folder, text in texts.items():
            kind = self.checkout.manifests[folder].kind
            graph = read_lock(kind, text, self.checkout.lock_path(folder))
            found += updates_between(folder, kind, self.checkout.graphs[folder], graph)
        return found

    def run(self, keys: Keys) -> TestRun:
        """Test a set. A set that cannot be installed fails."""
        began, texts = time.monotonic(), self.locks(keys)
        tree = self.checkout.copy(f"trial-{len(self.runs)}")
        try:
            run = self._tested(keys, texts, tree)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        run = run.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
        self.runs.append((keys, run))
        return run

    def measure(self, keys: Keys) -> Installed:
        """What a set installs; without running its tests where no trial did."""
        if keys not in self.installed:
            tree = self.checkout.copy("measured")
            self._install(keys, self.locks(keys), tree)
            shutil.rmtree(tree, ignore_errors=True)
        return self.installed[keys]

    def _tested(self, keys: Keys, texts: dict[str, str], tree: Path) -> TestRun:
        try:
            self._install(keys, texts, tree)
        except NotAllowed:
            raise
        except PermanentError as error:
            return TestRun(passed=False, failed=("installation",), tail=str(error))
        # Found before any test runs: one could turn the next folder's interpreter into a link to somewhere else.
        boxes = [(folder, self._box(self.checkout.tool(folder, tree).interpreter())) for folder in self._concerned()]
        runs = [self._test(folder, tree, box) for folder, box in boxes]
        return TestRun(
            passed=all(run.passed for run in runs),
            failed=tuple(name for run in runs for name in run.failed),
            tail="\n".join(run.tail for run in runs if not run.passed),
        )

    def _install(self, keys: Keys, texts: dict[str, str], tree: Path) -> None:
        whole = Installed(size_bytes=0)
        for folder in self._concerned():
            tool = self.checkout.tool(folder, tree)
            tool.lock.write_text(texts[folder])
            began = time.monotonic()
            tool.install()
            self.plan.tool_seconds += time.monotonic() - began
            found = read_installed(tool.packages)
            whole = Installed(
                size_bytes=whole.size_bytes + found.size_bytes,
                licences={**whole.licences, **found.licences},
                links={**whole.links, **found.links},
            )
        self.installed[keys] = whole

    def _box(self, programs: Path) -> Sandbox:
        box = self._boxes.setdefault(programs, Sandbox([programs]))  # it looks once what this machine allows
        self.sandbox = box.why_not
        if box.why_not and self.checkout.section.require_sandbox:
            raise Refused(f"running the tests refused: they cannot be shut off here: {box.why_not}")
        return box

    def _test(self, folder: str, tree: Path, box: Sandbox) -> TestRun:
        section, tool = self.checkout.section, self.checkout.tool(folder, tree)
        command = self.checkout.manifests[folder].test
        return box.run(command, tree, tree / folder, tool.bins, section.test_timeout_seconds)

    def _concerned(self) -> list[str]:
        """The manifests that the plan changes."""
        return [folder for folder in self.checkout.manifests if any(u.manifest == folder for u in self.plan.updates)]

    def _lock(self, folder: str, keys: Keys) -> str:
        movable = {u.package: u for u in self.plan.updates if u.manifest == folder and u.old and u.new}
        chosen = {name for name, update in movable.items() if update.key in keys}
        if not chosen:
            return self.checkout.texts[folder]
        if chosen == movable.keys():
            return self.plan.texts[folder]
        return self._part(folder, movable, chosen)

    def _part(self, folder: str, movable: dict[str, Update], chosen: set[str]) -> str:
        """The lock of a part: exactly it where that can be solved, else as much of it as goes without the rest."""
        whole = self.plan.wishes[folder]
        stays = {**whole.stays, **single({n: u.old for n, u in movable.items() if n not in chosen})}
        pins = single({name: movable[name].new for name in chosen})
        part = whole.model_copy(update={"names": tuple(sorted(chosen)), "pins": pins, "stays": stays})
        hurried = {name: version for name, version in whole.pins.items() if name in chosen}
        for wish in (part, part.model_copy(update={"pins": hurried})):
            try:
                return self._resolve(folder, wish)
            except Unsolvable:
                continue
        return self.checkout.texts[folder]

    def _resolve(self, folder: str, wish: Wish) -> str:
        began = time.monotonic()
        tool = self.checkout.tool(folder, self.checkout.scratch / "plan")
        tool.lock.write_text(self.checkout.texts[folder])
        tool.resolve(wish)
        self.plan.tool_seconds += time.monotonic() - began
        return tool.lock.read_text()


@task(**WAIT)
async def try_set(trials: Trials, subject: str, keys: Keys) -> TestRun:
    """Test one set of updates. Safe to repeat: a trial leaves nothing behind."""
    return await asyncio.to_thread(trials.run, keys)


async def judge_updates(trials: Trials) -> Judgement:
    """Test the whole, and where that fails, parts of it, until it is known what passes together."""
    units = trials.plan.units
    order = {key: place for place, key in enumerate(units)}
    questions = judge(units, lambda keys: _last(keys, order, trials.plan.security), trials.checkout.section.reruns)
    keys = next(questions)
    while True:
        what = f"{len(keys)} of {len(units)} updates" if keys != BASE else "no update"
        report("tests", "dependencies", f"run {len(trials.runs) + 1}: {what}")
        try:
            keys = questions.send(await try_set(trials, what, keys))
        except StopIteration as end:
            judgement: Judgement = end.value
            return judgement


def _last(keys: Keys, order: dict[str, int], security: frozenset[str]) -> str:
    """Which of a failing set is held back: one that mends no vulnerability, and that the fewest others need."""
    return max(keys, key=lambda key: (key not in security, order[key]))
