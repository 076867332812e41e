"""The question of a foreground run, on a real terminal: only the whole word approves, and silence decides nothing."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import Iterator
from datetime import timedelta

import pytest

from deployments.asking import at_the_terminal
from deployments.view import StepView
from tasks.approvals import Decision, Question

QUESTION = Question(kind="test", title="deleting 3 rows", plan="# Delete **3 rows**", digest="a" * 64)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """What a person types into, and what the program reads from."""
    person, program = pty.openpty()
    yield person, program
    for end in (person, program):
        os.close(end)


def asked(terminal: tuple[int, int], typed: bytes, waits: float = 20) -> Decision | None:
    person, program = terminal
    os.write(person, typed)
    asker = at_the_terminal(StepView("test"), program, timedelta(seconds=waits))
    return asyncio.run(asker(QUESTION))


def test_the_plan_is_shown_and_the_word_approves(
    terminal: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    decision = asked(terminal, b"y\nyes\napprove\nthey are copies\n")
    assert decision is not None
    assert (decision.decision, decision.reason) == ("approve", "they are copies")
    assert decision.name
    said = capfd.readouterr().err
    assert "Delete 3 rows" in said
    assert said.count(f"Plan {QUESTION.short}: approve or refuse?") == 3


def test_a_refusal_is_a_decision(terminal: tuple[int, int]) -> None:
    decision = asked(terminal, b"refuse\n\n")
    assert decision is not None
    assert decision.decision == "refuse"


@pytest.mark.parametrize("typed", [b"", b"y\n", b"\x04"], ids=["silence", "half a word", "end of input"])
def test_silence_and_the_end_of_input_decide_nothing(terminal: tuple[int, int], typed: bytes) -> None:
    assert asked(terminal, typed, waits=0.3) is None
