"""The live view: whatever a step says is shown as it is, and a view that fails ends no release."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from deployments.view import StepView, live_view
from tasks import progress

NOT_MARKUP = "reading [/tmp/x] failed [red]"


def test_text_that_looks_like_markup_is_shown_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    with live_view("deploy", plain=True):
        progress.report("build", "api", NOT_MARKUP)
        logging.getLogger("prefect.task_runs").error(f"Finished in state Failed('{NOT_MARKUP}')")
    said = capfd.readouterr().err
    assert f"build api: {NOT_MARKUP}" in said
    assert f"Failed('{NOT_MARKUP}')" in said


def test_the_screen_shows_text_that_looks_like_markup() -> None:
    view, shown = StepView("deploy"), io.StringIO()
    view.report(progress.Progress("build", "api", NOT_MARKUP))
    view.ended(NOT_MARKUP, "Finished in state Completed()")
    Console(file=shown, width=120).print(view)
    assert shown.getvalue().count(NOT_MARKUP) == 2


def test_a_listener_that_fails_is_forgotten_and_nothing_else_happens() -> None:
    heard: list[str] = []

    def gone(_: progress.Progress) -> None:
        heard.append("once")
        raise BrokenPipeError

    stop = progress.listen(gone)
    progress.report("build", "api", "one")
    progress.report("build", "api", "two")
    stop()
    assert heard == ["once"]
