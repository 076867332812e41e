"""What goes on beside the requests survives its errors, and an outage is said once each time that there is one."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from deployments.webhooks.loop import Survivor
from tasks.errors import TransientError


def test_the_receiver_imports_neither_prefect_nor_what_tells_people() -> None:
    line = "import sys, deployments.webhooks.server; print({'prefect', 'apprise'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def step(*ends: Any) -> Any:
    """A step that ends so, one time after the other."""
    left = list(ends)

    def take() -> Any:
        end = left.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    return take


async def test_an_outage_is_said_once_and_the_same_outage_again_after_it_was_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = TransientError("reading the inbox failed: it is away")
    survivor, steps = Survivor(), step(away, away, True, away, away)
    assert [await survivor.take(steps) for _ in range(5)] == [None, None, True, None, None]
    assert [record.getMessage() for record in caplog.records] == [str(away)] * 2


async def test_another_error_in_the_same_outage_is_said_and_a_fault_of_the_program_with_where_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    survivor, steps = Survivor(), step(TransientError("one"), KeyError("two"), TransientError("one"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await survivor.take(steps) is None
    assert [record.getMessage() for record in caplog.records] == ["one", "KeyError: 'two'", "one"]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True, False]
