"""Asks the person at the terminal of ``caretaker run`` to approve a plan.

Safety property: only the whole word approves. Whoever is silent, or gone, has decided nothing: the run holds the locks
of its services meanwhile, so it waits for minutes, not for hours.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from datetime import timedelta

from rich.console import Console
from rich.markdown import Markdown

from deployments.view import StepView
from tasks.approvals import Asker, Decision, Question

WAITS = timedelta(minutes=10)
LONGEST_LINE = 4096


def somebody_is_there() -> bool:
    """Whether a person can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def at_the_terminal(view: StepView, keyboard: int | None = None, waits: timedelta = WAITS) -> Asker:
    """What asks here, with the live view out of the way. ``keyboard`` is a file descriptor; standard input if None."""

    async def ask(question: Question) -> Decision | None:
        answers = sys.stdin.fileno() if keyboard is None else keyboard
        with view.aside() as console:
            console.print(Markdown(question.plan))
            try:
                async with asyncio.timeout(min(waits, question.patience).total_seconds()):
                    return await _decided(console, answers, question)
            except TimeoutError:
                return None

    return ask


async def _decided(console: Console, keyboard: int, question: Question) -> Decision | None:
    word = ""
    while word not in ("approve", "refuse"):
        line = await _read(console, keyboard, f"Plan {question.short}: approve or refuse? ")
        if line is None:
            return None
        word = line.lower()
    reason = await _read(console, keyboard, "Why? ") or ""
    return Decision.model_validate({"decision": word, "reason": reason[:300], "name": getpass.getuser()[:80]})


async def _read(console: Console, keyboard: int, prompt: str) -> str | None:
    """A line of the keyboard; None at its end."""
    console.print(prompt, end="", markup=False, highlight=False)
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[bytes] = loop.create_future()

    def take() -> None:
        if not typed.done():
            typed.set_result(os.read(keyboard, LONGEST_LINE))

    loop.add_reader(keyboard, take)
    try:
        line = await typed
    finally:
        loop.remove_reader(keyboard)
    return line.decode(errors="replace").strip() if line else None
