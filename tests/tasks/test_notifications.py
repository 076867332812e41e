"""Every flow has the hook by which somebody hears of a run that could not say how it ended."""

from __future__ import annotations

import pytest

from deployments.run import FLOWS, load
from tasks.notifications import tell_failure


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_that_fails_or_crashes_is_told_whatever_it_was(name: str) -> None:
    flow, _ = load(name)
    assert tell_failure in flow.on_failure_hooks
    assert tell_failure in flow.on_crashed_hooks
